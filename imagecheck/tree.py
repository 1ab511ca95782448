"""A file tree of unknown origin, read from outside: no symlink in it leads out of it, no program in it is run."""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINKS = 40  # as many as the kernel follows (MAXSYMLINKS)
_LARGEST = 16 << 20  # bytes of a text file that is read whole
_NAMES = 100_000  # entries of one folder; Debian's largest, /usr/share/doc or dpkg's info, have some thousands
_FILES = 1_000_000  # entries of all folders below one; a guest has about 60,000
_DEEPEST = 200  # folders in each other
_ACCOUNTS = 10_000  # lines of /etc/passwd and /etc/group
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)  # of a user: 32 bits


@dataclass(frozen=True)
class Account:
    """One line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True)
class Tree:
    """All paths are the tree's own ("/etc/passwd"), whatever folder it is mounted on."""

    root: Path

    def path(self, inside: str) -> Path | None:
        """Where ``inside`` really lies below the root, every symlink followed as the guest would; None: nowhere."""
        place, left = self.root, parts(inside)
        links = 0
        while left:
            part = left.pop(0)
            if part == "..":
                place = place if place == self.root else place.parent
                continue
            step = place / part
            try:
                mode = step.lstat().st_mode
            except (OSError, ValueError):  # also a null byte in what a file of the image called a path
                return None
            if not stat.S_ISLNK(mode):
                place = step
                continue
            links += 1
            if links > _LINKS:
                return None
            try:
                target = os.readlink(step)  # noqa: PTH115 - a string of the guest, not a path of ours
            except OSError:
                return None
            if target.startswith("/"):
                place = self.root
            left = parts(target) + left
        return place

    def exists(self, inside: str) -> bool:
        """True where the guest would find something there."""
        return self.path(inside) is not None

    def stat(self, inside: str) -> os.stat_result | None:
        """What lies there, links followed; None: nothing."""
        found = self.path(inside)
        return found.lstat() if found is not None else None

    def text(self, inside: str, *, last: int = 0) -> str:
        """The file's text (``last``: its last bytes only); empty where there is no readable regular file. At most
        16 MiB of it."""
        found = self.path(inside)
        return content(found, _LARGEST, last=last).decode("utf-8", "replace") if found is not None else ""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty where there is none. At most 100,000 of them."""
        found = self.path(folder)
        if found is None:
            return []
        try:
            with os.scandir(found) as entries:
                return sorted(entry.name for entry in itertools.islice(entries, _NAMES))
        except OSError:  # no folder, or a damaged one
            return []

    def glob(self, pattern: str) -> list[str]:
        """Paths that match a pattern whose wildcards stand in its last part only ("/etc/ssh/ssh_host_*")."""
        folder, _, last = pattern.rpartition("/")
        return [f"{folder}/{name}" for name in self.names(folder) if fnmatch.fnmatchcase(name, last)]

    def files(self, folder: str) -> Iterator[str]:
        """All regular files below a folder, links not followed, in no order. At most a million entries are looked at,
        in folders that lie at most 200 deep in each other."""
        start = self.path(folder)
        left = [(start, 0)] if start is not None else []
        budget = _FILES
        while left and budget > 0:
            place, depth = left.pop()
            try:
                with os.scandir(place) as entries:
                    for entry in itertools.islice(entries, budget):
                        budget -= 1
                        if entry.is_file(follow_symlinks=False):
                            yield "/" + os.path.relpath(entry.path, self.root)
                        elif depth < _DEEPEST and entry.is_dir(follow_symlinks=False):
                            left.append((Path(entry.path), depth + 1))
            except OSError:  # a damaged folder
                continue

    def accounts(self) -> dict[str, Account]:
        """Users of /etc/passwd by name."""
        found = {}
        for line in self.text("/etc/passwd").splitlines()[:_ACCOUNTS]:
            parts = line.split(":")
            if len(parts) == 7 and _NUMBER.fullmatch(parts[2]) and _NUMBER.fullmatch(parts[3]):
                found[parts[0]] = Account(parts[0], int(parts[2]), int(parts[3]), parts[5], parts[6])
        return found

    def groups(self) -> dict[str, set[str]]:
        """Members that /etc/group names, by group."""
        lines = (line.split(":") for line in self.text("/etc/group").splitlines()[:_ACCOUNTS])
        return {parts[0]: set(filter(None, parts[3].split(","))) for parts in lines if len(parts) == 4}


def parts(inside: str) -> list[str]:
    """The names in a path, without root and dots."""
    # Not pathlib's: there "//etc" has the root "//", and a folder / "//" is this host's root.
    return [part for part in inside.split("/") if part not in ("", ".")]


def content(file: Path, most: int, *, last: int = 0) -> bytes:
    """At most ``most`` bytes of a regular file (``last``: of its last bytes); nothing of anything else.

    Nothing of an image is opened otherwise: a FIFO would never end to open, a device is not the image's, and a link
    leads wherever its author wanted.
    """
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
            seen = os.fstat(stream.fileno())
            if not stat.S_ISREG(seen.st_mode):
                return b""
            if last:
                stream.seek(max(0, seen.st_size - last))
            return stream.read(min(most, last) if last else most)
    except (OSError, ValueError):
        return b""


def breaks_off(file: Path) -> bool:
    """Does a 64-bit ELF file end before its table of sections, which linkers put last (elf(5))? Others never do."""
    head = content(file, 64)
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:
        return False
    (offset,), (size, count) = struct.unpack_from("<Q", head, 40), struct.unpack_from("<HH", head, 58)
    return bool(file.lstat().st_size < offset + size * count)
