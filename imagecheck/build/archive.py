"""The package archives that an image is made from: may it be built here, and in which state are they."""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from imagecheck import mirror, paths
from imagecheck.definition import Definition
from imagecheck.errors import UsageError

_PATIENCE = 5.0  # seconds for an answer


def obstacle(definition: Definition) -> str:
    """Why the image cannot be built on this host, whatever is installed: "not built here: …", or ""."""
    if definition.image_source or definition.builder == "command":
        return ""
    try:
        mirror.archive(definition.os)
    except UsageError as unknown:
        return f"not built here: {unknown}"
    return ""


def suites(definition: Definition, resolved: Mapping[str, Path]) -> list[str]:
    """The suites that packages are taken from: the guest's, and those that database elements name for a container."""
    if named := definition.datastore.environment.get("DIB_CONTAINER_SUITE"):
        return list(dict.fromkeys([definition.release, named]))
    others = {
        line.strip()
        for folder in resolved.values()
        for file in folder.glob("container/*/suite")
        for line in file.read_text().splitlines()
        if line.strip() and not line.startswith("#")
    }
    return [definition.release, *sorted(others - {definition.release})]


def state(definition: Definition, resolved: Mapping[str, Path]) -> dict[str, str]:
    """Suite -> digest of its InRelease file, which changes with every package in it.

    Where the archive does not answer, the state that it had last; "" where that is not known either.
    """
    try:
        base = mirror.archive(definition.os)
    except UsageError:
        return {}
    return {suite: _state(base, suite) for suite in suites(definition, resolved)} if base else {}


@functools.cache
def _state(base: str, suite: str) -> str:
    kept = paths.home() / "images" / f".archive-{hashlib.sha256(f'{base} {suite}'.encode()).hexdigest()[:12]}.json"
    try:
        # Not by requests: its import alone is a third of what an unchanged definition may cost.
        with urllib.request.urlopen(f"{base}/dists/{suite}/InRelease", timeout=_PATIENCE) as answer:  # noqa: S310
            content = answer.read()
    except (OSError, ValueError, http.client.HTTPException):
        try:
            return str(json.loads(kept.read_text())["state"])
        except (OSError, ValueError, KeyError):
            return ""
    found = hashlib.sha256(content).hexdigest()[:16]
    if kept.parent.is_dir():  # a plan touches nothing
        kept.write_text(json.dumps({"state": found, "suite": suite}))
    return found
