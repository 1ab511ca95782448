"""Events of several clocks, joined into consecutive phases: no gap, no overlap, no invented number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imagecheck.launch.cuts import Cut
from imagecheck.launch.events import Event, Offset, sane
from imagecheck.launch.sample import PhaseTime
from imagecheck.launch.vocabulary import EVENTS


@dataclass(frozen=True)
class Phase:
    """``seconds`` ± ``uncertainty``, beginning ``start`` seconds after the timeline's origin.

    ``waiting``: for what nobody works meanwhile; "" where somebody does.
    """

    name: str
    start: float
    seconds: float
    uncertainty: float
    note: str = ""
    waiting: str = ""

    @property
    def certain(self) -> bool:
        """Whether the phase is longer than what is not known about its ends."""
        return self.seconds >= self.uncertainty

    def __str__(self) -> str:
        """The seconds as a person may rely on them: ``12.3 s``, or ``< 0.6 s`` when shorter than the uncertainty."""
        return f"{self.seconds:.1f} s" if self.certain else f"< {_up(self.seconds + self.uncertainty):.1f} s"


@dataclass(frozen=True)
class Timeline:
    """Consecutive phases. ``missing`` has the event that was not seen and the reason, in the order of the cuts."""

    phases: tuple[Phase, ...]
    missing: Mapping[str, str]
    origin: float | None = None  # harness time, seconds since the epoch; None when nothing was seen
    uncertainty: float = 0.0  # of the whole: its two ends, in seconds

    @property
    def seconds(self) -> float:
        """The whole, from the first known cut to the last one; equals the sum of the phases."""
        return math.fsum(phase.seconds for phase in self.phases)

    @property
    def lost(self) -> Mapping[str, str]:
        """Those of ``missing`` that every good launch has (vocabulary.EVENTS, absent)."""
        return {event: reason for event, reason in self.missing.items() if event in EVENTS and not EVENTS[event].absent}


@dataclass(frozen=True)
class _Point:
    """An event on the harness's clock, with the two parts of its uncertainty kept apart."""

    when: float
    half: float
    clock: str
    offset: float


def timeline(
    events: Iterable[Event],
    offsets: Iterable[Offset],
    cuts: Sequence[Cut],
    reasons: Mapping[str, str] | None = None,
) -> Timeline:
    """Divide the time between the cuts into phases.

    Cut points are made monotone: an event earlier than the one before it ends a phase of 0 s, with a note. An event
    that is missing, or whose clock has no offset, merges its phase into the next one; Timeline.missing says why,
    using ``reasons`` (event name -> why its source gave nothing) where it has an entry. Phases after the last known
    event are left out. The best seen of several events with the same name counts. Never raises for missing events.
    """
    points, missing = _points(events, offsets, cuts, reasons or {})
    phases: list[Phase] = []
    ending: list[Cut] = []  # the cuts whose phases end at the next event that was seen
    notes: list[str] = []
    origin: float | None = None
    first: _Point | None = None
    before: _Point | None = None  # the latest event so far
    reached = 0.0  # seconds after the origin, running maximum
    for cut in cuts:
        if cut.phase:
            ending.append(cut)
        point = points.get(cut.event)
        if point is None:
            if not cut.absent:
                notes.append(f"{cut.event} not seen")
            continue
        if before is None or origin is None:
            # Nothing is known before the first event that was seen, so no phase can end here.
            origin, first = point.when, point
        else:
            end = max(reached, point.when - origin)
            uncertainty = _uncertainty(before, point)
            early = reached - (point.when - origin)
            if early > uncertainty:
                notes.append(f"{early:.1f} s before the phase above ended")
            name, waiting = _merged(ending, notes)
            phases.append(Phase(name, reached, end - reached, uncertainty, "; ".join(notes), waiting))
            reached = end
        # A cut that came early does not move the border: the next phase still begins at the later event.
        if before is None or point.when - origin >= reached:
            before = point
        ending, notes = [], []
    whole = _uncertainty(first, before) if first and before and phases else 0.0
    return Timeline(tuple(phases), missing, origin, whole)


def _merged(ending: Sequence[Cut], notes: list[str]) -> tuple[str, str]:
    """One phase of several: its name, and for what it waits where all of them do; else a note says that some do."""
    waits = list(dict.fromkeys(cut.waiting for cut in ending if cut.waiting))
    if waits and not all(cut.waiting for cut in ending):
        notes.append(f"in part waiting for {'; '.join(waits)}")
        waits = []
    return " + ".join(cut.phase for cut in ending), "; ".join(waits)


def phase_times(found: Timeline) -> tuple[PhaseTime, ...]:
    """The phases as a sample keeps them."""
    return tuple(PhaseTime(one.name, one.seconds, one.uncertainty, one.waiting) for one in found.phases)


def _points(
    events: Iterable[Event], offsets: Iterable[Offset], cuts: Sequence[Cut], reasons: Mapping[str, str]
) -> tuple[dict[str, _Point], dict[str, str]]:
    known = {offset.clock: offset for offset in offsets if _usable(offset)}
    known["harness"] = Offset("harness", 0.0, 0.0)
    points: dict[str, _Point] = {}
    faults: dict[str, str] = {}
    for event in events:
        offset = known.get(event.clock)
        if event.fault:
            faults[event.name] = f"{event.source}: {event.fault}"
        elif offset is None:
            faults[event.name] = f"{event.source}: the {event.clock}'s clock could not be compared with the harness's"
        else:
            point = _Point(event.middle + offset.seconds, event.half, event.clock, offset.uncertainty)
            best = points.get(event.name)
            if best is None or point.half + point.offset < best.half + best.offset:
                points[event.name] = point
    missing = {
        cut.event: faults.get(cut.event)
        or reasons.get(cut.event)
        or cut.absent
        or f"nothing from its source ({cut.source})"
        for cut in cuts
        if cut.event not in points
    }
    return points, missing


def _usable(offset: Offset) -> bool:
    return sane(offset.seconds) and sane(offset.uncertainty) and offset.uncertainty >= 0


def _uncertainty(start: _Point, end: _Point) -> float:
    """Bounds add up. Two stamps of one clock share its offset, so the offset's uncertainty cancels between them."""
    ends = start.half + end.half
    return ends if start.clock == end.clock else ends + start.offset + end.offset


def _up(seconds: float) -> float:
    """Rounded up to a tenth: a bound that was rounded down is none. At least 0.1."""
    return max(0.1, math.ceil(round(seconds, 6) * 10) / 10)
