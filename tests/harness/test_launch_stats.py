"""The statistics of launches say what scipy says, and nothing that a series may hold makes them break."""

import itertools
import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagecheck.launch import stats


def theirs():
    """scipy.stats, loaded by the first test that asks for a second opinion: that takes two seconds."""
    from scipy import stats

    return stats


SECONDS = st.floats(0, 1e9)
TIED = st.integers(0, 5).map(float)
WILD = st.one_of(SECONDS, TIED, st.just(math.inf))


@given(st.lists(SECONDS, min_size=1), st.floats(0, 1))
def test_quantiles_are_numpys(values, share):
    import numpy as np

    assert stats.quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "ranks"), [(10, (2, 9)), (20, (6, 15)), (30, (10, 21))])
def test_the_medians_interval_has_the_textbooks_ranks(n, ranks):
    interval = stats.quantile_interval([float(one) for one in range(1, n + 1)], 0.5)
    assert (interval.low, interval.high) == ranks
    inside = sum(theirs().binom.pmf(k, n, 0.5) for k in range(ranks[0], ranks[1]))
    assert interval.confidence == pytest.approx(inside)


@given(st.integers(1, 200), st.sampled_from([0.5, 0.75, 0.95]), st.sampled_from([0.005, 0.025, 0.05]))
def test_an_interval_is_wrong_at_each_end_as_rarely_as_it_says(n, share, side):
    interval = stats.quantile_interval([float(one) for one in range(1, n + 1)], share, side)
    below = theirs().binom(n, share)
    if math.isfinite(interval.low):
        assert below.cdf(interval.low - 1) <= side + 1e-9
    if math.isfinite(interval.high):
        assert below.sf(interval.high - 1) <= side + 1e-9
    assert interval.confidence >= 1 - 2 * side - 1e-9


@pytest.mark.parametrize(("n", "bounded"), [(58, False), (59, True)])
def test_the_95th_percentile_is_bounded_from_59_samples_on(n, bounded):
    interval = stats.quantile_interval([float(one) for one in range(n)], 0.95, 0.05)
    assert math.isfinite(interval.high) == bounded
    assert (n >= stats.P95_FROM) == bounded


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_interval_of_a_share_is_clopper_and_pearsons(one, two):
    count, of = min(one, two), max(one, two, 1)
    exact = theirs().binomtest(count, of).proportion_ci(0.95, method="exact")
    ours = stats.share_interval(count, of)
    assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_fishers_test_is_scipys(a, more_a, b, more_b):
    ours = stats.fisher(a, a + more_a, b, b + more_b)
    assert ours == pytest.approx(theirs().fisher_exact([[a, more_a], [b, more_b]]).pvalue, rel=1e-6)


@given(st.permutations(range(16)), st.integers(1, 15))
def test_without_ties_the_permutation_test_is_mann_and_whitneys(values, split):
    a, b = [float(one) for one in values[:split]], [float(one) for one in values[split:]]
    assert stats.permutation_test(a, b) == pytest.approx(theirs().mannwhitneyu(a, b, method="exact").pvalue)


@given(st.lists(TIED | st.just(math.inf), min_size=2, max_size=9), st.data())
def test_with_ties_and_failures_it_counts_every_arrangement(values, data):
    split = data.draw(st.integers(1, len(values) - 1))
    ranks = theirs().rankdata(values)
    sums = [sum(ranks[list(chosen)]) for chosen in itertools.combinations(range(len(values)), split)]
    seen = sum(ranks[:split])
    tail = min(sum(one <= seen + 1e-9 for one in sums), sum(one >= seen - 1e-9 for one in sums)) / len(sums)
    assert stats.permutation_test(values[:split], values[split:]) == pytest.approx(min(1, 2 * tail))


def test_drawn_arrangements_agree_with_the_exact_ones(monkeypatch):
    dice = random.Random(3)
    a = [dice.gauss(100, 5) for _ in range(20)]
    b = [dice.gauss(103, 5) for _ in range(20)]
    exact = stats.permutation_test(a, b)
    monkeypatch.setattr(stats, "_LARGEST_EXACT", 0)
    assert stats.permutation_test(a, b) == pytest.approx(exact, abs=4 * math.sqrt(exact / stats.RESAMPLES) + 1e-3)
    assert stats.permutation_test(a, b) == stats.permutation_test(a, b), "the same samples give the same p"
    assert stats.permutation_test(a, [one + 1000 for one in a]) == pytest.approx(2 / (stats.RESAMPLES + 1))


@given(st.lists(st.integers(0, 10**6), min_size=8, max_size=30, unique=True), st.data())
def test_a_shift_within_its_interval_is_one_that_the_test_does_not_reject(values, data):
    split = data.draw(st.integers(4, len(values) - 4))
    a, b = [float(one) for one in values[:split]], [float(one) for one in values[split:]]
    interval = stats.shift_interval(a, b)
    if math.isfinite(interval.low):
        for shift, inside in ((interval.low - 0.25, False), (interval.low + 0.25, True), (interval.high + 0.25, False)):
            p = stats.permutation_test(a, [one - shift for one in b])
            assert (p > 0.05) == inside or interval.high - interval.low < 0.5


@given(st.lists(st.integers(-(10**6), 10**6).filter(bool), min_size=1, max_size=40, unique_by=abs))
def test_without_ties_the_signed_ranks_are_wilcoxons(values):
    apart = [float(one) for one in values]
    assert stats.signed_rank_test(apart) == pytest.approx(theirs().wilcoxon(apart, method="exact").pvalue)


APART = st.one_of(st.integers(-4, 4).map(float), st.sampled_from([math.inf, -math.inf, math.nan]))


@given(st.lists(APART, max_size=9))
def test_with_ties_and_failures_signed_ranks_count_every_arrangement(values):
    known = [one for one in values if one and not math.isnan(one)]
    ranks = theirs().rankdata([abs(one) for one in known]) if known else []
    sums = [sum(rank for rank, up in zip(ranks, signs, strict=True) if up)
            for signs in itertools.product((False, True), repeat=len(known))]  # fmt: skip
    seen = sum(rank for rank, one in zip(ranks, known, strict=True) if one > 0)
    tail = min(sum(one <= seen + 1e-9 for one in sums), sum(one >= seen - 1e-9 for one in sums)) / len(sums)
    assert stats.signed_rank_test(values) == pytest.approx(min(1, 2 * tail))
    assert stats.signed_rank_test(values) >= min(1, stats.smallest_signed(len(values)))


def test_drawn_signs_agree_with_the_exact_ones(monkeypatch):
    dice = random.Random(3)
    apart = [dice.gauss(3, 8) for _ in range(30)]
    exact, interval = stats.signed_rank_test(apart), stats.center_interval(apart)
    monkeypatch.setattr(stats, "_LARGEST_EXACT", 0)
    assert stats.signed_rank_test(apart) == pytest.approx(exact, abs=4 * math.sqrt(exact / stats.RESAMPLES) + 1e-3)
    near = stats.center_interval(apart)
    assert (near.low, near.high) == pytest.approx((interval.low, interval.high), abs=0.5)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=6, max_size=30, unique=True))
def test_a_shift_within_the_interval_of_the_rounds_is_one_that_signed_ranks_do_not_reject(values):
    apart = [4.0 * one for one in values]
    interval = stats.center_interval(apart)
    assert interval.low <= stats.center(apart) <= interval.high
    assert interval.confidence >= 0.95
    for shift, inside in ((interval.low - 0.25, False), (interval.low + 0.25, True), (interval.high + 0.25, False)):
        p = stats.signed_rank_test([one - shift for one in apart])
        assert (p > 0.05) == inside or interval.high - interval.low < 0.5


@given(st.lists(APART | st.floats(-1e11, 1e11), max_size=20))
@example([math.nan] * 8)
@example([math.inf, -math.inf] * 8)
def test_whatever_rounds_hold_has_a_center_within_its_interval(values):
    interval, center = stats.center_interval(values), stats.center(values)
    assert interval.low <= interval.high
    assert math.isnan(center) or interval.low <= center <= interval.high


@given(st.lists(WILD, max_size=20), st.lists(WILD, max_size=20))
@example([], [])
@example([1.0], [math.inf])
@example([math.inf] * 6, [math.inf] * 6)
@example([5.0] * 8, [5.0] * 8)
def test_nothing_that_a_series_may_hold_breaks_them(a, b):
    assert 0 <= stats.permutation_test(a, b) <= 1
    assert stats.permutation_test(a, b) == pytest.approx(stats.permutation_test(b, a))
    interval = stats.shift_interval(a, b)
    assert interval.low <= interval.high
    for values in (a, b):
        middle = stats.quantile_interval(values, 0.5)
        assert middle.low <= stats.median(values) or not values
        assert stats.median(values) <= middle.high
        assert stats.iqr(values) >= 0


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_and_keeps_their_order(chances):
    adjusted = stats.holm(chances)
    assert all(one <= other <= 1 for one, other in zip(chances, adjusted, strict=True))
    pairs = sorted(zip(chances, adjusted, strict=True))
    assert [one for _, one in pairs] == sorted(one for _, one in pairs)
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
