"""A folder that processes may live in and that something may be mounted below: emptied first, and only then removed.

Deleting through a mount would reach the host's own /dev, /proc and /sys.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from imagecheck import hostcmd, waits
from imagecheck.errors import StepFailed

_PATIENCE = 10.0  # seconds for killed processes to be gone


def remove(folder: Path, step: str) -> None:
    """`vacate` the folder and delete it with all that is in it; nothing to do where there is none."""
    vacate(folder, step)
    shutil.rmtree(folder, ignore_errors=True)


def vacate(folder: Path, step: str) -> None:
    """End what runs in ``folder`` and unmount what is mounted there. Raises StepFailed, naming what stays mounted."""
    folder = folder.resolve()
    _end_processes(folder)
    for _ in range(3):  # a mount may hide another
        for target in reversed(mounts(folder)):
            hostcmd.run(["umount", "--lazy", target], check=False, timeout=60)
        if not mounts(folder):
            return
    left = mounts(folder)[0]
    raise StepFailed(step, f"{left} is still mounted and cannot be unmounted", remedy=f"umount -l {left}")


def mounts(below: Path) -> list[str]:
    """Mount points at or below ``below``, in the order in which they were mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split(" ")[4].encode().decode("unicode_escape")  # proc(5): octal escapes
        if Path(target).is_relative_to(below):
            found.append(target)
    return found


def _inhabitants(folder: Path) -> list[int]:
    """Processes whose root or working folder is below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        for link in ("root", "cwd"):
            with contextlib.suppress(OSError):
                place = Path(str((entry / link).readlink()).removesuffix(" (deleted)"))
                if place.is_relative_to(folder):
                    found.append(int(entry.name))
                    break
    return found


def _end_processes(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (pids := _inhabitants(folder)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        waits.pause(0.1, reason="killed processes to be gone")
