"""A definition as the disk-image-create calls that make it: the guest's layer, kept, and the disk with the database.

A definition without ``disk`` is one call. The split is worth it because operating system and agent are three quarters
of a build and rarely change while a database's element is worked on (docs/performance.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagecheck import paths
from imagecheck.build import elements, trees
from imagecheck.build.payload import VARIABLE
from imagecheck.definition import Definition
from imagecheck.errors import UsageError

BASE = "guest-layer"  # the element that lays the kept guest below the rest
# What makes the kept guest's call fast and changes nothing in the guest: no disk, and Python compiled once.
FAST = ("guest-no-disk", "python-compiled-once")
PAYLOAD = "datastore-package"  # the element that takes DATASTORE_PKG_LOCATION


@dataclass(frozen=True)
class Layer:
    """One disk-image-create call: ``names`` as they are called, ``resolved`` with all that they depend on."""

    title: str
    kind: Literal["tar", "qcow2"]
    names: tuple[str, ...]
    environment: Mapping[str, str]
    search: tuple[Path, ...]
    resolved: Mapping[str, Path]


def folders(definition: Definition, *, fetch: bool) -> tuple[Path, ...]:
    """Where elements are looked for, first match first: the definition's own trees, ours, diskimage-builder's.

    A tree that comes from elsewhere is fetched when ``fetch``, else left out as long as it is not here.
    Raises UsageError naming file and key.
    """
    where = definition.source or Path(definition.name)
    found: list[Path] = []
    for entry in definition.elements_path:
        try:
            tree = trees.parse(os.path.expandvars(entry), where.parent)
            place = trees.fetch(tree, cache()) if fetch else trees.located(tree, cache())
        except ValueError as wrong:
            raise UsageError(f"{where}: 'elements_path' names {entry!r}: {wrong}") from wrong
        if place is not None:
            found.append(place)
    return (*found, *elements.search_path())


def cache() -> Path:
    """Where element trees of other projects are kept."""
    return paths.home() / "images" / "cache" / "trees"


def layers(definition: Definition, *, fetch: bool = True) -> list[Layer]:
    """The calls in their order; the last one makes the image. Raises UsageError where elements do not fit.

    Without ``fetch``, ``resolved`` stays empty where a tree of another project is not here yet.
    """
    search = folders(definition, fetch=fetch)
    there = len(search) == len(definition.elements_path) + len(elements.search_path())
    said = {"DIB_GUEST_LOGIN": definition.login, **definition.environment}
    said["DIB_INSTALLTYPE_trove_guest_agent"] = definition.agent.install

    def layer(title: str, kind: Literal["tar", "qcow2"], names: tuple[str, ...], more: Mapping[str, str]) -> Layer:
        resolved = elements.resolve(names, search, definition.source or definition.name) if there else {}
        return Layer(title, kind, names, {**said, **more}, search, resolved)

    database = {**_container(definition), **definition.datastore.environment}
    if not definition.layered:
        names = tuple(dict.fromkeys((*definition.elements, *definition.datastore.elements)))
        made = [layer("image", "qcow2", names, database)]
    else:
        names = tuple(dict.fromkeys((BASE, *definition.disk, *definition.datastore.elements)))
        made = [
            layer("guest", "tar", (*definition.elements, *FAST), {}),
            layer("disk and database", "qcow2", names, {**database, "DIB_GUEST_LAYER_OS": definition.os}),
        ]
    return made


def _container(definition: Definition) -> dict[str, str]:
    datastore = definition.datastore
    told = {"DIB_CONTAINER": datastore.container, "DIB_CONTAINER_CARRIED": datastore.carried}
    if datastore.reference:
        told["DIB_CONTAINER_REFERENCE"] = datastore.reference
    if datastore.archive:
        told["DIB_CONTAINER_ARCHIVE"] = str(Path(datastore.archive).absolute())
    return told


def payload_location(made: Sequence[Layer]) -> str:
    """What DATASTORE_PKG_LOCATION names for these layers, from the definition or from the caller's environment.

    "" when no element takes it. Raises UsageError where one does and nothing is named.
    """
    last = made[-1]
    if PAYLOAD not in last.resolved:
        return ""
    named = last.environment.get(VARIABLE) or os.environ.get(VARIABLE, "")
    if not named:
        raise UsageError(
            f"{VARIABLE} is not set: the element {PAYLOAD!r} takes the database from there, so name a .deb, a "
            "folder of them or a container archive"
        )
    return named
