"""Is B slower than A? One label's samples summed up, and two labels judged against each other. Pure.

The rules, why they are so, and how often they err: docs/statistics.md, from tests/bench/judge_errors.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from imagecheck.launch import phases, rounds, stats, words
from imagecheck.launch.judgement import Difference, Interval, Judgement, Summary, Verdict
from imagecheck.launch.sample import FINGERPRINT, Sample, labels

P = 0.01  # of the permutation test and of Fisher's
EFFECT = 0.05  # of A's median: what is smaller does not matter, however certain it is
POWER = 0.8  # a difference of twice the effect is found with it, or PASS is not said
_ONE_END = 0.05  # the chance of each end of the 95th percentile's interval to be wrong
_OPEN_FAILURES = 2  # more of B's starts failed than of A's: one may be chance, this many leave it open
_GUESS = 10  # samples of each, where there are too few to tell how much they spread
_MOST = 1000  # samples of each; what needs more is not decided by samples


def summarize(samples: Sequence[Sample]) -> Summary:
    """One label's samples in numbers; also of none, of failed ones only, and of those with several labels."""
    times = _times(samples)
    done = [one for one in times if math.isfinite(one)]
    failed = len(times) - len(done)
    causes = Counter(one.cause or "unknown" for one in samples if not one.completed)
    return Summary(
        label=", ".join(labels(samples)),
        count=len(times),
        failed=failed,
        median=stats.median(times),
        median_interval=stats.quantile_interval(times, 0.5),
        iqr=stats.iqr(times),
        p95=stats.quantile(times, 0.95),
        p95_indicative=len(times) < stats.P95_FROM,
        minimum=min(done, default=math.inf),
        maximum=max(done, default=math.inf),
        causes=tuple(causes.most_common()),
        p95_interval=stats.quantile_interval(times, 0.95, _ONE_END),
        success_interval=stats.share_interval(len(done), len(times)),
    )


def compare(a: Sequence[Sample], b: Sequence[Sample], *, p: float = P, effect: float = EFFECT) -> Judgement:
    """B against A: REGRESSED and IMPROVED with a chance of error below ``p``, and only above ``effect`` of A's median
    and above what the samples' clocks and polls can tell apart; or when one of them fails more often."""
    one, other = summarize(a), summarize(b)
    names = words.Names.of(one, other)
    if different := differences(a, b):
        return Judgement(
            "INCOMPARABLE", words.incomparable(names, different), one, other, reasons=words.differing(names, different)
        )
    pairs = rounds.pairs(a, b)
    if stats.smallest_signed(len(pairs)) >= p:
        pairs = []  # so few rounds can prove nothing, while all launches together may
    tested = _within(pairs) if pairs else _among(a, b)
    chance = tested.chance
    success_p = stats.fisher(one.failed, one.count, other.failed, other.count)
    difference, floor = _difference(a, b, one, other, tested, effect)
    precision = _precision(p, difference)
    slower = difference.seconds if difference else words.side(one.median, other.median)
    proven = chance < p and abs(slower) > floor and not _contradicted(difference)
    more_fail, fewer_fail = (success_p < p and sign * (other.success - one.success) > 0 for sign in (-1, 1))
    verdict: Verdict
    more = 0
    if (proven and slower > 0) or more_fail:
        verdict = "REGRESSED"
    elif (proven and slower < 0) or fewer_fail:
        verdict = "IMPROVED"
    else:
        enough, more = _enough(one, other, difference, floor, precision, p)
        verdict = "PASS" if enough else "INSUFFICIENT"
    table, left_out = phases.compare(a, b, pairs, whole=slower if proven and difference else 0.0, p=p)
    told = words.Told(
        names=names, a=one, b=other, difference=difference, slower=slower, floor=floor, chance=chance,
        success_p=success_p, proven=proven, more_fail=more_fail, fewer_fail=fewer_fail, more=more, effect=effect,
        phases=table,
    )  # fmt: skip
    return Judgement(
        verdict, words.sentence(verdict, told), one, other, difference, table,
        (*words.reasons(verdict, told), *_of_images(names, a, b), *left_out), more, success_p,
    )  # fmt: skip


def differences(a: Sequence[Sample], b: Sequence[Sample]) -> tuple[tuple[str, str, str], ...]:
    """Keys of the fingerprint, and the kind, that forbid a comparison: (key, A's values, B's values).

    Also what one side mixes ("cold and warm"), the hosts excepted: servers are spread. A failed start may not have
    got as far as to know a value; a completed one has no excuse. An empty side differs in nothing.
    """
    if not a or not b:
        return ()
    found = []
    for key in ("kind", *FINGERPRINT):
        sides = [_values(key, samples) for samples in (a, b)]
        if not all(sides) and not all(any(one.completed for one in samples) for samples in (a, b)):
            continue  # a side without a completed start may not know it
        if sides[0] != sides[1] or (len(sides[0]) > 1 and key != "host"):
            found.append((key, *(words.listed(sorted(values)) or "not known" for values in sides)))
    return tuple((key, one, other) for key, one, other in found)


def _values(key: str, samples: Sequence[Sample]) -> set[str]:
    values = {(one.kind if key == "kind" else one.fingerprint.get(key, ""), one.completed) for one in samples}
    completed = {value for value, done in values if done}
    # One that completed and does not know counts as a value of its own, unless none of them knows.
    return {value for value, _ in values if value} | (completed if any(completed) else set())


def _times(samples: Sequence[Sample]) -> list[float]:
    return [one.seconds if one.completed else math.inf for one in samples]


@dataclass(frozen=True)
class _Tested:
    """B against A: ``seconds`` inf or nan where not known; ``rounds`` 0 where all launches were permuted."""

    chance: float
    seconds: float
    interval: Interval
    rounds: int = 0


def _among(a: Sequence[Sample], b: Sequence[Sample]) -> _Tested:
    """All launches of A against all of B."""
    times = _times(a), _times(b)
    apart = stats.median(times[1]) - stats.median(times[0])
    return _Tested(stats.permutation_test(*times), apart, stats.shift_interval(*times))


def _within(pairs: Sequence[tuple[Sample, Sample]]) -> _Tested:
    """B against A of the same round: what drifts from round to round drops out."""
    sides = zip(_times([one for one, _ in pairs]), _times([other for _, other in pairs]), strict=True)
    apart = [round(other - one, 9) for one, other in sides]  # so that equal differences are equal
    return _Tested(stats.signed_rank_test(apart), stats.center(apart), stats.center_interval(apart), len(pairs))


def _difference(
    a: Sequence[Sample], b: Sequence[Sample], one: Summary, other: Summary, tested: _Tested, effect: float
) -> tuple[Difference | None, float]:
    """The difference, None where a median is not known, and the seconds above which it counts."""
    if not all(map(math.isfinite, (one.median, other.median, tested.seconds))):
        return None, 0.0
    relative = tested.seconds / one.median if one.median else 0.0
    resolution = _half(a) + _half(b)
    return Difference(tested.seconds, relative, tested.chance, resolution, tested.interval, tested.rounds), max(
        effect * one.median, resolution
    )


def _half(samples: Sequence[Sample]) -> float:
    """How far the true median may lie from the one that was measured: all samples may be wrong the same way."""
    early, late = (
        stats.median([one.seconds + sign * one.uncertainty if one.completed else math.inf for one in samples])
        for sign in (-1, 1)
    )
    return (late - early) / 2


def _contradicted(difference: Difference | None) -> bool:
    """The medians say one direction, all the samples together the other: two humps that changed their weight."""
    if difference is None or difference.interval is None:
        return False
    return difference.interval.high <= 0 if difference.seconds > 0 else difference.interval.low >= 0


@dataclass(frozen=True)
class _Precision:
    """``found``: seconds of difference that samples like these would have shown with POWER; ``least``: samples of
    each below which no p can be small enough."""

    found: float
    least: int


def _precision(p: float, difference: Difference | None) -> _Precision:
    """From the width of the shift's interval, which needs no assumption on what the times look like."""
    least = 1
    within = difference is not None and difference.rounds > 0
    while (stats.smallest_signed(least) if within else 2 / math.comb(2 * least, least)) >= p and least < _MOST:
        least += 1
    interval = difference.interval if difference else None
    if interval and math.isfinite(interval.low) and math.isfinite(interval.high):
        half = (interval.high - interval.low) / 2
        error = half / stats.normal_quantile((1 + min(interval.confidence, 1 - 1e-9)) / 2)
    else:
        error = math.inf
    return _Precision((stats.normal_quantile(1 - p / 2) + stats.normal_quantile(POWER)) * error, least)


def _enough(
    one: Summary, other: Summary, difference: Difference | None, floor: float, precision: _Precision, p: float
) -> tuple[bool, int]:
    """Whether PASS can be said, and if not, how many more samples of each would decide (0: none would)."""
    count = min(one.count, other.count)
    wanted = [precision.least, *_for_failures(one, other, p)]
    if difference is None:
        # Half of one side or more failed, or there are none: only the success rates can be told apart.
        return False, _more(wanted, count) if count else _GUESS
    interval = difference.interval
    harmless = interval is not None and interval.low > -floor and interval.high < floor
    if not harmless:
        if not math.isfinite(precision.found):
            wanted.append(_GUESS)
        elif precision.found > 2 * floor:
            wanted.append(math.ceil(count * (precision.found / (2 * floor)) ** 2) if floor else _MOST + 1)
        elif abs(difference.seconds) > floor:
            # As many as would prove what was seen; a quarter more where it is almost proven.
            wanted.append(math.ceil(count * max(1.25, (precision.found / abs(difference.seconds)) ** 2)))
    if max(wanted) <= count:
        return True, 0
    return False, _more(wanted, count)


def _more(wanted: Sequence[int], count: int) -> int:
    return 0 if max(wanted) > _MOST else max(0, max(wanted) - count)


def _for_failures(one: Summary, other: Summary, p: float) -> list[int]:
    """Samples of each that would tell the success rates apart if they stayed as they are; none where they may be
    equal, or differ by chance."""
    count = min(one.count, other.count)
    if not count or (one.success - other.success) * count < _OPEN_FAILURES:
        return []
    size = count + 1
    while size <= _MOST:
        if stats.fisher(round((1 - one.success) * size), size, round((1 - other.success) * size), size) < p:
            return [size]
        size += max(1, size // 20)
    return [_MOST + 1]


def _of_images(names: words.Names, a: Sequence[Sample], b: Sequence[Sample]) -> tuple[str, ...]:
    """What the reader should know of the files themselves."""
    files = [{one.image for one in samples if one.image} for samples in (a, b)]
    told = [
        f"the samples of {name} are of {len(found)} different image files"
        for name, found in zip((names.a, names.b), files, strict=True)
        if len(found) > 1
    ]
    if len(files[0]) == 1 and files[0] == files[1]:
        told.append("both are the same image file")
    return tuple(told)
