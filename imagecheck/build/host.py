"""What the build needs from this host: Debian packages, root, room."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from imagecheck import hostpackages
from imagecheck.errors import UsageError
from imagecheck.hostpackages import HostPackage

DEVICE_MAPPER = Path("/dev/mapper/control")


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
)
# only where the kernel has a device mapper; elsewhere shims/ stands in
DEVICE_MAPPER_PACKAGES = (
    HostPackage("kpartx", "kpartx", "partitions of loop devices through the device mapper"),
    HostPackage("dmsetup", "dmsetup", "partitions of loop devices through the device mapper"),
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


def _packages() -> tuple[HostPackage, ...]:
    return PACKAGES + (DEVICE_MAPPER_PACKAGES if has_device_mapper() else ())


def missing_host_packages() -> dict[str, str]:
    """Debian package -> why it is needed, for those that are not installed. Installs nothing."""
    return hostpackages.missing(_packages())


def ensure(yes: bool = False) -> None:
    """Install what is missing when ``yes`` or in CI; otherwise UsageError naming the packages and their uses."""
    hostpackages.ensure(_packages(), what="an image build", yes=yes)


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
