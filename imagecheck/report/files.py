"""Where reports lie on disk: report/IMAGE/{report.html,report.json,timings.json,launches.jsonl,index.html} and a folder
of evidence per node."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagecheck.errors import UsageError
from imagecheck.launch import sample
from imagecheck.report import reading
from imagecheck.report.schema import SCHEMA


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

    @property
    def launches(self) -> Path:
        """The samples of its series."""
        return self.path / "launches.jsonl"

    @property
    def page(self) -> Path:
        """The page over all of it."""
        return self.path / "report.html"

    @property
    def index(self) -> Path:
        """The page over all folders of evidence."""
        return self.path / "index.html"

    def node(self, name: str) -> Path:
        """A new private folder for evidence, named after a test node or step. UsageError when it cannot be made."""
        number, place = 1, self.path / slug(name)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    place.mkdir(mode=0o700)
                    return place
                except FileExistsError:  # two names may have one slug, and a check may fail twice
                    number += 1
                    place = self.path / f"{slug(name)}-{number}"
        except OSError as error:
            raise _unwritable(place, error) from error

    def write_timings(self, table: Mapping[str, Any]) -> Path:
        """Write timings.json; UsageError when the folder cannot be written."""
        return _write(self.timings, _json(table))

    def write_report(self, table: Mapping[str, Any]) -> Path:
        """Write report.json; UsageError when the folder cannot be written."""
        return _write(self.report, _json(table))

    def write_page(self, text: str) -> Path:
        """Write report.html; UsageError when the folder cannot be written."""
        return _write(self.page, text)

    def documents(self) -> tuple[dict[str, Any], dict[str, Any], list[sample.Sample]]:
        """What report.html is made of: report.json, and timings.json and the samples where there are any.

        UsageError names the file and what is wrong with it.
        """
        report = reading.document(self.report, SCHEMA)
        if report is None:
            raise UsageError(f"{self.path}: no report.json in it: give the folder of a report, report/IMAGE")
        timings = reading.document(self.timings, SCHEMA) or {}
        return report, timings, sample.read(self.launches) if self.launches.exists() else []


def folders(place: Path) -> list[Folder]:
    """``place`` if it is the folder of a report, else those of the reports in it. UsageError where there is none."""
    found = [place] if (place / "report.json").exists() else sorted(one.parent for one in place.glob("*/report.json"))
    if not found:
        raise UsageError(f"{place}: no report.json in it or in a folder of it: give the folder of a report")
    return [Folder(one) for one in found]


def private(file: Path, text: str) -> Path:
    """Write a file that only its owner may read; UsageError when it cannot be written."""
    return _write(file, text, mode=0o600)


def _json(table: Mapping[str, Any]) -> str:
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write(file: Path, text: str, mode: int = 0o666) -> Path:
    half = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.unlink(missing_ok=True)
        half.touch(mode=mode, exist_ok=False)
        half.write_text(text, encoding="utf-8", errors="backslashreplace")
        half.replace(file)  # a reader never sees half a file
    except OSError as error:
        raise _unwritable(file, error) from error
    return file


def _unwritable(file: Path, error: OSError) -> UsageError:
    return UsageError(f"{file}: cannot be written ({error.strerror}): make room, or start in another folder")
