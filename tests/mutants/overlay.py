"""A good image with one edit: a qcow2 overlay that is mounted writable for the edit, the image itself untouched."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Root:
    """The mounted root file system; paths are the guest's. Nothing outside of it is ever written."""

    place: Path
    agent: str  # the agent's unit
    owner: str  # injected_config_owner
    container: str  # the database container's tag

    def path(self, inside: str) -> Path:
        found = self.place / inside.lstrip("/")
        folder = found.parent.resolve()
        if not folder.is_relative_to(self.place):
            raise ValueError(f"{inside} leads out of the image")
        return folder / found.name

    def one(self, pattern: str) -> str:
        """The path that the pattern fits."""
        found = sorted(self.place.glob(pattern.lstrip("/")))
        if not found:
            raise FileNotFoundError(pattern)
        return f"/{found[-1].relative_to(self.place)}"

    def read(self, inside: str) -> str:
        return self.path(inside).read_text()

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        file = self.path(inside)
        if file.is_symlink():
            file.unlink()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def append(self, inside: str, text: str) -> None:
        self.write(inside, self.read(inside) + text)

    def replace(self, inside: str, old: str, new: str) -> None:
        text = self.read(inside)
        if old not in text:
            raise ValueError(f"{inside} has no {old!r}: the mutant would be the good image")
        mode = self.path(inside).stat().st_mode
        self.write(inside, text.replace(old, new), stat.S_IMODE(mode))

    def remove(self, inside: str) -> None:
        place = self.path(inside)
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()

    def mask(self, unit: str) -> None:
        self.link(f"/etc/systemd/system/{unit}", "/dev/null")

    def link(self, inside: str, target: str) -> None:
        place = self.path(inside)
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        place.symlink_to(target)

    def own(self, inside: str, uid: int, gid: int, mode: int | None = None) -> None:
        place = self.path(inside)
        os.chown(place, uid, gid)
        if mode is not None:
            place.chmod(mode)

    def cut(self, inside: str, part: float) -> None:
        """Keep the first part of a file."""
        place = self.path(inside)
        os.truncate(place, int(place.stat().st_size * part))

    def fill(self) -> None:
        """Take all the room that there is; the blocks are only reserved, so that the overlay stays small."""
        with (self.place / "var/cache/filler").open("wb") as stream:
            free = os.statvfs(self.place)
            size = free.f_bavail * free.f_frsize
            while size > 1 << 20:
                try:
                    os.posix_fallocate(stream.fileno(), 0, size)
                    break
                except OSError:
                    size -= 1 << 20

    # ---- Docker's classic store

    def _tags(self) -> tuple[str, dict[str, Any], str]:
        file = self.one("/var/lib/docker/image/*/repositories.json")
        told = json.loads(self.read(file))
        name = next(name for name, tags in told["Repositories"].items() if self.container in tags)
        return file, told, name

    def retag(self, tag: str) -> None:
        file, told, name = self._tags()
        told["Repositories"] = {tag.rpartition(":")[0]: {tag: told["Repositories"][name][self.container]}}
        self.write(file, json.dumps(told))

    def reconfigure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Another configuration of the container, under its own digest, as a build would have stored it."""
        file, told, name = self._tags()
        store = file.rpartition("/")[0] + "/imagedb/content/"
        before = told["Repositories"][name][self.container]
        settings = json.loads(self.read(store + before.replace(":", "/")))
        change(settings)
        text = json.dumps(settings)
        after = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        self.write(store + after.replace(":", "/"), text)
        told["Repositories"][name][self.container] = after
        self.write(file, json.dumps(told))

    def _settings(self) -> dict[str, Any]:
        _, told, name = self._tags()
        identifier = told["Repositories"][name][self.container].replace(":", "/")
        found: dict[str, Any] = json.loads(self.read(self.one(f"/var/lib/docker/image/*/imagedb/content/{identifier}")))
        return found

    def in_container(self, program: str) -> str:
        """A program's file in the container's layers, as a path of the guest."""
        for folder in ("usr/local/bin", "usr/local/sbin", "usr/bin", "usr/sbin", "usr/lib/postgresql/*/bin"):
            if found := sorted(self.place.glob(f"var/lib/docker/overlay2/*/diff/{folder}/{program}")):
                return f"/{found[0].relative_to(self.place)}"
        raise FileNotFoundError(program)

    def entrypoint(self) -> str:
        """The entrypoint's file in the layers, as a path of the guest."""
        return self.in_container(self._settings()["config"]["Entrypoint"][0].rpartition("/")[2])

    def server(self) -> str:
        """The program that the container's Cmd names."""
        return str(self._settings()["config"]["Cmd"][0])


def create(base: Path, overlay: Path, size: str = "") -> None:
    """An empty overlay on ``base``; ``size`` other than the base's."""
    _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, overlay, *([size] if size else []))


@contextmanager
def exported(base: Path, overlay: Path, work: Path) -> Iterator[Path]:
    """The overlay as a raw file that can be written (qemu-storage-daemon, FUSE)."""
    shown = work / "raw"
    shown.touch()

    def file(path: Path, **more: Any) -> dict[str, Any]:
        return {"driver": "qcow2", "file": {"driver": "file", "filename": str(path), "locking": "off", **more}, **more}

    layers = file(overlay) | {"node-name": "disk", "backing": file(base, **{"read-only": True})}
    export = {"type": "fuse", "id": "e", "node-name": "disk", "mountpoint": str(shown), "writable": True,
              "allow-other": "off"}  # fmt: skip
    daemon = subprocess.Popen(
        ["qemu-storage-daemon", "--blockdev", json.dumps(layers), "--export", json.dumps(export)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not shown.stat().st_size:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"qemu-storage-daemon does not show {overlay}")
            time.sleep(0.01)
        yield shown
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)
        if os.path.ismount(shown):
            _run("umount", "--lazy", shown)
        shown.unlink()


@contextmanager
def mounted(raw: Path, work: Path) -> Iterator[Path]:
    """The largest partition of ``raw``, mounted to be edited."""
    told = _run("partx", "--raw", "--noheadings", "--bytes", "--output", "START,SIZE", raw)
    start, size = max(((int(a) * 512, int(b)) for a, b in map(str.split, told.splitlines())), key=lambda row: row[1])
    root = work / "edit"
    root.mkdir()
    with ExitStack() as stack:
        stack.callback(root.rmdir)
        device = _run("losetup", "--find", "--show", "--offset", start, "--sizelimit", size, raw).strip()
        stack.callback(_run, "losetup", "--detach", device)
        _run("mount", "-o", "nosuid,nodev,noatime", device, root)
        stack.callback(_run, "umount", root)
        yield root


def _run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout
