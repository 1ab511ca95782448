"""What can be done to a run: kill it, put a proxy before its cloud, kill a service, take room or quota away."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

from proxy import Fault, Proxy
from row import BEGIN, Moment
from stand import Stand

from imagecheck import hostcmd, sandbox, waits
from imagecheck.sandbox import container, objects, services


@dataclass(frozen=True)
class Kill:
    """kill -9 of the whole process group."""

    at: tuple[Moment, ...]
    alone: bool = False

    def begin(self, stand: Stand) -> None:
        """Nothing."""

    def strike(self, stand: Stand) -> None:
        """SIGKILL."""
        stand.child.kill()

    def end(self, stand: Stand) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Through:
    """All requests go through a proxy that spoils them."""

    fault: Fault
    at: tuple[Moment, ...] = (BEGIN,)
    alone: bool = False

    def begin(self, stand: Stand) -> None:
        """Start it."""
        stand.proxy = Proxy(self.fault, stand.private / "proxy")
        stand.environment |= stand.proxy.environment

    def strike(self, stand: Stand) -> None:
        """It is there from the beginning."""

    def end(self, stand: Stand) -> None:
        """Stop it, with what it counted kept."""
        if stand.proxy:
            stand.proxy.stop()


@dataclass(frozen=True)
class Service:
    """kill -9 of a unit of the sandbox; it is started again after ``down`` seconds (0: when the run has ended)."""

    unit: str
    at: tuple[Moment, ...]
    down: float = 0.0
    alone: bool = True
    _timers: list[threading.Timer] = field(default_factory=list, compare=False)

    def begin(self, stand: Stand) -> None:
        """Nothing."""

    def strike(self, stand: Stand) -> None:
        """SIGKILL to all of the unit's processes, and no restart by systemd."""
        live = _live()
        # The stop at once: systemd must not bring it back by itself, and a unit that is dead has nothing to say to it.
        live.run(["sh", "-c", 'systemctl kill --signal=SIGKILL "$1"; systemctl stop "$1"', "sh", self.unit])
        if self.down:
            self._timers.append(threading.Timer(self.down, _start, [self.unit]))
            self._timers[-1].start()

    def end(self, stand: Stand) -> None:
        """Start it, and wait until the sandbox is what it was."""
        while self._timers:
            self._timers.pop().join()
        _start(self.unit)
        healthy()


@dataclass(frozen=True)
class Power:
    """kill -9 of the sandbox: every API, the hypervisor and its guests are gone at once."""

    at: tuple[Moment, ...]
    alone: bool = True
    anew: bool = True  # afterwards it has only what every new one has

    def begin(self, stand: Stand) -> None:
        """Nothing."""

    def strike(self, stand: Stand) -> None:
        """The leader is PID 1 of its namespace: the kernel kills everything in it."""
        live = _live()
        for one in (live.leader, live.nspawn):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)

    def end(self, stand: Stand) -> None:
        """A new one."""
        sandbox.up(yes=True)
        healthy()
        stand.connect()


@dataclass(frozen=True)
class Quota:
    """The administrator's project may have no server any more."""

    at: tuple[Moment, ...]
    alone: bool = True

    def begin(self, stand: Stand) -> None:
        """Remember what it is."""
        project = stand.cloud.admin.current_project_id
        stand.before_quota = stand.cloud.admin.compute.get_quota_set(project).instances

    def strike(self, stand: Stand) -> None:
        """None."""
        _quota(stand, 0)

    def end(self, stand: Stand) -> None:
        """As it was."""
        _quota(stand, stand.before_quota)


@dataclass(frozen=True)
class Deleted:
    """The run's image is deleted by another client of the cloud."""

    at: tuple[Moment, ...]
    alone: bool = False

    def begin(self, stand: Stand) -> None:
        """Nothing."""

    def strike(self, stand: Stand) -> None:
        """By the run's tag, as nobody else would find it."""
        for run in stand.child.seen:
            for image in stand.cloud.admin.image.images(tag=run):
                stand.cloud.admin.image.delete_image(image)

    def end(self, stand: Stand) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Full:
    """A file system of ``size`` for one of the run's folders ("home", "report", "home/images"), full at the moment."""

    place: str
    size: str
    at: tuple[Moment, ...]
    alone: bool = False

    def begin(self, stand: Stand) -> None:
        """Mount it."""
        folder = self._folder(stand)
        folder.mkdir(parents=True, exist_ok=True)
        hostcmd.run(["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=0700", "imagecheck-faults", folder])

    def strike(self, stand: Stand) -> None:
        """Take all the room that is left."""
        with contextlib.suppress(OSError), (self._folder(stand) / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)

    def end(self, stand: Stand) -> None:
        """Room again; what was written there is kept for the search."""
        folder = self._folder(stand)
        (folder / "filler").unlink(missing_ok=True)

    def _folder(self, stand: Stand) -> Path:
        return stand.report / "halts" if self.place == "report" else stand.work / self.place


def _live() -> container.Container:
    return sandbox.require_running("epoxy")


def _start(unit: str) -> None:
    _live().run(["systemctl", "start", unit], timeout=120)


def _quota(stand: Stand, instances: int) -> None:
    admin = stand.cloud.admin
    admin.compute.put(
        f"/os-quota-sets/{admin.current_project_id}",
        json={"quota_set": {"instances": instances, "force": True}}, raise_exc=True,
    )  # fmt: skip


def healthy() -> None:
    """Every service of the sandbox serves, as after `up`."""
    live = _live()
    services.wait_apis(live)
    services.wait_compute(live, objects.connect(live.folder))
    services.wait_trove(live)

    def active() -> waits.Ready[None] | waits.NotYet:
        bad = [unit for unit, state in services.states(live).items() if not state.startswith("active")]
        return waits.NotYet(", ".join(bad)) if bad else waits.Ready(None)

    waits.until(active, reason="every unit of the sandbox to be active", deadline=120, interval=1, step="sandbox")
