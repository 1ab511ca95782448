"""Lines for a terminal: where the time went, and what failed. Pure: text in, text out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from imagecheck.launch import Phase
from imagecheck.redact import clean as clean
from imagecheck.report.facts import Fault, Measured

_NARROWEST_BAR = 8  # columns; with less, the numbers stand alone
_WIDEST_NAME = 36
_MOST_ROWS = 18
_WAITING = ("░", ".")  # a bar of a phase in which nobody works
_LABEL = 17  # columns of "FAILED", "seen in", ... in the design's picture
_ASCII = str.maketrans({"…": "...", "→": "->", "±": "+/-", "×": "x", "█": "#", "▏": "|", "–": "-", "’": "'", "·": "."})


def plain(text: str) -> str:
    """The same in ASCII, for streams that can do no more."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def timeline_lines(measured: Measured, *, width: int = 80, unicode: bool = True, circumstances: str = "") -> list[str]:
    """One line per phase with a bar where it lies in the whole; then what was not seen, and why.

    ``width`` in columns; ``circumstances`` ("tcg, epoxy") stands beside the total.
    """

    def say(text: str) -> str:
        # In ASCII before it is laid out: "..." is wider than "…".
        return clean(text) if unicode else plain(clean(text))

    phases = _rows(measured.timeline.phases)
    head = measured.title
    if phases:
        head += f"  {measured.timeline.seconds:.1f} s ± {measured.timeline.uncertainty:.1f} s"
    else:
        head += "  not measured"
    if circumstances:
        head += f"  ({circumstances})"
    lines = _wrapped(say(head), width, "", "  ")

    widest = max((len(say(phase.name)) for phase in phases), default=0)
    name_width = max(1, min(widest, _WIDEST_NAME, max(8, width - 14)))
    bar_width = width - name_width - 14
    for phase in phases:
        bar = _bar(phase, measured.timeline.seconds, bar_width, unicode) if bar_width >= _NARROWEST_BAR else ""
        name, *more = textwrap.wrap(say(phase.name), name_width) or ["-"]
        lines.append(f"  {name:<{name_width}} {phase!s:>9}  {bar}".rstrip())
        lines += [f"  {part}" for part in more]
        if phase.note:
            lines += _wrapped(say(phase.note), width, "    ", "    ")
    if waited := sum(phase.seconds for phase in measured.timeline.phases if phase.waiting):
        lines += _wrapped(
            say(f"{_WAITING[not unicode]} waiting for Trove's own polls, {waited:.1f} s"), width, "  ", "    "
        )
    for event, reason in measured.timeline.lost.items():
        lines += _wrapped(say(f"not seen: {event}, {reason}"), width, "  ", "    ")
    return lines


def _rows(phases: Sequence[Phase]) -> list[Phase]:
    """At most as many as a person reads: the shortest are drawn with the shorter neighbour. The sum stays."""
    rows = list(phases)
    while len(rows) > _MOST_ROWS:
        at = min(range(len(rows)), key=lambda number: rows[number].seconds)
        near = [one for one in (at - 1, at + 1) if 0 <= one < len(rows)]
        # What waits and what works are not drawn as one while there is another way.
        other = min(near, key=lambda one: (bool(rows[one].waiting) != bool(rows[at].waiting), rows[one].seconds))
        first, second = rows[min(at, other)], rows[max(at, other)]
        rows[min(at, other)] = Phase(
            f"{first.name} + {second.name}",
            first.start,
            first.seconds + second.seconds,
            first.uncertainty + second.uncertainty,
            "; ".join(filter(None, (first.note, second.note))),
            first.waiting if first.waiting and second.waiting else "",
        )
        del rows[max(at, other)]
    return rows


def _bar(phase: Phase, whole: float, columns: int, unicode: bool) -> str:
    if whole <= 0:
        return ""
    left = round(phase.start / whole * columns)
    right = round((phase.start + phase.seconds) / whole * columns)
    block, sliver = ("█", "▏") if unicode else ("#", "|")
    if phase.waiting:
        block = _WAITING[not unicode]
    left = min(left, columns - 1)
    return " " * left + (block * (right - left) if right > left else sliver)


def fault_lines(fault: Fault, *, width: int = 100, unicode: bool = True) -> list[str]:
    """The block that stands before any traceback: what failed, where it was seen, what to try, where to look."""
    rows = [
        ("FAILED", f"{fault.step}   {fault.sentence}" if fault.step else fault.sentence),
        ("kind", fault.kind),
        ("cause", fault.cause),
        ("seen in", fault.seen),
        ("try", fault.remedy),
        ("evidence", fault.evidence),
    ]
    lines: list[str] = []
    for label, text in rows:
        if not text:
            continue
        # The first row reads across; the others stand in a column below it.
        lead = "FAILED  " if label == "FAILED" else f"        {label:<{_LABEL - 8}}"
        for part in (clean(text) if unicode else plain(clean(text))).splitlines():
            if part.strip():
                lines += _wrapped(part.strip(), width, lead, " " * _LABEL)
                lead = " " * _LABEL
    return lines


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, max(width, len(rest) + 20), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False,
        break_long_words=False,
    ) or [first.rstrip()]  # fmt: skip
