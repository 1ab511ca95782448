"""diskimage-builder's elements as data: which ones an image is made of, what is in them, what they install."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]
from diskimage_builder import element_dependencies
from diskimage_builder import paths as dib_paths

from imagecheck import paths
from imagecheck.errors import UsageError

_SKIPPED = {"__pycache__", "tests", "test-elements", ".gitignore"}


def dib_version() -> str:
    """The installed diskimage-builder's version."""
    return version("diskimage-builder")


def dib_elements() -> Path:
    """The folder of diskimage-builder's own elements."""
    return Path(dib_paths.get_path("elements"))


def search_path() -> list[Path]:
    """Where elements are looked for, first match first: ours, then diskimage-builder's."""
    return [paths.shipped("elements"), dib_elements()]


def resolve(names: Sequence[str], search: Sequence[Path], where: object) -> dict[str, Path]:
    """Element -> folder, for all of ``names`` and all that those depend on, in alphabetical order.

    ``where`` is the definition's file, for the errors. Raises UsageError naming it and the key.
    """
    for name in names:
        if not any((folder / name).is_dir() for folder in search):
            own = [folder for folder in search if folder != dib_elements()]
            ours = ", ".join(sorted({one.name for folder in own for one in folder.iterdir() if one.is_dir()}))
            raise UsageError(
                f"{where}: 'elements' names {name!r}, which is nowhere: there are {ours}, the rest is DIB's"
            )
    try:
        found = element_dependencies.get_elements(names, ":".join(map(str, search)))
    except (
        element_dependencies.MissingElementException,
        element_dependencies.AlreadyProvidedException,
        element_dependencies.MissingOSException,
    ) as error:
        why = str(error) or "two elements provide the same thing"
        raise UsageError(
            f"{where}: 'elements' do not fit together ({why}): change the list or an element-deps"
        ) from error
    return {name: Path(folder) for name, folder in sorted(found)}


def digest(folder: Path) -> str:
    """SHA-256 over the names, executable bits and bytes of all files of one element."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if _SKIPPED & set(inside.parts):
            continue
        if file.is_symlink():
            total.update(f"{inside}\0->{file.readlink()}\0".encode())
        elif file.is_file():
            total.update(f"{inside}\0{int(file.stat().st_mode & 0o100 != 0)}\0{file.stat().st_size}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


def digests(resolved: Mapping[str, Path]) -> dict[str, str]:
    """Element -> digest; diskimage-builder's own count by its version alone, they come with it."""
    own = dib_elements().resolve()
    return {
        name: f"diskimage-builder {dib_version()}" if folder.resolve().is_relative_to(own) else digest(folder)
        for name, folder in resolved.items()
    }


def packages(
    resolved: Mapping[str, Path], environment: Mapping[str, str] | None = None, *, arch: str = "amd64"
) -> dict[str, list[str]]:
    """Element -> packages that its package-installs.yaml asks for on ``arch``, package maps not applied.

    ``environment`` is the build's: it decides what is asked for only ``when`` something holds, or for one way to
    install an element. What it does not tell counts as asked for.
    """
    wanted: dict[str, list[str]] = {}
    for name, folder in resolved.items():
        file = folder / "package-installs.yaml"
        if not file.is_file():
            continue
        table: dict[str, Any] = yaml.safe_load(file.read_text()) or {}
        installed = (environment or {}).get(f"DIB_INSTALLTYPE_{name.replace('-', '_')}", "")
        wanted[name] = sorted(
            package for package, how in table.items() if _applies(how, arch, installed, environment or {})
        )
    return wanted


def _applies(how: Any, arch: str, installed: str, environment: Mapping[str, str]) -> bool:
    if isinstance(how, list):
        return any(_applies(one, arch, installed, environment) for one in how)
    if not isinstance(how, dict):
        return True
    only = [word.strip() for word in str(how.get("arch", arch)).split(",")]
    never = [word.strip() for word in str(how.get("not-arch", "")).split(",")]
    if arch not in only or arch in never or how.get("uninstall", False):
        return False
    if installed and str(how.get("installtype", installed)) != installed:
        return False
    conditions = how.get("when", [])
    return all(_holds(str(one), environment) for one in (conditions if isinstance(conditions, list) else [conditions]))


def _holds(condition: str, environment: Mapping[str, str]) -> bool:
    """DIB's "VARIABLE = value" or "VARIABLE != value" (package_installs_squash.py)."""
    variable, unequal, value = condition.partition("!=")
    if not unequal:
        variable, _, value = condition.partition("=")
    known = environment.get(variable.strip())
    return known is None or (known == value.strip().strip("'\"")) != bool(unequal)


def hooks(resolved: Mapping[str, Path], phase: str) -> list[str]:
    """The hooks of ``phase`` ("install.d") in the order in which dib-run-parts runs them, as "name (element)"."""
    found: list[tuple[str, str]] = []
    for name, folder in resolved.items():
        found += [(file.name, name) for file in (folder / phase).glob("*") if file.is_file()]
    return [f"{hook} ({element})" for hook, element in sorted(found, key=lambda pair: (_number(pair[0]), pair[0]))]


def _number(hook: str) -> int:
    digits = hook[: len(hook) - len(hook.lstrip("0123456789"))]
    return int(digits or 0)


def key(parts: Iterable[Any]) -> str:
    """A short name for everything that decides an image's content."""
    canonical = json.dumps(list(parts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
