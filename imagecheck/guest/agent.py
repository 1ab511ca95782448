"""The guest agent and what it stands on, as systemd and the kernel of the guest tell: one round trip each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from imagecheck.guest.ssh import Guest, understood

# systemd is read by property, never by its prose (org.freedesktop.systemd1(5)); *Monotonic are microseconds.
PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,MainPID,ControlGroup,"
    "ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic"
)


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


def unit(guest: Guest, name: str) -> Unit:
    """One unit now."""
    text = guest.run(f"systemctl show -p {PROPERTIES} {shlex.quote(name)}", check=True).stdout
    with understood(f"the unit {name}"):
        return of_properties(dict(line.split("=", 1) for line in text.splitlines() if "=" in line))


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


def of_properties(table: Mapping[str, str]) -> Unit:
    """A unit from what `systemctl show` says of PROPERTIES."""
    return Unit(
        name=table.get("Id", ""),
        loaded=table.get("LoadState") == "loaded",
        active=table.get("ActiveState", ""),
        sub=table.get("SubState", ""),
        result=table.get("Result", ""),
        restarts=int(table.get("NRestarts") or 0),
        pid=int(table.get("MainPID") or 0),
        started=micros(table.get("ExecMainStartTimestampMonotonic")),
        active_at=micros(table.get("ActiveEnterTimestampMonotonic")),
    )


def micros(text: str | None) -> float:
    """Microseconds of systemd as seconds; 0.0 for none."""
    return int(text) / 1e6 if text and re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else 0.0


def _plain(address: str) -> str:
    return re.sub(r"%\w+$", "", address.strip("[]").removeprefix("::ffff:"))
