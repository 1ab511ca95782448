"""Text that comes in pieces, line by line, and what of it matches the table: small and bounded whatever is fed."""

from __future__ import annotations

import bisect
import codecs
import functools
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from imagecheck.causes.row import Place, Row
from imagecheck.guest import console

LINE = 1000  # characters of a line that are looked at; patterns are tried on no more
_RAW = 4000  # the same before control sequences are taken out
ERRORS = 30  # error-looking lines that are kept for an unknown cause
# Not the names of units and options that merely hold such a word.
_ERROR = re.compile(
    r"\b(?:[Ee]rror|ERROR|[Ff]ailed|FAILED|[Ff]ailure|FATAL|[Ff]atal|Traceback|panic|[Dd]enied|[Rr]efused|[Uu]nable to"
    r"|[Cc]annot|CRITICAL)\b|\w(?:Error|Exception): "
)
_KERNEL_TIME = re.compile(r"^\[ {0,7}(\d{1,7}\.\d{1,6})\]")
_CLOCK_TIME = re.compile(r"^.{0,24}?(?:\b|(?<=\dT))([0-2]\d):([0-5]\d):([0-5]\d(?:[.,]\d{1,6})?)")


@dataclass(frozen=True)
class Line:
    """A line as it is searched: without control sequences, cut; numbers begin at 1."""

    number: int
    text: str


class Lines:
    """Cuts pieces of text into lines. How the text was cut into pieces does not change the lines."""

    def __init__(self) -> None:
        self._number = 0
        self._part = ""
        self._held = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, text: str | bytes) -> list[Line]:
        """The lines that are complete now."""
        if isinstance(text, bytes):
            text = self._decode.decode(text)
        text = self._held + text
        # A carriage return at the very end may be half of a line's end.
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        first, *more = text.split("\n")
        self._part = (self._part + first[:_RAW])[:_RAW]
        found = []
        for piece in more:
            self._number += 1
            found.append(Line(self._number, _clean(self._part)))
            self._part = piece[:_RAW]
        return found

    @property
    def partial(self) -> Line:
        """What has no end yet: a prompt, or a line that is being written."""
        return Line(self._number + 1, _clean(self._part))


def _clean(raw: str) -> str:
    return console.clean(raw)[:LINE]


@dataclass
class Hit:
    """Sightings of one row in one place since it was last taken back."""

    row: Row
    place: Place
    line: Line  # the first
    groups: dict[str, str]
    first: float
    last: float
    began: float | None  # the first line's own time, and the last's: seconds on whatever clock the line has
    ended: float | None
    count: int = 1

    @property
    def span(self) -> float:
        """Seconds between the first and the last sighting, by our clock or by that of the lines, what is more."""
        own = 0.0
        if self.began is not None and self.ended is not None:
            own = (self.ended - self.began) % 86400.0
            own = own if own < 43200 else 0.0  # backwards: a clock was set
        return max(self.last - self.first, own)


@dataclass
class Reader:
    """One place's text against the rows that look there."""

    place: Place
    rows: Sequence[Row]
    lines: Lines = field(default_factory=Lines)
    hits: dict[str, Hit] = field(default_factory=dict)
    errors: deque[Line] = field(default_factory=lambda: deque(maxlen=ERRORS))
    changed: float = 0.0  # when the last text came

    def __post_init__(self) -> None:
        self.rows = [row for row in self.rows if self.place in row.places]

    def feed(self, text: str | bytes, now: float) -> None:
        """Take more text; ``now`` in seconds of any clock that does not go back."""
        if text:
            self.changed = now
        self._take(self.lines.feed(text), now)

    def finish(self, now: float) -> None:
        """The text is over: what has no end yet is a line too."""
        self._take(self.lines.feed("\n"), now)

    def waiting(self, now: float) -> list[Hit]:
        """What the line without an end says, if it has stood there unchanged: a prompt nobody answers."""
        line = self.lines.partial
        if not line.text.strip():
            return []
        found = []
        for row in self.rows:
            if any(key in line.text for key in row.keys) and (match := compiled(row.pattern).search(line.text)):
                found.append(Hit(row, self.place, line, _groups(match), self.changed, now, None, None))
        return found

    def _take(self, lines: list[Line], now: float) -> None:
        if not lines:
            return
        self.errors.extend(line for line in lines if _ERROR.search(line.text))
        starts, at = [], 0
        for line in lines:
            starts.append(at)
            at += len(line.text) + 1
        block = "\n".join(line.text for line in lines)
        for row in self.rows:
            at_lines = _holding(block, starts, row.keys)
            if not at_lines and row.id not in self.hits:
                continue
            back = _holding(block, starts, row.cleared)
            for index in sorted({*at_lines, *back}):
                if index in back:
                    self.hits.pop(row.id, None)
                elif match := compiled(row.pattern).search(lines[index].text):
                    self._saw(row, lines[index], match, now)

    def _saw(self, row: Row, line: Line, match: re.Match[str], now: float) -> None:
        hit, time = self.hits.get(row.id), stamp(line.text)
        if hit is None:
            self.hits[row.id] = Hit(row, self.place, line, _groups(match), now, now, time, time)
            return
        hit.count += 1
        hit.last = now
        if hit.began is not None and time is not None:
            hit.ended = time


def stamp(text: str) -> float | None:
    """A line's own time in seconds, of the kernel's clock or of the day; None when it carries none."""
    if match := _KERNEL_TIME.match(text):
        return float(match[1])
    if match := _CLOCK_TIME.match(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3].replace(",", "."))
    return None


def _holding(block: str, starts: list[int], keys: Iterable[str]) -> set[int]:
    """Indices of the lines that hold one of ``keys``: linear, however the text was made."""
    found = set()
    for key in keys:
        at = block.find(key)
        while at >= 0:
            index = bisect.bisect_right(starts, at) - 1
            found.add(index)
            at = block.find(key, starts[index + 1]) if index + 1 < len(starts) else -1
    return found


def _groups(match: re.Match[str]) -> dict[str, str]:
    groups = {name: (value or "").strip() for name, value in match.groupdict().items()}
    groups["what"] = groups.get("what") or next((value for value in groups.values() if value), "")
    return groups


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compiled once per process."""
    return re.compile(pattern)
