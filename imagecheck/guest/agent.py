"""The guest agent and what it stands on, as systemd, the kernel and docker of the guest tell: one round trip each."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from imagecheck.guest.ssh import Guest, understood

# systemd is read by property, never by its prose (org.freedesktop.systemd1(5)); *Monotonic are microseconds.
_UNIT = (
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,MainPID,ControlGroup,"
    "ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic"
)
_MANAGER = "KernelTimestampMonotonic,InitRDTimestampMonotonic,UserspaceTimestampMonotonic,FinishTimestampMonotonic"
# Everything a timeline needs from a guest. The files are the agent's own marks (trove/guestagent/datastore/service.py).
_FACTS = r"""
import json, os, subprocess, sys, time
def out(*argv):
    try: return subprocess.run(argv, capture_output=True, text=True, timeout=40).stdout
    except Exception: return ""
def table(text): return dict(l.split("=", 1) for l in text.splitlines() if "=" in l)
def load(path):
    try: return json.load(open(path))
    except Exception: return {}
def mtime(path):
    try: return os.stat(path).st_mtime
    except OSError: return 0.0
a = json.loads(sys.argv[1])
wall, mono = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)
try: containers = json.loads(out("docker", "inspect", a["container"]) or "[]")
except ValueError: containers = []
d = "/opt/trove-guestagent/.guestagent.prepare."
print(json.dumps({"wall": wall, "mono": mono, "boot_id": open("/proc/sys/kernel/random/boot_id").read().strip(),
 "manager": table(out("systemctl", "show", "-p", a["manager"])),
 "units": [table(b) for b in out("systemctl", "show", "-p", a["unit"], *a["units"]).strip().split("\n\n")],
 "cloud_init": load("/run/cloud-init/status.json"),
 "prepare_start": mtime(d + "start"), "prepare_end": mtime(d + "end"),
 "container": (containers or [{}])[0].get("State", {}), "created": (containers or [{}])[0].get("Created", "")}))
"""


@dataclass(frozen=True)
class Unit:
    """A systemd unit; ``started`` and ``active_at`` are seconds of the guest's monotonic clock, 0 = never."""

    name: str
    loaded: bool
    active: str
    sub: str
    result: str
    restarts: int
    pid: int
    started: float
    active_at: float

    @property
    def running(self) -> bool:
        """active (running)."""
        return (self.active, self.sub) == ("active", "running")


@dataclass(frozen=True)
class Facts:
    """One look at a guest. Times are the guest's wall clock (epoch seconds); 0 where there is none."""

    boot_id: str
    wall: float
    monotonic: float
    manager: dict[str, float]
    units: dict[str, Unit]
    stages: dict[str, Any]  # cloud-init's status.json
    prepare_start: float
    prepare_end: float
    container: dict[str, Any] = field(default_factory=dict)

    def at(self, monotonic: float) -> float:
        """A moment of the monotonic clock on the wall clock; 0 stays 0."""
        return self.wall - self.monotonic + monotonic if monotonic else 0.0

    def cloud_init(self, stage: str) -> float:
        """When a stage of cloud-init finished: "init" runs write_files, "modules-final" is the last."""
        finished = float(((self.stages.get("v1") or {}).get(stage) or {}).get("finished") or 0)
        # Older releases write epoch seconds, 25.1 writes the uptime (cloudinit/cmd/main.py, status_wrapper).
        return finished if finished > 1e8 else self.at(finished)


@dataclass(frozen=True)
class Connection:
    """An established TCP connection of the guest."""

    local: str
    remote: str
    port: int


@dataclass(frozen=True)
class Dial:
    """One attempt of the guest to open a TCP connection: ``local`` is the address it went out from."""

    reached: bool
    local: str
    said: str


def facts(guest: Guest, *, units: Sequence[str], container: str = "database") -> Facts:
    """Everything a timeline needs, in one round trip. Raises NoAnswer and StepFailed."""
    asked = json.dumps({"manager": _MANAGER, "unit": _UNIT, "units": list(units), "container": container})
    text = guest.run(f"python3 - {shlex.quote(asked)}", input=_FACTS, check=True, timeout=120).stdout
    with understood("its units"):
        table = json.loads(text)
        return Facts(
            boot_id=str(table["boot_id"]),
            wall=float(table["wall"]),
            monotonic=float(table["mono"]),
            manager={key: _micros(value) for key, value in table["manager"].items()},
            units={unit.name: unit for unit in map(_unit, table["units"])},
            stages=table["cloud_init"],
            prepare_start=table["prepare_start"],
            prepare_end=table["prepare_end"],
            container=table["container"],
        )


def unit(guest: Guest, name: str) -> Unit:
    """One unit now."""
    text = guest.run(f"systemctl show -p {_UNIT} {shlex.quote(name)}", check=True).stdout
    with understood(f"the unit {name}"):
        return _unit(dict(line.split("=", 1) for line in text.splitlines() if "=" in line))


def connections(guest: Guest, name: str) -> list[Connection]:
    """Established TCP connections of the processes in the unit's control group (ss -tnp)."""
    script = (
        f"g=$(systemctl show -p ControlGroup --value {shlex.quote(name)}); "
        "cat /sys/fs/cgroup$g/cgroup.procs /sys/fs/cgroup/systemd$g/cgroup.procs 2>/dev/null; echo; "
        "ss -Htnp state established"
    )
    pids, _, table = guest.run(script).stdout.partition("\n\n")
    wanted = {f"pid={pid.strip()}," for pid in pids.split() if pid.strip()}
    found = []
    for line in table.splitlines():
        words = line.split()
        if len(words) > 3 and any(pid in line for pid in wanted):
            local, remote = words[2].rpartition(":"), words[3].rpartition(":")
            if re.fullmatch(r"[0-9]{1,5}", remote[2], re.ASCII):
                found.append(Connection(_plain(local[0]), _plain(remote[0]), int(remote[2])))
    return found


def dial(guest: Guest, host: str, port: int, *, timeout: float = 10) -> Dial:
    """Let the guest open a TCP connection to ``host``:``port``; ``timeout`` in seconds."""
    script = (
        "import socket,sys\n"
        "try:\n"
        f" s=socket.create_connection((sys.argv[1],int(sys.argv[2])),timeout={timeout})\n"
        " print('yes',s.getsockname()[0])\n"
        "except OSError as e: print('no',e)"
    )
    said = guest.run(
        f"python3 - {shlex.quote(host)} {port}", input=script, sudo=False, timeout=timeout + 50
    ).stdout.strip()
    verdict, _, rest = said.partition(" ")
    return Dial(verdict == "yes", rest if verdict == "yes" else "", rest)


def _unit(table: dict[str, str]) -> Unit:
    return Unit(
        name=table.get("Id", ""),
        loaded=table.get("LoadState") == "loaded",
        active=table.get("ActiveState", ""),
        sub=table.get("SubState", ""),
        result=table.get("Result", ""),
        restarts=int(table.get("NRestarts") or 0),
        pid=int(table.get("MainPID") or 0),
        started=_micros(table.get("ExecMainStartTimestampMonotonic")),
        active_at=_micros(table.get("ActiveEnterTimestampMonotonic")),
    )


def _micros(text: str | None) -> float:
    return int(text) / 1e6 if text and re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else 0.0


def _plain(address: str) -> str:
    return re.sub(r"%\w+$", "", address.strip("[]").removeprefix("::ffff:"))
