"""From a definition to an image file, once: the same definition and elements take it from the cache."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagecheck import disk, held, manifest, paths, progress, waits
from imagecheck.build import cleanup, command, dib, elements, host
from imagecheck.build.archive import obstacle
from imagecheck.build.host import ensure, missing_host_packages
from imagecheck.build.layers import Layer
from imagecheck.build.recipe import Recipe, recipe
from imagecheck.definition import Definition
from imagecheck.errors import ImagecheckError, StepFailed
from imagecheck.imagefile import ImageFile, inspect

__all__ = ["Recipe", "build", "cached", "ensure", "fetched", "kept", "missing_host_packages", "obstacle", "recipe"]

MANIFEST = "manifest.json"
CONTAINER = "container.tar"  # beside the image of a definition whose database is pulled at launch
LOG = "build.log"
_WORK = ".work-"
_OTHERS_BUILD = 3600.0  # seconds to wait for another build on this host
_KEPT = 2  # images and guests of one name that stay: the newest, and what a run under way may still read


def cached(definition: Definition, found: Recipe | None = None) -> ImageFile | None:
    """The image built before for exactly this definition, or None. Opens only its manifest."""
    if definition.image_source:
        return None
    folder = _folder(found or recipe(definition))
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        image = folder / f"image.{told['format']}"
        size = image.stat().st_size
        if told["schema"] != manifest.SCHEMA or told["size"] != size:
            return None
        return ImageFile(image, told["format"], told["virtual_size"], size, told["sha256"], told)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(definition: Definition, *, rebuild: bool = False, yes: bool = False) -> ImageFile:
    """The image of ``definition``: from the cache, or built or fetched now (always built, when ``rebuild``).

    ``yes`` allows it to install the host packages that a build needs (`host.ensure`).

    Raises UsageError (rights, missing host packages, elements or payloads that do not fit) and StepFailed naming the
    phase and hook of diskimage-builder, or that it cannot be built here. Whatever ends it, no mount, loop device or
    half an image stays behind.
    """
    if definition.image_source:
        from imagecheck import fetch  # loads requests, which an unchanged definition does not need

        return fetch.fetch(fetch.parse(definition.image_source, definition.sha256), fetched())
    _images()  # what `obstacle` finds out about archives is kept there from the first time on
    if why := obstacle(definition):
        raise StepFailed(dib.STEP, why)
    made = recipe(definition)
    if not rebuild and (found := cached(definition, made)):
        progress.note(f"{definition.name}: unchanged, taken from {found.path.parent}")
        return found
    if made.layers:
        host.require_root()
        host.ensure(yes)
    with _alone():
        # Whoever held the lock before may have built the same.
        if not rebuild and (found := cached(definition, made)):
            return found
        with progress.phase(f"build {definition.name}"):
            return _build(made, rebuild)


def fetched() -> Path:
    """Where images from elsewhere are kept, by their digest."""
    return _images() / "fetched"


def _images() -> Path:
    folder = paths.home() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def _folder(made: Recipe) -> Path:
    return _images() / f"{made.definition.name}-{made.key}"


@contextmanager
def _work_folder() -> Iterator[Path]:
    """A folder of this build alone; whatever runs, is mounted or lies in it goes at the end."""
    cleanup.collect(paths.home(), alone=True)  # of builds that were killed: nobody else holds the lock
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=_images()))
    try:
        work.chmod(0o755)
        with held.hold(work):
            yield work
    finally:
        cleanup.sweep(work)


def _build(made: Recipe, rebuild: bool) -> ImageFile:
    began, log = time.time(), _images() / f"{made.definition.name}.log"
    log.unlink(missing_ok=True)
    with _work_folder() as work:
        if made.layers:
            built = _call_by_call(made, work, log, rebuild)
        else:
            built = [dib.Built(command.run(made.definition, work, log), {}, {})]
        ready = work / "ready"
        ready.mkdir()
        image = _into(ready, built[-1].image)
        held = _held(image)
        table = _manifest(made, image, built, began, held)
        table["container"] = _container(work, ready)
        if held is not None:
            bill = manifest.sbom(held, name=made.definition.name, sha256=image.sha256, built=began)
            (ready / manifest.SBOM).write_text(bill, encoding="utf-8")
        (ready / MANIFEST).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        shutil.move(log, ready / LOG)
        _publish(ready, _folder(made), work)
    found = cached(made.definition, made)
    if found is None:
        raise StepFailed(dib.STEP, f"{_folder(made)} was changed by somebody else while it was made")
    _forget(f"{made.definition.name}-", made.key)
    return found


def _call_by_call(made: Recipe, work: Path, log: Path, rebuild: bool) -> list[dib.Built]:
    *below, last = made.layers
    places = [work / str(number) for number in range(len(made.layers))]
    for place in places:
        place.mkdir()
    cache = _images() / "cache"
    if not below:
        return [dib.run(made.definition, last, places[0], cache, log)]
    guest, key = below[0], made.keys[0]
    found = None if rebuild else _kept(made, key)
    if found is not None:
        progress.note(f"{guest.title}: unchanged, taken from {found.image}")
    # Begun beside the guest, of which it needs nothing before its container is made.
    with (
        _told_later(work / "guest") as tell,
        dib.start(made.definition, last, places[1], cache, found.image if found else work / "guest") as call,
    ):
        if found is None:
            with progress.phase(guest.title):
                one = dib.run(made.definition, guest, places[0], cache, log)
            found = _keep(made, key, guest, one, work)
            tell(found.image)
        with progress.phase(last.title):
            return [found, call.finish(log)]


def _write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode())  # less than a pipe's buffer, so it is written whole


@contextmanager
def _told_later(pipe: Path) -> Iterator[Callable[[Path], None]]:
    """A named pipe for the name of a file that is still to be made; who reads it gets nothing when none came of it."""
    os.mkfifo(pipe, 0o600)
    # Both ends: neither side waits for the other to open it, and one that has died is no reason to hang.
    descriptor = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield lambda made: _write(descriptor, f"{made}\n")
    finally:
        os.close(descriptor)


def kept(made: Recipe, number: int) -> bool:
    """Whether that layer of the recipe is kept from an earlier build."""
    return made.layers[number].kind == "tar" and _kept(made, made.keys[number]) is not None


def _guest(made: Recipe, key: str) -> Path:
    return _images() / f"guest-{made.definition.os}-{made.definition.release}-{key}"


def _kept(made: Recipe, key: str) -> dib.Built | None:
    """A guest's layer from an earlier build; what it took then is not this build's time."""
    tar = _guest(made, key) / "guest.tar"
    return dib.Built(tar, {}, {}) if tar.is_file() else None


def _keep(made: Recipe, key: str, layer: Layer, one: dib.Built, work: Path) -> dib.Built:
    ready = Path(tempfile.mkdtemp(dir=work))
    shutil.move(one.image, ready / "guest.tar")
    (ready / "layer.json").write_text(json.dumps({"elements": list(layer.names), "phases": dict(one.phases)}))
    place = _guest(made, key)
    _publish(ready, place, work)
    _forget(f"guest-{made.definition.os}-{made.definition.release}-", key)
    return dib.Built(place / "guest.tar", one.phases, one.hooks)


def _into(ready: Path, made: Path) -> ImageFile:
    place = ready / f"image{made.suffix if made.suffix in ('.qcow2', '.raw') else '.raw'}"
    shutil.move(made, place)
    with progress.phase("inspect the image"):
        image = inspect(place)
    if image.path.suffix != f".{image.format}":
        image.path.rename(ready / f"image.{image.format}")
        image = inspect(ready / f"image.{image.format}")
    return image


def _manifest(
    made: Recipe, image: ImageFile, built: Sequence[dib.Built], began: float, held: manifest.Contents | None
) -> dict[str, Any]:
    table = manifest.document(
        made.definition,
        image,
        key=made.key,
        began=began,
        seconds=time.time() - began,
        phases=_sum(one.phases for one in built),
        hooks=_sum(one.hooks for one in built),
        builder=elements.dib_version(),
        elements={name: text for layer in made.layers for name, text in elements.digests(layer.resolved).items()},
        packages={},
        held=held,
    )
    layers = [
        {"title": layer.title, "key": key, "seconds": round(sum(one.phases.values()), 1)}
        for layer, key, one in zip(made.layers, made.keys, built, strict=False)  # a command has no layers
    ]
    return table | {"format": image.format, "layers": layers, "archives": dict(made.archives)}


def _container(work: Path, ready: Path) -> dict[str, Any]:
    """What the container elements left beside the image; {} where there were none."""
    for told in work.glob("*/container/container.json"):
        if (archive_file := told.with_name(CONTAINER)).is_file():
            shutil.move(archive_file, ready / CONTAINER)
        found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        return found
    return {}


def _held(image: ImageFile) -> manifest.Contents | None:
    """What is in the image; None, with the reason told, where it cannot be looked into (another tool's volumes)."""
    try:
        with progress.phase("list what is in it"), disk.opened(image) as opened:
            return manifest.contents(opened)
    except ImagecheckError as error:
        progress.note(f"what is in the image is not known: {error}")
        return None


def _sum(tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    whole: dict[str, float] = {}
    for table in tables:
        for name, took in table.items():
            whole[name] = round(whole.get(name, 0.0) + took, 2)
    return whole


def _publish(ready: Path, folder: Path, work: Path) -> None:
    """Put the whole folder in its place at once; an older one of the same key leaves first."""
    ready.chmod(0o755)
    if folder.exists():
        folder.rename(work / f"replaced-{folder.name}")
    ready.rename(folder)


def _forget(prefix: str, key: str) -> None:
    """Remove all but the newest folders of that name."""
    mine = [one for one in _images().glob(f"{prefix}*") if len(one.name) == len(prefix) + len(key) and one.is_dir()]
    for old in sorted(mine, key=lambda one: one.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


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
