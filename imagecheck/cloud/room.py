"""What a run takes of a cloud at one time, and of this host where the cloud is on it: against what others take.

Who the others are is turns.py's to know.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagecheck.cloud import marks
from imagecheck.cloud.connection import Cloud, asking
from imagecheck.finding import Finding

PORTS = 2  # of a guest: tenant and management (trove.md §1.4)
SPARE = 512  # MiB of this host that no guest gets
SUBJECTS = ("quota", "memory")  # of findings that may be others by the time that another run has ended


@dataclass(frozen=True)
class Plan:
    """One server at one time, or ``times`` of them: MiB, CPUs, and GiB of a volume (0: none)."""

    ram: int
    vcpus: int
    volume: int = 0
    times: int = 1

    def of(self, service: str) -> dict[str, int]:
        """What is taken of a service (as openstacksdk calls it) in the project where the server is."""
        one = {
            "compute": {"instances": 1, "cores": self.vcpus, "ram": self.ram, "key_pairs": 1},
            "network": {"port": PORTS, "security_group": 1},
            "block_storage": {"volumes": 1, "gigabytes": self.volume} if self.volume else {},
            # Trove counts GiB as "volumes" (trove/instance/models.py, create, deltas).
            "database": {"instances": 1, "ram": self.ram, **({"volumes": self.volume} if self.volume else {})},
        }[service]
        return {name: number * self.times for name, number in one.items()}


@dataclass(frozen=True)
class Other:
    """A process that is at work on the same cloud: its runs, one after the other, and the largest of their plans.

    ``projects``: ids of those whose quotas it uses, beside that of Trove's own.
    """

    who: str
    runs: tuple[str, ...]
    plan: Plan
    projects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """What others have yet to take: their plans, less what is there of them already and counts as used."""

    others: tuple[Other, ...] = ()
    servers: Mapping[str, tuple[tuple[str, str], ...]] | None = None  # run -> project and id of each of its servers

    def of(self, service: str, project: str, whose: str = "") -> dict[str, int]:
        """What will be taken of a service, by servers in that project ("" = whichever one it is).

        ``whose``: only by those who use the quota of this project; "" = by all.
        """
        total: dict[str, int] = {}
        for one in [one for one in self.others if not whose or whose in one.projects]:
            there = sum(where == project or not project for where, _ in self._servers(one))
            if there < one.plan.times:
                for name, number in one.plan.of(service).items():
                    total[name] = total.get(name, 0) + number - number * there // one.plan.times
        return total

    def memory(self) -> int:
        """MiB of this host that their guests will take."""
        total = 0
        for one in self.others:
            total += max(0, one.plan.ram * one.plan.times - sum(resident(id) for _, id in self._servers(one)))
        return total

    def _servers(self, one: Other) -> list[tuple[str, str]]:
        return [server for run in one.runs for server in (self.servers or {}).get(run, ())]


def taken(cloud: Cloud, others: Sequence[Other]) -> Taken:
    """Ask for the servers that the others have already."""
    if not others:
        return Taken()
    servers: dict[str, tuple[tuple[str, str], ...]] = {}
    with asking("cloud", "list servers"):
        for one in cloud.admin.compute.servers(all_projects=True, name=f"^{marks.TAG}-"):
            run = marks.run_in(str(one.name))
            servers[run] = (*servers.get(run, ()), (str(one.project_id), str(one.id)))
    return Taken(tuple(others), servers)


def here(wanted: int, free: int, others: Taken) -> list[Finding]:
    """Whether this host has memory for a guest of the sandbox: MiB wanted and available. It stops a run only where
    others are at work, whose end it can wait for."""
    to_come = others.memory()
    if free - to_come - SPARE >= wanted:
        return []
    shown = f"{free} MiB are available" + (f", and guests of others will take {to_come} of them" if to_come else "")
    return [
        Finding(
            "stop" if others.others else "degraded", "memory",
            f"this host has no memory for a guest of {wanted} MiB: {shown}",
            "end other programs, or what `imagecheck gc --dry-run` shows as kept",
        )
    ]  # fmt: skip


def available(meminfo: Path = Path("/proc/meminfo")) -> int:
    """MiB that this host can give to new programs (proc_meminfo(5), MemAvailable)."""
    for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def resident(server_id: str, proc: Path = Path("/proc")) -> int:
    """MiB that the QEMU process of that server has of this host's memory; 0 where there is none."""
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"-uuid" in words and server_id.encode() in words:
                pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
                return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    return 0
