"""Nothing is left behind: processes, mounts and loop devices below a work folder, then the folder itself.

diskimage-builder cleans up on its own when it fails or is asked to end; this is for when it could not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

from imagecheck import hostcmd, waits
from imagecheck.build import host
from imagecheck.errors import StepFailed

_PATIENCE = 10.0  # seconds for killed processes to be gone


def sweep(work: Path) -> None:
    """End what runs in ``work``, unmount and detach what is below it, remove it.

    Raises StepFailed, naming what is still mounted, rather than delete through a mount.
    """
    work = work.resolve()
    _end_processes(work)
    for _ in range(3):  # a mount may hide another
        for target in reversed(mounts(work)):
            hostcmd.run(["umount", "--lazy", target], check=False, timeout=60)
        if not mounts(work):
            break
    for device in loops(work):
        _detach(device)
    if left := mounts(work):
        raise StepFailed(
            "image build", f"{left[0]} is still mounted and cannot be unmounted", remedy=f"umount -l {left[0]}"
        )
    shutil.rmtree(work, ignore_errors=True)


def mounts(below: Path) -> list[str]:
    """Mount points at or below ``below``, in the order in which they were mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split(" ")[4].encode().decode("unicode_escape")  # proc(5): octal escapes
        if Path(target).is_relative_to(below):
            found.append(target)
    return found


def loops(below: Path) -> list[str]:
    """Loop devices whose file lies, or lay before it was deleted, at or below ``below``."""
    done = hostcmd.run(["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"], check=False, timeout=60)
    try:
        devices = json.loads(done.stdout or "{}").get("loopdevices", [])
    except ValueError:
        return []
    return [d["name"] for d in devices if Path(str(d["back-file"]).removesuffix(" (deleted)")).is_relative_to(below)]


def _detach(device: str) -> None:
    for name in Path("/dev/mapper").glob(f"{Path(device).name}p*"):
        if name.is_symlink() and name.readlink().parent == Path("/dev"):  # ours (shims/kpartx)
            name.unlink(missing_ok=True)
    if host.has_device_mapper() and hostcmd.which("kpartx"):
        hostcmd.run(["kpartx", "-d", device], check=False, timeout=60)
    hostcmd.run(["partx", "--delete", device], check=False, timeout=60)
    hostcmd.run(["losetup", "--detach", device], check=False, timeout=60)


def _inhabitants(work: Path) -> list[int]:
    """Processes whose root or working folder is below ``work``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        for link in ("root", "cwd"):
            with contextlib.suppress(OSError):
                place = Path(str((entry / link).readlink()).removesuffix(" (deleted)"))
                if place.is_relative_to(work):
                    found.append(int(entry.name))
                    break
    return found


def _end_processes(work: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (pids := _inhabitants(work)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        waits.pause(0.1, reason="killed processes of the build to be gone")
