"""Where reports lie on disk: report/IMAGE/{report.json,timings.json} and a folder of evidence per step."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagecheck.errors import UsageError
from imagecheck.redact import redact


def slug(name: str) -> str:
    """A file name from any name: letters, digits, dot, dash; never empty, hidden or longer than 80 characters."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip(".-")[:80].rstrip(".-") or "unnamed"


@dataclass(frozen=True)
class Folder:
    """The folder of one image's report."""

    path: Path

    @classmethod
    def under(cls, root: Path, image: str) -> Folder:
        """report/IMAGE below ``root``; made when something is written."""
        return cls(root / "report" / slug(image))

    @property
    def timings(self) -> Path:
        """The events and phases of each measured start."""
        return self.path / "timings.json"

    @property
    def report(self) -> Path:
        """The checks and the verdict."""
        return self.path / "report.json"

    def evidence(self, step: str) -> Path:
        """The folder for what was saved about a step; made when something is written."""
        return self.path / slug(step)

    def write_timings(self, table: Mapping[str, Any]) -> Path:
        """Write timings.json; UsageError when the folder cannot be written."""
        return _write(self.timings, _json(table))

    def write_report(self, table: Mapping[str, Any]) -> Path:
        """Write report.json; UsageError when the folder cannot be written."""
        return _write(self.report, _json(table))

    def save(self, step: str, name: str, text: str) -> Path:
        """Save one piece of evidence (a console, a journal), redacted."""
        return _write(self.evidence(step) / slug(name), redact(text))


def _json(table: Mapping[str, Any]) -> str:
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write(file: Path, text: str) -> Path:
    half = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8", errors="backslashreplace")
        half.replace(file)  # a reader never sees half a file
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be written ({error.strerror}): make room, or start in another folder"
        ) from error
    return file
