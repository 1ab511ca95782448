"""Debian packages that this host has to have: installed when allowed, else named with their reasons."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from imagecheck import hostcmd, progress
from imagecheck.errors import UsageError


@dataclass(frozen=True)
class HostPackage:
    """A Debian package, the program that shows it is there, and what it is used for."""

    name: str
    program: str
    why: str


def missing(packages: Iterable[HostPackage]) -> dict[str, str]:
    """Debian package -> why it is needed, for those that are not installed. Installs nothing."""
    return {package.name: package.why for package in packages if hostcmd.which(package.program) is None}


def ensure(packages: Iterable[HostPackage], *, what: str, yes: bool = False) -> None:
    """Install what is missing when ``yes`` or where $CI is set; otherwise UsageError naming packages, uses, command.

    ``what`` needs them ("an image build").
    """
    lacking = missing(packages)
    if not lacking:
        return
    command = f"apt-get install --no-install-recommends {' '.join(lacking)}"
    if not (yes or "CI" in os.environ):
        reasons = "; ".join(f"{name} ({why})" for name, why in lacking.items())
        raise UsageError(f"this host lacks what {what} needs: {reasons}. Install with: {command} (or give --yes)")
    if os.geteuid() != 0:
        raise UsageError(f"--yes can install host packages only as root: run as root, or first: sudo {command}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.phase(f"install {', '.join(lacking)} on this host") as under_way:
        if hostcmd.run([*command.split(), "--yes"], check=False, env=quiet, timeout=600).rc != 0:
            under_way.update("apt-get update")  # the lists may be missing or old
            hostcmd.run(["apt-get", "update"], env=quiet, timeout=600, step="host packages")
            hostcmd.run([*command.split(), "--yes"], env=quiet, timeout=900, step="host packages")
