"""A site is one cloud as imagecheck sees it: what the cloud's own APIs do not tell."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagecheck import paths
from imagecheck.errors import UsageError
from imagecheck.redact import learn, learn_urls

ACCELERATIONS = ("", "kvm", "tcg")
# Values of a guest configuration that are secrets of their own (oslo.config; trove/common/cfg.py).
_SECRET = re.compile(r"(?im)^[ \t]*[\w.-]*(?:password|passwd|_key|secret|token)[ \t]*=[ \t]*(\S[^\r\n]*)$")
_HOST_PORT = re.compile(r"(?:[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True)
class Site:
    """One cloud. The sandbox writes its own; an operator writes imagecheck.toml with the same keys."""

    cloud: str  # clouds.yaml entry with admin rights
    tenant_cloud: str  # clouds.yaml entry of an ordinary project
    clouds_file: Path | None = None  # None: the usual places
    region: str = ""  # "" = the entry's own, or OS_REGION_NAME
    management_network: str = "mgmt"
    tenant_network: str = "tenant"
    flavor: str = ""  # name; "" = chosen by the definition's needs
    guest_config: Path | None = None  # the trove-guestagent.conf that taskmanager injects (holds the broker's URL)
    guest_key: Path | None = None  # private key of Trove's nova_keypair
    jump: str = ""  # ssh -J style host when guests are not reachable directly
    injected_owner: str = "trove"
    injected_group: str = "trove"
    sandbox: bool = False
    acceleration: str = ""  # "kvm", "tcg", "" = unknown
    # host:port of a plain-http registry that the harness pushes to and guests use as Docker Hub's mirror; usually empty
    registry: str = ""


_TYPES: dict[str, Any] = typing.get_type_hints(Site)
_REQUIRED = tuple(field.name for field in dataclasses.fields(Site) if field.default is dataclasses.MISSING)
_FILES = ("clouds_file", "guest_config", "guest_key")


def load(path: str | os.PathLike[str]) -> Site:
    """Read a site file (TOML, flat). Relative paths in it start at its own folder.

    Raises UsageError, one sentence that names file, key and remedy. Passwords found in ``guest_config`` are
    learned by redact, so that no output can show them.
    """
    file = Path(path).expanduser()
    try:
        table = tomllib.loads(paths.small(file))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}): give the path of a site file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 text: save the site file as UTF-8") from error
    except RecursionError as error:
        raise UsageError(f"{file}: is nested too deeply: a site file has one level") from error
    except ValueError as error:  # TOMLDecodeError, and a number of thousands of digits
        raise UsageError(f"{file}: is not valid TOML ({error}): correct that line") from error
    return _site(table, file)


def _site(table: Mapping[str, Any], file: Path) -> Site:
    for key in table:
        if key not in _TYPES:
            near = difflib.get_close_matches(key, _TYPES, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(_TYPES)}"
            raise UsageError(f"{file}: unknown key {key!r}: {remedy}")
    for key in _REQUIRED:
        if not table.get(key):
            raise UsageError(f"{file}: {key!r} is missing: give the name of an entry of clouds.yaml")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _FILES:
            values[key] = _file(file, key, value)
        elif type(value) is not _TYPES[key]:
            wanted = "true or false" if _TYPES[key] is bool else "a string in quotes"
            raise UsageError(f"{file}: {key!r} is {value!r}: give {wanted}")
        else:
            values[key] = value
    site = Site(**values)
    if site.acceleration not in ACCELERATIONS:
        raise UsageError(f"{file}: 'acceleration' is {site.acceleration!r}: give 'kvm', 'tcg' or nothing")
    if site.registry and not _HOST_PORT.fullmatch(site.registry):
        raise UsageError(f"{file}: 'registry' is {site.registry!r}: give host:port, without http:// and path")
    if site.guest_config:
        _learn_from(site.guest_config, file)
    if site.guest_key:
        with contextlib.suppress(OSError, UnicodeDecodeError):  # ssh will say what is wrong with it
            learn(paths.small(site.guest_key))
    return site


def _file(file: Path, key: str, value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{file}: {key!r} is {value!r}: give the path of a file, in quotes")
    try:
        named = Path(value).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{file}: {key!r} is {value!r}: that home folder is not known, give a whole path") from error
    # No resolve(): what the operator wrote is what messages show.
    path = named if named.is_absolute() else file.absolute().parent / named
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UsageError(
            f"{file}: {key!r} names {path}, which cannot be read ({error.strerror}): correct the path or its rights"
        ) from error
    return path


def _learn_from(config: Path, file: Path) -> None:
    try:
        text = paths.small(config)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: 'guest_config' names {config}, which cannot be read as text: {error}") from error
    # Very short values are left to redact's patterns: learning "guest" would blank that word everywhere.
    for secret in _SECRET.findall(text):
        if len(secret.strip()) >= 8:
            learn(secret)
    learn_urls(text)


def dump(site: Site, path: str | os.PathLike[str]) -> None:
    """Write ``site`` so that `load` gives it back; values that are the defaults are left out."""
    lines = []
    for field in dataclasses.fields(site):
        value = getattr(site, field.name)
        if value == field.default:
            continue
        shown = ("true" if value else "false") if isinstance(value, bool) else _quoted(str(value))
        lines.append(f"{field.name} = {shown}\n")
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(file.name + ".part")
    half.write_text("".join(lines), encoding="utf-8")
    half.replace(file)  # a reader never sees half a file


def _quoted(value: str) -> str:
    """A TOML basic string (toml.io v1.0: control characters and DEL are escaped)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'
