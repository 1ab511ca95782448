"""Samples: one start of an image, kept as one JSON line. Failed starts are samples too, censored when they ended.

A series is a file of them; whoever judges reads nothing else. docs/report.md has the lines' keys.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from imagecheck.errors import UsageError

SCHEMA = 1
Kind = Literal["launch", "boot", "server"]  # a Trove launch, a bare boot to the broker, a Nova server to ACTIVE


@dataclass(frozen=True)
class PhaseTime:
    """One phase of one sample: ``seconds`` ± ``uncertainty``; ``waiting`` for what, "" where it is work."""

    name: str
    seconds: float
    uncertainty: float = 0.0
    waiting: str = ""


@dataclass(frozen=True)
class Sample:
    """One start. ``seconds`` from the request to the end, or, of a failed one, until it was known to have failed."""

    series: str  # run id
    number: int  # of the sample in its series, from 1, in the order of the requests
    label: str  # the image as it was named on the command line; A against B compares two labels
    kind: Kind
    image: str  # sha256 of the image file
    began: float  # seconds since the epoch, harness
    seconds: float
    completed: bool
    uncertainty: float = 0.0
    phases: tuple[PhaseTime, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)  # event -> why it is not there
    fingerprint: Mapping[str, str] = field(default_factory=dict)  # flavor, hypervisor, …: see FINGERPRINT
    cause: str = ""  # id of the cause of a failed one
    sentence: str = ""  # of a failed one


# Key -> what it is. Samples whose fingerprints differ in one of these are not compared.
FINGERPRINT = {
    "cloud": "entry of clouds.yaml and region",
    "release": "OpenStack release, from Trove's API",
    "flavor": "name, vcpus, MiB, GiB",
    "hypervisor": "type and version that Nova names",
    "acceleration": "kvm or tcg",
    "host": "compute hosts that servers were placed on, as Nova hashes them",
    "storage": "ephemeral or volume, with its type",
    "carrier": "config drive or metadata service",
    "datastore": "name and version",
    "concurrency": "launches at once",
    "cache": "image on the compute host: cold or warm",
}


def line(sample: Sample) -> str:
    """One JSON line, without its end."""
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(sample)}, ensure_ascii=True, allow_nan=False)


def append(path: Path, sample: Sample) -> None:
    """Add to a series; on disk when it returns, so that a killed run loses no sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (line(sample) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Sample]:
    """The samples of a series, in their order. UsageError names file, line and key of what is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}): give a file of samples (.jsonl)") from error
    except ValueError as error:  # of the text, or of a path with a NUL
        raise UsageError(f"{path}: is not UTF-8 text: give a file of samples (.jsonl)") from error
    rows = text.split("\n")
    samples = []
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        if number == len(rows):
            break  # no line end: the run was killed while it wrote, and its start was not finished
        try:
            samples.append(of_table(json.loads(row)))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: line {number} is no sample ({error}): take the line out") from error
    return samples


def of_table(table: Any) -> Sample:
    """A sample from its JSON. ValueError names the key."""
    if not isinstance(table, dict):
        raise ValueError("not a table")
    if table.get("schema") != SCHEMA:
        raise ValueError(f"schema is {table.get('schema')!r}, this imagecheck knows {SCHEMA}")
    phases = table.get("phases", [])
    if not isinstance(phases, list):
        raise ValueError("phases is not a list")
    values: dict[str, Any] = {"phases": tuple(_fill(PhaseTime, phase, {}) for phase in phases)}
    sample: Sample = _fill(Sample, table, values)
    if sample.kind not in get_args(Kind):
        raise ValueError(f"kind is {sample.kind!r}, not one of {', '.join(get_args(Kind))}")
    return sample


_PLAIN = {"str": str, "int": int, "bool": bool, "Kind": str}


def _fill(kind: Any, table: Any, values: dict[str, Any]) -> Any:
    """A dataclass from a table; keys that it does not know are passed over, so that newer files can be read."""
    if not isinstance(table, dict):
        raise ValueError(f"a {kind.__name__} is not a table")
    for one in dataclasses.fields(kind):
        if one.name in values:
            continue
        if one.name not in table:
            if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
                raise ValueError(f"{one.name} is missing")
            continue
        values[one.name] = _value(one.name, str(one.type), table[one.name])
    return kind(**values)


def _value(name: str, kind: str, value: Any) -> Any:
    if kind == "float":
        # NaN is not below anything. The limit is launch/events.py's: some 30,000 years.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
            raise ValueError(f"{name} is no number of seconds")
        return float(value)
    if kind.startswith("Mapping"):
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise ValueError(f"{name} is not a table of texts")
        return dict(value)
    if type(value) is not _PLAIN[kind]:
        raise ValueError(f"{name} is not of type {_PLAIN[kind].__name__}")
    return value


def labels(samples: Iterable[Sample]) -> list[str]:
    """The labels, in the order in which they first come."""
    return list(dict.fromkeys(one.label for one in samples))
