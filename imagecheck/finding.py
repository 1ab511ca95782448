"""What a look at a cloud or host found, as data: all of it is collected, and each says what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from imagecheck.errors import ImagecheckError, StepFailed
from imagecheck.redact import redact

Level = Literal["ok", "degraded", "stop"]
_SUBJECT = 14  # columns


@dataclass(frozen=True)
class Finding:
    """``level``: ok, degraded (something will be missing, the sentence says what) or stop (a run would break).

    ``subject`` in a word or two; ``remedy`` is what to do where the level is not ok.
    """

    level: Level
    subject: str
    sentence: str
    remedy: str = ""

    @property
    def whole(self) -> str:
        """Sentence and remedy in one line."""
        return f"{self.sentence}: {self.remedy}" if self.remedy else self.sentence


def of(subject: str, error: ImagecheckError, level: Level = "stop") -> Finding:
    """A mistake as a finding: a UsageError's remedy stands behind its last colon, a StepFailed has one of its own."""
    if isinstance(error, StepFailed):
        return Finding(level, subject, error.sentence, error.remedy)
    sentence, _, remedy = str(error).rpartition(": ")
    return Finding(level, subject, sentence or remedy, remedy if sentence else "")


def stops(findings: Iterable[Finding]) -> list[Finding]:
    """Those for which nothing may be made."""
    return [one for one in findings if one.level == "stop"]


def lines(findings: Sequence[Finding], width: int = 80) -> Iterator[str]:
    """For a terminal: one line for each that is ok, sentence and remedy for the others; then the sum."""
    margin = 9 + _SUBJECT + 1
    for one in findings:
        head = f"{one.level:<9}{_clean(one.subject):<{_SUBJECT}} "
        if one.level == "ok":
            line = head + _clean(one.sentence)
            yield line if len(line) <= width else line[: width - 1] + "…"
            continue
        told = [_clean(one.sentence) or "?", *([f"try: {_clean(one.remedy)}"] if one.remedy else [])]
        wrapped = [
            part
            for text in told
            for part in textwrap.wrap(text, max(30, width - margin), break_long_words=False, break_on_hyphens=False)
        ]
        yield head + wrapped[0]
        yield from (" " * margin + part for part in wrapped[1:])
    counts = {level: sum(one.level == level for one in findings) for level in ("ok", "degraded", "stop")}
    yield ", ".join(f"{number} {level}" for level, number in counts.items())


def _clean(text: str) -> str:
    """Redacted, on one line, and without what moves a terminal's cursor: the words may be a cloud's."""
    return "".join(one for one in " ".join(redact(text).split()) if one.isprintable()).strip()


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For programs."""
    return [{key: redact(value) for key, value in asdict(one).items()} for one in findings]
