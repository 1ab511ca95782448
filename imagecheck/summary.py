"""What a run says of an image at its end: its reports, and its lines for the terminal and for JUnit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from imagecheck import injection, judging, progress
from imagecheck.cloud import retry
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.outcomes import Series
from imagecheck.report import (
    Check,
    fault_lines,
    html,
    properties,
    report_table,
    series_properties,
    series_table,
    timeline_lines,
    timings_table,
)
from imagecheck.report.facts import Run
from imagecheck.report.terminal import clean
from imagecheck.run import Road


@dataclass(frozen=True)
class Summary:
    """``properties`` are JUnit's; ``unwritten`` says why a report could not be written, a line each."""

    lines: list[str]
    properties: list[tuple[str, str]]
    unwritten: list[str]


def write(
    road: Road, checks: Sequence[Check], series: Series | None, *, expired: Sequence[str], release: str
) -> Summary:
    """Write the reports into the road's folder. ``expired``: known failures past their day; ``release`` is the
    sandbox's."""
    run = road.facts()
    unwritten = _reports(road, run, checks, series)
    lines = _measured(road, run, series) + _ended(road, run, checks, expired, release)
    if road.boxes.saved:
        lines += [f"evidence  {road.folder.index}"]
    lines += [f"NO REPORT {why}" for why in unwritten] or [f"report    {road.folder.page}"]
    told = properties(run, road.measured, road.faults) + (series_properties(series) if series else [])
    return Summary(lines, told, unwritten)


def _reports(road: Road, run: Run, checks: Sequence[Check], series: Series | None) -> list[str]:
    fault = road.faults[0] if road.faults else None
    table = report_table(run, checks, road.measured, fault, accounting=road.end.accounting, left=road.end.left)
    table |= {"injection": injection.as_json(road.cells)} if road.cells else {}
    table |= {"launches": series_table(series)} if series else {}
    unwritten: list[str] = []
    try:
        road.folder.write_report(table)
        if road.measured:
            road.folder.write_timings(timings_table(run, road.measured))
    except UsageError as error:  # no room, or no rights: what was found is told on the terminal all the same
        unwritten.append(str(error))
    try:
        road.folder.write_page(html.page(*road.folder.documents()))
    except ImagecheckError as error:  # a page that cannot be made must not cost the run its other reports
        progress.note(f"no report.html: {error}")
    return unwritten


def _measured(road: Road, run: Run, series: Series | None) -> list[str]:
    """Faults, timelines and the series."""
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    lines: list[str] = []
    for fault in road.faults:
        lines += [*fault_lines(fault, width=width), ""]
    circumstances = ", ".join(part for part in (run.acceleration, run.release if run.sandbox else run.cloud) if part)
    for measured in road.measured:
        lines += [*timeline_lines(measured, width=width, circumstances=circumstances), ""]
    return lines + (judging.lines(series, width, circumstances) if series else [])


def _ended(road: Road, run: Run, checks: Sequence[Check], expired: Sequence[str], release: str) -> list[str]:
    """What was tried again, asked, known, made and left."""
    lines = [
        f"again     {one.step}: {one.sentence} ({one.cause}); the second time it "
        f"{'passed' if one.passed else 'failed too'}"
        for one in run.retries
    ]
    if run.requests:
        lines += [f"requests  {retry.sentence(run.requests)}"]
    lines += [clean(line) for line in injection.table_lines(road.cells)]
    lines += [f"known     {check.id}: {check.cause}" for check in checks if check.outcome == "known"]
    lines += [f"expired   {line}" for line in expired]
    lines += [f"steps     {', '.join(f'{step} {took:.1f} s' for step, took in run.steps.items())}"]
    if road.end.accounting:
        lines += [f"cloud     {road.end.accounting}"]
    lines += [f"LEFT      {line}" for line in road.end.left]
    lines += road.end.lines
    if run.sandbox:
        lines += [f"sandbox   {release} stays up for the next run; `imagecheck sandbox down` stops it"]
    return lines
