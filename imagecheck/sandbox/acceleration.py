"""KVM or emulation: /dev/kvm proves nothing, a guest kernel that boots on it does.

Some hosts offer /dev/kvm on which no stock kernel gets past its decompressor; a launch there would hang for ever.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from imagecheck import hostcmd, progress
from imagecheck.errors import ImagecheckError

FETCH_KERNEL = (
    # a hook of mmdebstrap, run while the archive's lists are there: a stock kernel for the probe, not installed
    'chroot "$1" sh -euc \'cd /var/tmp; apt-get -q download linux-image-cloud-amd64; '
    'name=$(dpkg-deb -f linux-image-cloud-amd64*.deb Depends | grep -o "linux-image-[0-9][^ ,]*"); '
    'apt-get -q download "$name"; dpkg-deb --fsys-tarfile "$name"_*.deb | tar -x -C / --wildcards "./boot/vmlinuz-*"; '
    "rm -f linux-image-*.deb'"
)
_PROBE_SECONDS = 10  # a kernel without a root file system panics after 1 to 3 s on working KVM
_PANIC = "Kernel panic - not syncing: VFS: Unable to mount root fs"


def offered() -> bool:
    """Whether this host offers KVM at all."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def detect(root: Path) -> str:
    """``"kvm"`` when the kernel in ``root`` boots on KVM until it misses its root file system, else ``"tcg"``."""
    kernel = next(iter(sorted(root.glob("boot/vmlinuz-*"))), None)
    if not offered() or kernel is None:
        return "tcg"
    with progress.phase("does a guest boot on /dev/kvm?") as phase:
        lines: list[str] = []
        with contextlib.suppress(ImagecheckError):  # it hangs, or QEMU refuses: both mean emulation
            hostcmd.stream(
                ["qemu-system-x86_64", "-accel", "kvm", "-m", "256", "-nodefaults", "-no-user-config", "-no-reboot",
                 "-display", "none", "-serial", "stdio", "-kernel", str(kernel),
                 "-append", "console=ttyS0 panic=-1"],
                on_line=lines.append, check=False, timeout=_PROBE_SECONDS, step="sandbox acceleration",
            )  # fmt: skip
        found = "kvm" if any(_PANIC in line for line in lines) else "tcg"
        phase.update("yes" if found == "kvm" else "no: guests are emulated")
    return found
