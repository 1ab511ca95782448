"""The schema of a definition: which keys there are, what each may hold, an example of each. Pure.

docs/definitions.md explains the keys; a test holds the two together.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# What the builder itself decides; a definition that sets these would be built with something else than it says.
RESERVED = {
    "ARCH": "is always amd64",
    "DIB_CONTAINER": "is the key 'datastore.container'",
    "DIB_CONTAINER_ARCHIVE": "is the key 'datastore.archive'",
    "DIB_CONTAINER_CARRIED": "is the key 'datastore.carried'",
    "DIB_CONTAINER_REFERENCE": "is the key 'datastore.reference'",
    "DIB_DISTRIBUTION_MIRROR": "comes from IMAGECHECK_DEBIAN_MIRROR (or …UBUNTU…), else apt",
    "DIB_IMAGE_CACHE": "is imagecheck's own",
    "DIB_INSTALLTYPE_trove_guest_agent": "is the key 'agent.install'",
    "DIB_RELEASE": "is the key 'release'",
    "ELEMENTS_PATH": "is the key 'elements_path'",
    "PATH": "is the builder's",
    "TMP_DIR": "is imagecheck's own",
}
BUILDERS = ("diskimage-builder", "command")
INSTALLS = ("package", "pypi", "source")
# How the database's container image gets to the guest.
CARRIED = {
    "packages": "built from distribution packages and preloaded",
    "registry": "copied from a registry and preloaded",
    "archive": "preloaded from an archive",
    "pulled": "pulled at launch",
    "none": "the image brings it by itself",
}

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")  # adduser's NAME_REGEX
_TAG = re.compile(r"[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # distribution/reference: name:tag
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.service")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 20  # of any need; a typing error, not a machine


@dataclass(frozen=True)
class Key:
    """One key: ``read`` turns the TOML value into ours or raises ValueError with what it must be."""

    read: Callable[[Any], Any]
    example: str
    default: Any = ...  # `...`: the key must be there


def text(value: Any) -> str:
    """One line of text."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("one line of text")
    return value


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(what)
        return value

    return read


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return read


def _absolute(value: Any) -> str:
    if not text(value).startswith("/") or ".." in value.split("/"):
        raise ValueError("an absolute path in the guest")
    return str(value)


def _count(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= _LARGEST:
            raise ValueError(f"a whole number from {least} to {_LARGEST}")
        return value

    return read


def _list(of: Callable[[Any], str], what: str) -> Callable[[Any], tuple[str, ...]]:
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list of {what}")
        try:
            return tuple(dict.fromkeys(of(item) for item in value))
        except ValueError as wrong:
            raise ValueError(f"a list of {what}") from wrong

    return read


def _words(value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(word, str) and "\0" not in word for word in value)
    ):
        raise ValueError("a list: the program and each of its words")
    return tuple(value)


def _environment(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError("a table of variables")
    for name, content in value.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"names of variables, not {name!r}")
        if name in RESERVED:
            raise ValueError(f"no {name}, which {RESERVED[name]}")
        if not isinstance(content, str) or "\0" in content:
            raise ValueError(f"text (in quotes) for {name}")
    return dict(value)


def _day(value: Any) -> datetime.date:
    if type(value) is not datetime.date:
        raise ValueError("a day without quotes")
    return value


def _tables(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of tables")
    return tuple(value)


def _same(value: Any) -> Any:
    return value


_word = _matching(NAME, "a short name in lower case")
_user = _matching(_USER, "a user's name")
_elements = _list(_word, "element names")
AGENT = {
    "install": Key(_one_of(INSTALLS), '"package"', "package"),
    "release": Key(_count(1), "23"),
    "unit": Key(_matching(_UNIT, "the name of a .service unit"), '"trove-guestagent.service"'),
    "log": Key(_absolute, '"/var/log/trove/trove-guestagent.log"'),
}
DATASTORE = {
    "name": Key(_word, '"mariadb"'),
    "version": Key(_matching(_VERSION, "a version in quotes"), '"11.8"'),
    "manager": Key(_word, '"mariadb"'),
    "container": Key(_matching(_TAG, "a container image's name:tag"), '"mariadb:11.8"'),
    "carried": Key(_one_of(tuple(CARRIED)), '"packages"', "none"),
    "reference": Key(_matching(_REFERENCE, "a registry's reference, no scheme"), '"reg.example/mariadb:11.8"', ""),
    "archive": Key(text, '"mariadb.tar"', ""),
    "elements": Key(_elements, '["mariadb-container"]', ()),
    "environment": Key(_environment, '{ DIB_CONTAINER_CACHE_HOURS = "24" }', {}),
}
NEEDS = {
    "vcpus": Key(_count(1), "1"),
    "ram_mib": Key(_count(128), "1536"),
    "disk_gib": Key(_count(1), "3"),
    "ephemeral_gib": Key(_count(0), "1"),
}
KNOWN_FAILURE = {
    "check": Key(text, '"test_restart*"'),
    "reason": Key(text, '"Trove 23 knows no MySQL 9"'),
    "tracker": Key(_matching(re.compile(r"(https?://|file:)\S+"), "the address of a report"), '"https://…"'),
    "expires": Key(_day, "2027-06-30"),
}
TOP = {
    "description": Key(text, '"Debian guest with MariaDB"'),
    "os": Key(_word, '"debian"'),
    "release": Key(_word, '"trixie"'),
    "login": Key(_user, '"debian"'),
    "injected_owner": Key(_user, '"trove"'),
    "builder": Key(_one_of(BUILDERS), '"diskimage-builder"', BUILDERS[0]),
    "command": Key(_words, '["./make-image", "{output}"]', ()),
    "source": Key(text, '"glance:trove-guest"', ""),
    "sha256": Key(_matching(_SHA256, "64 hexadecimal digits in lower case"), f'"{"0" * 63}1"', ""),
    "elements": Key(_elements, '["debian-minimal", "trove-guest-agent"]', ()),
    "disk": Key(_elements, '["vm", "block-device-mbr"]', ()),
    "elements_path": Key(_list(text, "folders"), '["../elements"]', ()),
    "environment": Key(_environment, '{ DIB_GRUB_TIMEOUT = "0" }', {}),
    "agent": Key(_same, "[agent]"),
    "datastore": Key(_same, "[datastore]"),
    "needs": Key(_same, "[needs]"),
    "known_failures": Key(_tables, "[[known_failures]]", ()),
}  # fmt: skip
TABLES: Mapping[str, Mapping[str, Key]] = {"agent": AGENT, "datastore": DATASTORE, "needs": NEEDS}
# Lists to which each part adds; every other list is replaced as a whole.
ADDED = {"elements", "disk", "elements_path", "datastore.elements", "known_failures"}
# Paths in a definition that begin at the file that says them.
BESIDE = {"source", "datastore.archive"}
