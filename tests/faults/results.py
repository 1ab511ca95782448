"""What was measured (results.json), and docs/reliability.md, which is written from it.

Every run of a row is kept and counted, whatever came of it; a new run of a row replaces that row's alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from row import ENDS, Row
from table import ROWS

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "reliability.md"
_HEAD = """\
# Reliability: what happens when the cloud, the host or the runner fails

Written by `tox -e faults -- --write` from tests/faults/results.json; each row says when (UTC) it was run last.
Real runs (`pytest --image`, `imagecheck build`) on the sandbox are disturbed on purpose, one fault each. Then
`imagecheck gc` is run, and the cloud and this host are compared with what they were before.

A run of a row is right when all of this holds: it ended in the class that the table names, in words that fit; the
fault was really met; after `gc` nothing is left of it in any project (servers, ports, images, keypairs, security
groups, flavors, networks, datastores and their versions, instances) nor on this host (processes, mounts, loop devices,
temporary folders, records), and nothing else is missing; no traceback was shown; and the sandbox's secrets and, through
the proxy, every token are in none of its files and on no command line, in no encoding (tests/harness/canaries.py).
"""
_GROUPS = {
    "kill": ("The runner is killed", """\
`tox -e faults -- --group kill`: SIGKILL to the runner's whole process group at a named moment, which is read from its
ledger, its terminal or the host's mounts. *behind* is what lay around in the cloud between death and `gc`. `boot`,
`upload` and `register` use an image that stops the processor (nothing in those steps needs its guest); the others use
mariadb-debian.
"""),
    "api": ("The APIs fail", """\
`tox -e faults -- --group api`: [mitmproxy](https://mitmproxy.org) as a forward proxy on loopback, before all real APIs
at once, with the addon tests/faults/faulty.py. *spoiled* is the number of requests that met the fault.
"""),
    "service": ("Services, quota and room are taken away", """\
`tox -e faults -- --group service`: SIGKILL to a unit of the sandbox or to all of it, a quota set to 0, a file system
without room, while the run is at the named moment. The runner mends it when the run is over, before `gc`.
"""),
}  # fmt: skip


def load() -> dict[str, list[dict[str, Any]]]:
    """Row -> its runs."""
    found: dict[str, list[dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found


def keep(name: str, runs: list[dict[str, Any]]) -> None:
    """Replace the runs of a row, and write the page anew."""
    write(load() | {name: runs})


def write(gathered: dict[str, list[dict[str, Any]]]) -> None:
    """Both files; rows that the table has no more go."""
    known = {row.name: gathered[row.name] for row in ROWS if row.name in gathered}
    FILE.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(known, ROWS), encoding="utf-8")


def page(gathered: dict[str, list[dict[str, Any]]], rows: Sequence[Row]) -> str:
    """docs/reliability.md; a row that was never run says so."""
    parts = [_HEAD, score(gathered, rows) + "\n"]
    parts.append("\n".join(["| class | means |", "|---|---|", *(f"| {one} | {means} |" for one, means in ENDS.items()
                            if any(row.ends == one for row in rows))]) + "\n")  # fmt: skip
    for group, (title, about) in _GROUPS.items():
        mine = [row for row in rows if row.group == group]
        parts += [f"## {title}\n", about, _table(group, mine, gathered)]
    return "\n".join(parts).rstrip() + "\n"


def score(gathered: dict[str, list[dict[str, Any]]], rows: Sequence[Row]) -> str:
    """One sentence over everything."""
    runs = [run for row in rows for run in gathered.get(row.name, [])]
    right = sum(not run["wrong"] for run in runs)
    left, canaries = sum(len(run["left"]) for run in runs), sum(len(run["canaries"]) for run in runs)
    whole = sum(len(gathered.get(row.name, [])) >= row.times for row in rows)
    searched = sum(run["looked"] for run in runs)
    return (
        f"**{whole} of {len(rows)} rows run as often as they have to be; {right} of {len(runs)} runs right; left after "
        f"gc: {left}; canaries found: {canaries} in {searched} files and command lines.**"
    )


def _table(group: str, rows: list[Row], gathered: dict[str, list[dict[str, Any]]]) -> str:
    more = {"kill": "behind", "api": "spoiled", "service": "behind"}[group]
    lines = [
        f"| row | what is done | when | must end | right | told | {more} | gc | left | canaries | seconds | run |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        runs = gathered.get(row.name, [])
        if not runs:
            lines.append(f"| `{row.name}` | {row.what} | {_at(row)} | {row.ends} | not run (×{row.times}) "
                         "| | | | | | | |")  # fmt: skip
            continue
        right = sum(not run["wrong"] for run in runs)
        shown = next((run for run in runs if run["wrong"]), runs[-1])  # of several, one that went wrong
        told = "; ".join(shown["wrong"]) or ("" if row.ends == "killed" else shown["words"])
        met = _behind(runs) if more == "behind" else _range([run["faults"] or 0 for run in runs])
        lines.append(
            f"| `{row.name}` | {row.what} | {_at(row)} | {row.ends} | {right} of {len(runs)}"
            f"{'' if len(runs) >= row.times else f' (of ×{row.times})'} | {cell(told)} | {met} | {_gc(runs)} "
            f"| {sum(len(run['left']) for run in runs)} | {sum(len(run['canaries']) for run in runs)} "
            f"| {_range([round(run['seconds']) for run in runs])} | {runs[-1]['run']} |"
        )
    return "\n".join(lines) + "\n"


def _at(row: Row) -> str:
    return "; ".join(cell(str(one)) for one in row.way.at)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _behind(runs: list[dict[str, Any]]) -> str:
    """Kind -> the range of what lay around."""
    kinds = sorted({kind for run in runs for kind in run["behind"]})
    return ", ".join(f"{kind} {_range([run['behind'].get(kind, 0) for run in runs])}" for kind in kinds) or "nothing"


def _gc(runs: list[dict[str, Any]]) -> str:
    said = [re.fullmatch(r"removed (\d+), left 0(?:, then removed (\d+), left 0)?", run["gc"]) for run in runs]
    if all(said):
        return f"removed {_range([int(one[1]) + int(one[2] or 0) for one in said if one])}"
    return cell("; ".join(sorted({run["gc"] for run in runs})))


def plain(text: str, *here: Path) -> str:
    """One line of at most 400 characters, without folders of this machine: /tmp and those of ``here``."""
    for folder in here:
        text = text.replace(f"{folder}/", "")
    text = re.sub(r"10\.77\.\d+\.2", "10.77.N.2", text)
    return re.sub(r"/tmp/[\w./-]+/|/root/[\w./-]+/", "", " ".join(text.split()))[:400]


def cell(text: str) -> str:
    """Short enough for a table, and safe in it."""
    return (text[:237] + "…" if len(text) > 238 else text).replace("|", "\\|").replace("<", "&lt;")
