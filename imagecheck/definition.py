"""What an image is: images/NAME.toml read into a frozen Definition; every mistake in it is one sentence.

A definition is composed: ``use`` names parts (parts/NAME.toml) that are laid below its own keys, so that operating
system, guest agent and datastore are each written down once. docs/definitions.md is the user's side of this.
"""

from __future__ import annotations

import datetime
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagecheck import paths, schema
from imagecheck.errors import UsageError


@dataclass(frozen=True)
class Agent:
    """Trove's guest agent: how it was installed, Trove's major version, its unit, its log in the guest."""

    install: str
    release: int
    unit: str
    log: str


@dataclass(frozen=True)
class Datastore:
    """What the image serves, in Trove's words; ``container`` is the tag that the agent asks Docker for.

    ``carried`` is one of schema.CARRIED; ``elements`` and ``environment`` are those of the database's own layer.
    """

    name: str
    version: str
    manager: str
    container: str
    carried: str = "none"
    reference: str = ""
    archive: str = ""
    elements: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Needs:
    """The smallest flavor that the image works with: MiB, GiB, GiB, count."""

    ram_mib: int
    disk_gib: int
    ephemeral_gib: int
    vcpus: int


@dataclass(frozen=True)
class KnownFailure:
    """Checks (a pattern of names as in fnmatch) that are known to fail until the day on which that ``expires``."""

    check: str
    reason: str
    tracker: str
    expires: datetime.date


@dataclass(frozen=True)
class Definition:
    """One image. ``source`` is the file it was read from; ``image_source`` where a built image is fetched from.

    ``elements`` make the guest's layer, ``disk`` and ``datastore.elements`` what comes on top of it.
    """

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
    agent: Agent
    builder: str = "diskimage-builder"
    command: tuple[str, ...] = ()
    image_source: str = ""
    sha256: str = ""
    disk: tuple[str, ...] = ()
    elements_path: tuple[str, ...] = ()
    known_failures: tuple[KnownFailure, ...] = ()

    @property
    def layered(self) -> bool:
        """Whether the guest's layer is made, and kept, by itself."""
        return bool(self.disk)


def known() -> list[str]:
    """The names of the shipped definitions, in alphabetical order."""
    return sorted(file.stem for file in paths.shipped("images").glob("*.toml"))


def load(name_or_path: str | Path) -> Definition:
    """The definition with that name, or in that file (anything with a '/' or ending in .toml).

    Raises UsageError: one sentence with file, key and remedy; an unknown name lists the known ones.
    """
    named = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in named or named.endswith(".toml"):
        file = _home(named, named)
    elif named in known():
        file = paths.shipped("images") / f"{named}.toml"
    else:
        near = difflib.get_close_matches(named, known(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"there is no image {named!r}: {hint}known are {', '.join(known()) or 'none'}; "
            "a definition of your own is given by its path (images/NAME.toml)"
        )
    return parse(_text(file), file)


def _text(file: Path) -> str:
    try:
        return paths.small(file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}): give the path of a definition") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 text: save the definition as UTF-8") from error


def _home(path: str, where: str | Path) -> Path:
    """``path`` with its ~; ``where`` says it."""
    try:
        if "\0" in path:
            raise RuntimeError("it has a null byte")
        return Path(path).expanduser()
    except RuntimeError as error:  # ~nobody-of-that-name
        raise UsageError(f"{where}: the path {path[:60]!r} cannot be used ({error}): give the whole path") from error


def parse(text: str, file: Path) -> Definition:
    """A Definition from TOML text; ``file`` names it (its stem) and stands in every error. Raises UsageError."""
    if not schema.NAME.fullmatch(file.stem):
        raise UsageError(f"{file}: the file's name is the image's name: use lower case letters, digits and '-._+'")
    return from_table(_toml(text, file), file)


def _toml(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"{file}: is nested too deeply: a definition has two levels") from error
    except ValueError as error:  # TOMLDecodeError, and a number of thousands of digits
        raise UsageError(f"{file}: is not valid TOML ({error}): correct that line") from error


def from_table(table: Mapping[str, Any], file: Path) -> Definition:
    """A Definition from a parsed file, its parts laid below it; as `parse`."""
    whole = _Composed(file)
    whole.lay(table, file, ())
    values = whole.values(whole.table, schema.TOP, "")
    for name, keys in schema.TABLES.items():
        values[name] = whole.values(values[name], keys, f"{name}.")
    values["image_source"] = values.pop("source")
    _ways(values, file)
    return Definition(
        **values
        | {
            "name": file.stem,
            "source": file,
            "agent": Agent(**values["agent"]),
            "datastore": Datastore(**values["datastore"]),
            "needs": Needs(**values["needs"]),
            "known_failures": tuple(
                KnownFailure(**whole.values(one, schema.KNOWN_FAILURE, "known_failures."))
                for one in values["known_failures"]
            ),
        }
    )


def _ways(values: Mapping[str, Any], file: Path) -> None:
    """There is exactly one way to the image, and all that it needs."""
    if values["image_source"]:
        if values["command"] or values["elements"]:
            raise UsageError(f"{file}: 'source' says where the image is: leave 'elements' and 'command' out")
    elif values["builder"] == "command":
        if not values["command"] or values["elements"]:
            raise UsageError(f"{file}: builder = \"command\" takes 'command' and no 'elements': say what is run")
    elif not values["elements"] or values["command"]:
        raise UsageError(
            f"{file}: 'elements' is missing: list diskimage-builder's elements, or set 'source', or builder = "
            '"command" with its command'
        )
    if values["sha256"] and not values["image_source"]:
        raise UsageError(f"{file}: 'sha256' is that of a fetched image: set 'source' or leave it out")
    datastore = values["datastore"]
    for way, key in (("registry", "reference"), ("archive", "archive")):
        if (datastore["carried"] == way) != bool(datastore[key]):
            raise UsageError(
                f"{file}: datastore.carried = \"{way}\" and 'datastore.{key}' belong together: set both or neither"
            )


class _Composed:
    """A definition's keys with those of its parts below them, and which file each of them stands in."""

    def __init__(self, file: Path) -> None:
        self.table: dict[str, Any] = {}
        self._file = file
        self._said: dict[str, Path] = {}

    def lay(self, table: Mapping[str, Any], file: Path, above: tuple[Path, ...]) -> None:
        """Put ``table`` over what is there, after the parts that it uses."""
        own = dict(table)
        for part in _parts(own.pop("use", []), file):
            if part in above or part == file:
                raise UsageError(f"{file}: 'use' goes in a circle over {part.stem!r}: take it out of one of them")
            self.lay(_toml(_text(part), part), part, (*above, file))
        _refuse_unknown(own, schema.TOP, file, "")
        for key, value in own.items():
            if key in schema.TABLES and isinstance(value, dict):
                _refuse_unknown(value, schema.TABLES[key], file, f"{key}.")
                inner = self.table.setdefault(key, {})
                if isinstance(inner, dict):
                    for name, content in value.items():
                        self._put(inner, name, content, f"{key}.{name}", file)
                    continue
            self._put(self.table, key, value, key, file)

    def _put(self, into: dict[str, Any], name: str, value: Any, key: str, file: Path) -> None:
        before = into.get(name)
        self._said[key] = file
        if key in schema.BESIDE and isinstance(value, str) and value:
            value = _here(value, file)
        if key == "elements_path" and isinstance(value, list):
            value = [_beside(entry, file) for entry in value]
        if key in schema.ADDED and isinstance(before, list) and isinstance(value, list):
            value = [*before, *value]
        elif isinstance(before, dict) and isinstance(value, dict):  # environments
            value = {**before, **value}
        into[name] = value

    def values(self, table: Any, keys: Mapping[str, schema.Key], prefix: str) -> dict[str, Any]:
        """The keys' values as `schema` reads them. Raises UsageError, naming the file that says the wrong one."""
        if not isinstance(table, dict):
            file = self._said.get(prefix[:-1], self._file)
            raise UsageError(f"{file}: {prefix[:-1]!r} must be a table: write [{prefix[:-1]}] and its keys below it")
        if prefix == "known_failures.":
            _refuse_unknown(table, keys, self._file, prefix)
        found: dict[str, Any] = {}
        for key, rule in keys.items():
            if key not in table:
                if rule.default is ...:
                    raise UsageError(
                        f"{self._file}: {prefix + key!r} is missing: add it, for example {key} = {rule.example}"
                    )
                found[key] = rule.default
                continue
            try:
                found[key] = rule.read(table[key])
            except ValueError as wrong:
                file = self._said.get(prefix + key, self._file)
                raise UsageError(
                    f"{file}: {prefix + key!r} must be {wrong}: for example {key} = {rule.example}"
                ) from wrong
        return found


def _parts(named: Any, file: Path) -> list[Path]:
    """The files of the parts that ``file`` uses: beside it, else the shipped ones."""
    if not isinstance(named, list) or not all(isinstance(one, str) and schema.NAME.fullmatch(one) for one in named):
        raise UsageError(f'{file}: \'use\' must be a list of parts: for example use = ["debian", "mariadb"]')
    found = []
    for name in named:
        # A definition's own parts; a part's siblings.
        folders = [file.parent / "parts", file.parent, paths.shipped("images") / "parts"]
        places = [folder / f"{name}.toml" for folder in folders if folder.name == "parts"]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            names = sorted({one.stem for folder in folders if folder.name == "parts" for one in folder.glob("*.toml")})
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
            raise UsageError(f"{file}: 'use' names {name!r}, which is no part (parts/{name}.toml): {hint}")
        found.append(place)
    return found


def _here(value: str, file: Path) -> str:
    """A path that begins at its file; an address, or an image in Glance, is none."""
    if "://" in value or value.startswith("glance:"):
        return value
    return str(file.absolute().parent / _home(value, file))


def _beside(entry: Any, file: Path) -> Any:
    if not isinstance(entry, str) or entry.startswith(("/", "~", "$")) or entry.partition(":")[0] == "pypi":
        return entry
    return str(file.absolute().parent / entry)


def _refuse_unknown(table: Mapping[str, Any], keys: Mapping[str, schema.Key], file: Path, prefix: str) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            remedy = f"did you mean {prefix + near[0]!r}?" if near else f"the keys are {', '.join(keys)}"
            raise UsageError(f"{file}: unknown key {(prefix + key)[:60]!r}: {remedy}")
