"""How often the judge errs; the whole table is in docs/statistics.md."""

import importlib.util
import math
from pathlib import Path

import pytest


def bench():
    file = Path(__file__).parents[1] / "bench" / "judge_errors.py"
    spec = importlib.util.spec_from_file_location("judge_errors", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("files", [False, True], ids=["rounds", "files"])
@pytest.mark.parametrize("kind", ["jitter", "humps", "polled"])
def test_identical_images_are_called_slower_in_at_most_one_of_a_hundred_gates(monkeypatch, kind, files):
    errors = bench()
    monkeypatch.setattr(errors, "AGAIN", 20)
    found = errors.rates(getattr(errors, kind), 0.05, 10, 2000, 0.0, files)
    assert found["REGRESSED"] <= 0.01


def test_a_launch_that_takes_ten_percent_longer_is_found():
    errors = bench()
    import numpy as np

    dice = np.random.default_rng(1)
    times, uncertainty = errors.drawn(errors.jitter, dice, 0.02, 20, 10, 0.10)
    assert {errors.real(one, uncertainty) for one in times} == {"REGRESSED"}
    assert not math.isnan(times.sum())
