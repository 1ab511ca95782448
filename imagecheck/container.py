"""A container image in Docker's store: its layers laid over each other, and whether a plain user can run it."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from imagecheck import elf, inside
from imagecheck.tree import Tree, breaks_off, content, parts

# Docker's PATH for images that set none (moby, oci/defaults.go).
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINKS = 40
_MOST = 500  # libraries, and folders of a search path, that are looked for; a server has some sixty
# What official images and ours start by their Cmd; any other word may be an argument of the entrypoint's.
_SERVERS = ("mariadbd", "mysqld", "postgres")
# Storage driver -> a layer's folder below the driver's (moby, daemon/graphdriver); the layers of others are not read.
_FOLDERS = {"overlay2": "{}/diff", "fuse-overlayfs": "{}/diff", "vfs": "dir/{}"}
# /etc/os-release says nothing of it, dpkg does: Debian's name of an architecture is Docker's but for these.
_DEBIAN = {"armhf": "arm", "armel": "arm", "i386": "386", "ppc64el": "ppc64le"}


@dataclass(frozen=True)
class Container:
    """``layers`` are the folders of the layers, topmost first; ``settings`` the image's own configuration."""

    settings: Mapping[str, Any]
    layers: tuple[Path, ...]
    driver: str
    missing: tuple[str, ...] = ()  # layers that the configuration names and the store does not hold

    def find(self, inside: str) -> Path | None:
        """Where a path of the container lies, links followed in the container; None: nowhere."""
        links, left, walked = 0, parts(inside), PurePosixPath()
        place: Path | None = None
        while left:
            part = left.pop(0)
            if part == "..":
                walked = walked.parent
                continue
            place = self._entry(walked / part)
            if place is None:
                return None
            if not place.is_symlink():
                walked /= part
                continue
            links += 1
            if links > _LINKS:
                return None
            try:
                target = os.readlink(place)  # noqa: PTH115 - a string of the container
            except OSError:
                return None
            walked = PurePosixPath() if target.startswith("/") else walked
            left = parts(target) + left
        return place

    def _entry(self, path: PurePosixPath) -> Path | None:
        for layer in self.layers:
            place = layer
            for part in path.parts:
                if place.is_symlink():
                    break  # in this layer the way leads elsewhere; `find` has resolved it above
                place = place / part
                try:
                    mode = place.lstat()
                except (OSError, ValueError):  # also a null byte in what the image calls a path
                    break
                if stat.S_ISCHR(mode.st_mode) and mode.st_rdev == 0:
                    return None  # overlayfs's whiteout: removed here
            else:
                return place
        return None

    def program(self) -> str:
        """The program that the container starts with, as its configuration names it; empty: none."""
        return next(iter([*self._words("Entrypoint"), *self._words("Cmd")]), "")

    def _words(self, key: str) -> list[str]:
        return inside.strings(inside.table(self.settings.get("config")).get(key))

    def _program(self, named: str) -> Path | None:
        path = next((one[5:] for one in self._words("Env") if one.startswith("PATH=")), _PATH)
        places = [named] if "/" in named else [f"{folder}/{named}" for folder in path.split(":")[:_MOST]]
        return next((place for place in map(self.find, places) if place is not None), None)

    def _lacking(self, program: Path) -> str:
        """A library that the program, or one of its libraries, names and that is in no folder where the loader looks
        (ld.so(8)); empty: none, or the loader is musl's, which looks elsewhere."""
        own = elf.needs(program)
        if "musl" in own.interpreter:
            return ""
        if own.interpreter and self.find(own.interpreter) is None:
            return own.interpreter
        known, left = set[str](), [program]
        while left and len(known) < _MOST:
            file = left.pop()
            asked = elf.needs(file)
            origin = next((f"/{file.parent.relative_to(one)}" for one in self.layers if file.is_relative_to(one)), "/")
            private = [re.sub(r"\$\{?ORIGIN\}?", origin, folder) for folder in asked.folders]
            for name in set(asked.libraries) - known:
                known.add(name)
                places = [name] if "/" in name else [f"{folder}/{name}" for folder in (*private, *self._folders)]
                found = next((place for place in map(self.find, places) if place is not None), None)
                if found is None:
                    return name
                left.append(found)
        return ""

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        """Where the loader looks for every program: LD_LIBRARY_PATH, ld.so.conf, its own folders; in all layers."""
        found = [
            part for one in self._words("Env") if one.startswith("LD_LIBRARY_PATH=") for part in one[16:].split(":")
        ]
        for layer in self.layers:
            tree = Tree(layer)
            for file in ["/etc/ld.so.conf", *tree.glob("/etc/ld.so.conf.d/*.conf")]:
                found += [line.strip() for line in tree.text(file).splitlines() if line.startswith("/")]
            found += [*tree.glob("/usr/lib/*-linux-gnu*"), *tree.glob("/lib/*-linux-gnu*")]
        return tuple(
            dict.fromkeys([*filter(None, found[:_MOST]), "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"])
        )

    def cannot_run(self) -> str:
        """Why a user who owns nothing in it cannot start the container; empty: nothing is known against it."""
        if self.driver not in _FOLDERS:
            return ""
        if self.missing:
            return f"layer {self.missing[0]} is not in Docker's store"
        named = self.program()
        if not named:
            return "the image names neither an entrypoint nor a command"
        server = next(iter(self._words("Cmd")), "")
        if server in _SERVERS:
            binary = self._program(server)
            if binary is None:
                return f"its server {server} is in none of its layers"
            if breaks_off(binary):
                return f"its server {server} breaks off"
            if lacking := self._lacking(binary):
                return f"its server {server} needs {lacking}, which is in none of its layers"
        found = self._program(named)
        if found is None:
            return f"its entrypoint {named} is in none of its layers"
        mode = found.lstat().st_mode
        if not stat.S_ISREG(mode):
            return f"its entrypoint {named} is no file"
        if not mode & stat.S_IXOTH or not mode & stat.S_IROTH:
            return f"its entrypoint {named} is not executable for everybody (mode {stat.S_IMODE(mode):04o})"
        head = content(found, 200)
        if not head.strip(b"\0"):
            return f"its entrypoint {named} is empty"
        if head.startswith(b"#!"):
            words = head[2:].split(b"\n")[0].decode("utf-8", "replace").split()
            if words and self.find(words[0]) is None:
                return f"its entrypoint {named} asks for {words[0]}, which is in none of its layers"
        return ""


def stored(tree: Tree, tag: str) -> Container | None:
    """The image with that tag in Docker's classic store (moby: image/fs.go, layer/filestore.go, overlay2's driver)."""
    for driver in tree.names("/var/lib/docker/image"):
        store = f"/var/lib/docker/image/{driver}"
        identifier = inside.docker_tags(tree, store).get(tag, "")
        if not identifier:
            continue
        settings = inside.json_of(tree, f"{store}/imagedb/content/{identifier.replace(':', '/')}")
        chains = inside.docker_layers(tree, store)
        layers, missing = [], []
        for layer in reversed(inside.strings(inside.table(settings.get("rootfs")).get("diff_ids"))):
            cache = tree.text(f"{store}/layerdb/sha256/{chains.get(layer, '-')}/cache-id").strip()
            folder = f"/var/lib/docker/{driver}/{_FOLDERS.get(driver, '{}').format(cache)}"
            place = tree.path(folder) if re.fullmatch(r"\w{8,100}", cache, re.ASCII) else None
            if place is None or not tree.names(folder):
                missing.append(str(layer))
            else:
                layers.append(place)
        return Container(settings, tuple(layers), driver, tuple(missing))
    return None


def architecture(tree: Tree) -> str:
    """The guest's own architecture in Docker's words, as dpkg knows it; empty: not known."""
    for stanza in tree.text("/var/lib/dpkg/status").split("\n\n"):
        if stanza.lstrip("\n").startswith("Package: dpkg\n"):
            found = re.search(r"^Architecture: (\w+)$", stanza, re.M)
            return _DEBIAN.get(found[1], found[1]) if found else ""
    return ""


def settings(tree: Tree) -> dict[str, Any] | None:
    """/etc/docker/daemon.json; None: dockerd could not read it and would not start."""
    text = tree.text("/etc/docker/daemon.json")
    if not text.strip():
        return None if tree.exists("/etc/docker/daemon.json") else {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def runtime(settings: dict[str, Any]) -> str:
    """The program that daemon.json's settings make the default runtime; empty: none, or one that is a shim.

    Source: dockerd's documentation, "Configure container runtimes": a runtime has a ``path`` or a ``runtimeType``.
    """
    named = settings.get("default-runtime")
    one = inside.table(inside.table(settings.get("runtimes")).get(named)) if isinstance(named, str) else {}
    return str(one.get("path") or "")


def driver_wanted(tree: Tree) -> str:
    """The storage driver that dockerd is told to use; empty: it takes the one whose store has images."""
    own = settings(tree) or {}
    if inside.table(own.get("features")).get("containerd-snapshotter"):
        return "containerd's snapshotter"
    return str(own.get("storage-driver") or "")
