"""A file tree of unknown origin, read from outside: no symlink in it leads out of it, no program in it is run."""

from __future__ import annotations

import fnmatch
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

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

    def text(self, inside: str) -> str:
        """The file's text; empty where there is no readable regular file."""
        found = self.path(inside)
        if found is None or not stat.S_ISREG(found.lstat().st_mode):
            return ""
        try:
            with found.open("rb") as stream:
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


# systemd.unit(5), "Unit file load path": the first wins.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)


@dataclass(frozen=True)
class Unit:
    """A unit as systemd would read it: its settings, drop-ins applied, as "Section.Key" -> values in order."""

    name: str
    enabled: bool
    masked: bool
    settings: Mapping[str, list[str]]

    def words(self, key: str) -> set[str]:
        """All words of a setting that holds a list ("Unit.After")."""
        return {word for line in self.settings.get(key, []) for word in line.split()}

    def last(self, key: str) -> str:
        """The value of a setting that holds one; empty where it is not set."""
        return self.settings.get(key, [""])[-1]


def unit(tree: Tree, name: str) -> Unit | None:
    """The unit ``name``, None where the tree has none."""
    places = [f"{folder}/{name}" for folder in UNIT_FOLDERS]
    first = next((place for place in places if tree.exists(place)), None)
    masked = any(_is_null(tree, place) for place in places)
    if first is None and not masked:
        return None
    texts = [tree.text(first)] if first else []
    dropins: dict[str, str] = {}
    for folder in reversed(UNIT_FOLDERS):
        dropins |= {file.rpartition("/")[2]: file for file in tree.glob(f"{folder}/{name}.d/*.conf")}
    texts += [tree.text(dropins[file]) for file in sorted(dropins)]
    return Unit(name, not masked and _is_wanted(tree, name), masked, _settings(texts))


def _is_null(tree: Tree, inside: str) -> bool:
    entry = tree.root / inside.lstrip("/")
    parent = tree.path(inside.rpartition("/")[0])
    if parent is not None:
        entry = parent / entry.name
    return entry.is_symlink() and os.readlink(entry) == "/dev/null"  # noqa: PTH115


def _is_wanted(tree: Tree, name: str) -> bool:
    """Something below a .wants or .requires folder of the administrator's or the distribution's units names it."""
    for folder in UNIT_FOLDERS:
        for place in tree.names(folder):
            if place.endswith((".wants", ".requires")) and name in tree.names(f"{folder}/{place}"):
                return True
    return False


def _settings(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
            elif "=" in line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                values = found.setdefault(f"{section}.{key.strip()}", [])
                if value.strip():
                    values.append(value.strip())
                else:
                    values.clear()  # an empty value resets a list
    return {key: values for key, values in found.items() if values}


def docker_images(tree: Tree) -> dict[str, str]:
    """Tag -> image id, of all images in Docker's store whose content is there too.

    Docker's classic store (moby/image/tag/store.go, image/store.go): repositories.json names tags, imagedb holds
    each image's configuration, layerdb its layers. All drivers are looked at. Images of the containerd store
    (Docker 29's default) are not seen.
    """
    found: dict[str, str] = {}
    for driver in tree.names("/var/lib/docker/image"):
        place = f"/var/lib/docker/image/{driver}"
        for tags in _json(tree, f"{place}/repositories.json").get("Repositories", {}).values():
            for tag, identifier in tags.items():
                config = _json(tree, f"{place}/imagedb/content/{identifier.replace(':', '/')}")
                layers = config.get("rootfs", {}).get("diff_ids", [])
                stored = {
                    tree.text(f"{place}/layerdb/sha256/{layer}/diff").strip()
                    for layer in tree.names(f"{place}/layerdb/sha256")
                }
                if layers and set(layers) <= stored:
                    found[tag] = identifier
    return found


def _json(tree: Tree, inside: str) -> dict[str, Any]:
    try:
        value = json.loads(tree.text(inside) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def cloud_settings(tree: Tree) -> str:
    """The text of all of cloud-init's configuration files, later ones (which win) last."""
    parts = ["/etc/cloud/cloud.cfg", *tree.glob("/etc/cloud/cloud.cfg.d/*.cfg")]
    return "\n".join(tree.text(part) for part in parts)


def datasources(tree: Tree) -> list[str]:
    """cloud-init's datasource_list, the last one that is set; empty: cloud-init's own long list."""
    found: list[str] = []
    for line in cloud_settings(tree).splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip() == "datasource_list" and not line.startswith((" ", "#")):
            found = [name.strip(" '\"") for name in value.partition("#")[0].strip(" []").split(",") if name.strip()]
    return found


def kernel_lines(tree: Tree) -> list[str]:
    """The kernel command lines of the boot loader's menu (GRUB's, or boot loader entries)."""
    text = tree.text("/boot/grub/grub.cfg") + tree.text("/boot/grub2/grub.cfg")
    lines = [line.strip() for line in text.splitlines()]
    entries = [tree.text(entry) for entry in tree.glob("/boot/loader/entries/*.conf")]
    found = [line for line in lines if line.startswith(("linux ", "linux\t", "linux16 ", "linuxefi "))]
    return found + [line for entry in entries for line in entry.splitlines() if line.startswith("options ")]
