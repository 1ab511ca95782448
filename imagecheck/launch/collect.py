"""Measure a start: events from the harness's clock, Nova's actions and the guest. Judging is the timeline's work."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from imagecheck.cloud.nova import Step
from imagecheck.guest.facts import CONTAINER, Facts
from imagecheck.launch.events import Event


@dataclass
class Edges:
    """Things that become true once, seen by polling: each is kept as [last no, first yes] of the harness's clock."""

    _last_no: dict[str, float] = field(default_factory=dict)
    _stamps: dict[str, Event] = field(default_factory=dict)
    _first_yes: dict[str, float] = field(default_factory=dict)

    def look(self, name: str, now: Callable[[], float], probe: Callable[[], bool]) -> bool:
        """Ask ``probe`` unless it was true before; the times are read around the question."""
        if name in self._first_yes:
            return True
        before = now()
        if probe():
            self._first_yes[name] = now()
            return True
        self._last_no[name] = before
        return False

    def answered(self, name: str, yes: bool, asked: float, now: float) -> bool:
        """Take over an answer that was got for another purpose; ``asked`` and ``now`` are the question's two ends."""
        if name not in self._first_yes:
            if yes:
                self._first_yes[name] = now
            else:
                self._last_no[name] = asked
        return name in self._first_yes

    def has(self, name: str) -> bool:
        """Whether it was seen to be true."""
        return name in self._first_yes

    def keep(self, event: Event) -> None:
        """A stamp that an answer carried; the first one of a name counts."""
        self._stamps.setdefault(event.name, event)

    def saw(self, name: str, last_no: float, first_yes: float) -> None:
        """Take over what another wait saw (waits.Seen)."""
        self._last_no[name], self._first_yes[name] = last_no, first_yes

    def events(self, since: float) -> list[Event]:
        """One event for each thing that became true; ``since`` stands in for a last no that was never seen."""
        polled = [
            Event.between(name, min(self._last_no.get(name, since), yes), yes) for name, yes in self._first_yes.items()
        ]
        return polled + list(self._stamps.values())


def of_request(began: float, accepted: float) -> list[Event]:
    """The create request's two ends, by the harness's clock."""
    return [Event.at("api_called", "harness", began), Event.at("api_accepted", "harness", accepted)]


def of_nova(steps: Iterable[Step], launched: float = 0.0, *, rounded: bool = False) -> list[Event]:
    """From Nova's instance actions: the request, the choice of a host, the end; ``launched`` is launched_at.

    All are by the cloud's clock. Nova's database keeps whole seconds: MariaDB cuts the rest off, MySQL rounds, so
    that with ``rounded`` a stamp may also lie half a second before.
    """
    creation = [step for step in steps if step.action == "create"]
    moments = []
    if creation:
        first, ended = creation[0], max(step.finish for step in creation)
        moments = [
            ("nova_started", first.requested, "os-instance-actions create: start_time"),
            ("scheduled", first.start, f"os-instance-actions create: start_time of {first.event}"),
            ("nova_active", ended, "os-instance-actions create: finish_time"),
        ]
    moments.insert(0, ("nova_active", launched, "OS-SRV-USG:launched_at"))
    return [_whole(name, when, source, rounded) for name, when, source in moments if when]


def _whole(name: str, when: float, source: str, rounded: bool) -> Event:
    if when != int(when):
        return Event.at(name, "cloud", when, source=source)
    return Event(name, source, "cloud", when - 0.5 if rounded else when, when, 1.0 if not rounded else 0.5)


def of_guest(facts: Facts, *, agent_unit: str) -> list[Event]:
    """Everything the guest knows of its own start, by the guest's clock."""
    unit = facts.units.get(agent_unit)
    agent = facts.at(unit.started) if unit else 0.0
    zero = facts.wall - facts.monotonic  # the kernel is CLOCK_MONOTONIC's zero
    manager = {name: facts.manager.get(f"{name}TimestampMonotonic", 0.0) for name in _MANAGER}
    moments = {
        # The manager keeps these two as seconds before the kernel (systemd-analyze(1)).
        "firmware_started": zero - manager["Firmware"] if manager["Firmware"] else 0.0,
        "loader_started": zero - manager["Loader"] if manager["Loader"] else 0.0,
        "kernel_started": zero,
        "initrd_started": facts.at(manager["InitRD"]),
        "userspace_started": facts.at(manager["Userspace"]),
        "userspace_finished": facts.at(manager["Finish"]),
        "network_online": _active(facts, "network-online.target"),
        "docker_ready": _active(facts, "docker.service"),
        "ssh_ready": _active(facts, "ssh.service") or _active(facts, "sshd.service"),
        "storage_mounted": facts.at(facts.mounted),
        "agent_started": agent,
    }
    stages = {
        "cloudinit_local_began": facts.cloud_init("init-local", "start"),
        "cloudinit_local": facts.cloud_init("init-local"),
        "cloudinit_network": facts.cloud_init("init"),
        "cloudinit_config": facts.cloud_init("modules-config"),
        "cloudinit_final": facts.cloud_init("modules-final"),
        "cloudinit_done": _cloud_init(facts, agent, facts.log.get("agent_imported", 0.0)),
    }
    events = [Event.at(name, "guest", when) for name, when in moments.items() if when > 0]
    events += [Event.at(name, "guest", when, resolution=0.01) for name, when in stages.items() if when > 0]
    if facts.init and not manager["InitRD"]:
        # printk's clock is not CLOCK_MONOTONIC; on the consoles of good launches they were within 0.1 s.
        when = facts.at(facts.init)
        events.append(
            Event("initrd_started", 'kernel log: "Run /init as init process"', "guest", when - 0.1, when + 0.1)
        )
    return events + _by_wall_clock(facts)


_MANAGER = ("Firmware", "Loader", "InitRD", "Userspace", "Finish")


def _active(facts: Facts, unit: str) -> float:
    return facts.at(facts.units[unit].active_at) if unit in facts.units else 0.0


def _by_wall_clock(facts: Facts) -> list[Event]:
    """What was stamped with the guest's wall clock: where that was set since, between both of its readings."""
    ended, booted, since = facts.prepare_end, facts.wall - facts.monotonic, facts.stepped(facts.ran)
    ready = [when for when in map(docker_time, facts.ready) if when and (not ended or when <= ended)]
    healthy = [when for action, when, _ in facts.docker if action == "health_status: healthy"]
    image, came = _image(facts)
    found = [
        _stamped("guest_info_written", facts.injected, facts.stepped(facts.began)),
        *(_stamped(name, when, since, resolution=0.001) for name, when in facts.log.items()),
        _stamped("prepare_started", facts.prepare_start, since),
        _stamped("image_ready", image, since, source=came, resolution=0.001 if "preloaded" in came else 0.0),
        _stamped("container_created", docker_time(facts.created), since),
        _stamped("container_started", docker_time(str(facts.container.get("StartedAt") or "")), since),
        _stamped("database_ready", max(ready, default=0.0), since),
        _stamped("prepare_ended", ended, since),
        _stamped("container_healthy", min(healthy, default=0.0), since),
    ]
    # A guest whose clock starts long before 1970's end has made these stamps before the boot: an image's own files.
    return [event for event in found if event.latest > 0 and event.latest >= booted - abs(since)]


def _stamped(name: str, when: float, stepped: float, *, source: str = "", resolution: float = 0.0) -> Event:
    if not when:
        return Event.at(name, "guest", 0.0)
    # Less than that is the two readings' own distance.
    other = when + stepped if abs(stepped) > 0.005 else when
    made = Event.at(name, "guest", when, source=source, resolution=resolution)
    return dataclasses.replace(made, earliest=min(when, other), latest=max(when, other))


def _image(facts: Facts) -> tuple[float, str]:
    """When the container's image was there, and how it came; 0.0 when docker no longer knows.

    Docker keeps no time of a pull (LastTagTime is that of `docker tag`): its events tell, as long as it remembers
    the container's own making. What came before it was asked for is ready when it is asked for.
    """
    asked, made = facts.log.get("container_asked", 0.0), docker_time(facts.created)
    if not any((action, name) == ("create", CONTAINER) for action, _, name in facts.docker):
        return 0.0, ""
    came = [(when, action) for action, when, _ in facts.docker if action in ("pull", "load") and when <= made]
    when, action = max(came, default=(0.0, ""))
    how = {"pull": "pulled", "load": "loaded"}.get(action, "preloaded")
    return max(asked, when), f"docker events: {how} {facts.image}".strip()


def of_console(text: str, facts: Facts | None) -> list[Event]:
    """The first line with a kernel stamp on a console's text, by the guest's clock."""
    match = re.search(r"(?m)^\s*\[ *(\d{1,7}\.\d{6})\]", text)
    return [Event.at("console_stamped", "guest", facts.at(float(match[1])))] if match and facts else []


def _cloud_init(facts: Facts, agent: float, spoke: float) -> float:
    """The last stage that the agent waited for: an image may start it once the files are there (stage "init"), or
    before, to load its modules meanwhile: then the first stage that ended before it spoke."""
    ends = [facts.cloud_init(stage) for stage in ("init", "modules-config", "modules-final")]
    before = [end for end in ends if 0 < end <= agent]
    return max(before) if before else min((end for end in ends if 0 < end <= spoke), default=ends[-1])


def docker_time(text: str) -> float:
    """RFC 3339 with nanoseconds, which datetime does not take; 0.0 for docker's "never" (year 1)."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text)
    if not match or match[1].startswith("0001"):
        return 0.0
    try:
        whole = datetime.fromisoformat(match[1] + ("+00:00" if match[3] == "Z" else match[3])).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return whole + float(match[2] or 0)
