"""Disturbs real runs on the sandbox in every way of the table: how they end, what they leave, what they give away.

    python tests/faults/run.py [--only ROW] [--group api|service|kill] [--repeat N] [--write] [--list]

Needs root and the sandbox, which it starts. `--write` keeps the results and writes docs/reliability.md. Rows that
disturb everybody on the sandbox (a service or the whole of it is killed) are marked in `--list`.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent), str(ROOT / "tests" / "harness")]

import canaries  # noqa: E402
import results  # noqa: E402
import things  # noqa: E402
from child import Child  # noqa: E402
from roads import ROADS, command  # noqa: E402
from row import Row, Seen  # noqa: E402
from stand import Stand  # noqa: E402
from table import ROWS  # noqa: E402

from imagecheck import sandbox  # noqa: E402
from imagecheck.cloud.retry import sentence  # noqa: E402
from imagecheck.errors import ImagecheckError  # noqa: E402

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def wrong(row: Row, seen: Seen) -> list[str]:
    """Why a run of the row is not as it has to be, a few words each; [] for a right one. Pure."""
    told = {
        f"ended {seen.ends}, not {row.ends}": seen.ends != row.ends,
        f"does not say {row.says!r}": not re.search(row.says, seen.words, re.S),
        "was never struck": not seen.struck,
        "no request was spoiled": seen.faults == 0,
        "a traceback is shown": seen.traceback,
        f"left: {', '.join(seen.left)}": bool(seen.left),
        f"removed what is not its own: {', '.join(seen.gone)}": bool(seen.gone),
        f"canaries: {', '.join(seen.canaries)}": bool(seen.canaries),
        "nothing was searched for canaries": not seen.looked,
    }
    return [words for words, so in told.items() if so]


def ending(code: int, report: dict[str, Any]) -> str:
    """Which of row.ENDS a run came to, by its exit code and its report. Pure."""
    if code == -9:
        return "killed"
    if code == 4:
        return "refused"
    if code == 0:
        return "again" if report.get("verdict") == "flaky" else "passed"
    fault = report.get("fault") or {}
    known = fault.get("known") or {}
    if fault:
        return str(known.get("class") or "no class")
    return "failed" if code == 1 else f"exit code {code}"


def words_of(report: dict[str, Any], shown: str) -> str:
    """What a run said of its fault; where there is no report, its last lines."""
    fault = report.get("fault") or {}
    parts = [fault.get("sentence"), fault.get("seen"), fault.get("cause"), (fault.get("known") or {}).get("sentence")]
    parts += [one.get("sentence") for one in report.get("retried", [])]
    parts += [sentence(report.get("requests") or {}), *report.get("left", [])]
    if not any(parts):
        lines = [one for one in shown.splitlines() if one.strip()]
        parts = [one for one in lines if re.match(r"(requests|cloud|LEFT|NO REPORT) ", one)] or lines[-4:]
    return " ".join(" ".join(part for part in parts if part).split())


def plain(shown: str) -> str:
    """What a terminal would have shown, without its escapes and overwritten lines."""
    return "\n".join(
        line.rpartition("\r")[2] for line in _ESCAPES.sub("", shown).replace("\r\n", "\n").split("\n")
    ).strip()


def attempt(row: Row, number: int) -> tuple[dict[str, Any], Path]:
    """One run of a row, and the line for the results."""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    moment, seen = row.moment(number), Seen()
    stand = Stand(row.name)
    try:
        road = ROADS[row.road]
        argv = command(road, stand.work, stand.report, stand.site_file)
        before = things.cloud(stand.cloud)
        with canaries.watched(stand.secrets()) as processes:
            ended = _disturbed(row, stand, argv, moment, seen)
            report = _report(stand)
            shown = plain(stand.child.text)
            seen.ends = ending(stand.child.process.returncode, report) if ended else "hung"
            seen.traceback = "Traceback (most recent call last)" in shown or "INTERNALERROR" in shown
            seen.behind = things.counted(things.difference(before, things.cloud(stand.cloud), stand.child.seen)[0])
            told = _collect(row, stand, seen)
        seen.words = told if row.ends == "killed" else words_of(report, shown)
        new, gone = things.settled(before, stand.cloud, stand.child.seen)
        seen.left += [str(one) for one in new] + things.host(stand.work, stand.work.name)
        seen.gone = [] if getattr(row.way, "anew", False) else [str(one) for one in gone]
        secrets = stand.secrets()
        bad = canaries.scan(stand.report, secrets) | canaries.scan(stand.home, secrets)
        seen.canaries = sorted(f"{Path(file).name}: {one}" for file, found in bad.items() for one in found)
        seen.canaries += sorted(processes.seen)
        files = sum(1 for place in (stand.report, stand.home) for one in place.rglob("*") if one.is_file())
        seen.looked = files + len(processes.lines)
    finally:
        if any((stand.home / "ledger").glob("*")):  # it was broken off, or gc has not done it all
            _gc(stand, Seen())
        stand.close()
    line = vars(seen) | {"run": when, "moment": str(moment), "wrong": wrong(row, seen)}
    line["words"] = results.plain(seen.words, ROOT, stand.work)
    return line, stand.report


def _disturbed(row: Row, stand: Stand, argv: list[str], moment: Any, seen: Seen) -> bool:
    """The run itself, with what is done to it; False: it hung."""
    began = time.monotonic()
    try:
        row.way.begin(stand)
        stand.child = Child(argv, stand.environment, stand.home, stand.private / "pytest.txt", below=stand.work)

        def strike() -> None:
            row.way.strike(stand)

        try:
            ended = stand.child.follow(moment, strike, row.patience)
        finally:
            stand.child.kill()
        seen.struck, seen.seconds = stand.child.struck, round(time.monotonic() - began, 1)
    finally:
        row.way.end(stand)
    if stand.proxy:
        seen.faults = stand.proxy.counts.get("spoiled", 0)
    (stand.report / "pytest.txt").write_text(stand.child.text, encoding="utf-8")
    return ended


def _report(stand: Stand) -> dict[str, Any]:
    for file in stand.report.glob("*/report.json"):
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue
        return found
    return {}


def _collect(row: Row, stand: Stand, seen: Seen) -> str:
    """`imagecheck gc`, as an operator would type it. What it said."""
    said = ""
    if row.lost:
        for run in stand.child.seen:
            (stand.home / "ledger" / f"{run}.jsonl").unlink(missing_ok=True)
            said += _gc(stand, seen, "--site", str(stand.site_file), "--run", run)
    # Without --run, which leaves this host as it is.
    return f"{said} {_gc(stand, seen)}".strip()


def _gc(stand: Stand, seen: Seen, *options: str) -> str:
    environment = {name: value for name, value in stand.environment.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-m", "imagecheck.cli", "gc", *options], env=environment, cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=900,
    )  # fmt: skip
    said = done.stdout + done.stderr
    with (stand.report / "gc.txt").open("a", encoding="utf-8") as file:
        file.write(said)
    last = [line for line in done.stdout.splitlines() if line.startswith("removed ")]
    told = last[-1] if last else f"exit code {done.returncode}"
    seen.gc = f"{seen.gc}, then {told}" if seen.gc else told
    if done.returncode:
        seen.left += [f"gc ended with code {done.returncode}"]
    return " ".join(said.split())


def walk(rows: list[Row], repeat: int, keep: Callable[[str, list[dict[str, Any]]], None]) -> bool:
    """Run the rows one after the other; ``keep`` gets a row's runs after each of them."""
    right = True
    for row in rows:
        runs: list[dict[str, Any]] = []
        for number in range(repeat or row.times):
            line, place = attempt(row, number)
            runs.append(line)
            bad = line["wrong"]
            right &= not bad
            spoiled = "" if line["faults"] is None else f", {line['faults']} requests spoiled"
            print(f"{'WRONG' if bad else 'right':6}{row.name:28}{number + 1}/{repeat or row.times}  {line['moment']}: "
                  f"{line['ends']} after {line['seconds']} s{spoiled}; behind {line['behind'] or 'nothing'}; "
                  f"gc: {line['gc']}; {results.cell(line['words'])}")  # fmt: skip
            for one in bad:
                print(f"      {one}")
            if bad:
                print(f"      see {place}")
            sys.stdout.flush()
            keep(row.name, runs)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="ROW", help="only rows with such a name; repeatable")
    parser.add_argument("--group", choices=("api", "service", "kill"), help="only rows of this group")
    parser.add_argument("--repeat", type=int, default=0, metavar="N", help="each N times (default: as the table says)")
    parser.add_argument("--write", action="store_true", help="keep the results and write docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    option = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM: what the row had made is removed"))
    rows = [
        row
        for row in ROWS
        if any(fnmatch.fnmatch(row.name, only) for only in option.only or "*") and option.group in (None, row.group)
    ]
    if not rows:
        sys.exit(f"no row is called {option.only}: see --list")
    if option.list:
        for row in rows:
            alone = ", alone on the sandbox" if row.way.alone else ""
            print(f"{row.name:28}{row.group:8} ×{row.times}{alone}: {row.what}")
        return 0

    def keep(name: str, runs: list[dict[str, Any]]) -> None:
        if option.write:
            results.keep(name, runs)

    if option.write:
        results.write(results.load())  # the table may have changed
    try:
        sandbox.up(yes=True)
        return 0 if walk(rows, option.repeat, keep) else 1
    except ImagecheckError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    sys.exit(main())
