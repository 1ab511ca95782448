"""From a definition to an image file, once: the same definition and elements take it from the cache."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imagecheck import paths, progress, waits
from imagecheck.build import cleanup, dib, elements, host
from imagecheck.build.host import ensure, missing_host_packages
from imagecheck.definition import Definition
from imagecheck.errors import StepFailed
from imagecheck.imagefile import ImageFile, inspect

__all__ = ["build", "cached", "ensure", "key", "missing_host_packages"]

SCHEMA = 1  # of manifest.json; another one is another image
IMAGE = "image.qcow2"
MANIFEST = "manifest.json"
LOG = "build.log"
_WORK = ".work-"
_OTHERS_BUILD = 3600.0  # seconds to wait for another build on this host


def key(definition: Definition) -> str:
    """A short name for all that decides the image's content: definition, elements, diskimage-builder.

    Not in it: the archive's state. A package that was updated there does not make an image stale by itself; build
    again with ``rebuild``.
    """
    decides = {
        name: value
        for name, value in asdict(definition).items()
        if name in ("os", "release", "elements", "environment", "login")
    }
    return elements.key([SCHEMA, decides, elements.dib_version(), elements.digests(elements.resolve(definition))])


def cached(definition: Definition) -> ImageFile | None:
    """The image built before for exactly this definition, or None. Opens only its manifest."""
    folder = _folder(definition)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        size = (folder / IMAGE).stat().st_size
        if manifest["schema"] != SCHEMA or manifest["size"] != size:
            return None
        return ImageFile(folder / IMAGE, "qcow2", manifest["virtual_size"], size, manifest["sha256"], manifest)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(definition: Definition, *, rebuild: bool = False, yes: bool = False) -> ImageFile:
    """The image of ``definition``: from the cache, or built now (always, when ``rebuild``).

    ``yes`` allows it to install the host packages that a build needs (`host.ensure`).

    Raises UsageError (rights, missing host packages, elements that do not fit) and StepFailed naming the phase and
    hook of diskimage-builder. Whatever ends it, no mount, loop device or half an image stays behind.
    """
    if not rebuild and (found := cached(definition)):
        progress.note(f"{definition.name}: unchanged, taken from {found.path.parent}")
        return found
    elements.resolve(definition)
    host.require_root()
    host.ensure(yes)
    with _alone():
        # Whoever held the lock before may have built the same.
        if not rebuild and (found := cached(definition)):
            return found
        with progress.phase(f"build {definition.name}"):
            return _build(definition)


def _images() -> Path:
    folder = paths.home() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def _folder(definition: Definition) -> Path:
    return _images() / f"{definition.name}-{key(definition)}"


def _build(definition: Definition) -> ImageFile:
    for stale in _images().glob(f"{_WORK}*"):  # of a build that was killed: the lock says nobody uses it
        cleanup.sweep(stale)
    began = time.time()
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=_images()))
    work.chmod(0o755)
    log = _images() / f"{definition.name}.log"
    ready = _images() / f"{_WORK}ready-{os.getpid()}"
    try:
        made = dib.run(definition, work, _images() / "cache", log)
        ready.mkdir()
        shutil.move(made.image, ready / IMAGE)
        with progress.phase("inspect the image"):
            image = inspect(ready / IMAGE)
        manifest = _manifest(definition, image, made, began)
        shutil.move(log, ready / LOG)
        (ready / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _publish(ready, _folder(definition))
    finally:
        cleanup.sweep(work)
        shutil.rmtree(ready, ignore_errors=True)
    found = cached(definition)
    if found is None:
        raise StepFailed(dib.STEP, f"{_folder(definition)} was changed by somebody else while it was made")
    return found


def _manifest(definition: Definition, image: ImageFile, made: dib.Built, began: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": definition.name,
        "key": key(definition),
        "description": definition.description,
        "sha256": image.sha256,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "built": datetime.datetime.fromtimestamp(began, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - began, 1),
        "phases": dict(made.phases),
        "hooks": {hook: seconds for hook, seconds in made.hooks.items() if seconds >= 0.1},
        "diskimage-builder": elements.dib_version(),
        "elements": elements.digests(elements.resolve(definition)),
        "environment": dict(definition.environment),
        "packages": dict(made.packages),
    }


def _publish(ready: Path, folder: Path) -> None:
    """Put the whole folder in its place at once; an older one of the same key leaves first."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder.parent))
        folder.rename(old / "old")
        ready.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        ready.rename(folder)


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time in one home: they share the package cache. The kernel frees the lock of a dead builder."""
    with (_images() / ".lock").open("w") as lock:

        def locked() -> waits.Ready[bool] | waits.NotYet:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return waits.NotYet("another build runs")
            return waits.Ready(True)

        waits.until(
            locked, reason="another image build on this host", deadline=_OTHERS_BUILD, interval=1, step=dib.STEP
        )
        yield
