"""Whose something is: a process of this host that a record on disk names, and whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """``started`` is in clock ticks since ``boot`` (the kernel's id of it): a pid alone is used again."""

    pid: int
    started: str
    boot: str
    host: str

    def alive(self) -> bool:
        """True while it may still run; of another host's process nothing can be told, so it counts as alive."""
        if self.host != socket.gethostname():
            return True
        return self.boot == boot() and self.started == start(self.pid) != ""


def mine() -> Process:
    """This process."""
    return Process(os.getpid(), start(os.getpid()), boot(), socket.gethostname())


def start(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); "" when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def boot() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def sync(folder: Path) -> None:
    """Make a new name in ``folder`` outlast a crash (fsync(2): a file's own fsync does not)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
