"""What was measured, gathered over several runs (results.json), and docs/mutants.md, which is written from it.

Every row says when it was run: a partial run replaces its own rows and leaves the others as they are. Runs of the good
image are only ever added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutant import BootMutant, Mutant

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "mutants.md"
_HEAD = """\
# Mutants: what the checks reject, and with which words

Written by `tox -e mutants -- --write` from tests/mutants/results.json; each row says when (UTC) it was run last.
A good image is broken on purpose, one edit each.

## What the disk tells

The real checks of the disk stage look at the mutant. It counts as rejected with the right cause when the check that
the table names fails (or the step before any check) and its words name what was broken. Seconds are those from opening
the image to the last check's verdict.
"""
_BOOT = """\
## What only a boot tells

`tox -e mutants -- --boot`: the disk stage passes, then the mutant goes the real road to the boot stage (Glance, Nova,
config drive) on the sandbox, one at a time, in emulated guests. It counts as rejected with the right cause when the
table's cause (docs/causes.md) or check is told, in words that name what was broken. *verdict* is seconds from power-on
to the verdict, *after* seconds from the first sign in the guest, on its console or in its journal, to the verdict.
"""
_GOOD = """\
## The good image

`tox -e mutants -- --clean 5 --stage boot`: the good image goes the same road; every run is counted, also those that
fail.
"""


def load() -> dict[str, Any]:
    """Everything that was measured so far: mutants by name, runs of the good image in their order."""
    empty: dict[str, Any] = {"disk": {}, "boot": {}, "clean": []}
    return empty | (json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {})


def save(results: dict[str, Any]) -> None:
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    FILE.write_text(text, encoding="utf-8")


def score(rows: Sequence[dict[str, Any]]) -> str:
    """ "12 of 13 rejected with the right cause, 0 accepted"."""
    right, accepted = sum(bool(row["right"]) for row in rows), sum(not row["rejected"] for row in rows)
    return f"{right} of {len(rows)} rejected with the right cause, {accepted} accepted"


def page(results: dict[str, Any], mutants: Sequence[Mutant], boots: Sequence[BootMutant]) -> str:
    """docs/mutants.md; what was never run has no row."""
    disk = [(one, results["disk"][one.name]) for one in mutants if one.name in results["disk"]]
    boot = [(one, results["boot"][one.name]) for one in boots if one.name in results["boot"]]
    parts = [_HEAD, f"{_disk_score([row for _, row in disk], results)}\n", _disk_table(disk), _BOOT]
    if boot:
        parts += [f"{_boot_score([row for _, row in boot])}\n", _boot_table(boot)]
    parts += [_GOOD, _clean_table(results["clean"])]
    return "\n".join(parts).rstrip() + "\n"


def _disk_score(rows: list[dict[str, Any]], results: dict[str, Any]) -> str:
    slowest = max((row["seconds"] for row in rows), default=0.0)
    return f"Mutants: {score(rows)}; slowest verdict {slowest:.1f} s. The good image: {results.get('good', 'not run')}."


def _disk_table(rows: list[tuple[Mutant, dict[str, Any]]]) -> str:
    lines = [
        "| mutant | stage | what was broken | rejected by | in these words | seconds | run |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.name}` | {one.stage} | {one.what} | `{one.check}` | {cell(row['words'])} | {row['seconds']:.1f} "
        f"| {row['run']} |"
        for one, row in rows
    ]
    return "\n".join(lines) + "\n"


def _boot_score(rows: list[dict[str, Any]]) -> str:
    slowest = max((row["after"] for row in rows if row["after"] is not None), default=None)
    told = f"{slowest:.1f} s" if slowest is not None else "not known"
    return f"Boot mutants: {score(rows)}; longest from the first sign to the verdict: {told}."


def _boot_table(rows: list[tuple[BootMutant, dict[str, Any]]]) -> str:
    lines = [
        "| mutant | what it does at boot | must be told | was told | at | in these words | verdict | after | run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.name}` | {one.what} | `{one.check}` | {_told(row)} | {row['step'] or '-'} "
        f"| {cell(row['cause'] or row['words'])} | {_seconds(row['verdict'])} | {_seconds(row['after'])} "
        f"| {row['run']} |"
        for one, row in rows
    ]
    return "\n".join(lines) + "\n"


def _told(row: dict[str, Any]) -> str:
    if not row["rejected"]:
        return "**accepted**"
    if row["disk"]:
        return f"**by the disk**: `{row['disk'][0]}`"
    return f"`{row['told']}`" if row["right"] else f"**wrong**: `{row['told']}`"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _clean_table(runs: list[dict[str, Any]]) -> str:
    lines = ["| stage | image | runs | failed | first | last |", "|---|---|---|---|---|---|"]
    kinds = sorted({(run["stage"], run["image"]) for run in runs})
    for stage, image in kinds:
        mine = [run for run in runs if (run["stage"], run["image"]) == (stage, image)]
        failed = sum(not run["passed"] for run in mine)
        lines.append(f"| {stage} | `{image}` | {len(mine)} | {failed} | {mine[0]['run']} | {mine[-1]['run']} |")
    broken = [f"- {run['run']}, {run['stage']}: {cell(run['words'])}" for run in runs if not run["passed"]]
    return "\n".join([*lines, *(["", "What failed:", "", *broken] if broken else [])]) + "\n"


def plain(text: str, *here: Path) -> str:
    """One line of at most 300 characters, without folders of this machine: /tmp and those of ``here``."""
    for folder in here:
        text = text.replace(f"{folder}/", "")
    return re.sub(r"/tmp/[\w./-]+/", "", " ".join(text.split()))[:300]


def cell(text: str) -> str:
    """Short enough for a table, and safe in it."""
    return (text[:157] + "…" if len(text) > 158 else text).replace("|", "\\|").replace("<", "&lt;")
