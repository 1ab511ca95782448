"""How often the judge of launch times errs: `./dev python tests/bench/judge_errors.py [--trials N] [--table NAME]`.

Prints the tables of docs/statistics.md: of series in rounds, with --files of one file against another. Pure arithmetic,
some minutes. numpy draws and sorts; every verdict that hangs on an exact p is the real judge's, and of the others it
judges a part again, which must come out the same.
"""

import argparse
import math
import sys
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from imagecheck.launch import judge, stats
from imagecheck.launch.sample import Sample

MEDIAN = 145.0  # seconds: a launch on the sandbox
SIZES, SPREADS, SLOWER = (10, 20, 30), (0.02, 0.05, 0.10), 0.10
POLL = 5.0  # seconds between two looks of Trove's task manager (usage_sleep_time)
AGAIN = 100  # trials of each cell that the real judge looks at besides those that hang on it
_NORMAL = NormalDist()


# ---- what launches may look like: (trials, 2n) seconds, A's first; launch i of A and of B are of one round


def jitter(dice, spread, trials, n):
    """Log-normal, as most durations."""
    return np.exp(spread * dice.standard_normal((trials, 2 * n))) * MEDIAN


def humps(dice, spread, trials, n):
    """One of five takes 15 % longer: something was tried again."""
    return jitter(dice, spread, trials, n) * (1 + 0.15 * (dice.random((trials, 2 * n)) < 0.2))


def tail(dice, spread, trials, n):
    """One of ten waits for something else: 30 % longer on average."""
    extra = dice.exponential(0.3 * MEDIAN, (trials, 2 * n))
    return jitter(dice, spread, trials, n) + extra * (dice.random((trials, 2 * n)) < 0.1)


def polled(dice, spread, trials, n):
    """The end is seen by a poll every 5 s."""
    return jitter(dice, spread, trials, n)  # cut to polls after B was made slower: see drawn()


def drift(dice, spread, trials, n):
    """The cloud gets slower and faster by 5 % from round to round."""
    rounds = np.exp(0.05 * dice.standard_normal((trials, n)))
    return jitter(dice, spread, trials, n) * np.concatenate([rounds, rounds], axis=1)


def failing(dice, spread, trials, n):
    """One of twenty fails."""
    return np.where(dice.random((trials, 2 * n)) < 0.05, np.inf, jitter(dice, spread, trials, n))


KINDS = (jitter, humps, tail, polled, drift, failing)


def drawn(kind, dice, spread, trials, n, slower):
    """Seconds and their uncertainty."""
    times = kind(dice, spread, trials, n)
    times[:, n:] *= 1 + slower
    if kind is polled:
        times = np.ceil((times + POLL * dice.random(times.shape)) / POLL) * POLL
    return times, POLL / 2 if kind is polled else 0.1


# ---- the judge, many times


def samples(times, uncertainty, files):
    """Two labels for the real judge, of one series or of two."""
    n = len(times) // 2
    return tuple(
        [
            Sample(f"bench-{label if files else ''}", 2 * at + place, label, "launch", "", 0.0,
                   float(one) if math.isfinite(one) else 1800.0, math.isfinite(one), uncertainty)
            for at, one in enumerate(side)
        ]
        for place, (label, side) in enumerate((("a", times[:n]), ("b", times[n:])), 1)
    )  # fmt: skip


def real(times, uncertainty, files=False):
    return judge.compare(*samples(times, uncertainty, files)).verdict


def about(times, n):
    """p of the rank sum by the normal distribution, to find the trials whose exact p matters."""
    ranks = rankdata(times, axis=1)
    spread = np.sqrt(n * n / (2 * n * (2 * n - 1)) * ((ranks - (2 * n + 1) / 2) ** 2).sum(1))
    away = np.abs(ranks[:, :n].sum(1) - n * (2 * n + 1) / 2) / np.where(spread > 0, spread, 1)
    return np.array([2 * (1 - _NORMAL.cdf(one)) for one in away])


def about_within(times, n):
    """The same of signed ranks."""
    apart = differences(times, n)
    ranks = rankdata(np.abs(apart), axis=1) * (apart != 0)
    spread = np.sqrt((ranks**2).sum(1))
    away = np.abs((ranks * np.sign(apart)).sum(1)) / np.where(spread > 0, spread, 1)
    return np.array([2 * (1 - _NORMAL.cdf(one)) for one in away])


def differences(times, n):
    """Within rounds; 0 where both failed."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(times[:, n:] - times[:, :n], nan=0.0, posinf=np.inf, neginf=-np.inf)


def shifts(a, b, files):
    """What the interval of the difference is made of, in order, for each trial; its rank, and its share beyond."""
    n = a.shape[1]
    if files:
        rank, wrong = stats._smallest_rank(n, n, 0.025)
        return np.sort((b[:, None, :] - a[:, :, None]).reshape(-1, n * n), axis=1), rank, wrong
    rank, wrong = stats._smallest_signed_rank(n, 0.025)
    one, other = np.triu_indices(n)
    return np.sort(((b - a)[:, one] + (b - a)[:, other]) / 2, axis=1), rank, wrong


def verdicts(times, uncertainty, dice, files):
    """A verdict for each trial. AssertionError when the real judge differs where it was not asked."""
    n = times.shape[1] // 2
    a, b = times[:, :n], times[:, n:]
    before, after = np.median(a, axis=1), np.median(b, axis=1)
    with np.errstate(invalid="ignore"):
        moved = after - before if files else np.median(shifts(a, b, files)[0], axis=1)
    floor = np.maximum(judge.EFFECT * before, 2 * uncertainty)
    p = about(times, n) if files else about_within(times, n)
    clear = (p < 1e-4) & (np.abs(moved) > floor) & np.isfinite(times).all(axis=1)
    found = np.where(clear, np.where(moved > 0, "REGRESSED", "IMPROVED"), "INSUFFICIENT").astype(object)
    failed = np.isinf(times)
    more = np.abs(failed[:, n:].sum(1) - failed[:, :n].sum(1))
    asked = ~clear & (((p < 0.05) & ~(np.abs(moved) <= floor)) | (more > 3) | failed.any(axis=1) & ~(p > 0.1))
    quiet = ~clear & ~asked & ~failed.any(axis=1)
    found[quiet] = np.where(passing(a[quiet], b[quiet], moved[quiet], floor[quiet], files), "PASS", "INSUFFICIENT")
    for at in np.flatnonzero(asked):
        found[at] = real(times[at], uncertainty, files)
    for at in dice.choice(len(times), min(AGAIN, len(times)), replace=False):
        told = real(times[at], uncertainty, files)
        # With failures only the alarms are counted here.
        if told != found[at] and not (failed[at].any() and {told, found[at]} <= {"PASS", "INSUFFICIENT"}):
            raise AssertionError(f"the bench says {found[at]}, the judge {told}: {times[at].tolist()}")
    return found


def passing(a, b, moved, floor, files):
    """Which of those that are not proven to differ are called equal."""
    said = []
    for start in range(0, len(a), 1000):  # n x n differences of each trial: not all of them at once
        part = slice(start, start + 1000)
        ordered, rank, wrong = shifts(a[part], b[part], files)
        low, high = ordered[:, rank - 1], ordered[:, -rank]
        error = (high - low) / 2 / _NORMAL.inv_cdf(1 - wrong)
        shown = (_NORMAL.inv_cdf(1 - judge.P / 2) + _NORMAL.inv_cdf(judge.POWER)) * error
        within = (low > -floor[part]) & (high < floor[part])
        said.append(within | ((shown <= 2 * floor[part]) & (np.abs(moved[part]) <= floor[part])))
    return np.concatenate(said) if said else np.zeros(0, dtype=bool)


def rates(kind, spread, n, trials, slower, files=False, seed=1):
    """Shares of REGRESSED, IMPROVED, PASS and INSUFFICIENT; PASS and INSUFFICIENT are not told apart with failures."""
    dice = np.random.default_rng([seed, KINDS.index(kind), round(spread * 100), n, round(slower * 1000)])
    times, uncertainty = drawn(kind, dice, spread, trials, n, slower)
    found = verdicts(times, uncertainty, dice, files)
    return {one: float(np.mean(found == one)) for one in ("REGRESSED", "IMPROVED", "PASS", "INSUFFICIENT")}


def table_of_verdicts(trials, slower, files):
    """Shares of REGRESSED and PASS; with ``slower`` the first is the power, without it the false alarms."""
    title = f"B takes {slower:.0%} longer" if slower else "identical images"
    how = "two files" if files else "in rounds"
    print(f"\n{title}, {how}, {trials:,} trials in each cell: REGRESSED / PASS, in %\n")
    print("| launches | spread | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---|---|" + "---|" * len(SIZES))
    worst = 0.0
    for kind in KINDS:
        for spread in SPREADS:
            cells = []
            for n in SIZES:
                one = rates(kind, spread, n, trials, slower, files)
                worst = max(worst, one["REGRESSED"], one["IMPROVED"])
                equal = "" if kind is failing else f" / {100 * one['PASS']:.1f}"
                cells.append(f"{100 * one['REGRESSED']:.2f}{equal}")
            print(f"| {kind.__name__} | {spread:.0%} | {' | '.join(cells)} |", flush=True)
    if not slower:
        print(f"\nthe largest share of REGRESSED or of IMPROVED in any cell: {100 * worst:.2f} %")


# ---- which statistic: sum of ranks, differences of means or of medians, signed ranks within rounds


def permuted(times, n, statistic, dice, arrangements=999):
    """p of the difference of a statistic, from drawn arrangements."""
    seen = np.abs(statistic(times[:, n:], axis=1) - statistic(times[:, :n], axis=1)) - 1e-9
    as_far = np.ones(len(times))
    for _ in range(arrangements):
        mixed = times[:, dice.permutation(2 * n)]
        as_far += np.abs(statistic(mixed[:, n:], axis=1) - statistic(mixed[:, :n], axis=1)) >= seen
    return as_far / (arrangements + 1)


def within_rounds(times, n, dice, arrangements=999):
    """p of Wilcoxon's signed ranks: A and B change places within their round only."""
    apart = times[:, n:] - times[:, :n]
    ranks = rankdata(np.abs(apart), axis=1) * np.sign(apart)
    seen = np.abs(ranks.sum(1)) - 1e-9
    as_far = np.ones(len(times))
    for _ in range(arrangements):
        as_far += np.abs((np.abs(ranks) * dice.choice([-1, 1], n) * (ranks != 0)).sum(1)) >= seen
    return as_far / (arrangements + 1)


def table_of_statistics(trials):
    print(
        f"\nB takes 10 % longer, p < 0.01 in % of {trials:,} trials: ranks / means / medians / signed ranks in rounds\n"
    )
    print("| launches | spread | n = 10 | n = 20 |\n|---|---|---|---|")
    for kind in KINDS[:-1]:
        for spread in SPREADS:
            cells = []
            for n in SIZES[:2]:
                dice = np.random.default_rng([2, KINDS.index(kind), round(spread * 100), n])
                times, _ = drawn(kind, dice, spread, trials, n, SLOWER)
                ranks = rankdata(times, axis=1)
                chances = (
                    permuted(ranks, n, np.mean, dice), permuted(times, n, np.mean, dice),
                    permuted(times, n, np.median, dice), within_rounds(times, n, dice),
                )  # fmt: skip
                cells.append(" / ".join(f"{100 * np.mean(one < judge.P):.0f}" for one in chances))
            print(f"| {kind.__name__} | {spread:.0%} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000, help="of identical images; a fifth for the other tables")
    parser.add_argument("--table", choices=("errors", "power", "statistics"), help="only this one")
    parser.add_argument("--files", action="store_true", help="launches of two series, which have no rounds in common")
    options = parser.parse_args()
    if options.table in ("errors", None):
        table_of_verdicts(options.trials, 0.0, options.files)
    if options.table in ("power", None):
        table_of_verdicts(options.trials // 5, SLOWER, options.files)
    if options.table in ("statistics", None):
        table_of_statistics(options.trials // 5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
