"""Where the time of a start went: looks at guest and Nova once, and leaves the arithmetic to launch.timeline."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from imagecheck.bare import CONF_D, Ground
from imagecheck.cloud import nova
from imagecheck.cloud.connection import Cloud, server_date
from imagecheck.errors import ImagecheckError
from imagecheck.guest import clock, console, facts
from imagecheck.guest.ssh import Guest
from imagecheck.launch import (
    BOOT_CUTS,
    EVENTS,
    HEALTHY_CUTS,
    LAUNCH_CUTS,
    Event,
    Offset,
    best_offset,
    collect,
    timeline,
)
from imagecheck.report import Measured

ROUNDS = 5
UNITS = ("docker.service", "network-online.target", "ssh.service", "sshd.service")


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
    agent, told = ground.definition.agent, None
    try:
        told = facts.facts(guest, units=(agent.unit, *UNITS), log=agent.log, guest_info=f"{CONF_D}/guest_info.conf")
        events += collect.of_guest(told, agent_unit=agent.unit)
        if there := clock.offset(guest):
            offsets.append(there)
    except ImagecheckError as error:
        told_by_guest = [name for name, kind in EVENTS.items() if kind.clock == "guest"]
        reasons |= dict.fromkeys(told_by_guest, f"the guest could not be asked: {error}")
    try:
        launched = nova.epoch(nova.show(ground.cloud, server_id).raw.get("launched_at"))
        # Other clouds may keep their stamps in MySQL, which rounds.
        steps = nova.actions(ground.cloud, server_id)
        events += collect.of_nova(steps, launched, rounded=not ground.cloud.site.sandbox)
        if cloud := cloud_offset(ground.cloud):
            offsets.append(cloud)
    except ImagecheckError as error:
        reasons |= dict.fromkeys(("nova_started", "scheduled"), f"Nova's instance actions could not be read: {error}")
    with contextlib.suppress(ImagecheckError):
        events += collect.of_console(console.clean(nova.console(ground.cloud, server_id)), told)
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


def healthy(found: Look, edges: collect.Edges) -> Measured:
    """How the news went on to Trove's API, from the first query to HEALTHY."""
    events = (*found.events, *edges.events(0.0))
    return Measured("healthy", timeline(events, found.offsets, HEALTHY_CUTS, found.reasons), events, found.offsets)
