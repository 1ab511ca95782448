"""Events of several clocks, joined into consecutive phases: no gap, no overlap, no invented number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imagecheck.launch.events import EVENTS, Event, Offset, sane


@dataclass(frozen=True)
class Cut:
    """Where a phase ends. The first cut of a table has no phase: it is the origin."""

    event: str
    phase: str

    @property
    def source(self) -> str:
        """Where the event's time comes from."""
        return EVENTS[self.event].source if self.event in EVENTS else ""


# kernel_started is no cut: under emulation the loader's and the kernel's share of the time tell one story, and the
# event is in timings.json for those who want it.
_TO_THE_AGENT = (
    Cut("nova_active", "Nova building"),
    Cut("userspace_started", "firmware and kernel"),
    Cut("cloudinit_done", "userspace to cloud-init done"),
    Cut("agent_started", "agent started"),
    Cut("broker_connected", "broker connected"),
)

BOOT_CUTS: tuple[Cut, ...] = (
    Cut("api_called", ""),
    Cut("api_accepted", "API accepted"),
    *_TO_THE_AGENT,
)

# Trove casts prepare while the server is still building; the agent finds it in its queue. Inside prepare the agent
# starts the container, waits until the database answers and then reports; afterwards Trove polls (usage_sleep_time
# 5 s) and wants several HEALTHY polls in a row, so that phase has a floor that no image can beat.
LAUNCH_CUTS: tuple[Cut, ...] = (
    Cut("api_called", ""),
    Cut("api_accepted", "API accepted"),
    Cut("nova_started", "Trove before Nova"),
    *_TO_THE_AGENT,
    Cut("prepare_started", "prepare received"),
    Cut("container_started", "prepare, database container started"),
    Cut("prepare_ended", "prepare, database answers"),
    Cut("healthy", "HEALTHY (Trove's polls)"),
    Cut("first_query", "first query"),
)


@dataclass(frozen=True)
class Phase:
    """``seconds`` ± ``uncertainty``, beginning ``start`` seconds after the timeline's origin."""

    name: str
    start: float
    seconds: float
    uncertainty: float
    note: str = ""

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
    names: list[str] = []
    notes: list[str] = []
    origin: float | None = None
    first: _Point | None = None
    before: _Point | None = None  # the latest event so far
    reached = 0.0  # seconds after the origin, running maximum
    for cut in cuts:
        if cut.phase:
            names.append(cut.phase)
        point = points.get(cut.event)
        if point is None:
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
            phases.append(Phase(" + ".join(names), reached, end - reached, uncertainty, "; ".join(notes)))
            reached = end
        # A cut that came early does not move the border: the next phase still begins at the later event.
        if before is None or point.when - origin >= reached:
            before = point
        names, notes = [], []
    whole = _uncertainty(first, before) if first and before and phases else 0.0
    return Timeline(tuple(phases), missing, origin, whole)


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
        cut.event: faults.get(cut.event) or reasons.get(cut.event) or f"nothing from its source ({cut.source})"
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
