"""JUnit properties: the numbers that a CI server can plot without knowing imagecheck."""

from __future__ import annotations

import re
from collections.abc import Iterable

from imagecheck.report.facts import Fault, Measured, Run
from imagecheck.report.schema import SCHEMA
from imagecheck.report.terminal import clean


def properties(run: Run, measured: Iterable[Measured] = (), faults: Iterable[Fault] = ()) -> list[tuple[str, str]]:
    """(name, value) pairs; seconds with three decimals, names such as ``launch.nova_building.seconds``."""
    pairs = [
        ("imagecheck.schema", str(SCHEMA)),
        ("imagecheck.version", run.version),
        ("image", run.image),
        ("image.sha256", run.image_sha256),
        ("datastore", run.datastore),
        ("release", run.release),
        ("acceleration", run.acceleration or "unknown"),
        ("retried", str(len(run.retries))),
    ]
    pairs += [(f"step.{as_key(step)}.seconds", f"{seconds:.3f}") for step, seconds in run.steps.items()]
    for one in measured:
        pairs.append((f"{one.kind}.seconds", f"{one.timeline.seconds:.3f}"))
        for phase in one.timeline.phases:
            key = f"{one.kind}.{as_key(phase.name)}"
            pairs.append((f"{key}.seconds", f"{phase.seconds:.3f}"))
            pairs.append((f"{key}.uncertainty", f"{phase.uncertainty:.3f}"))
        pairs += [(f"{one.kind}.missing.{event}", reason) for event, reason in one.timeline.missing.items()]
    for number, fault in enumerate(faults, 1):
        key = f"fault.{number}"
        pairs += [(f"{key}.step", fault.step), (f"{key}.sentence", fault.sentence)]
        if known := fault.known:
            pairs += [(f"{key}.cause", known.id), (f"{key}.stage", known.stage), (f"{key}.class", known.fault),
                      (f"{key}.confidence", known.confidence)]  # fmt: skip
    return [(name, clean(value)) for name, value in pairs]


def as_key(name: str) -> str:
    """``name`` as a part of a property's name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
