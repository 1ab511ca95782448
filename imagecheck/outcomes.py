"""What the steps of the road leave for the checks to judge: observations, never verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagecheck.broker import Queue
from imagecheck.cloud.datastore import Version
from imagecheck.cloud.nova import Server
from imagecheck.cloud.trove import Shown
from imagecheck.database import Database
from imagecheck.guest.agent import Connection, Dial, Unit
from imagecheck.guest.ssh import Guest
from imagecheck.launch.judgement import Judgement, Summary
from imagecheck.launch.sample import Sample
from imagecheck.watchdog import Watchdog


@dataclass(frozen=True)
class Injected:
    """What was put into the user-data of the bare boot: path in the guest -> content, and who shall own it."""

    guest_id: str
    files: Mapping[str, str] = field(repr=False)
    owner: str
    group: str
    guest_info: str  # its path
    guest_config: str  # its path
    user_data: str = field(repr=False, default="")


@dataclass(frozen=True)
class BareBoot:
    """A server that the harness booted through Nova, as Trove would have, without Trove."""

    server: Server
    injected: Injected
    management: str  # address on the management network
    tenant: str  # address on the tenant network
    watch: Watchdog = field(repr=False)  # of everything that is waited for on it
    console: str = field(repr=False, default="")


@dataclass(frozen=True)
class Agent:
    """The guest agent some time after the boot, from inside the guest and from the broker.

    ``queue`` is None when the broker has none, or cannot be asked: then ``unasked`` says why.
    """

    unit: Unit
    seconds: float  # how long it was watched
    brokers: tuple[str, ...]  # host:port of transport_url
    dials: tuple[Dial, ...]  # one per broker
    connections: tuple[Connection, ...]  # to a broker's port
    queue: Queue | None
    unasked: str = ""


@dataclass(frozen=True)
class Launch:
    """A Trove instance that reached ACTIVE and HEALTHY, from every side at that moment."""

    id: str
    version: Version
    shown: Shown  # the administrator's view
    owner: Shown  # the tenant's view
    server: Server
    guest: Guest
    management: str
    tenant: str
    guest_info: Mapping[str, str]  # the guest's own guest_info.conf, keys of [DEFAULT]
    seconds: float  # from request to HEALTHY; NaN where nobody saw it (--attach)


@dataclass(frozen=True)
class Operation:
    """One operation on a running instance and what came of it.

    ``answer`` is the API's, ``seconds`` lie between request and outcome; ``row`` is what the database gave for the
    row that was written before, ``wanted`` what was written.
    """

    name: str
    answer: str
    seconds: float
    shown: Shown
    port_open: bool
    row: str
    wanted: str
    boot_before: str = ""
    boot_after: str = ""
    started_before: str = ""  # docker's StartedAt of the database's container
    started_after: str = ""


@dataclass(frozen=True)
class Gone:
    """What is left of a deleted instance; ``left`` names server, ports and security groups."""

    seconds: float
    instance_left: bool
    left: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """The starts of a series and what a judge says of them.

    ``planned`` starts, ``stopped`` why there were fewer; ``seed`` drew their order. ``judgement`` is against the other
    image, ``baseline`` against the baseline; None where there is none. ``changes``: diff.as_json of the two images.
    """

    samples: tuple[Sample, ...]
    planned: int
    file: Path
    seed: int
    stopped: str = ""
    notes: tuple[str, ...] = ()
    summaries: tuple[Summary, ...] = ()
    judgement: Judgement | None = None
    baseline: Judgement | None = None
    changes: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def failed(self) -> list[str]:
        """The starts that did not complete, a line each."""
        return [
            f"launch {one.number} of {one.label}, after {one.seconds:.0f} s: {one.sentence} ({one.cause})"
            for one in self.samples
            if not one.completed
        ]


@dataclass(frozen=True)
class Serving:
    """A database with the row that later operations must not lose."""

    database: Database
    version: str
    row: str
    wanted: str
