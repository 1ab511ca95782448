"""Measure a start: events from the harness's clock, Nova's actions and the guest. Judging is the timeline's work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from imagecheck.cloud.nova import Step
from imagecheck.guest.agent import Facts
from imagecheck.launch.events import Event


@dataclass
class Edges:
    """Things that become true once, seen by polling: each is kept as [last no, first yes] of the harness's clock."""

    _last_no: dict[str, float] = field(default_factory=dict)
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

    def saw(self, name: str, last_no: float, first_yes: float) -> None:
        """Take over what another wait saw (waits.Seen)."""
        self._last_no[name], self._first_yes[name] = last_no, first_yes

    def events(self, since: float) -> list[Event]:
        """One event for each thing that became true; ``since`` stands in for a last no that was never seen."""
        return [
            Event.between(name, min(self._last_no.get(name, since), yes), yes) for name, yes in self._first_yes.items()
        ]


def of_request(began: float, accepted: float) -> list[Event]:
    """The create request's two ends, by the harness's clock."""
    return [Event.at("api_called", "harness", began), Event.at("api_accepted", "harness", accepted)]


def of_nova(steps: Iterable[Step]) -> list[Event]:
    """From Nova's instance actions: when the request was there and when the machine had been started.

    Both are by the cloud's clock and cut off to a second where Nova's database keeps no fractions.
    """
    creation = [step for step in steps if step.action == "create"]
    if not creation:
        return []
    began, ended = creation[0].start, max(step.finish for step in creation)
    source = "os-instance-actions create"
    found = [Event.at("nova_started", "cloud", began, source=source, resolution=_resolution(began))]
    if ended:
        found.append(Event.at("nova_active", "cloud", ended, source=source, resolution=_resolution(ended)))
    return found


def of_guest(facts: Facts, *, agent_unit: str) -> list[Event]:
    """Everything the guest knows of its own start, by the guest's clock."""
    unit = facts.units.get(agent_unit)
    agent = facts.at(unit.started) if unit else 0.0
    moments = {
        # The kernel is CLOCK_MONOTONIC's zero.
        "kernel_started": facts.wall - facts.monotonic,
        "userspace_started": facts.at(facts.manager.get("UserspaceTimestampMonotonic", 0.0)),
        "cloudinit_done": _cloud_init(facts, agent),
        "agent_started": agent,
        "prepare_started": facts.prepare_start,
        "prepare_ended": facts.prepare_end,
        "container_started": _docker_time(str(facts.container.get("StartedAt") or "")),
    }
    return [Event.at(name, "guest", when) for name, when in moments.items() if when > 0]


def _cloud_init(facts: Facts, agent: float) -> float:
    """The last stage that the agent waited for: an image may start it once the files are there (stage "init")."""
    ends = [facts.cloud_init(stage) for stage in ("init", "modules-config", "modules-final")]
    return max((end for end in ends if 0 < end <= agent), default=ends[-1])


def _docker_time(text: str) -> float:
    """RFC 3339 with nanoseconds, which datetime does not take; 0.0 for docker's "never" (year 1)."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text)
    if not match or match[1].startswith("0001"):
        return 0.0
    whole = datetime.fromisoformat(match[1] + ("+00:00" if match[3] == "Z" else match[3])).timestamp()
    return whole + float(match[2] or 0)


def _resolution(when: float) -> float:
    return 1.0 if when == int(when) else 0.0
