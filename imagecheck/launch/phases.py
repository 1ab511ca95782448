"""The phases of two labels side by side: brought to the same cuts, then tested one by one. Pure.

A phase whose end was not seen in a sample is merged into the next one there ("agent started + broker connected"), so
the samples of a series need not have the same phases. Only cuts that nearly all have are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from imagecheck.launch import stats
from imagecheck.launch.judgement import PhaseDifference
from imagecheck.launch.sample import PhaseTime, Sample

JOIN = " + "  # of the names of merged phases, as launch/timeline.py writes them
_NEARLY_ALL = 0.8  # of a label's completed samples have a cut that is compared


@dataclass(frozen=True)
class _Row:
    """One phase in one sample, between two cuts that both labels have."""

    seconds: float
    uncertainty: float
    waiting: str


def compare(
    a: Sequence[Sample], b: Sequence[Sample], rounds: Sequence[tuple[Sample, Sample]] = (), *, whole: float, p: float
) -> tuple[tuple[PhaseDifference, ...], tuple[str, ...]]:
    """Every phase of A against B, in their order, and sentences on what could not be compared.

    ``rounds`` are the samples of A and B that belong together, if any do. ``whole`` is the difference in seconds that
    the shares are of, 0 where there is none. Failed samples have no say: they broke off in the middle of a phase.
    """
    sides = [[one for one in samples if one.completed and _sound(one)] for samples in (a, b)]
    if not all(sides):
        return (), ()
    cuts = _common(sides)
    names = _names(sides, cuts)
    merged = [{id(one): row for one in side if (row := _merged(one, cuts, names))} for side in sides]
    tables = [list(table.values()) for table in merged]
    reasons = tuple(
        f"{left_out} of {len(side)} completed samples of {side[0].label} have other phases: they are not in the table"
        for side, table in zip(sides, tables, strict=True)
        if (left_out := len(side) - len(table))
    )
    if not all(tables):
        return (), reasons
    found = []
    columns = [list(zip(*table, strict=True)) for table in tables]
    pairs = [(merged[0][id(one)], merged[1][id(other)]) for one, other in rounds
             if id(one) in merged[0] and id(other) in merged[1]]  # fmt: skip
    apart_in_rounds = [
        [round(theirs[at].seconds - ours[at].seconds, 6) for ours, theirs in pairs] for at in range(len(names))
    ]
    # Ten rounds cannot prove one phase of many: the smallest p of signed ranks times their number is above 0.01.
    by_rounds = len(names) * stats.smallest_signed(len(pairs)) < p
    chances = stats.holm(
        [
            stats.signed_rank_test(apart) if by_rounds else
            stats.permutation_test([row.seconds for row in one], [row.seconds for row in other])
            for apart, one, other in zip(apart_in_rounds, *columns, strict=True)
        ]
    )  # fmt: skip
    for name, chance, within, one, other in zip(names, chances, apart_in_rounds, *columns, strict=True):
        before, after = (stats.median([row.seconds for row in rows]) for rows in (one, other))
        resolution = sum(stats.median([row.uncertainty for row in rows]) for rows in (one, other))
        apart = stats.center(within) if within else after - before
        certain = chance < p and abs(apart) > resolution
        share = apart / whole if whole else 0.0
        found.append(
            PhaseDifference(JOIN.join(name), before, after, apart, chance, share, _waiting([*one, *other]), certain)
        )
    return tuple(found), reasons


def _parts(phase: PhaseTime) -> list[str]:
    return phase.name.split(JOIN)


def _sound(sample: Sample) -> bool:
    """It has phases, and none twice."""
    parts = [part for phase in sample.phases for part in _parts(phase)]
    return bool(parts) and len(parts) == len(set(parts))


def _common(sides: Sequence[Sequence[Sample]]) -> set[str]:
    """The phases whose ends nearly all samples of both labels saw."""
    found = []
    for side in sides:
        counts = Counter(_parts(phase)[-1] for one in side for phase in one.phases)
        found.append({name for name, count in counts.items() if count >= _NEARLY_ALL * len(side)})
    return found[0] & found[1]


def _names(sides: Sequence[Sequence[Sample]], cuts: set[str]) -> list[tuple[str, ...]]:
    """The parts of each phase that is compared, in order; as the sample that most others agree with has them."""
    ways: Counter[tuple[tuple[str, ...], ...]] = Counter()
    for one in (one for side in sides for one in side):
        groups: list[tuple[str, ...]] = []
        open_parts: list[str] = []
        for phase in one.phases:
            open_parts += _parts(phase)
            if open_parts[-1] in cuts:
                groups.append(tuple(open_parts))
                open_parts = []
        ways[tuple(groups)] += 1
    return list(ways.most_common(1)[0][0])


def _merged(sample: Sample, cuts: set[str], names: Sequence[tuple[str, ...]]) -> list[_Row]:
    """The sample's phases between the cuts; empty where they are other ones."""
    rows, seen = [], []
    gathered: list[PhaseTime] = []
    for phase in sample.phases:
        gathered.append(phase)
        if _parts(phase)[-1] in cuts:
            seen.append(tuple(part for one in gathered for part in _parts(one)))
            rows.append(
                _Row(
                    # Rounded, so that equal times stay equal after they were added up.
                    round(sum(one.seconds for one in gathered), 6),
                    sum(one.uncertainty for one in gathered),
                    JOIN.join(dict.fromkeys(one.waiting for one in gathered if one.waiting)),
                )
            )
            gathered = []
    return rows if seen == list(names) else []


def _waiting(rows: Sequence[_Row]) -> str:
    """What most of them wait for."""
    return Counter(row.waiting for row in rows).most_common(1)[0][0]
