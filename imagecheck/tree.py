"""A file tree of unknown origin, read from outside: no symlink in it leads out of it, no program in it is run."""

from __future__ import annotations

import fnmatch
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_LINKS = 40  # as many as the kernel follows (MAXSYMLINKS)
_LARGEST = 16 << 20  # bytes of a text file that is read whole


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
        place, left = self.root, [part for part in PurePosixPath(inside).parts if part != "/"]
        links = 0
        while left:
            part = left.pop(0)
            if part == "..":
                place = place if place == self.root else place.parent
                continue
            step = place / part
            try:
                mode = step.lstat().st_mode
            except OSError:
                return None
            if not stat.S_ISLNK(mode):
                place = step
                continue
            links += 1
            if links > _LINKS:
                return None
            target = PurePosixPath(os.readlink(step))  # noqa: PTH115 - a string of the guest, not a path of ours
            if target.is_absolute():
                place = self.root
            left = [piece for piece in target.parts if piece != "/"] + left
        return place

    def exists(self, inside: str) -> bool:
        """True where the guest would find something there."""
        return self.path(inside) is not None

    def stat(self, inside: str) -> os.stat_result | None:
        """What lies there, links followed; None: nothing."""
        found = self.path(inside)
        return found.lstat() if found is not None else None

    def text(self, inside: str, *, last: int = 0) -> str:
        """The file's text (``last``: its last bytes only); empty where there is no readable regular file."""
        found = self.path(inside)
        if found is None or not stat.S_ISREG(found.lstat().st_mode):
            return ""
        try:
            with found.open("rb") as stream:
                if last:
                    stream.seek(max(0, found.lstat().st_size - last))
                return stream.read(_LARGEST).decode("utf-8", "replace")
        except OSError:
            return ""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty where there is none."""
        found = self.path(folder)
        if found is None or not stat.S_ISDIR(found.lstat().st_mode):
            return []
        return sorted(entry.name for entry in found.iterdir())

    def glob(self, pattern: str) -> list[str]:
        """Paths that match a pattern whose wildcards stand in its last part only ("/etc/ssh/ssh_host_*")."""
        folder, _, last = pattern.rpartition("/")
        return [f"{folder}/{name}" for name in self.names(folder) if fnmatch.fnmatchcase(name, last)]

    def files(self, folder: str) -> Iterator[str]:
        """All regular files below a folder, links not followed, in no order."""
        start = self.path(folder)
        if start is None:
            return
        for place, _, names in os.walk(start):
            for name in names:
                file = Path(place) / name
                if stat.S_ISREG(file.lstat().st_mode):
                    yield "/" + str(file.relative_to(self.root))

    def accounts(self) -> dict[str, Account]:
        """Users of /etc/passwd by name."""
        found = {}
        for line in self.text("/etc/passwd").splitlines():
            parts = line.split(":")
            if len(parts) == 7 and parts[2].isdigit() and parts[3].isdigit():
                found[parts[0]] = Account(parts[0], int(parts[2]), int(parts[3]), parts[5], parts[6])
        return found

    def groups(self) -> dict[str, set[str]]:
        """Members that /etc/group names, by group."""
        lines = (line.split(":") for line in self.text("/etc/group").splitlines())
        return {parts[0]: set(filter(None, parts[3].split(","))) for parts in lines if len(parts) == 4}


def breaks_off(file: Path) -> bool:
    """Does a 64-bit ELF file end before its table of sections, which linkers put last (elf(5))? Others never do."""
    with file.open("rb") as stream:
        head = stream.read(64)
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:
        return False
    (offset,), (size, count) = struct.unpack_from("<Q", head, 40), struct.unpack_from("<HH", head, 58)
    return bool(file.lstat().st_size < offset + size * count)
