"""What a judge says of a series, and of two against each other. Numbers and words, no arithmetic: that is judge.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["PASS", "REGRESSED", "IMPROVED", "INSUFFICIENT", "INCOMPARABLE"]


@dataclass(frozen=True)
class Interval:
    """A distribution-free interval from order statistics; ``confidence`` is what it really has, at least what was
    asked. ``low`` is -inf or ``high`` inf where so few values prove nothing."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Summary:
    """One label's samples. Seconds; a failed start counts as longer than any that completed, so inf is "not known":
    too many failed, or there are none. ``minimum`` and ``maximum`` are of those that completed."""

    label: str
    count: int
    failed: int
    median: float  # inf when half or more failed
    median_interval: Interval
    iqr: float
    p95: float
    p95_indicative: bool  # True below n = 59: no gate may rest on it
    minimum: float
    maximum: float
    causes: tuple[tuple[str, int], ...] = ()  # id -> how many failed by it, the most frequent first
    p95_interval: Interval | None = None  # each of its ends holds with 95 %
    success_interval: Interval | None = None  # 0 to 1, with 95 %

    @property
    def success(self) -> float:
        """Completed starts by all, 0 to 1."""
        return (self.count - self.failed) / self.count if self.count else 0.0


@dataclass(frozen=True)
class Difference:
    """B minus A of the medians, in seconds and by A's, with the permutation test's p; ``interval`` in seconds, of the
    shift of the whole distribution, with 95 %.

    Where ``rounds`` is above 0, that many rounds had a start of each: then ``seconds`` is by how much B lies behind A
    within a round (stats.center), and p and interval are of these differences."""

    seconds: float
    relative: float
    p: float
    resolution: float  # seconds: no difference below it can be told
    interval: Interval | None = None
    rounds: int = 0


@dataclass(frozen=True)
class PhaseDifference:
    """One phase of A against B: medians in seconds, and ``seconds`` between them, or between A and B of a round, as
    Difference has it; ``share`` of the whole difference, signed, 0 where it has none.

    ``p`` is made larger for there being several phases (Holm); ``significant`` also wants more than their resolution.
    """

    name: str
    a: float
    b: float
    seconds: float
    p: float
    share: float
    waiting: str = ""
    significant: bool = False


@dataclass(frozen=True)
class Judgement:
    """A against B. ``sentence`` says the verdict with its numbers; ``reasons`` what made it so, a sentence each.

    ``difference`` is None where a median is not known. ``success_p`` is Fisher's, of the two success rates.
    """

    verdict: Verdict
    sentence: str
    a: Summary
    b: Summary
    difference: Difference | None = None
    phases: tuple[PhaseDifference, ...] = ()
    reasons: tuple[str, ...] = ()
    more: int = 0  # samples of each that would decide, for INSUFFICIENT; 0: no number of them would
    success_p: float | None = None
