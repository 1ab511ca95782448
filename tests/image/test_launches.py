"""Only with --launches N: a series of fresh launches, each one measured, and what a judge says of them."""

import pytest


def accept(judgement, other):
    """Only a regression and what cannot be compared are failures; too few launches prove nothing either way."""
    if judgement is None:
        pytest.skip(f"no {other} was named")
    if judgement.verdict == "INSUFFICIENT":
        pytest.skip(f"needs {judgement.more} more launches of each image: {judgement.sentence}")
    assert judgement.verdict not in ("REGRESSED", "INCOMPARABLE"), judgement.sentence


def test_every_launch_ends_with_an_answered_query(series):
    """Every launch of the series ends with an answered query."""
    assert series.failed == []
    assert series.stopped == ""
    assert len(series.samples) == series.planned


def test_launches_no_slower_than_the_other_image(series):
    """The image launches no slower than the one it is compared with."""
    accept(series.judgement, "image to compare with (--against)")


def test_launches_no_slower_than_its_baseline(series):
    """The image launches no slower than its baseline."""
    accept(series.baseline, "--baseline")
