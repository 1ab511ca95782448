"""The two JSON documents. ``schema`` grows when a reader of the old one would break; new keys do not count.

docs/report.md says what is in them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from imagecheck.errors import Cause
from imagecheck.launch import Event, Offset, Phase
from imagecheck.redact import redact
from imagecheck.report.facts import Check, Fault, Measured, Run

SCHEMA = 1
NOTHING = "nothing checked"


def timings_table(run: Run, measured: Iterable[Measured]) -> dict[str, Any]:
    """timings.json: every event, clock offset and phase of each measured start, with uncertainties.

    All times are seconds; those of events are since the epoch on their own clock, ``start`` of a phase is since
    the origin of its timeline.
    """
    table: dict[str, Any] = safe({"schema": SCHEMA, **_head(run), "starts": {m.kind: _start(m) for m in measured}})
    return table


def report_table(
    run: Run,
    checks: Iterable[Check],
    measured: Iterable[Measured] = (),
    fault: Fault | None = None,
    *,
    accounting: str = "",
    left: Sequence[str] = (),
) -> dict[str, Any]:
    """report.json: each check with its sentence and outcome, and where the road broke if it did.

    ``accounting`` says what was made in the cloud and removed, ``left`` what is still there, a line each.
    """
    checks = list(checks)
    counts: dict[str, int] = {}
    for check in checks:
        counts[check.outcome] = counts.get(check.outcome, 0) + 1
    known = counts.get("known", 0) > 0
    bad = (fault is not None and not known) or counts.get("failed", 0) > 0 or counts.get("error", 0) > 0
    passed = "flaky" if run.retries else "passed"
    table: dict[str, Any] = safe(
        {
            "schema": SCHEMA,
            **_head(run),
            # A run without a single passed check proves nothing.
            "verdict": "failed" if bad else "known to fail" if known else passed if counts.get("passed") else NOTHING,
            "counts": counts,
            "steps": [{"step": step, "seconds": _round(seconds)} for step, seconds in run.steps.items()],
            "checks": [
                {
                    "id": check.id,
                    "sentence": check.sentence,
                    "stage": check.stage,
                    "outcome": check.outcome,
                    "seconds": _round(check.seconds),
                    "cause": check.cause,
                    "evidence": check.evidence,
                }
                for check in checks
            ],
            "retried": [dataclasses.asdict(retry) for retry in run.retries],
            "requests": run.requests,
            "seconds": {one.kind: _round(one.timeline.seconds) for one in measured},
            "fault": None if fault is None else _fault(fault),
            "accounting": accounting,
            "left": list(left),
        }
    )
    return table


def _head(run: Run) -> dict[str, Any]:
    return {
        "imagecheck": run.version,
        "started": _moment(run.started),
        "ended": _moment(run.ended),
        "image": {"name": run.image, "sha256": run.image_sha256},
        "datastore": run.datastore,
        "release": run.release,
        "acceleration": run.acceleration,
        "cloud": run.cloud,
        "sandbox": run.sandbox,
    }


def _moment(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None


def _start(one: Measured) -> dict[str, Any]:
    return {
        "origin": one.timeline.origin,
        "seconds": _round(one.timeline.seconds),
        "uncertainty": _round(one.timeline.uncertainty),
        "phases": [_phase(phase) for phase in one.timeline.phases],
        "missing": dict(one.timeline.missing),
        "events": [_event(event) for event in one.events],
        "offsets": [_offset(offset) for offset in one.offsets],
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "start": _round(phase.start),
        "seconds": _round(phase.seconds),
        "uncertainty": _round(phase.uncertainty),
        "note": phase.note,
        "waiting": phase.waiting,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "name": event.name,
        "source": event.source,
        "clock": event.clock,
        "earliest": event.earliest,
        "latest": event.latest,
        "resolution": event.resolution,
    }


def _offset(offset: Offset) -> dict[str, Any]:
    return {"clock": offset.clock, "seconds": offset.seconds, "uncertainty": offset.uncertainty}


def _fault(fault: Fault) -> dict[str, Any]:
    return {
        "step": fault.step,
        "sentence": fault.sentence,
        "cause": fault.cause,
        "seen": fault.seen,
        "remedy": fault.remedy,
        # Beside the report, which may be moved. Redacted as a whole: a part may not look like the secret that it is.
        "evidence": PurePath(redact(fault.evidence)).name,
        "known": None if fault.known is None else _known(fault.known),
    }


def _known(cause: Cause) -> dict[str, Any]:
    return {
        "id": cause.id,
        "stage": cause.stage,
        "class": cause.fault,
        "confidence": cause.confidence,
        "sentence": cause.sentence,
        "where": cause.where,
        "seen": cause.seen,
        "remedy": cause.remedy,
        "source": cause.source,
        "also": list(cause.also),
    }


def _round(seconds: float) -> float:
    return round(seconds, 6)  # microseconds: finer than any source


def safe(value: Any) -> Any:  # JSON in, JSON out
    """Redacted, and JSON as every reader understands it: NaN and infinity become null."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {redact(str(key)): safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [safe(item) for item in value]
    return value
