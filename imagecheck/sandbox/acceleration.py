"""KVM or emulation: /dev/kvm proves nothing, a guest kernel that boots on it does.

Some hosts offer /dev/kvm on which no stock kernel gets past its decompressor; a launch there would hang for ever.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from imagecheck import hostcmd, progress
from imagecheck.errors import ImagecheckError

_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_PROBE_SECONDS = 20  # a kernel without a root file system panics after 1 to 3 s on working KVM
_PANIC = "Kernel panic - not syncing: VFS: Unable to mount root fs"


def detect(kernel: Path) -> str:
    """``"kvm"`` when ``kernel`` boots on this host's KVM until it misses its root file system, else ``"tcg"``."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
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


def fetch_kernel(root: Path, into: Path) -> Path:
    """A stock kernel for the probe, from the release's own archive: unpacked, not installed (12 MB kept).

    Raises StepFailed when the archive has none.
    """
    target = into / "vmlinuz"
    if target.exists():
        return target
    step = "sandbox probe kernel"
    with tempfile.TemporaryDirectory(dir=root / "var/tmp") as scratch:
        inside = "/" + str(Path(scratch).relative_to(root))
        script = (
            'cd "$1" && name=$(apt-cache depends "$2" | sed -n "s/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p")'
            ' && name=${name%% *} && apt-get -q download "$name" && dpkg-deb --fsys-tarfile linux-image-*.deb'
            " | tar -x --wildcards './boot/vmlinuz-*'"
        )
        hostcmd.run(["chroot", str(root), "sh", "-c", script, "sh", inside, _KERNEL_PACKAGE], step=step, timeout=300)
        next(iter(Path(scratch).glob("boot/vmlinuz-*"))).rename(target)
    return target
