"""What a guest knows of its own start, in one round trip after it: guest/history.py runs there, this reads it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imagecheck.guest import history
from imagecheck.guest.agent import PROPERTIES, Unit, micros, of_properties
from imagecheck.guest.ssh import Guest, understood

# org.freedesktop.systemd1(5), the manager's; InitRD only where systemd runs there, Firmware and Loader only with UEFI
_MANAGER = ",".join(
    f"{one}TimestampMonotonic" for one in ("Firmware", "Loader", "Kernel", "InitRD", "Userspace", "Finish")
)
CONTAINER = "database"  # trove/guestagent/utils/docker.py, start_container
_PREPARE = "/opt/trove-guestagent/.guestagent.prepare."  # trove/guestagent/datastore/service.py, GUESTAGENT_DIR
# Event -> logger and how its message begins. INFO only: with debug = false nothing else is written.
MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "storage_asked": ("trove.cmd.guest", "Preparing the storage for "),  # trove/cmd/guest.py, 18.0.0 to 26.0.0
    # trove/guestagent/utils/docker.py, start_container, 18.0.0 to 26.0.0. The rest of the line holds a password.
    "container_asked": ("trove.guestagent.utils.docker", "Creating docker container, image"),
}


@dataclass(frozen=True)
class Facts:
    """One look at a guest. Times are the guest's wall clock (epoch seconds); 0 where there is none.

    ``began`` and ``ran``: userspace's start and the agent's by the wall clock of then and by the monotonic one, so
    that a clock that was set meanwhile shows. ``manager``, ``mounted`` and ``init`` are monotonic seconds.
    """

    boot_id: str
    wall: float
    monotonic: float
    manager: Mapping[str, float]
    units: Mapping[str, Unit]
    stages: Mapping[str, Any]  # cloud-init's status.json
    prepare_start: float
    prepare_end: float
    container: Mapping[str, Any] = field(default_factory=dict)  # docker inspect, State
    created: str = ""
    log: Mapping[str, float] = field(default_factory=dict)  # event -> stamp in the agent's log
    mounted: float = 0.0
    init: float = 0.0
    injected: float = 0.0
    image: str = ""  # of the container
    docker: tuple[tuple[str, float, str], ...] = ()  # docker events: action, when, of what
    ready: tuple[str, ...] = ()  # docker's stamps of the lines in which the database says that it is ready
    began: tuple[float, float] | None = None
    ran: tuple[float, float] | None = None

    def at(self, monotonic: float) -> float:
        """A moment of the monotonic clock on the wall clock of now; 0 stays 0."""
        return self.wall - self.monotonic + monotonic if monotonic else 0.0

    def cloud_init(self, stage: str, end: str = "finished") -> float:
        """When a stage of cloud-init finished (or "start"): "init" runs write_files, "modules-final" is the last."""
        try:
            when = float(((self.stages.get("v1") or {}).get(stage) or {}).get(end) or 0)
        except (AttributeError, TypeError, ValueError):
            return 0.0
        # Older releases write epoch seconds, 25.1 writes the uptime (cloudinit/cmd/main.py, status_wrapper).
        return when if when > 1e8 else self.at(when)

    def stepped(self, since: tuple[float, float] | None) -> float:
        """By how many seconds the wall clock was set forward since then; 0 when nobody knows."""
        return (self.wall - self.monotonic) - (since[0] - since[1]) if since else 0.0


def facts(
    guest: Guest, *, units: Sequence[str], log: str = "", guest_info: str = "", container: str = CONTAINER
) -> Facts:
    """Everything a timeline needs, in one round trip. Raises NoAnswer and StepFailed.

    ``units``: the agent's first; ``log`` is its log, ``guest_info`` the path of the injected file.
    """
    asked = {
        "manager": _MANAGER, "unit": PROPERTIES, "units": list(units), "container": container, "log": log,
        "marks": MARKS, "files": {"start": f"{_PREPARE}start", "end": f"{_PREPARE}end", "injected": guest_info},
    }  # fmt: skip
    text = guest.run(
        f"python3 - {shlex.quote(json.dumps(asked))}",
        input=Path(history.__file__).read_text(encoding="utf-8"),
        check=True,
        timeout=180,
    ).stdout
    with understood("its start"):
        return of_table(json.loads(text.strip().rpartition("\n")[2]))  # a login may print before it


def of_table(table: Mapping[str, Any]) -> Facts:
    """From what history.look told."""
    return Facts(
        boot_id=str(table["boot_id"]),
        wall=float(table["wall"]),
        monotonic=float(table["mono"]),
        manager={key: micros(value) for key, value in table["manager"].items()},
        units={unit.name: unit for unit in map(of_properties, table["units"])},
        stages=table["cloud_init"] if isinstance(table["cloud_init"], dict) else {},
        prepare_start=table["files"]["start"],
        prepare_end=table["files"]["end"],
        container=table["container"],
        created=table["created"],
        log=table["log"],
        mounted=micros(table["mount"].get("ActiveEnterTimestampMonotonic")),
        init=float(table["init"] or 0),
        injected=table["files"]["injected"],
        image=table["image"],
        docker=tuple((action, when, name) for action, when, name in table["docker"]),
        ready=tuple(table["ready"]),
        began=_pair(table["began"]),
        ran=_pair(table["ran"]),
    )


def _pair(stamps: Sequence[int]) -> tuple[float, float] | None:
    return (stamps[0] / 1e6, stamps[1] / 1e6) if len(stamps) == 2 and all(stamps) else None
