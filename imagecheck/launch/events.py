"""What happens during a launch, who saw it and on which clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from imagecheck.launch.vocabulary import EVENTS, Clock


@dataclass(frozen=True)
class Event:
    """One thing seen once. Times are seconds since the epoch on the event's own ``clock``.

    It happened in [earliest, latest + resolution]: a polled event lies between the last no and the first yes; a
    stamp has earliest == latest and was cut off to ``resolution`` seconds (MariaDB's DATETIME: 1, so it lies up to
    a second later).
    """

    name: str
    source: str
    clock: Clock
    earliest: float
    latest: float
    resolution: float = 0.0

    @classmethod
    def at(cls, name: str, clock: Clock, when: float, *, source: str = "", resolution: float = 0.0) -> Event:
        """A stamp; ``source`` is the table's unless another one was used."""
        return cls(name, source or _source(name), clock, when, when, resolution)

    @classmethod
    def between(cls, name: str, last_no: float, first_yes: float, *, source: str = "") -> Event:
        """An event that the harness found by polling (``waits.Seen``)."""
        return cls(name, source or _source(name), "harness", last_no, first_yes)

    @property
    def fault(self) -> str:
        """Why the times cannot be used; empty when they can."""
        if not all(sane(number) for number in (self.earliest, self.latest, self.resolution)):
            return "its time is not a moment"
        if self.latest < self.earliest or self.resolution < 0:
            return "its interval is empty"
        return ""

    @property
    def middle(self) -> float:
        """The best single guess, on the event's own clock."""
        return self.earliest + self.half

    @property
    def half(self) -> float:
        """Half the width of the interval, in seconds: the event happened at middle ± half."""
        return (self.latest - self.earliest + self.resolution) / 2


@dataclass(frozen=True)
class Offset:
    """How a clock stands to the harness's: harness time = that clock's time + ``seconds`` ± ``uncertainty``."""

    clock: str
    seconds: float
    uncertainty: float


def best_offset(clock: Clock, trips: Iterable[tuple[float, float, float]]) -> Offset | None:
    """The offset from the shortest of several round trips, or None without any.

    A trip is (sent, there, received): harness time before and after asking the other clock, and its answer, in
    seconds. The other clock was read somewhere in between, so the uncertainty is half the trip: no assumption of
    symmetric paths is made.
    """
    usable = [trip for trip in trips if all(map(math.isfinite, trip)) and trip[2] >= trip[0]]
    if not usable:
        return None
    sent, there, received = min(usable, key=lambda trip: trip[2] - trip[0])
    return Offset(clock, (sent + received) / 2 - there, (received - sent) / 2)


def sane(seconds: float) -> bool:
    """Whether this can be a time at all: finite, and within some 30,000 years of 1970."""
    return math.isfinite(seconds) and abs(seconds) < 1e12


def _source(name: str) -> str:
    return EVENTS[name].source if name in EVENTS else ""
