"""A series judged: which image is which, and what stands on the terminal and in the reports."""

import dataclasses
import json

import pytest

from imagecheck import judging
from imagecheck.errors import UsageError
from imagecheck.launch.sample import FINGERPRINT, PhaseTime, Sample, append
from imagecheck.options import Launches
from imagecheck.outcomes import Series
from imagecheck.report import series_properties, series_table


def sample(number, label, seconds, completed=True):
    phases = (PhaseTime("API accepted", 0.5), PhaseTime("Nova building", seconds - 0.5, 0.1)) if completed else ()
    return Sample(
        "s", number, label, "launch", "ab" * 32, 1.7e9, seconds, completed, phases=phases,
        fingerprint=dict.fromkeys(FINGERPRINT, "x"), cause="" if completed else "no-valid-host",
        sentence="" if completed else "no host",
    )  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """Twelve launches of each; the checked one takes half of the other's time."""
    samples = [sample(2 * n + 1, "mine", 50 + n / 10) for n in range(12)]
    samples += [sample(2 * n + 2, "other", 100 + n / 10) for n in range(12)]
    return Series(tuple(samples), 24, tmp_path / "launches.jsonl", 7)


def test_the_verdict_is_said_of_the_checked_image(made):
    judged = judging.judged(made, "mine", Launches(12, against="other"))
    assert judged.judgement.verdict == "IMPROVED"
    assert (judged.judgement.a.label, judged.judgement.b.label) == ("other", "mine")
    assert judging.judged(made, "other", Launches(12, against="mine")).judgement.verdict == "REGRESSED"


def test_without_another_image_there_is_a_summary_and_no_judgement(made):
    judged = judging.judged(made, "mine", Launches(12))
    assert judged.judgement is judged.baseline is None
    assert {one.label for one in judged.summaries} == {"mine", "other"}


def test_a_series_is_judged_against_its_baseline(made, tmp_path):
    file = tmp_path / "kept.toml"
    file.write_text(
        'samples = "kept.jsonl"\nreviewed = 2026-01-01\nreason = "fast"\nexpires = 2999-01-01\n[fingerprint]\n'
    )
    with pytest.raises(UsageError):
        judging.check(Launches(3, baseline=file))
    for one in made.samples[:12]:
        append(tmp_path / "kept.jsonl", dataclasses.replace(one, seconds=one.seconds / 2))
    judging.check(Launches(3, baseline=file))
    assert judging.judged(made, "mine", Launches(12, baseline=file)).baseline.verdict == "REGRESSED"


def test_the_terminal_has_both_images_phases_and_the_verdict(made):
    made = dataclasses.replace(made, stopped="the cloud is gone", notes=("made 3, removed 3, left 0",))
    text = "\n".join(judging.lines(judging.judged(made, "mine", Launches(12, against="other")), 100, "tcg"))
    assert "Trove launch of mine, medians of 12" in text
    assert "Trove launch of other, medians of 12" in text
    assert text.count("Nova building") >= 3, "a bar for each, and a row of the comparison"
    assert "IMPROVED" in text
    assert "stopped   after 24 of 24: the cloud is gone" in text
    assert "seed 7" in text


def test_failed_launches_alone_are_told_too(tmp_path):
    failed = tuple(sample(n, "mine", 9.0, completed=False) for n in range(1, 4))
    made = judging.judged(Series(failed, 3, tmp_path / "l.jsonl", 1), "mine", Launches(3))
    text = "\n".join(judging.lines(made, 80))
    assert "median not known (no interval), IQR not known, 0 of 3 completed" in text
    assert "3 by no-valid-host" in text
    json.dumps(series_table(made), allow_nan=False)


def test_reports_have_the_series(made):
    judged = judging.judged(made, "mine", Launches(12, against="other"))
    table = series_table(judged)
    json.dumps(table, allow_nan=False)
    assert table["judgement"]["verdict"] == "IMPROVED"
    assert table["file"] == "launches.jsonl"
    pairs = dict(series_properties(judged))
    assert pairs["series.mine.median.seconds"].startswith("50.")
    assert pairs["series.against.verdict"] == "IMPROVED"
