"""What changed between two images, from their manifests; one that has none is opened and read."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imagecheck import disk, manifest
from imagecheck.errors import UsageError
from imagecheck.imagefile import ImageFile

Value = str | int | None  # of one thing in one image; None: it is not there
_NARROWEST = 40  # columns
SIZES = "sizes"  # the group whose numbers are bytes
_LARGEST = 1 << 63  # no file is larger
_DIGEST = 12  # characters of a SHA-256 that are shown


@dataclass(frozen=True)
class Change:
    """One thing that differs; ``before`` in A, ``after`` in B."""

    name: str
    before: Value
    after: Value

    @property
    def kind(self) -> str:
        """added, removed or changed."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def percent(self) -> float | None:
        """How much a number grew; None where that says nothing."""
        if not isinstance(self.before, int) or not isinstance(self.after, int) or self.before <= 0:
            return None
        return 100.0 * (self.after - self.before) / self.before


@dataclass(frozen=True)
class Group:
    """Changes of one sort, by name."""

    title: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Difference:
    """Everything that differs between A and B. ``unknown``: (group, "A", "B" or "A and B") that could not be compared,
    because nothing says it of that image. False when no difference was found."""

    a: str
    b: str
    groups: tuple[Group, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups)


def of_image(image: ImageFile) -> dict[str, Any]:
    """The image's manifest, with what it holds: read from its disk where the manifest does not say.

    Raises UsageError where that needs rights that this process lacks, StepFailed where the disk cannot be read.
    """
    told = dict(image.manifest)
    if isinstance(told.get("contents"), Mapping):
        return told
    if os.geteuid() != 0:
        raise UsageError(
            f"{image.path}: no manifest says what it holds, so it must be opened, which needs root: run as root"
        )
    with disk.opened(image) as opened:
        held = manifest.contents(opened)
    facts = {"name": image.path.name, "sha256": image.sha256, "size": image.size, "virtual_size": image.virtual_size}
    packages = {name: one.version for name, one in held.packages.items()}
    return facts | told | {"contents": held.as_json(), "packages": packages}


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference:
    """What is in B and not in A, the other way round, and what is in both but not the same.

    Raises UsageError where a manifest is not one (a key holds something else than it should).
    """
    for side, told in (("A", a), ("B", b)):
        if not isinstance(told, Mapping):
            raise UsageError(f"{side}: its manifest is no table: build the image again")
    groups, unknown = [], []
    for title, read in _GROUPS:
        before, after = (_read(title, read, side, told) for side, told in (("A", a), ("B", b)))
        if before is None or after is None:
            unknown.append(
                (title, " and ".join(side for side, table in (("A", before), ("B", after)) if table is None))
            )
            continue
        # A size that is known of one image only is no change; anything else is there or not.
        names = sorted(before.keys() & after.keys() if title == SIZES else before.keys() | after.keys())
        changes = [Change(name, before.get(name), after.get(name)) for name in names]
        changes = [one for one in changes if one.before != one.after]
        if changes:
            groups.append(Group(title, tuple(changes)))
    return Difference(_label(a), _label(b), tuple(groups), tuple(unknown))


def as_json(difference: Difference) -> dict[str, Any]:
    """Group -> name -> [before, after], for other programs; null where it is not there."""
    return {
        "a": difference.a,
        "b": difference.b,
        "changed": {
            group.title: {one.name: [one.before, one.after] for one in group.changes} for group in difference.groups
        },
        "unknown": dict(difference.unknown),
    }


# ---- the groups: each reads one table of name -> value out of a manifest, None where the manifest does not say it

Table = Mapping[str, Value]


def _read(
    title: str, read: Callable[[Mapping[str, Any]], Table | None], side: str, told: Mapping[str, Any]
) -> Table | None:
    try:
        return read(told)
    except _Wrong as error:
        raise UsageError(
            f"{side}: its manifest's {manifest.shown(str(error))} makes no sense ({title}): build the image again"
        ) from None


class _Wrong(Exception):
    """A key of a manifest that holds something else than it should; ``str()`` names it."""


def _get(told: Any, *keys: str) -> Any:
    """The value at a path of keys; None where one of them is missing or null."""
    for number, key in enumerate(keys):
        if told is None:
            return None
        if not isinstance(told, Mapping):
            raise _Wrong(f"'{'.'.join(keys[:number])}'")
        told = told.get(key)
    return told


def _table(value: Any, keys: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _Wrong(f"'{keys}'")
    return dict(value)


def _scalar(value: Any, keys: str) -> Value:
    """A string or whole number; anything else is not written by us."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST):
        return value
    if not isinstance(value, str):
        raise _Wrong(f"'{keys}'")
    return value


def _plain(*keys: str) -> Callable[[Mapping[str, Any]], Table | None]:
    """A table of scalars at ``keys``."""

    def read(told: Mapping[str, Any]) -> Table | None:
        where = ".".join(keys)
        table = _table(_get(told, *keys), where)
        return None if table is None else {name: _scalar(value, f"{where}.{name}") for name, value in table.items()}

    return read


def _single(**places: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Table | None]:
    """Single values, each under the name to show (with '_' for a space); empty ones count as not there."""

    def read(told: Mapping[str, Any]) -> Table | None:
        found = {name.replace("_", " "): _scalar(_get(told, *keys), ".".join(keys)) for name, keys in places.items()}
        found = {name: value for name, value in found.items() if value not in (None, "")}
        return found or None

    return read


def _listed(*keys: str) -> Callable[[Mapping[str, Any]], Table | None]:
    """A list of names."""

    def read(told: Mapping[str, Any]) -> Table | None:
        names = _get(told, *keys)
        if names is None:
            return None
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise _Wrong(f"'{'.'.join(keys)}'")
        return dict.fromkeys(names, "")

    return read


def _packages(told: Mapping[str, Any]) -> Table | None:
    """Empty is unknown: no image is without packages, but there are package managers that are not read."""
    return _plain("packages")(told) or None


def _python(told: Mapping[str, Any]) -> Table | None:
    table = _table(_get(told, "contents", "python"), "contents.python")
    if table is None:
        return None
    found: dict[str, Value] = {}
    for folder in table:
        packages = _plain("contents", "python", folder)(told) or {}
        found |= {f"{folder}: {name}": version for name, version in packages.items()}
    return found


def _of_containers(key: str, prefix: str = "") -> Callable[[Mapping[str, Any]], Table | None]:
    """One fact of each container image, by ``prefix`` and tag."""
    where = ("contents", "containers")

    def read(told: Mapping[str, Any]) -> Table | None:
        table = _table(_get(told, *where), ".".join(where))
        if table is None:
            return None
        return {prefix + tag: _scalar(_get(told, *where, tag, key), ".".join((*where, tag, key))) for tag in table}

    return read


def _sizes(told: Mapping[str, Any]) -> Table | None:
    whole = _single(file=("size",), disk=("virtual_size",), used=("contents", "file_system", "used"))(told) or {}
    return {**whole, **(_of_containers("size", "container ")(told) or {})} or None


_GROUPS: tuple[tuple[str, Callable[[Mapping[str, Any]], Table | None]], ...] = (
    (SIZES, _sizes),
    ("operating system", _plain("contents", "os")),
    ("kernel", _single(release=("contents", "kernel"), command_line=("contents", "command_line"))),
    ("guest agent", _single(**{key: ("contents", "agent", key) for key in ("release", "install", "ref")})),
    ("container images", _of_containers("id")),
    ("packages", _packages),
    ("Python packages", _python),
    ("enabled units", _listed("contents", "units_enabled")),
    ("masked units", _listed("contents", "units_masked")),
    ("users", _plain("contents", "users")),
    ("diskimage-builder", _single(version=("diskimage-builder",))),
    ("elements", _plain("elements")),
    ("environment", _plain("environment")),
)


def _label(told: Mapping[str, Any]) -> str:
    name, digest = told.get("name"), told.get("sha256")
    words = [name if isinstance(name, str) else "", digest[:_DIGEST] if isinstance(digest, str) else ""]
    return manifest.shown(" ".join(filter(None, words))) or "an image"


# ---- as text

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def lines(difference: Difference, width: int = 100) -> list[str]:
    """Terminal text, ``width`` columns wide (at least 40; a single longer word is not broken)."""
    width = max(width, _NARROWEST)
    told = _wrapped(f"A  {difference.a}", "   ", width) + _wrapped(f"B  {difference.b}", "   ", width)
    for group in difference.groups:
        kinds = [one.kind for one in group.changes]
        counts = [f"{kinds.count(kind)} {kind}" for kind in _SIGNS if kind in kinds]
        told += _wrapped(f"{group.title}: {', '.join(counts)}", "  ", width)
        longest = max((len(manifest.shown(one.name)) for one in group.changes), default=0)
        for change in group.changes:
            told += _change(change, min(longest, width // 2), group.title, width)
    if not difference:
        told.append("no difference")
    for side in dict.fromkeys(side for _, side in difference.unknown):
        titles = ", ".join(title for title, of in difference.unknown if of == side)
        told += _wrapped(f"not known of {side}, so not compared: {titles}", "  ", width)
    return told


def _change(change: Change, column: int, title: str, width: int) -> list[str]:
    before, after = (shown(value, title) for value in (change.before, change.after))
    start = f"  {_SIGNS[change.kind]} {manifest.shown(change.name):<{column}}"
    if change.kind != "changed":
        return _wrapped(f"{start}  {before or after}".rstrip(), "      ", width)
    grown = f"  ({change.percent:+.1f} %)" if change.percent is not None and title == SIZES else ""
    line = f"{start}  {before} -> {after}{grown}"
    if len(line) <= width:
        return [line]
    return [
        *_wrapped(start.rstrip(), "      ", width),
        *_wrapped(f"      - {before}", "        ", width),
        *_wrapped(f"      + {after}{grown}", "        ", width),
    ]


def _wrapped(line: str, indent: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def shown(value: Value, title: str) -> str:
    """A value of a group as a person reads it: sizes with their unit, digests cut short."""
    if value is None:
        return ""
    if isinstance(value, int):
        return _size(value) if title == SIZES else str(value)
    text = manifest.shown(value)
    digits = text.removeprefix("sha256:")
    if len(digits) == 64 and set(digits) <= set("0123456789abcdef"):
        return digits[:_DIGEST]
    return text


def _size(size: int) -> str:
    """1000.5 MiB; the bytes themselves where they are few."""
    for name, unit in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(size) >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"
