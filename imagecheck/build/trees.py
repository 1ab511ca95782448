"""Other projects' element trees: a folder of this host, or a folder in a source distribution pinned by its digest.

diskimage-builder looks through ELEMENTS_PATH from left to right and at its own elements last; the first element of a
name wins (element_dependencies.py of diskimage-builder). A definition's trees therefore stand before ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from imagecheck import hostcmd, progress
from imagecheck.errors import StepFailed

STEP = "element trees"
DEADLINE = 600.0  # seconds for one download
_PYPI = "pypi:"
_FORM = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_]*)"
    r"#sha256=(?P<sha256>[0-9a-f]{64}):(?P<inside>[^:]+)"
)
_SHAPE = "pypi:NAME==VERSION#sha256=HEX:FOLDER/IN/THE/SOURCE/DISTRIBUTION"


@dataclass(frozen=True)
class Tree:
    """One entry: ``folder`` of this host, or ``inside`` of the source distribution ``name`` ``version``."""

    folder: Path | None = None
    name: str = ""
    version: str = ""
    sha256: str = ""
    inside: str = ""


def parse(entry: str, beside: Path) -> Tree:
    """The tree that ``entry`` names; a relative path counts from ``beside``, the folder of the file that says it.

    Touches nothing. Raises ValueError with a sentence that ends in the remedy.
    """
    if not entry.strip():
        raise ValueError(f"it is empty: write a path, or {_SHAPE}")
    if not entry.startswith(_PYPI):
        if "://" in entry:
            raise ValueError(f"an address is no pinned tree: download it and give its path, or write {_SHAPE}")
        return Tree(folder=Path(os.path.normpath(beside / Path(entry).expanduser())))
    found = _FORM.fullmatch(entry)
    if found is None:
        raise ValueError(f"write it as {_SHAPE}, with the digest of the .tar.gz as 64 hexadecimal digits")
    inside = PurePosixPath(found["inside"])
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ValueError(f"{found['inside']} leaves the source distribution: name a folder in it, without '..'")
    return Tree(name=found["name"], version=found["version"], sha256=found["sha256"], inside=str(inside))


def located(tree: Tree, cache: Path) -> Path | None:
    """The tree's folder if it is on this host, else None; touches nothing.

    Raises ValueError where a path is no folder: nothing can fetch that.
    """
    if tree.folder is not None:
        if not tree.folder.is_dir():
            raise ValueError(f"{tree.folder} is not a folder: correct the path")
        return tree.folder
    folder = _unpacked(tree, cache) / tree.inside
    return folder if folder.is_dir() else None


def fetch(tree: Tree, cache: Path) -> Path:
    """The tree's folder, downloaded with this host's pip and unpacked below ``cache`` where it is not there yet.

    The digest is checked before anything of it is used. Many may do it at once: each works in a folder of its own,
    and the first that is ready gives it its name. Raises StepFailed when the download fails, ValueError as `located`
    and where the source distribution has no such folder.
    """
    if found := located(tree, cache):
        return found
    place = _unpacked(tree, cache)
    if not place.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
        try:
            with progress.phase(f"fetch {tree.name} {tree.version}"):
                whole = _unpack(_download(tree, work), work / "unpacked")
            _publish(whole, place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if found := located(tree, cache):
        return found
    raise ValueError(f"{tree.name} {tree.version} has no folder {tree.inside}: look into {place}")


def _unpacked(tree: Tree, cache: Path) -> Path:
    # The digest is in the name: another file under the same release is another tree.
    return cache / f"{tree.name}-{tree.version}-{tree.sha256[:16]}"


def _download(tree: Tree, work: Path) -> Path:
    wanted = work / "wanted.txt"
    wanted.write_text(f"{tree.name}=={tree.version} --hash=sha256:{tree.sha256}\n", encoding="utf-8")
    # pip reads a source distribution's metadata by running its setup.py, but only after it has checked the digest.
    hostcmd.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
            "--no-binary", ":all:", "--require-hashes", "--requirement", wanted, "--dest", work / "files",
        ],
        timeout=DEADLINE,
        step=STEP,
    )  # fmt: skip
    files = list((work / "files").iterdir())
    if len(files) != 1 or hashlib.sha256(files[0].read_bytes()).hexdigest() != tree.sha256:
        raise StepFailed(STEP, f"pip did not fetch {tree.name} {tree.version} with the digest {tree.sha256}")
    return files[0]


def _unpack(packed: Path, into: Path) -> Path:
    """Unpack and return the one folder that a source distribution consists of."""
    try:
        with tarfile.open(packed) as archive:
            for member in archive:
                _refuse(member, packed)
            # Debian 12's Python has no extraction filters yet; where they are, they look once more.
            more: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(into, **more)  # noqa: S202  # each member was looked at
    except (tarfile.TarError, OSError) as error:
        raise StepFailed(STEP, f"{packed.name} cannot be unpacked ({error})") from error
    folders = list(into.iterdir())
    if len(folders) != 1 or not folders[0].is_dir():
        raise StepFailed(STEP, f"{packed.name} is no source distribution: it holds more than one folder")
    return folders[0]


def _refuse(member: tarfile.TarInfo, packed: Path) -> None:
    """StepFailed for what would leave the folder: absolute names, '..', links to outside, devices."""
    name = PurePosixPath(member.name)
    target = PurePosixPath(member.linkname) if member.issym() or member.islnk() else PurePosixPath()
    # A symbolic link counts from its own folder, a hard link from the top.
    place = os.path.normpath(name.parent / target) if member.issym() else os.path.normpath(target)
    if (
        not (member.isfile() or member.isdir() or member.issym() or member.islnk())
        or name.is_absolute() or ".." in name.parts
        or target.is_absolute() or place.startswith("..")
    ):  # fmt: skip
        raise StepFailed(STEP, f"{packed.name} holds {member.name}, which would leave its folder: not unpacked")


def _publish(whole: Path, place: Path) -> None:
    try:
        whole.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was first, with the same bytes
            raise
