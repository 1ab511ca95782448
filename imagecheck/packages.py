"""Are the files of the packages that a guest lives by still those that dpkg unpacked? Other formats are not read."""

from __future__ import annotations

import fnmatch
import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from imagecheck.tree import Tree, breaks_off

# Names as patterns of fnmatch: small packages, which are read whole; Docker's programs have a check of their own.
LIVES_BY = (
    "cloud-init", "cloud-init-base", "systemd", "libsystemd-shared*", "systemd-resolved", "udev", "libudev1*", "sudo",
    "openssh-server", "libc6*", "libssl3*", "python3.*-minimal*", "libpython3.*-minimal*", "trove-*", "python3-trove",
    "python3-docker", "python3-oslo*", "python3-kombu", "python3-amqp", "python3-eventlet", "e2fsprogs", "passwd",
    "netplan.io", "mount", "util-linux",
)  # fmt: skip
# What images are commonly freed of, by dpkg's path-exclude or by hand.
_SPARED = ("/usr/share/*", "*/tests/*", "*/test/*", "*.pyc")


@dataclass(frozen=True)
class Damage:
    """``broken`` is "file (package): what"; ``changed`` are Python files that dpkg did not unpack."""

    broken: tuple[str, ...]
    changed: tuple[str, ...]


def damage(tree: Tree) -> Damage:
    """Compare with /var/lib/dpkg/info/*.md5sums (deb-md5sums(5)); conffiles are not in there."""
    broken, changed = [], []
    for package, file, digest in _files(tree):
        place = tree.path(file)
        if place is None:
            if not any(fnmatch.fnmatch(file, pattern) for pattern in _SPARED):
                broken.append(f"{file} ({package}): is missing")
            continue
        seen = place.lstat()
        if not stat.S_ISREG(seen.st_mode):
            continue
        with place.open("rb") as stream:
            same = hashlib.file_digest(stream, _md5).hexdigest() == digest
        if same:
            continue
        if not seen.st_size:
            broken.append(f"{file} ({package}): is empty")
        elif breaks_off(place):
            broken.append(f"{file} ({package}): breaks off")
        elif file.endswith(".py"):
            changed.append(file)
    return Damage(tuple(broken), tuple(changed))


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _files(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """(package, file, MD5), files that dpkg diverted left out."""
    moved = set(tree.text("/var/lib/dpkg/diversions").splitlines())
    for list_ in tree.glob("/var/lib/dpkg/info/*.md5sums"):
        package = list_.rpartition("/")[2].removesuffix(".md5sums").partition(":")[0]
        if any(fnmatch.fnmatch(package, pattern) for pattern in LIVES_BY):
            for line in tree.text(list_).splitlines():
                digest, _, name = line.partition("  ")
                if name and f"/{name}" not in moved:
                    yield package, f"/{name}", digest
