"""`imagecheck doctor`: everything about a cloud and this host that can be known before anything is made."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from imagecheck import __version__, choice, definition, disk, finding, hostcmd, paths, sandbox, site
from imagecheck.build import host as builds
from imagecheck.choice import Choice
from imagecheck.cloud import connection, preflight, retry
from imagecheck.definition import Needs
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.finding import Finding, Level, stops
from imagecheck.sandbox.folder import Folder
from imagecheck.site import Site

ROOM = 5 * 2**30  # bytes: what a build needs at most (docs/performance.md; imagecheck/build/causes.py)


def examine(cloud: str = "", site_file: str = "", image: str = "", *, datastore: str = "") -> list[Finding]:
    """Findings about this host and the cloud that a run with the same options would use. Makes and starts nothing.

    Raises UsageError for options that name nothing.
    """
    chosen = choice.image(image, datastore) if image else None
    place = _place(cloud, site_file)
    if place is not None:
        for entry in (place.cloud, place.tenant_cloud):
            connection.settings(place, entry)
    found = host()
    if place is None:
        found.append(Finding("ok", "cloud", "none was named: a run starts the sandbox"))
        return found
    return found + there(place, chosen)


def _place(cloud: str, site_file: str) -> Site | None:
    """As choice.place, without starting a sandbox; None where a run would."""
    if choice.elsewhere(cloud, site_file):
        return choice.place(cloud, site_file)
    folder = Folder.of(sandbox.releases.get(sandbox.releases.DEFAULT))
    return site.load(folder.site) if sandbox.running() and folder.site.exists() else None


def there(place: Site, chosen: Choice | None = None) -> list[Finding]:
    """Findings about a cloud, the logins first: without both of them there is nothing else to see."""
    found: list[Finding] = []
    tally = retry.Tally()
    for entry in dict.fromkeys((place.cloud, place.tenant_cloud)):
        _try(found, "login", lambda entry=entry: _login(place, entry, tally))  # type: ignore[misc]
    return found if stops(found) else found + _looked(place, chosen)


def _login(place: Site, entry: str, tally: retry.Tally) -> str:
    with retry.patience(connection.REACH_TIMEOUT):
        made = connection.login(place, entry, tally)
        connection.trove_client(made, entry)
    region = f", region {made.config.region_name}" if made.config.region_name else ""
    return f"{entry}{region}"


def _looked(place: Site, chosen: Choice | None) -> list[Finding]:
    try:
        cloud = connection.connect(place)
        needs = chosen.definition.needs if chosen else smallest()
        size = chosen.file.virtual_size if chosen and chosen.file else 0
        agent = chosen.definition.agent.release if chosen else 0
        found, _ = preflight.survey(cloud, needs, virtual_size=size, agent=agent)
    except ImagecheckError as error:
        return [finding.of("cloud", error)]
    if cloud.tally.total:
        found.append(Finding("degraded", "requests", cloud.tally.sentence, "look at these services, if it goes on"))
    return found


def smallest() -> Needs:
    """What the least demanding of the known images needs: for a look at a cloud without an image."""
    known = [definition.load(name).needs for name in definition.known()]
    names = ("ram_mib", "disk_gib", "ephemeral_gib", "vcpus")
    return Needs(**{name: min((getattr(one, name) for one in known), default=1) for name in names})


# ---- this host


def host() -> list[Finding]:
    """Rights, programs and room for the disk stage and for builds; a boot needs little more than SSH."""
    found: list[Finding] = []
    _try(found, "programs", lambda: _programs("ssh", "ssh-keygen", "qemu-img"))
    _try(found, "disk stage", _disk_stage, level="degraded")
    _try(found, "image builds", _build, level="degraded")
    folder = paths.home()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(there).free
    room = f"{free / 2**30:.1f} GiB free below {folder}"
    if not os.access(there, os.W_OK):
        found.append(Finding("stop", "room", f"{folder} cannot be written", "set IMAGECHECK_HOME to another folder"))
    elif free < ROOM:
        lacks = f"{room}, and a build takes up to {ROOM >> 30}"
        found.append(Finding("degraded", "room", lacks, "free some, or set IMAGECHECK_HOME to a larger disk"))
    else:
        found.append(Finding("ok", "room", room))
    found.append(Finding("ok", "versions", f"imagecheck {__version__}, Python {platform.python_version()}{_qemu()}"))
    return found


def _try(found: list[Finding], subject: str, look: Callable[[], str], *, level: Level = "stop") -> None:
    """What ``look`` says is ok; its UsageError becomes a finding of ``level``."""
    try:
        found.append(Finding("ok", subject, look()))
    except UsageError as error:
        found.append(finding.of(subject, error, level))


def _programs(*names: str) -> str:
    hostcmd.require(*names)
    return f"{', '.join(names)} are there"


def _disk_stage() -> str:
    disk.require()
    if not Path("/dev/loop-control").exists():
        raise UsageError("looking inside an image needs loop devices: load the kernel module loop, or pass them in")
    return "root, fuse, loop devices, programs are there"


def _build() -> str:
    builds.require_root()
    if lacking := builds.missing_host_packages():
        raise UsageError(f"this host lacks packages that a build needs: apt-get install {' '.join(lacking)}")
    return "root and all packages are there"


def _qemu() -> str:
    if hostcmd.which("qemu-img") is None:
        return ""
    said = hostcmd.run(["qemu-img", "--version"], check=False, timeout=30).stdout.split()
    return f", qemu {said[2]}" if len(said) > 2 else ""
