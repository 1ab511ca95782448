"""A series judged, and its lines for the terminal. The arithmetic is launch.judge's."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

from imagecheck import compare
from imagecheck.launch import Phase, Timeline, baseline, judge, words
from imagecheck.launch.sample import Sample, labels
from imagecheck.options import Launches
from imagecheck.outcomes import Series
from imagecheck.report import Measured, timeline_lines
from imagecheck.report.terminal import clean

WHAT = {"launch": "Trove launch", "boot": "bare boot", "server": "Nova server"}


def judged(made: Series, name: str, launches: Launches) -> Series:
    """The series with its summaries and judgements; ``name`` is the label of the image that is checked.

    Against another image: that one is A, the checked one B, so that REGRESSED is always said of the checked one.
    """
    mine, other = _of(made, name), [one for one in made.samples if one.label != name]
    summaries = tuple(judge.summarize(_of(made, label)) for label in labels(made.samples))
    judgement = judge.compare(other, mine) if launches.against and other and mine else None
    against_baseline = None
    if launches.baseline is not None and mine:
        today = datetime.now(UTC).date()
        against_baseline = baseline.compare(baseline.load(launches.baseline), mine, today=today)
    return dataclasses.replace(made, summaries=summaries, judgement=judgement, baseline=against_baseline)


def check(launches: Launches | None) -> None:
    """UsageError where the baseline cannot be used: before anything is launched."""
    if launches is not None and launches.baseline is not None:
        baseline.load(launches.baseline)


def _of(made: Series, label: str) -> list[Sample]:
    return [one for one in made.samples if one.label == label]


@dataclasses.dataclass(frozen=True)
class _Median(Measured):
    name: str = ""

    @property
    def title(self) -> str:
        return self.name


def median(samples: Sequence[Sample], name: str) -> Measured:
    """The phases' medians over the samples that completed, one after the other. Pure."""
    good = [one for one in samples if one.completed]
    names = list(dict.fromkeys(phase.name for one in good for phase in one.phases))
    phases, reached = [], 0.0
    for phase in names:
        found = [one for sample in good for one in sample.phases if one.name == phase]
        seconds = statistics.median(one.seconds for one in found)
        note = "" if len(found) == len(good) else f"in {len(found)} of {len(good)}"
        phases.append(Phase(phase, reached, seconds, statistics.median(one.uncertainty for one in found), note=note))
        reached += seconds
    missing = {event: why for one in good for event, why in one.missing.items()}
    whole = statistics.median(one.uncertainty for one in good) if good else 0.0
    return _Median("boot", Timeline(tuple(phases), missing, None, whole), name=name)


def lines(made: Series, width: int, circumstances: str = "") -> list[str]:
    """Where the time went, image by image, and the verdicts."""
    found: list[str] = []
    for label in labels(made.samples):
        some = _of(made, label)
        title = f"{WHAT[some[0].kind]} of {label}, medians of {sum(one.completed for one in some)}, phase by phase:"
        found += [*timeline_lines(median(some, title), width=width, circumstances=circumstances), ""]
    for one in made.summaries if not (made.judgement or made.baseline) else ():
        low, high = one.median_interval.low, one.median_interval.high
        known = math.isfinite(low) and math.isfinite(high)
        found.append(
            f"launches  {one.label}: median {words.seconds(one.median)} "
            f"({f'{low:.1f} to {high:.1f}' if known else 'no interval'}), IQR {words.seconds(one.iqr)}, "
            f"{one.count - one.failed} of {one.count} completed"
        )
        found += [f"          {times} by {cause}" for cause, times in one.causes]
    for judgement in (made.judgement, made.baseline):
        found += [*compare.lines(judgement, width=width), ""] if judgement else []
    if made.stopped:
        found.append(f"stopped   after {len(made.samples)} of {made.planned}: {made.stopped}")
    found += [f"series    {note}" for note in made.notes]
    found.append(f"samples   {made.file} (order drawn with seed {made.seed})")
    return [clean(line) for line in found]
