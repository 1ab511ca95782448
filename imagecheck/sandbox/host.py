"""What the sandbox needs of the host: a few packages, root, and networks that nobody uses yet."""

from __future__ import annotations

import json
import os
import shutil
from ipaddress import IPv4Network
from typing import Final

from imagecheck import hostcmd, progress
from imagecheck.errors import UsageError

PROGRAMS: Final = {
    # program: (Debian and Ubuntu package, what for)
    "mmdebstrap": ("mmdebstrap", "makes the root file system folder"),
    "systemd-nspawn": ("systemd-container", "boots the folder"),
    "nsenter": ("util-linux", "runs commands in it"),
    "ip": ("iproute2", "the address and the routes on the host's end of the veth pair"),
    "qemu-system-x86_64": ("qemu-system-x86", "finds out whether a guest really boots on KVM"),
    "ssh": ("openssh-client", "looks into guests"),
}


def missing() -> list[str]:
    """The packages that have to be installed before a sandbox can be made, sorted."""
    return sorted({package for program, (package, _) in PROGRAMS.items() if shutil.which(program) is None})


def ensure(*, yes: bool) -> None:
    """Root rights and packages; installs what is missing when allowed. UsageError with the remedy otherwise."""
    if os.geteuid() != 0:
        raise UsageError(
            "the sandbox needs root (it mounts, makes namespaces and boots a container): run the same command as root, "
            "or use your own OpenStack with --cloud NAME"
        )
    packages = missing()
    if not packages:
        return
    command = "apt-get install --no-install-recommends " + " ".join(packages)
    if not (yes or os.environ.get("CI") == "true"):
        reasons = "; ".join(f"{package}: {why}" for package, why in PROGRAMS.values() if package in packages)
        raise UsageError(f"the sandbox needs host packages ({reasons}): run '{command}', or allow it with --yes")
    with progress.phase(f"install on the host: {' '.join(packages)}"):
        hostcmd.run(["apt-get", "update", "-qq"], step="sandbox host", timeout=300)
        hostcmd.run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
            step="sandbox host",
            timeout=900,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )


def routed_networks() -> list[IPv4Network]:
    """The IPv4 networks that this host has routes to, the default route left out."""
    routes = json.loads(hostcmd.run(["ip", "-4", "-json", "route"], step="sandbox host", timeout=10).stdout or "[]")
    return [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
