"""Where the time of a start went: looks at guest and Nova once, and leaves the arithmetic to launch.timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imagecheck.bare import Ground
from imagecheck.cloud import nova
from imagecheck.cloud.connection import Cloud, server_date
from imagecheck.errors import ImagecheckError
from imagecheck.guest import agent, clock
from imagecheck.guest.ssh import Guest
from imagecheck.launch import BOOT_CUTS, LAUNCH_CUTS, Event, Offset, best_offset, collect, timeline
from imagecheck.report import Measured

ROUNDS = 5


@dataclass(frozen=True)
class Look:
    """Events that guest and Nova told, and how their clocks stand to ours; ``reasons`` for what they did not."""

    events: tuple[Event, ...]
    offsets: tuple[Offset, ...]
    reasons: Mapping[str, str]


def look(ground: Ground, guest: Guest, server_id: str) -> Look:
    """One look at a started server. Raises nothing: a source that is silent becomes a reason."""
    events: list[Event] = []
    offsets: list[Offset] = []
    reasons: dict[str, str] = {}
    unit = ground.definition.agent.unit
    try:
        facts = agent.facts(guest, units=(unit, "docker.service"))
        events += collect.of_guest(facts, agent_unit=unit)
        if there := clock.offset(guest):
            offsets.append(there)
    except ImagecheckError as error:
        reasons |= dict.fromkeys(
            ("userspace_started", "cloudinit_done", "agent_started", "prepare_started", "container_started",
             "prepare_ended"), f"the guest could not be asked: {error}",
        )  # fmt: skip
    try:
        events += collect.of_nova(nova.actions(ground.cloud, server_id))
        if cloud := cloud_offset(ground.cloud):
            offsets.append(cloud)
    except ImagecheckError as error:
        reasons["nova_started"] = f"Nova's instance actions could not be read: {error}"
    return Look(tuple(events), tuple(offsets), reasons)


def cloud_offset(cloud: Cloud) -> Offset | None:
    """How the clock of Nova's API stands to ours, from the Date header of its answers (whole seconds, RFC 9110)."""
    if cloud.site.sandbox:
        return Offset("cloud", 0.0, 0.0)  # the same kernel's clock
    trips = []
    for _ in range(ROUNDS):
        if trip := server_date(cloud):
            trips.append(trip)
    best = best_offset("cloud", trips)
    return Offset("cloud", best.seconds, best.uncertainty + 0.5) if best else None


def boot(found: Look, request: tuple[float, float], edges: collect.Edges) -> Measured:
    """The bare boot's timeline; ``request`` is begin and end of the create call (epoch seconds, harness)."""
    events = (*collect.of_request(*request), *found.events, *edges.events(request[0]))
    return Measured("boot", timeline(events, found.offsets, BOOT_CUTS, found.reasons), events, found.offsets)


def launch(found: Look, request: tuple[float, float], edges: collect.Edges) -> Measured:
    """The Trove launch's timeline, from the create call to the first query."""
    events = (*collect.of_request(*request), *found.events, *edges.events(request[0]))
    return Measured("launch", timeline(events, found.offsets, LAUNCH_CUTS, found.reasons), events, found.offsets)
