"""Nothing is left behind: processes, mounts and loop devices below a work folder, then the folder itself.

diskimage-builder cleans up on its own when it fails or is asked to end; this is for when it could not. Who works in
a folder holds a lock in it (held.py).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from imagecheck import held, hostcmd, occupied
from imagecheck.build import host
from imagecheck.errors import StepFailed
from imagecheck.held import ALIVE

WORK = ".work-"  # begins the names of folders below images/ in which something is made
_FORSAKEN = 86400.0  # seconds after which a folder that says nothing of its process counts as left behind
_RUNS = re.compile(r"imagecheck-(run|disk|ssh)-\w+")  # below the folder for temporary files
_SERVERS = (b"qemu-storage-daemon", b"ssh", b"ssh:")  # they outlive a killed run
_PUBLISHED = re.compile(r".+-[0-9a-f]{16}")
_MARKS = ("manifest.json", "layer.json")  # written last into what is published


@dataclass(frozen=True)
class Leftover:
    """Something that a dead process left on this host, in words and where."""

    what: str
    path: Path

    def __str__(self) -> str:
        return f"{self.what} {self.path}"


def stale(home: Path, *, alone: bool = False) -> list[Leftover]:
    """What dead builds and runs left below ``home`` and in the folder for temporary files. Changes nothing.

    ``alone``: the caller knows that no other build runs in ``home``. What was downloaded in part stays: it is taken
    up again.
    """
    images = (home / "images").resolve()
    building = not alone and any(held.held(lock) for lock in images.glob(".lock*"))
    found = [Leftover("work folder", work) for work in _works(images) if not _used(work, building)]
    if not building:
        found += [Leftover("unfinished file", part) for part in (images / "cache").glob("*.part*") if part.is_file()]
        found += [
            Leftover("half an image", folder)
            for folder in images.glob("*-*")
            if _PUBLISHED.fullmatch(folder.name) and not folder.is_symlink() and folder.is_dir()
            and not any((folder / mark).exists() for mark in _MARKS)
        ]  # fmt: skip
    runs = {one.path: one for one in [*_noted(home), *_forsaken(Path(tempfile.gettempdir()))]}
    return sorted(found, key=lambda one: (one.what, one.path)) + list(runs.values())


def collect(
    home: Path, *, dry_run: bool = False, alone: bool = False, older_than: float = 0.0
) -> tuple[list[Leftover], list[str]]:
    """Remove what is `stale` and has not changed for ``older_than`` seconds.

    Returns what went, and a line for what is left (with ``dry_run``, for all of it).
    """
    removed: list[Leftover] = []
    left: list[str] = []
    for one in stale(home, alone=alone):
        if older_than and _age(one.path) < older_than:
            continue
        if dry_run:
            left.append(str(one))
            continue
        try:
            if one.path.is_file():
                one.path.unlink(missing_ok=True)
            else:
                for server in _servers(one.path):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(server, signal.SIGKILL)
                sweep(one.path)
        except (StepFailed, OSError) as error:
            left.append(f"{one}: {str(error).splitlines()[0]}")
            continue
        if one.path.exists() or loops(one.path):
            left.append(f"{one}: this user may not remove all of it")
        else:
            held.record(one.path, home).unlink(missing_ok=True)
            removed.append(one)
    return removed, left


def _age(path: Path) -> float:
    """Seconds since it changed; what is gone, with something still mounted below it, is as old as need be."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return math.inf


def _works(images: Path) -> set[Path]:
    """Work folders, and those that are gone while something is still mounted or attached below them."""
    found = {work for work in images.glob(f"{WORK}*") if not work.is_symlink()}
    for place in [*map(Path, occupied.mounts(images)), *_backing(images)]:
        first = place.relative_to(images).parts[:1]
        if first and first[0].startswith(WORK):
            found.add(images / first[0])
    return found


def _used(work: Path, building: bool) -> bool:
    lock = work / ALIVE
    return held.held(lock) if lock.exists() else building and work.exists()


def _noted(home: Path) -> list[Leftover]:
    """Folders that their dead processes wrote down, wherever they are, and records of none."""
    found = []
    for place, file in held.forsaken(home):
        ours = _RUNS.fullmatch(place.name) and not place.is_symlink()
        if ours and (occupied.mounts(place) or (place.is_dir() and place.stat().st_uid == os.geteuid())):
            found.append(Leftover("folder of a dead run", place))
        elif not place.exists() or place == file:
            found.append(Leftover("record of a folder that is gone", file))
    return found


def _forsaken(folder: Path) -> list[Leftover]:
    """Folders of runs (with a key, or an opened image) whose process is dead."""
    found = []
    for one in sorted(folder.glob("imagecheck-*")):
        with contextlib.suppress(OSError):
            told = one.lstat()
            if not _RUNS.fullmatch(one.name) or one.is_symlink() or not one.is_dir() or told.st_uid != os.geteuid():
                continue
            if (one / ALIVE).exists():
                dead = not held.held(one / ALIVE)
            else:
                dead = time.time() - told.st_mtime > _FORSAKEN and not _servers(one)
            if dead:
                found.append(Leftover("folder of a dead run", one))
    return found


def sweep(work: Path) -> None:
    """End what runs in ``work``, unmount and detach what is below it, remove it.

    Raises StepFailed, naming what is still mounted, rather than delete through a mount.
    """
    work = work.resolve()
    occupied.vacate(work, "image build")
    for device in loops(work):
        _detach(device)
    shutil.rmtree(work, ignore_errors=True)


def loops(below: Path) -> list[str]:
    """Loop devices whose file lies, or lay before it was deleted, at or below ``below``."""
    return [name for name, file in _attached() if file.is_relative_to(below)]


def _backing(below: Path) -> list[Path]:
    return [file for _, file in _attached() if file.is_relative_to(below)]


def _attached() -> list[tuple[str, Path]]:
    """(loop device, the file that it shows)"""
    if hostcmd.which("losetup") is None:
        return []
    done = hostcmd.run(["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"], check=False, timeout=60)
    try:
        devices = json.loads(done.stdout or "{}").get("loopdevices", [])
    except ValueError:
        return []
    return [(str(one["name"]), Path(str(one["back-file"]).removesuffix(" (deleted)"))) for one in devices]


def _detach(device: str) -> None:
    for name in Path("/dev/mapper").glob(f"{Path(device).name}p*"):
        if name.is_symlink() and name.readlink().parent == Path("/dev"):  # ours (shims/kpartx)
            name.unlink(missing_ok=True)
    if host.has_device_mapper() and hostcmd.which("kpartx"):
        hostcmd.run(["kpartx", "-d", device], check=False, timeout=60)
    hostcmd.run(["partx", "--delete", device], check=False, timeout=60)
    hostcmd.run(["losetup", "--detach", device], check=False, timeout=60)


def _servers(folder: Path) -> list[int]:
    """Servers of a run that were told a path below ``folder``: of an opened image, of an ssh connection."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else [b""]
            if words[0].rpartition(b"/")[2] in _SERVERS and any(os.fsencode(folder) + b"/" in word for word in words):
                found.append(int(entry.name))
    return found
