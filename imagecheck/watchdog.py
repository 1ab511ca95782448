"""The watchdog of every wait for a guest: it reads what guest and cloud say meanwhile and ends the wait at the cause.

`causes.Watch` judges, this reads: Nova's console and fault, Trove's, the broker's queue, and, once SSH answers, the
guest's journal, logs and states. A `waits.Guard`; nothing in it waits but the last look after a fault: Nova asks its
hypervisor for a console over the broker, so that with a broker that is down the answer takes minutes.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from imagecheck import waits
from imagecheck.broker import Broker, BrokerUnreachable
from imagecheck.causes import Facts, Watch
from imagecheck.causes.judge import Verdict
from imagecheck.cloud import hypervisor, nova, trove
from imagecheck.cloud.connection import Cloud
from imagecheck.definition import Agent
from imagecheck.errors import ImagecheckError, StepFailed
from imagecheck.guest.follow import LATE, Follower, Look
from imagecheck.guest.ssh import Guest

OUTSIDE, ALSO_INSIDE = 5.0, 10.0  # seconds between two looks at the cloud: alone, and while the guest tells by itself
NEAR = 1.0  # seconds in which a healthy cloud answers: the next look may be as far away as a login that gets no answer
LAST_LOOK = 15.0  # seconds that guest and cloud get to explain a wait that is over
_OFF = ("disabled", "masked", "masked-runtime")  # systemctl(1), UnitFileState


class Watchdog:
    """Watches one server, from its request to the end of what it is waited for.

    ``guest_id`` names the agent's queue. ``told`` stands for what Trove last heard of the agent where the harness
    itself asks for it: with "shutdown" a database that ends is no fault. ``from_now``: what console and logs had
    before counts for nothing, for an operation on a guest that has a history.
    """

    def __init__(
        self,
        cloud: Cloud,
        agent: Agent,
        folder: str,
        *,
        guest_id: str,
        broker: Broker,
        brokers: Sequence[str] = (),
        server_id: str = "",
        told: str = "",
        from_now: bool = False,
    ) -> None:
        self._cloud, self._agent, self._folder, self._guest_id = cloud, agent, folder, guest_id
        self._broker, self._brokers, self._told, self._from_now = broker, tuple(brokers), told, from_now
        self._watch = Watch()
        self._follower: Follower | None = None
        self._server_id = server_id
        self._server: nova.Server | None = None
        self._power = ""
        self._shown: trove.Shown | None = None
        self._inside: Look | None = None
        self._active_since: float | None = None
        self._consumers: int | None = None
        self._queue: bool | None = None
        self._unasked = False
        self._console_bytes: int | None = None
        self._began = self._next = time.monotonic()
        self._outside: Outside | None = None
        self._faults: set[str] = set()
        self.boot = ""  # id of the boot in which this began
        self.console_spoke: tuple[float, float] | None = None  # last empty, first not: epoch seconds, harness
        self._silent = time.time()
        self.cost = 0.0  # seconds of the guest's CPU that the last connection's questions took

    # ---- what others see anyway

    def saw_server(self, server: nova.Server) -> None:
        """Nova's view, from a wait that asks for it."""
        self._server, self._server_id = server, server.id
        if server.status == "ACTIVE" and self._active_since is None:
            self._active_since = time.monotonic()
        if server.status == "ERROR":
            self._fault("nova", server.fault, server.raw.get("fault"))

    def saw_instance(self, shown: trove.Shown) -> None:
        """Trove's view, from a wait that asks for it."""
        self._shown = shown
        self._server_id = shown.server_id or self._server_id
        if shown.status in ("ERROR", "FAILED"):
            self._fault("trove", shown.fault, shown.raw.get("fault"))

    def enter(self, guest: Guest) -> None:
        """Look inside too, as soon and as long as ``guest`` answers."""
        if self._follower is None:
            self._follower = Follower(
                guest, unit=self._agent.unit, log=self._agent.log, folder=self._folder,
                brokers=lambda: () if self._consumers else self._brokers, from_now=self._from_now,
            )  # fmt: skip

    def leave(self) -> None:
        """Hang up; the next look would go on where this one ended."""
        if self._follower is not None:
            self._follower.close()

    # ---- the guard

    def look(self, step: str) -> None:
        """Read what is new; StepFailed of ``step`` when that tells why the wait is in vain. Mostly takes no time."""
        if found := self._look():
            raise found.failure(step)

    def ended(self, error: StepFailed) -> StepFailed:
        """A fault or time-out with its cause, or with the best evidence and the word that no cause is known."""
        if error.cause is not None:
            return error
        found = self._last_look()
        if found.known and not isinstance(error, waits.TimedOut):
            return found.failure(error.step)
        error.cause = found
        error.sentence += f"; cause: {found.sentence}" if found.known else "; the cause is unknown"
        error.seen = " | ".join(part for part in (error.seen, found.evidence) if part)
        error.remedy = found.remedy or error.remedy
        return error

    # ---- reading

    def _look(self) -> Verdict | None:
        now = time.monotonic()
        answer = self._follower.tick() if self._follower else None
        if answer:
            self._take(answer, now)
        if self._outside is None and now >= self._next and self._server_id:
            self._outside = Outside(self._cloud, self._server_id)
            self._outside.start()
            self._outside.join(NEAR)
        if not self._told_outside(now) and not answer:
            return None  # nothing new; a prompt counts only where the console was read again
        self._watch.look(self._facts(now), now)
        return self._watch.verdict(now)

    def _told_outside(self, now: float) -> bool:
        """Take what the cloud has answered; False while it has not."""
        outside = self._outside
        if outside is None or outside.is_alive():
            return False
        self._outside = None
        fresh = self._follower is not None and now - self._follower.fresh < OUTSIDE + ALSO_INSIDE
        self._next = now + (ALSO_INSIDE if fresh else OUTSIDE)
        if outside.server:
            self.saw_server(outside.server)
            self._power = outside.power
        if outside.console is not None:
            if self._from_now and self._console_bytes is None:
                self._watch.join(outside.console)
            else:
                self._watch.console(outside.console, now)
            self._console_bytes = len(outside.console)
            if not outside.console:
                self._silent = outside.asked
            elif self.console_spoke is None and not self._from_now:
                self.console_spoke = (min(self._silent, outside.answered), outside.answered)
        if not self._unasked:
            try:
                queue = self._broker.queue(self._guest_id)
                self._queue, self._consumers = queue is not None, queue.consumers if queue else 0
            except BrokerUnreachable:
                self._unasked, self._queue, self._consumers = True, None, None
        return True

    def _take(self, answer: Look, now: float) -> None:
        self._inside = answer
        self.boot = self.boot or answer.boot_id
        self.cost = answer.cost
        self._watch.feed("journal", answer.texts["journal"], now)
        self._watch.feed("agent", answer.texts["agent"], now)
        self._watch.feed("cloud-init", answer.texts["cloud-init"], now)
        self._watch.feed("container", answer.container_log, now)

    def _fault(self, place: str, message: str, raw: object) -> None:
        details = raw.get("details") if isinstance(raw, Mapping) else ""
        text = f"{message}\n{details or ''}\n"
        if text.strip() and text not in self._faults:
            self._faults.add(text)
            self._watch.feed("nova" if place == "nova" else "trove", text, time.monotonic())

    def _last_look(self) -> Verdict:
        follower = self._follower if self._follower and self._follower.fresh else None
        wanted = {"guest" if follower else "", "cloud" if self._server_id else ""} - {""}
        self._next = 0.0
        if follower:
            follower.soon()

        def told() -> waits.Ready[None] | waits.NotYet:
            self._look()
            if self._outside is None:
                wanted.discard("cloud")
            if follower and follower.fresh >= began:
                wanted.discard("guest")
            return waits.NotYet(f"no answer of {' and '.join(wanted)}") if wanted else waits.Ready(None)

        began = time.monotonic()
        with contextlib.suppress(waits.TimedOut):
            waits.until(told, reason="the last words of guest and cloud", deadline=LAST_LOOK, interval=0.2)
        now = time.monotonic()
        self._watch.look(self._facts(now), now)
        return self._watch.so_far(now)

    # ---- facts

    def _facts(self, now: float) -> Facts:
        facts: dict[str, Any] = {
            "queue": self._queue, "consumers": self._consumers, "told": self._told,
            "console_bytes": self._console_bytes, "up": now - self._active_since if self._active_since else None,
        }  # fmt: skip
        if self._server:
            facts |= {"server_status": self._server.status, "power": self._power}
        inside = self._inside
        if inside and self._follower and now - self._follower.fresh < LATE:
            facts |= of_guest(inside, self._agent.unit, self._guest_id)
            facts["rebooted"] = inside.boot_id != self.boot and not self._told
        if shown := self._shown:
            facts |= {"status": shown.status, "operating_status": shown.operating_status}
            facts["told"] = self._told or str((shown.raw.get("guest_status") or {}).get("state_description") or "")
            if heard := nova.epoch(shown.heartbeat):
                # What an agent could not tell yet, because it, or this wait, is younger, is not lost.
                ages = (time.time() - heard, facts.get("agent_up") or 0.0, now - self._began)
                facts["heartbeat_age"] = min(ages)
        return Facts(**facts)


class Outside(threading.Thread):
    """One look at the cloud, beside the wait."""

    def __init__(self, cloud: Cloud, server_id: str) -> None:
        super().__init__(name="imagecheck-watchdog", daemon=True)
        self._cloud, self._server_id = cloud, server_id
        self.server: nova.Server | None = None
        self.console: str | None = None
        self.power = ""  # where the hypervisor says that the machine does not run, though Nova still says ACTIVE
        self.asked = self.answered = 0.0  # epoch seconds around the question for the console

    def run(self) -> None:
        with contextlib.suppress(ImagecheckError):  # a server that is not there yet, a cloud with hiccups
            self.server = nova.show(self._cloud, self._server_id)
        self.asked = time.time()
        try:
            self.console = nova.console(self._cloud, self._server_id)
        except ImagecheckError:
            if self.server is not None and self.server.status == "ACTIVE":
                self._ask_for_power()
        self.answered = time.time()

    def _ask_for_power(self) -> None:
        """Only the console of a machine that does not run cannot be read; while one is rebooted, Nova says so."""
        power = hypervisor.switched_off(self._cloud, self._server_id)
        with contextlib.suppress(ImagecheckError):
            self.server = nova.show(self._cloud, self._server_id)
            if self.server.status == "ACTIVE" and not self.server.raw.get("task_state"):
                self.power = power


def of_guest(look: Look, unit: str, guest_id: str) -> dict[str, Any]:
    """The fields of Facts that a look into the guest fills. Pure; whatever the guest says, it raises nothing."""
    agent, docker = look.units.get(unit, {}), look.units.get("docker.service", {})
    started = _whole(agent.get("ExecMainStartTimestampMonotonic")) / 1e6
    docker_active = docker.get("ActiveState", "") if docker.get("LoadState") == "loaded" else ""
    facts: dict[str, Any] = {
        "dials": look.dials,
        "agent_active": agent.get("ActiveState", ""), "agent_result": agent.get("Result", ""),
        "agent_up": look.uptime - started if started else None,
        "guest_info": look.guest_id is not None, "guest_config": look.guest_config,
        "guest_id_fits": look.guest_id == guest_id if look.guest_id else None,
        "cloud_init": _cloud_init(look), "datasource": _datasource(look),
        "prepare_started": look.prepare_start > 0, "prepare_ended": look.prepare_end > 0,
        "prepare_for": look.wall - look.prepare_start if look.prepare_start and not look.prepare_end else None,
        "clock_offset": _offset(look), "default_routes": look.default_routes, "free": look.free,
        "docker_active": docker_active,
    }  # fmt: skip
    if agent:
        facts |= {
            "agent_loaded": agent.get("LoadState") != "not-found",
            "agent_enabled": agent.get("UnitFileState") not in _OFF,
            "agent_restarts": _whole(agent.get("NRestarts")),
        }
    if look.container and docker_active == "active":  # before, its file tells of the boot before
        facts |= _container(look)
    return facts


def _cloud_init(look: Look) -> str:
    if look.disabled:
        return "disabled"
    if look.result is not None:
        return "error" if _table(look.result.get("v1")).get("errors") else "done"
    return "running" if look.stages else "not run"


def _datasource(look: Look) -> str:
    return str(_table((look.result or look.stages).get("v1")).get("datasource") or "")


def _offset(look: Look) -> float:
    """How far the guest's clock lies outside of the time in which it was asked; whole seconds are all it says."""
    if look.wall + 1 < look.asked:
        return look.wall + 1 - look.asked
    return max(0.0, look.wall - look.answered)


def _container(look: Look) -> dict[str, Any]:
    """As `docker inspect` puts it (moby, container/state.go, StateString)."""
    table = look.container or {}
    state = _table(table.get("State"))
    started = _moment(str(state.get("StartedAt") or ""))
    if state.get("Running"):
        name = "paused" if state.get("Paused") else "restarting" if state.get("Restarting") else "running"
    elif state.get("RemovalInProgress") or state.get("Dead"):
        name = "removing" if state.get("RemovalInProgress") else "dead"
    else:
        name = "exited" if started else "created"
    return {
        "container": name, "container_exit": _whole(state.get("ExitCode")),
        "container_oom": state.get("OOMKilled") is True, "container_restarts": _whole(table.get("RestartCount")),
        "container_up": look.wall - started if started and name == "running" else None,
    }  # fmt: skip


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: object) -> int:
    return int(str(value)) if re.fullmatch(r"-?[0-9]{1,18}", str(value)) else 0


def _moment(text: str) -> float:
    """RFC 3339 in UTC, to the second; 0.0 for docker's "never" (year 1)."""
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
    return 0.0
