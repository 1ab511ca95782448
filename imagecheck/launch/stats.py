"""The statistics of launch times: distribution-free, exact where they can be, and without a dependency. Pure.

Values are seconds; math.inf is a start that failed: it is censored, so it ranks behind all that completed, and equal
to every other failed one. Rules, formulas and sources: docs/statistics.md.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist

from imagecheck.launch.judgement import Interval

P95_FROM = 59  # samples: the smallest n with 0.95 ** n < 0.05, so that the longest one bounds the 95th percentile
RESAMPLES = 9_999  # with the observed order 10,000 arrangements: p has steps of 0.0001
_ENOUGH = 200  # arrangements as extreme as the observed one: p is known to a fourteenth, and lies above 0.02
_LARGEST_EXACT = 1 << 35  # bits moved for an exact distribution: half a second; 70 against 70, or 10 against 500
_NORMAL = NormalDist()


def median(values: Sequence[float]) -> float:
    """The middle value; inf when half or more failed, or when there is none."""
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of them lie, interpolated linearly (Hyndman & Fan's type 7)."""
    if not values:
        return math.inf
    rows = sorted(values)
    place = (len(rows) - 1) * share
    lower = min(math.floor(place), len(rows) - 1)
    part = place - lower
    if part == 0 or rows[lower] == rows[lower + 1]:
        return rows[lower]
    # In this form nothing overflows, and a half of two values is the same from either side.
    return rows[lower] * (1 - part) + rows[lower + 1] * part


def iqr(values: Sequence[float]) -> float:
    """The middle half's width; inf when a quarter or more failed."""
    upper = quantile(values, 0.75)
    return upper - quantile(values, 0.25) if math.isfinite(upper) else math.inf


def quantile_interval(values: Sequence[float], share: float, side: float = 0.025) -> Interval:
    """The order statistics that hold the true quantile between them, whatever the distribution is.

    Each end is wrong with a probability of at most ``side``: of n values the number below the quantile is binomial.
    """
    rows, n = sorted(values), len(values)
    # Largest rank with P(fewer than that many lie below the quantile) <= side, and the smallest at the other end.
    below = 0.0
    low = high = 0
    confidence = 1.0
    for count in range(n + 1):
        chance = _binomial(n, count, share)
        if below + chance <= side:
            low = count + 1
        below += chance
        if not high and below >= 1 - side and count < n:
            high = count + 1
            confidence -= 1 - below
    confidence -= sum(_binomial(n, count, share) for count in range(low))
    return Interval(
        rows[low - 1] if low else -math.inf, rows[high - 1] if high else math.inf, min(1.0, max(0.0, confidence))
    )


def share_interval(count: int, of: int, side: float = 0.025) -> Interval:
    """Clopper and Pearson's interval of a share: never less than the asked confidence, which Wilson's can be."""
    if not of:
        return Interval(0.0, 1.0, 1.0)
    low = 0.0 if count == 0 else _crossing(lambda share: _at_most(of, count - 1, share) - (1 - side))
    high = 1.0 if count == of else _crossing(lambda share: _at_most(of, count, share) - side)
    return Interval(low, high, 1 - 2 * side)


def fisher(a: int, of_a: int, b: int, of_b: int) -> float:
    """Fisher's exact test, two-sided: p of ``a`` of ``of_a`` against ``b`` of ``of_b``."""
    drawn = a + b
    low, high = max(0, drawn - of_b), min(of_a, drawn)
    ways = [math.comb(of_a, one) * math.comb(of_b, drawn - one) for one in range(low, high + 1)]
    seen = ways[a - low]
    return sum(one for one in ways if one <= seen) / math.comb(of_a + of_b, drawn)


def permutation_test(a: Sequence[float], b: Sequence[float], seed: int = 1) -> float:
    """p, two-sided, of the sum of A's ranks among all: were the labels drawn by lot, how often so extreme or more?

    Twice the smaller tail. Exact, ties included, as long as that takes less than a second; beyond it from RESAMPLES
    arrangements drawn with ``seed``, the observed one counted in, so that p is never too small.
    """
    if not a or not b:
        return 1.0
    ranks = _ranks([*a, *b])
    if len(a) > len(b):  # the smaller side's sum says the same and costs less
        few, observed = len(b), sum(ranks[len(a) :])
    else:
        few, observed = len(a), sum(ranks[: len(a)])
    if _work(few, len(ranks)) <= _LARGEST_EXACT:
        return _two_sided(_sums(ranks, few), math.comb(len(ranks), few), observed)
    return _drawn(lambda dice: sum(dice.sample(ranks, few)), observed, seed)


def shift_interval(a: Sequence[float], b: Sequence[float], side: float = 0.025) -> Interval:
    """How far B lies behind A: the order statistics of all differences (Moses; Hodges and Lehmann).

    It has the shifts that the rank test would not reject at 2 x ``side``, so both speak with one voice. Exact in
    small samples without ties, wider than it need be with them; of two failed ones nothing is known.
    """
    n, m = len(a), len(b)
    known = sorted(other - one for one in a for other in b if math.isfinite(one) or math.isfinite(other))
    return _ends(known, n * m - len(known), *(_smallest_rank(n, m, side) if n and m else (0, 0.0)))


def signed_rank_test(differences: Sequence[float]) -> float:
    """p, two-sided, of Wilcoxon's signed ranks: were the labels drawn by lot within each round, how often so extreme?

    A difference of 0 says nothing, nor does nan (both failed); ±inf is of one that failed alone. Exact, ties included,
    up to some 400 rounds, beyond it drawn, as permutation_test().
    """
    known = [one for one in differences if one and not math.isnan(one)]
    ranks = _ranks([abs(one) for one in known])
    observed = sum(rank for rank, one in zip(ranks, known, strict=True) if one > 0)
    if _signed_work(len(ranks)) > _LARGEST_EXACT:
        return _drawn(lambda dice: _signed(ranks, dice), observed)
    return _two_sided(_sums(ranks), 1 << len(ranks), observed)


def smallest_signed(rounds: int) -> float:
    """The smallest p that signed_rank_test() can find in so many rounds: 8 of them for 0.01."""
    return min(1.0, 2.0 ** (1 - rounds))


def center(differences: Sequence[float]) -> float:
    """By how much B lies behind A within the rounds: the median of all pairs' means (Hodges and Lehmann), the middle
    of center_interval(). inf or -inf where half of them lie there; nan where nothing is known."""
    known, unknown = _walsh(differences)
    return (
        median([*known, *[math.inf] * (unknown // 2), *[-math.inf] * (unknown - unknown // 2)]) if known else math.nan
    )


def center_interval(differences: Sequence[float], side: float = 0.025) -> Interval:
    """How far B lies behind A within the rounds: the shifts that signed_rank_test() would not reject at 2 x ``side``,
    which are order statistics of the means of all pairs of differences (Walsh; Tukey)."""
    return _ends(*_walsh(differences), *_smallest_signed_rank(len(differences), side))


def normal_quantile(share: float) -> float:
    """Of the standard normal distribution, for planning how many samples are needed; no verdict rests on it."""
    return _NORMAL.inv_cdf(share)


def holm(chances: Sequence[float]) -> list[float]:
    """Each p, made larger for there being several tests (Holm 1979); in the same order."""
    adjusted = [1.0] * len(chances)
    running = 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=lambda one: chances[one])):
        running = max(running, min(1.0, chances[index] * (len(chances) - place)))
        adjusted[index] = running
    return adjusted


# ---- how it is counted


def _ranks(values: Sequence[float]) -> list[int]:
    """Ranks from 1, equal values sharing theirs; all doubled, and halved again where none is a half."""
    order = sorted(range(len(values)), key=lambda one: values[one])
    ranks = [0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for index in order[start : end + 1]:
            ranks[index] = start + end + 2
        start = end + 1
    return ranks if any(rank % 2 for rank in ranks) else [rank // 2 for rank in ranks]


def _work(few: int, of: int) -> int:
    """Bits that _sums moves: its additions times the largest table."""
    return (few * of) * (few * 2 * of * of)


def _signed_work(n: int) -> int:
    """The same of signed ranks: n additions, doubled ranks, n bits for each sum."""
    return n * (n * (n + 1)) * n


def _sums(ranks: Sequence[int], few: int | None = None) -> list[int]:
    """In how many ways ``few`` of the ranks, or any number of them, have each sum.

    One whole number holds a table of sums, ``width`` bits for each: adding a rank to all of them is one shift.
    """
    if few is None:
        width = len(ranks) + 1
        table = 1
        for rank in ranks:
            table += table << (rank * width)
        return _unpacked(table, width, sum(ranks))
    width = math.comb(len(ranks), few).bit_length() + 1
    tables = [1] + [0] * few
    for number, rank in enumerate(ranks, 1):
        for size in range(min(few, number), max(0, few - len(ranks) + number - 1), -1):
            tables[size] += tables[size - 1] << (rank * width)
    return _unpacked(tables[few], width, sum(sorted(ranks)[len(ranks) - few :]))


def _unpacked(table: int, width: int, largest: int) -> list[int]:
    """A table of _sums: the ways of each sum from 0 to ``largest``."""
    mask = (1 << width) - 1
    raw = table.to_bytes((largest + 1) * width // 8 + 1, "little")
    found = []
    for place in range(largest + 1):
        first, last = place * width // 8, ((place + 1) * width + 7) // 8
        found.append((int.from_bytes(raw[first:last], "little") >> (place * width % 8)) & mask)
    return found


def _two_sided(ways: Sequence[int], whole: int, observed: int) -> float:
    """p of a sum: twice its smaller tail, of the ways in which each sum comes about."""
    below = sum(ways[: observed + 1])
    return min(1.0, 2 * min(below, whole - below + ways[observed]) / whole)


def _drawn(draw: Callable[[random.Random], int], observed: int, seed: int = 1) -> float:
    """p from drawn arrangements; valid also where it ends early because p is far from small (Besag & Clifford 1991)."""
    dice = random.Random(seed)  # noqa: S311 (no secret is made of it)
    below = above = 1
    for drawn in range(1, RESAMPLES + 1):
        total = draw(dice)
        below += total <= observed
        above += total >= observed
        if min(below, above) > _ENOUGH:
            return min(1.0, 2 * min(below, above) / (drawn + 1))
    return min(1.0, 2 * min(below, above) / (RESAMPLES + 1))


def _signed(ranks: Sequence[int], dice: random.Random) -> int:
    """The sum of those ranks whose sign is drawn as positive."""
    signs = dice.getrandbits(len(ranks))
    return sum(rank for place, rank in enumerate(ranks) if signs >> place & 1)


def _ends(known: Sequence[float], unknown: int, rank: int, wrong: float) -> Interval:
    """From the rank-th smallest to the rank-th largest, each beyond the true shift with a chance of ``wrong``; as the
    unknown ones may lie anywhere, they are counted at either end."""
    if rank <= unknown:
        return Interval(-math.inf, math.inf, 1.0)
    return Interval(known[rank - unknown - 1], known[len(known) - rank + unknown], 1 - 2 * wrong)


def _walsh(differences: Sequence[float]) -> tuple[list[float], int]:
    """The means of all pairs, each with itself too, in order, and how many are not known: these may lie anywhere."""
    means = [(one + other) / 2 for at, one in enumerate(differences) for other in differences[at:]]
    known = sorted(one for one in means if not math.isnan(one))
    return known, len(means) - len(known)


def _smallest_signed_rank(n: int, side: float) -> tuple[int, float]:
    """As _smallest_rank(), among the means of all pairs of n differences."""
    if _signed_work(n) > _LARGEST_EXACT:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, math.floor(n * (n + 1) / 4 - normal_quantile(1 - side) * spread)), side
    return _rank_beyond(_sums(range(1, n + 1)), 1 << n, side)


def _smallest_rank(n: int, m: int, side: float) -> tuple[int, float]:
    """The rank among the n x m ordered differences that lies beyond the true shift with at most ``side``, and with
    what chance it does; 0 where there is none."""
    few = min(n, m)
    if _work(few, n + m) > _LARGEST_EXACT:
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - normal_quantile(1 - side) * spread)), side
    ways = _sums(range(1, n + m + 1), few)[few * (few + 1) // 2 :]
    return _rank_beyond(ways, math.comb(n + m, few), side)


def _rank_beyond(ways: Sequence[int], whole: int, side: float) -> tuple[int, float]:
    """How many of the smallest sums have at most ``side`` of all ways together, and what share they have."""
    rank = total = 0
    for count in ways:
        if total + count > side * whole:
            break
        total += count
        rank += 1
    return rank, total / whole


def _binomial(n: int, count: int, share: float) -> float:
    """P(exactly ``count`` of n); by logarithms, for the factors of large n are no floats."""
    if share in (0.0, 1.0):
        return float(count == n * share)
    logs = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
    return math.exp(logs + count * math.log(share) + (n - count) * math.log1p(-share))


def _at_most(n: int, count: int, share: float) -> float:
    return math.fsum(_binomial(n, one, share) for one in range(count + 1))


def _crossing(falling: Callable[[float], float]) -> float:
    """Where a function that falls from 0 to 1 is zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
