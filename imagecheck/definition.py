"""What an image is: images/NAME.toml read into a frozen Definition; every mistake in it is one sentence."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagecheck import paths
from imagecheck.errors import UsageError


@dataclass(frozen=True)
class Datastore:
    """What the image serves, in Trove's words; ``container`` is the tag that the agent asks Docker for."""

    name: str
    version: str
    manager: str
    container: str


@dataclass(frozen=True)
class Needs:
    """The smallest flavor that the image works with: MiB, GiB, GiB, count."""

    ram_mib: int
    disk_gib: int
    ephemeral_gib: int
    vcpus: int


@dataclass(frozen=True)
class Definition:
    """One image. ``source`` is the file it was read from; ``environment`` is diskimage-builder's."""

    name: str
    source: Path | None
    description: str
    os: str
    release: str
    elements: tuple[str, ...]
    environment: Mapping[str, str] = field(hash=False)
    datastore: Datastore
    login: str  # the user a person logs in as over ssh
    injected_owner: str  # Trove's injected_config_owner: must exist in the image
    needs: Needs
    agent_unit: str
    agent_log: str


# What the builder itself decides; a definition that sets these would be built with something else than it says.
RESERVED = {
    "ARCH": "is always amd64",
    "DIB_DISTRIBUTION_MIRROR": "comes from IMAGECHECK_DEBIAN_MIRROR or the host's apt sources",
    "DIB_IMAGE_CACHE": "is imagecheck's own",
    "DIB_RELEASE": "is the key 'release'",
    "ELEMENTS_PATH": "is imagecheck's elements/",
    "PATH": "is the builder's",
    "TMP_DIR": "is imagecheck's own",
}

_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")  # adduser's NAME_REGEX
_TAG = re.compile(r"[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # distribution/reference: name:tag
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.service")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST = 1 << 20  # of any need; a typing error, not a machine


@dataclass(frozen=True)
class _Key:
    """One key of the schema: ``read`` turns the TOML value into ours or raises ValueError with the remedy."""

    read: Callable[[Any], Any]
    example: str


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value or "\n" in value:
        raise ValueError("one line of text")
    return value


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(what)
        return value

    return read


def _absolute(value: Any) -> str:
    if not _text(value).startswith("/") or ".." in value.split("/"):
        raise ValueError("an absolute path in the guest")
    return str(value)


def _count(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= _LARGEST:
            raise ValueError(f"a whole number from {least} to {_LARGEST}")
        return value

    return read


def _elements(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise ValueError("a list of element names")
    if len(set(names)) != len(names):
        raise ValueError("each element once")
    return tuple(names)


def _environment(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError("a table of variables")
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"names of variables, not {name!r}")
        if name in RESERVED:
            raise ValueError(f"no {name}, which {RESERVED[name]}")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"text (in quotes) for {name}")
    return dict(value)


_word = _matching(_NAME, "a short name in lower case")
_user = _matching(_USER, "a user's name")
DATASTORE = {
    "name": _Key(_word, '"mariadb"'),
    "version": _Key(_matching(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"), "a version in quotes"), '"11.8"'),
    "manager": _Key(_word, '"mariadb"'),
    "container": _Key(_matching(_TAG, "a container image's name:tag"), '"mariadb:11.8"'),
}
NEEDS = {
    "vcpus": _Key(_count(1), "1"),
    "ram_mib": _Key(_count(128), "1536"),
    "disk_gib": _Key(_count(1), "3"),
    "ephemeral_gib": _Key(_count(0), "1"),
}
TOP = {
    "description": _Key(_text, '"Debian guest with MariaDB"'),
    "os": _Key(_word, '"debian"'),
    "release": _Key(_word, '"trixie"'),
    "elements": _Key(_elements, '["debian-minimal", "vm"]'),
    "environment": _Key(_environment, '{ DIB_GRUB_TIMEOUT = "0" }'),
    "datastore": _Key(lambda value: value, "[datastore]"),
    "login": _Key(_user, '"debian"'),
    "injected_owner": _Key(_user, '"trove"'),
    "needs": _Key(lambda value: value, "[needs]"),
    "agent_unit": _Key(_matching(_UNIT, "the name of a .service unit"), '"trove-guestagent.service"'),
    "agent_log": _Key(_absolute, '"/var/log/trove/trove-guestagent.log"'),
}
_OPTIONAL = {"environment": dict}


def known() -> list[str]:
    """The names of the shipped definitions, in alphabetical order."""
    return sorted(file.stem for file in paths.shipped("images").glob("*.toml"))


def load(name_or_path: str | Path) -> Definition:
    """The definition with that name, or in that file (anything with a '/' or ending in .toml).

    Raises UsageError: one sentence with file, key and remedy; an unknown name lists the known ones.
    """
    named = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in named or named.endswith(".toml"):
        return _read(Path(named).expanduser())
    if named not in known():
        near = difflib.get_close_matches(named, known(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"there is no image {named!r}: {hint}known are {', '.join(known()) or 'none'}; "
            "a definition of your own is given by its path (images/NAME.toml)"
        )
    return _read(paths.shipped("images") / f"{named}.toml")


def _read(file: Path) -> Definition:
    try:
        return parse(file.read_text(encoding="utf-8"), file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}): give the path of a definition") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 text: save the definition as UTF-8") from error


def parse(text: str, file: Path) -> Definition:
    """A Definition from TOML text; ``file`` names it (its stem) and stands in every error. Raises UsageError."""
    if not _NAME.fullmatch(file.stem):
        raise UsageError(f"{file}: the file's name is the image's name: use lower case letters, digits and '-._+'")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: is not valid TOML ({error}): correct that line") from error
    except RecursionError as error:
        raise UsageError(f"{file}: is nested too deeply: a definition has two levels") from error
    return from_table(table, file)


def from_table(table: Mapping[str, Any], file: Path) -> Definition:
    """A Definition from a parsed file; as `parse`."""
    values = _table(table, TOP, file, "")
    values["datastore"] = Datastore(**_table(values["datastore"], DATASTORE, file, "datastore."))
    values["needs"] = Needs(**_table(values["needs"], NEEDS, file, "needs."))
    return Definition(name=file.stem, source=file, **values)


def _table(table: Any, schema: Mapping[str, _Key], file: Path, prefix: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {prefix[:-1]!r} must be a table: write [{prefix[:-1]}] and its keys below it")
    for key in table:
        if key not in schema:
            near = difflib.get_close_matches(key, schema, n=1)
            remedy = f"did you mean {prefix + near[0]!r}?" if near else f"the keys are {', '.join(schema)}"
            raise UsageError(f"{file}: unknown key {(prefix + key)[:60]!r}: {remedy}")
    values: dict[str, Any] = {}
    for key, rule in schema.items():
        if key not in table:
            if key in _OPTIONAL:
                values[key] = _OPTIONAL[key]()
                continue
            raise UsageError(f"{file}: {prefix + key!r} is missing: add it, for example {key} = {rule.example}")
        try:
            values[key] = rule.read(table[key])
        except ValueError as wrong:
            raise UsageError(f"{file}: {prefix + key!r} must be {wrong}: for example {key} = {rule.example}") from wrong
    return values
