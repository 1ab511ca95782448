"""A series in the reports: report.json's key `launches`, and the numbers that a CI server can plot. docs/report.md."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from imagecheck.launch.judgement import Judgement, Summary
from imagecheck.report.junit import as_key
from imagecheck.report.schema import safe
from imagecheck.report.terminal import clean

if TYPE_CHECKING:
    from imagecheck.outcomes import Series


def series_table(one: Series) -> dict[str, Any]:
    """For report.json: where the samples are, and what became of them. NaN and infinity become null."""
    first = one.samples[0] if one.samples else None
    table: dict[str, Any] = safe(
        {
            "file": one.file.name,
            "series": first.series if first else "",
            "kind": first.kind if first else "",
            "planned": one.planned,
            "launched": len(one.samples),
            "seed": one.seed,
            "stopped": one.stopped,
            "notes": one.notes,
            "summaries": [_summary(summary) for summary in one.summaries],
            "judgement": _judgement(one.judgement),
            "baseline": _judgement(one.baseline),
            "changes": one.changes,
        }
    )
    return table


def series_properties(one: Series) -> list[tuple[str, str]]:
    """(name, value) pairs for JUnit: ``series.LABEL.median.seconds`` and the like, and the verdicts."""
    pairs = [("series.planned", str(one.planned)), ("series.launched", str(len(one.samples)))]
    if one.stopped:
        pairs.append(("series.stopped", one.stopped))
    for summary in one.summaries:
        name = f"series.{as_key(summary.label)}"
        pairs += [
            (f"{name}.launches", str(summary.count)),
            (f"{name}.failed", str(summary.failed)),
            (f"{name}.median.seconds", f"{summary.median:.3f}"),
            (f"{name}.iqr.seconds", f"{summary.iqr:.3f}"),
            (f"{name}.p95.seconds", f"{summary.p95:.3f}"),
        ]
    for name, judgement in (("against", one.judgement), ("baseline", one.baseline)):
        if judgement is not None:
            pairs += [(f"series.{name}.verdict", judgement.verdict), (f"series.{name}.sentence", judgement.sentence)]
    return [(name, clean(value)) for name, value in pairs]


def _summary(summary: Summary) -> dict[str, Any]:
    return {**dataclasses.asdict(summary), "success": summary.success}


def _judgement(judgement: Judgement | None) -> dict[str, Any] | None:
    if judgement is None:
        return None
    return {**dataclasses.asdict(judgement), "a": _summary(judgement.a), "b": _summary(judgement.b)}
