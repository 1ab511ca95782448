"""What judge.py found, in sentences with their numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from imagecheck.launch.judgement import Difference, PhaseDifference, Summary, Verdict

_MOST_VALUES = 3  # of one key of a fingerprint, and keys in one sentence
_MOST_PHASES = 2


@dataclass(frozen=True)
class Names:
    """How the two sides are called: by their labels where these tell them apart."""

    a: str
    b: str

    @classmethod
    def of(cls, a: Summary, b: Summary) -> Names:
        """A and B where a label is missing, or both have the same one."""
        return cls(a.label or "A", b.label or "B") if a.label != b.label else cls("A", "B")


@dataclass(frozen=True)
class Told:
    """All that a sentence may need."""

    names: Names
    a: Summary
    b: Summary
    difference: Difference | None
    slower: float  # seconds by which B is, inf where it has no median and A has
    floor: float
    chance: float
    success_p: float
    proven: bool
    more_fail: bool
    fewer_fail: bool
    more: int
    effect: float
    phases: tuple[PhaseDifference, ...]


def sentence(verdict: Verdict, told: Told) -> str:
    """The verdict in one sentence, for INCOMPARABLE see incomparable()."""
    if verdict in ("REGRESSED", "IMPROVED"):
        wrong = verdict == "REGRESSED"
        parts = []
        if told.proven and (told.slower > 0) == wrong:
            parts.append(_times_differ(told))
        if told.more_fail if wrong else told.fewer_fail:
            parts.append(_rates_differ(told, "more" if wrong else "less", subject=not parts))
        return ", and it ".join(parts)
    if verdict == "PASS":
        return _alike(told)
    return _undecided(told)


def reasons(verdict: Verdict, told: Told) -> tuple[str, ...]:
    """What stands beside the verdict, a sentence each."""
    found = []
    difference = told.difference
    if difference and difference.resolution > told.effect * told.a.median:
        found.append(
            f"uncertainties and polls of ± {seconds(difference.resolution)} hide what is smaller, so that counts"
            f" instead of {percent(told.effect)}"
        )
    if difference and told.chance < 0.01 and not told.proven and verdict == "PASS":
        found.append(
            f"{told.names.b} is {percent(abs(difference.relative))} {_slower(difference)}, which is certain"
            f" ({chance(told.chance)}) but too little to count"
        )
    if told.a.failed != told.b.failed and not (told.more_fail or told.fewer_fail):
        found.append(
            f"{told.b.failed} of {told.b.count} starts of {told.names.b} failed, {told.a.failed} of {told.a.count} of"
            f" {told.names.a}: that may be chance ({chance(told.success_p)})"
        )
    for name, one in ((told.names.a, told.a), (told.names.b, told.b)):
        if one.causes:
            causes = listed([f"{cause} ({count})" for cause, count in one.causes])
            found.append(f"{name} failed by {causes}")
    return tuple(found)


def incomparable(names: Names, different: Sequence[tuple[str, str, str]]) -> str:
    """Which keys of the fingerprint differ, with both values."""
    told = [f"{key} is {a} against {b}" if a != b else f"both mix {key} {a}" for key, a, b in different[:_MOST_VALUES]]
    rest = [key for key, _, _ in different[_MOST_VALUES:]]
    if rest:
        told.append(f"and {', '.join(rest)} differ too")
    return f"{names.a} and {names.b} are not comparable: {'; '.join(told)}"


def differing(names: Names, different: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """A sentence for each key."""
    return tuple(f"{key}: {a} of {names.a}, {b} of {names.b}" for key, a, b in different)


def side(a: float, b: float) -> float:
    """B minus A, also of medians that are not known (inf); 0 where neither is."""
    return 0.0 if a == b else b - a


def seconds(value: float) -> str:
    """``12.3 s``; ``not known`` for inf."""
    return f"{value:.1f} s" if math.isfinite(value) else "not known"


def percent(share: float) -> str:
    """``7.2 %``, ``35 %``: more digits would promise too much."""
    return f"{share * 100:.1f} %".replace(".0 %", " %") if abs(share) < 0.0995 else f"{share * 100:.0f} %"


def chance(p: float) -> str:
    """``p 0.0002``, ``p 0.31``, ``p < 0.0001``."""
    if p < 0.0001:
        return "p < 0.0001"
    return f"p {p:.4f}" if p < 0.01 else f"p {p:.3f}" if p < 0.1 else f"p {p:.2f}"


def listed(values: Sequence[str]) -> str:
    """``a, b and c``, ``a, b, c and 4 more``; an empty one is not known."""
    shown = [value or "not known" for value in values]
    if len(shown) > _MOST_VALUES:
        shown = [*shown[:_MOST_VALUES], f"{len(shown) - _MOST_VALUES} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _slower(difference: Difference) -> str:
    return "slower" if difference.seconds > 0 else "faster"


def _counts(told: Told) -> str:
    if told.difference and told.difference.rounds:
        return f"{chance(told.chance)}, {told.difference.rounds} rounds"
    return f"{chance(told.chance)}, n {told.a.count} and {told.b.count}"


def _times_differ(told: Told) -> str:
    a, b, difference = told.names.a, told.names.b, told.difference
    if difference is None:
        failing, one = (b, told.b) if math.isinf(told.b.median) else (a, told.a)
        return f"{failing} has no median, for {one.failed} of its {one.count} starts failed ({_counts(told)})"
    relative = f" ({percent(abs(difference.relative))})" if told.a.median else ""
    return (
        f"{b} is {seconds(abs(difference.seconds))}{relative} {_slower(difference)} than {a}: "
        f"{_medians(told)} ({_counts(told)}){_where(told)}"
    )


def _medians(told: Told) -> str:
    """Both; named as such where the difference is not theirs but that within rounds."""
    named = "medians " if told.difference and told.difference.rounds else ""
    return f"{named}{seconds(told.b.median)} against {seconds(told.a.median)}"


def _where(told: Told) -> str:
    """The phases that changed in the same direction, the largest first."""
    if told.difference is None:
        return ""
    along = sorted((one for one in told.phases if one.share > 0), key=lambda one: -one.share)
    certain = [one for one in along if one.significant][:_MOST_PHASES]
    if certain:
        named = " and ".join(f"'{one.name}' ({one.seconds:+.1f} s)" for one in certain)
        most = "most" if sum(one.share for one in certain) > 0.5 else "part"
        return f", {most} of it in {named}"
    if along:
        largest = f"'{along[0].name}' ({along[0].seconds:+.1f} s)"
        return f", in no phase for certain; the largest change is in {largest}"
    return ""


def _rates_differ(told: Told, how: str, *, subject: bool) -> str:
    a, b = told.names.a, told.names.b
    return (
        f"{f'{b} ' if subject else ''}fails {how} often{f' than {a}' if subject else ''}: {told.b.failed} of"
        f" {told.b.count} starts against {told.a.failed} of {told.a.count} ({chance(told.success_p)})"
    )


def _alike(told: Told) -> str:
    difference, a, b = told.difference, told.names.a, told.names.b
    if difference is None or difference.interval is None:
        return f"{a} and {b} do not differ"
    interval, medians = difference.interval, _medians(told)
    if interval.low > -told.floor and interval.high < told.floor:
        return (
            f"{b} and {a} differ by less than {_floor(told)}: {medians}"
            f" (difference {_between(difference)}, {_counts(told)})"
        )
    return (
        f"{b} does not differ from {a} so that it shows: {medians} ({_counts(told)}); a difference of"
        f" {_floor(told, 2)} would have been found with a chance of 80 % or more"
    )


def _undecided(told: Told) -> str:
    a, b, difference = told.names.a, told.names.b, told.difference
    have = f"{told.a.count} and {told.b.count} samples of {a} and {b} do not decide"
    if told.more:
        then = f"; {told.more} more of each would"
    elif told.a.failed == told.a.count and told.b.failed == told.b.count and told.a.count and told.b.count:
        return f"nothing to compare: all {told.a.count} starts of {a} and all {told.b.count} of {b} failed"
    elif difference is None:
        then = ": mend the failures first"
    else:
        then = ", and no reasonable number of samples would: they spread too much"
    if difference is None:
        failed = f"{told.a.failed} and {told.b.failed} of them failed" if told.a.failed or told.b.failed else ""
        return f"{have}{f' ({failed})' if failed else ''}{then}"
    return f"{have}: {_medians(told)} (difference {_between(difference)}, {chance(told.chance)}){then}"


def _between(difference: Difference) -> str:
    interval = difference.interval
    if interval is None or not math.isfinite(interval.low) or not math.isfinite(interval.high):
        return f"{difference.seconds:+.1f} s, give or take anything"
    where = " within a round" if difference.rounds else ""
    return f"{interval.low:+.1f} s to {interval.high:+.1f} s{where} with 95 %"


def _floor(told: Told, times: int = 1) -> str:
    """The smallest difference that counts, in percent where that is how it was asked for."""
    if told.floor > told.effect * told.a.median:
        return seconds(times * told.floor)
    return percent(times * told.effect)
