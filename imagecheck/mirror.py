"""The Debian or Ubuntu archive that this host already uses: no mirror is named in the project itself."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

from imagecheck import paths
from imagecheck.errors import UsageError

VARIABLE = "IMAGECHECK_DEBIAN_MIRROR"
UBUNTU_VARIABLE = "IMAGECHECK_UBUNTU_MIRROR"
# Operating system -> the variable that names its archive, its Origin in the archive's Release file, its components.
_KNOWN = {
    "debian": (VARIABLE, "Debian", "main"),
    "ubuntu": (UBUNTU_VARIABLE, "Ubuntu", "main universe"),
}


def debian() -> str:
    """The base URI of a Debian archive, from $IMAGECHECK_DEBIAN_MIRROR or the host's apt sources.

    Raises UsageError where neither knows one (an Ubuntu host without the variable, say).
    """
    return archive("debian")


def archive(os_name: str) -> str:
    """The base URI of the archive of that operating system; as `debian`. An unknown system has none: ""."""
    if os_name not in _KNOWN:
        return ""
    variable, origin, _ = _KNOWN[os_name]
    if named := os.environ.get(variable, ""):
        return named.rstrip("/")
    if found := _of_host().get(origin):
        return found
    raise UsageError(
        f"no {origin} archive is known on this host: set {variable} to the base URI of a mirror "
        f"(on {origin}, run 'apt-get update' once)"
    )


def components(os_name: str) -> str:
    """The archive's components that guests are made of."""
    return _KNOWN[os_name][2] if os_name in _KNOWN else ""


@functools.cache
def _of_host() -> dict[str, str]:
    """Origin -> base URI of the archives in the host's apt sources; apt takes half a second, so it is asked once."""
    if not shutil.which("apt-get"):
        return {}
    state = [_changed(Path(place)) for place in ("/etc/apt", "/etc/apt/sources.list.d", "/var/lib/apt/lists")]
    kept = paths.home() / "images" / ".host-archives.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(kept.read_text())
        if known["state"] == state:
            return {str(origin): str(uri) for origin, uri in known["archives"].items()}
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=False, timeout=60,
    ).stdout  # fmt: skip
    found: dict[str, str] = {}
    for line in listing.splitlines():
        origin, label, uri = (line.split(" ", 2) + ["", ""])[:3]
        if origin == label and uri:
            found.setdefault(origin, uri.rstrip("/"))
    if kept.parent.is_dir():
        kept.write_text(json.dumps({"state": state, "archives": found}))
    return found


def _changed(place: Path) -> int:
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0
