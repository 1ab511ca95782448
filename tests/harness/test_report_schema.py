"""The published JSON Schemas: what is written fits them, and what a reader could not use does not."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import report
from imagecheck.errors import UNKNOWN, Cause
from imagecheck.launch import BOOT_CUTS, EVENTS, HEALTHY_CUTS, LAUNCH_CUTS, Event, Offset, timeline
from imagecheck.report import Check, Fault, Measured, Retry, Run

FOLDER = Path(report.__file__).parent
T0 = 1_700_000_000.0
RUN = Run("mariadb-debian", "ab" * 32, "epoxy", "tcg", "mariadb 11.8", "imagecheck", started=T0, steps={"build": 1.5})


def validator(name: str) -> jsonschema.Draft202012Validator:
    table = json.loads((FOLDER / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(table)
    return jsonschema.Draft202012Validator(table)


TIMINGS, REPORT = validator("timings"), validator("report")


def measured(kind, cuts, seconds=5.0) -> Measured:
    events = tuple(Event.at(cut.event, "harness", T0 + seconds * number) for number, cut in enumerate(cuts))
    offsets = (Offset("guest", 0.5, 0.02),)
    return Measured(kind, timeline(events, offsets, cuts), events, offsets)


def written(table):
    return json.loads(json.dumps(table, allow_nan=False))


def test_timings_fit_their_schema():
    starts = {"boot": BOOT_CUTS, "launch": LAUNCH_CUTS, "healthy": HEALTHY_CUTS}
    table = written(report.timings_table(RUN, [measured(kind, cuts) for kind, cuts in starts.items()]))
    TIMINGS.validate(table)
    waiting = [phase["name"] for kind in starts for phase in table["starts"][kind]["phases"] if phase["waiting"]]
    assert waiting == ["agent's health polls", "taskmanager's polls"]
    TIMINGS.validate(written(report.timings_table(Run("x", "", "", ""), [])))


@given(
    st.lists(
        st.builds(Event, st.sampled_from(sorted(EVENTS)), st.text(max_size=9), st.sampled_from(["harness", "guest"]),
                  st.floats(), st.floats(), st.floats()), max_size=20,
    ),
    st.lists(st.builds(Offset, st.sampled_from(["guest", "cloud"]), st.floats(), st.floats()), max_size=3),
)  # fmt: skip
def test_whatever_was_seen_fits_too(events, offsets):
    one = Measured("launch", timeline(events, offsets, LAUNCH_CUTS), tuple(events), tuple(offsets))
    TIMINGS.validate(written(report.timings_table(RUN, [one])))


NOBODY_KNOWS = Cause(UNKNOWN, "boot", "harness", "none", "", "", "", "")
CHECKS = [
    Check(f"t::{name}", "It boots.", "boot", name, 1.0) for name in ("passed", "failed", "skipped", "error", "known")
]


@pytest.mark.parametrize(
    "fault", [None, Fault("boot", "it broke"), Fault("boot", "it broke", seen="x", cause="y", known=NOBODY_KNOWS)]
)
def test_reports_fit_their_schema(fault):
    run = Run("x", "", "", "", retries=(Retry("boot", "it broke", "nova-error", True),))
    for checks in ([], CHECKS, CHECKS[:1]):
        table = report.report_table(run, checks, [measured("boot", BOOT_CUTS)], fault)
        REPORT.validate(written(table))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda start: start["phases"][0].pop("seconds"),
        lambda start: start["phases"][0].update(seconds=-1),
        lambda start: start["events"][0].update(clock="moon"),
        lambda start: start["missing"].update(healthy=""),
        lambda start: start.pop("phases"),
    ],
)
def test_a_reader_is_told_of_what_it_could_not_use(spoil):
    table = written(report.timings_table(RUN, [measured("launch", LAUNCH_CUTS)]))
    spoiled = copy.deepcopy(table)
    spoil(spoiled["starts"]["launch"])
    assert TIMINGS.is_valid(table)
    assert not TIMINGS.is_valid(spoiled)


def test_a_moment_that_is_none_is_null():
    event = Event.at("healthy", "harness", math.nan)
    table = written(report.timings_table(RUN, [Measured("launch", timeline([event], [], LAUNCH_CUTS), (event,))]))
    assert table["starts"]["launch"]["events"][0]["earliest"] is None
    TIMINGS.validate(table)
