"""Folders that this process works in: written down before they are made, locked while it lives, found when it died.

Mounts, loop devices, FUSE exports and servers of a run all lie in, or were told, a path below such a folder: its
record stands for them all. The kernel frees the lock with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagecheck import occupied, paths, process
from imagecheck.errors import StepFailed, UsageError
from imagecheck.process import Process

ALIVE = ".alive"  # the lock in a folder; locked as long as its process lives


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Mark ``folder`` as worked in until the body ends, or this process does."""
    # It gets its name only when it is locked, so that nobody ever finds it free before.
    descriptor, name = tempfile.mkstemp(prefix=ALIVE, dir=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        Path(name).rename(folder / ALIVE)
        yield
    finally:
        (folder / ALIVE).unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def alone(folder: Path, remedy: str) -> Iterator[None]:
    """``folder`` (made where there is none) is this process's alone until the body ends. Raises UsageError, with the
    ``remedy``, where another one has it. Nothing is written into it: the kernel locks the folder itself."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}): {remedy}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{folder}: another run writes there at this moment: {remedy}") from error
        yield
    finally:
        os.close(descriptor)


def empty(folder: Path) -> None:
    """Remove all that is in ``folder``, and not the folder, which may be locked."""
    for one in list(folder.iterdir()):
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)


def held(lock: Path) -> bool:
    """Whether a living process holds ``lock``; one that may not be opened is somebody else's, so it counts as held."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A new folder for temporary files (0700), removed when the body ends; what is still mounted below it stays.

    Raises StepFailed when its record cannot be written: then nothing is made.
    """
    place = Path(tempfile.gettempdir()).resolve() / f"{prefix}{secrets.token_hex(4)}"
    written = _write(place)
    place.mkdir(mode=0o700)
    try:
        with hold(place):
            yield place
    finally:
        if not occupied.mounts(place):  # else `imagecheck gc` tries again
            shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            written.unlink(missing_ok=True)


def _records(home: Path | None = None) -> Path:
    return (home or paths.home()) / "held"


def record(place: Path, home: Path | None = None) -> Path:
    """The file that names ``place`` and its process."""
    return _records(home) / f"{place.name}.json"


def _write(place: Path) -> Path:
    file = record(place)
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            try:
                json.dump({"path": str(place), "time": time.time(), "process": vars(process.mine())}, opened)
                opened.flush()
                os.fsync(opened.fileno())
            except OSError:
                file.unlink(missing_ok=True)  # half a record of nothing
                raise
        process.sync(file.parent)
    except OSError as error:
        raise StepFailed(
            "ledger",
            f"{file} cannot be written ({error.strerror}): no folder is made that could be lost",
            remedy=f"make room there, or set {paths.VARIABLE} to a folder with room",
        ) from error
    return file


def forsaken(home: Path) -> list[tuple[Path, Path]]:
    """(folder, its record) of processes of this host that are dead; a record that cannot be read names itself."""
    found = []
    for file in sorted(_records(home).glob("*.json")):
        with contextlib.suppress(FileNotFoundError):
            try:
                table = json.loads(file.read_text(encoding="utf-8"))
                place, owner = Path(table["path"]), Process(**table["process"])
            except (ValueError, KeyError, TypeError):
                # Cut off by a crash, before its folder was made; or being written just now.
                if time.time() - file.stat().st_mtime > 60:
                    found.append((file, file))
                continue
            if not owner.alive():
                found.append((place, file))
    return found
