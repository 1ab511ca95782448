"""What the sandbox needs of the host: a few packages, root, and networks that nobody uses yet."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Network
from typing import Final

from imagecheck import hostcmd, hostpackages
from imagecheck.errors import UsageError
from imagecheck.hostpackages import HostPackage

PACKAGES: Final = (
    HostPackage("mmdebstrap", "mmdebstrap", "makes the root file system folder"),
    HostPackage("systemd-container", "systemd-nspawn", "boots the folder"),
    HostPackage("util-linux", "nsenter", "runs commands in it"),
    HostPackage("iproute2", "ip", "the address and the routes on the host's end of the veth pair"),
    HostPackage("qemu-system-x86", "qemu-system-x86_64", "finds out whether a guest really boots on KVM"),
    HostPackage("openssh-client", "ssh", "looks into guests"),
)


def ensure(*, yes: bool) -> None:
    """Root rights and packages; installs what is missing when allowed. UsageError with the remedy otherwise."""
    if os.geteuid() != 0:
        raise UsageError(
            "the sandbox needs root (it mounts, makes namespaces and boots a container): run the same command as root, "
            "or use your own OpenStack with --cloud NAME"
        )
    hostpackages.ensure(PACKAGES, what="the sandbox", yes=yes)


def routed_networks() -> list[IPv4Network]:
    """The IPv4 networks that this host has routes to, the default route left out."""
    routes = json.loads(hostcmd.run(["ip", "-4", "-json", "route"], step="sandbox host", timeout=10).stdout or "[]")
    return [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
