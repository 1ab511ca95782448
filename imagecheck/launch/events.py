"""What happens during a launch, who saw it and on which clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Clock = Literal["harness", "guest", "cloud"]


@dataclass(frozen=True)
class Kind:
    """One sort of event: what it means and where its time comes from."""

    what: str
    source: str


# The vocabulary of launches, in the order of a good one. Sources: reference of Trove 18.0.0 and 26.0.0, Nova's
# API (os-instance-actions), systemd.directives(7), cloud-init's status.json, docker inspect.
EVENTS: dict[str, Kind] = {
    "api_called": Kind("the create request leaves", "harness, before the request"),
    "api_accepted": Kind("the API has answered it", "harness, after the answer"),
    "nova_started": Kind("Nova has the server's request", "os-instance-actions create: start_time (1 s)"),
    "nova_active": Kind("Nova has started the machine", "OS-SRV-USG:launched_at (1 s), or status ACTIVE by polling"),
    "kernel_started": Kind("firmware and boot loader are done", "systemd KernelTimestamp"),
    "userspace_started": Kind("kernel and initrd are done", "systemd UserspaceTimestamp"),
    "cloudinit_done": Kind("cloud-init has written the injected files", "/run/cloud-init/status.json: last stage"),
    "agent_started": Kind("the guest agent's process runs", "systemctl show agent unit: ExecMainStartTimestamp"),
    "broker_connected": Kind("the agent consumes from its queue", "broker: consumers of guestagent.ID, by polling"),
    "prepare_started": Kind("the agent works on Trove's prepare call", "mtime of .guestagent.prepare.start"),
    "container_started": Kind("the database's container runs", "docker inspect database: State.StartedAt"),
    "prepare_ended": Kind("the agent has reported the end of prepare", "mtime of .guestagent.prepare.end"),
    "healthy": Kind("Trove says HEALTHY", "Trove API: operating_status, by polling"),
    "first_query": Kind("a query over the tenant network is answered", "harness, SQL client"),
}


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
