"""What the build needs from this host: Debian packages, root, room."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from imagecheck import hostcmd, progress
from imagecheck.errors import UsageError

DEVICE_MAPPER = Path("/dev/mapper/control")


@dataclass(frozen=True)
class HostPackage:
    """A Debian package, the program that shows it is there, and what the build uses it for."""

    name: str
    program: str
    why: str
    device_mapper: bool = False  # only needed where the kernel has one; elsewhere shims/ stands in


# Found by reading diskimage-builder 3.43's lib/ and the elements in use, and by building without everything else.
PACKAGES = (
    HostPackage("debootstrap", "debootstrap", "DIB's debootstrap element asks for its version"),
    HostPackage("mmdebstrap", "mmdebstrap", "makes the guest's and the container's base system"),
    HostPackage("qemu-utils", "qemu-img", "writes and checks qcow2 images"),
    HostPackage("qemu-system-common", "qemu-storage-daemon", "shows a qcow2 image as a raw disk"),
    HostPackage("e2fsprogs", "mkfs.ext4", "makes the guest's file system"),
    HostPackage("mount", "losetup", "loop devices"),
    HostPackage("util-linux", "partx", "partition tables, partitions of loop devices"),
    HostPackage("procps", "ps", "DIB looks for processes left in its chroot"),
    HostPackage("kpartx", "kpartx", "partitions of loop devices through the device mapper", device_mapper=True),
    HostPackage("dmsetup", "dmsetup", "partitions of loop devices through the device mapper", device_mapper=True),
)


def has_device_mapper() -> bool:
    """True where the kernel has a device mapper (a container or small VM often has none).

    The node alone proves nothing: libdevmapper makes it, and opening it says that nobody is behind.
    """
    try:
        os.close(os.open(DEVICE_MAPPER, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def missing_host_packages() -> dict[str, str]:
    """Debian package -> why it is needed, for those that are not installed. Installs nothing."""
    return {
        package.name: package.why
        for package in PACKAGES
        if (has_device_mapper() or not package.device_mapper) and hostcmd.which(package.program) is None
    }


def ensure(yes: bool = False) -> None:
    """Install what is missing when ``yes`` or in CI; otherwise UsageError naming the packages and their uses."""
    yes = yes or "CI" in os.environ
    missing = missing_host_packages()
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    reasons = "; ".join(f"{name} ({why})" for name, why in missing.items())
    if not yes:
        raise UsageError(
            f"this host lacks what an image build needs: {reasons}. Install with: {command} (or give --yes)"
        )
    if os.geteuid() != 0:
        raise UsageError(f"--yes can install host packages only as root: run as root, or first: sudo {command}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.phase(f"install {', '.join(missing)} on this host") as under_way:
        if hostcmd.run([*command.split(), "--yes"], check=False, env=quiet, timeout=600).rc != 0:
            under_way.update("apt-get update")  # the lists may be missing or old
            hostcmd.run(["apt-get", "update"], env=quiet, timeout=600, step="host packages")
            hostcmd.run([*command.split(), "--yes"], env=quiet, timeout=900, step="host packages")


def require_root() -> None:
    """UsageError where this process may not mount: diskimage-builder needs root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UsageError(
            "building an image needs root on Linux (mounts, loop devices): run as root, or give a built file"
        )


def memory_available() -> int:
    """MiB that may be used without swapping; 0 where the kernel does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:")), 0)
