"""launch/: phases add up to the whole, whatever was seen and whatever was not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.launch import (
    BOOT_CUTS,
    EVENTS,
    FLOORS,
    HEALTHY_CUTS,
    LAUNCH_CUTS,
    Cut,
    Event,
    Offset,
    best_offset,
    phase_times,
    timeline,
)  # fmt: skip
from imagecheck.launch.sample import PhaseTime

T0 = 1_700_000_000.0
OFFSETS = (Offset("guest", 0.5, 0.02), Offset("cloud", -0.25, 0.01))
FEW = (
    Cut("api_called", ""), Cut("api_accepted", "API accepted"), Cut("nova_active", "Nova building"),
    Cut("userspace_started", "firmware and kernel"),
)  # fmt: skip
ALL_CUTS = st.sampled_from([BOOT_CUTS, LAUNCH_CUTS])


@st.composite
def wild_events(draw):
    names = draw(st.lists(st.sampled_from([*EVENTS, "unheard_of"]), max_size=30))
    numbers = st.one_of(st.floats(T0, T0 + 600), st.floats())
    return [
        Event(
            name,
            "somewhere",
            draw(st.sampled_from(["harness", "guest", "cloud", "moon"])),
            draw(numbers),
            draw(numbers),
            draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats())),
        )
        for name in names
    ]


wild_offsets = st.lists(
    st.builds(Offset, st.sampled_from(["guest", "cloud", "harness"]), st.floats(), st.floats()), max_size=4
)


@given(wild_events(), wild_offsets, ALL_CUTS)
def test_phases_have_no_gap_no_overlap_and_are_never_negative(events, offsets, cuts):
    line = timeline(events, offsets, cuts)
    reached = 0.0
    for phase in line.phases:
        assert phase.start == reached
        assert phase.seconds >= 0
        assert phase.uncertainty >= 0
        assert math.isfinite(phase.seconds)
        assert math.isfinite(phase.uncertainty)
        reached = phase.start + phase.seconds
    assert line.seconds == pytest.approx(reached)


@given(wild_events(), wild_offsets, ALL_CUTS)
def test_each_cut_is_either_a_border_or_missing_with_a_reason(events, offsets, cuts):
    line = timeline(events, offsets, cuts)
    seen = [cut for cut in cuts if cut.event not in line.missing]
    assert len(line.phases) == max(0, len(seen) - 1)
    assert all(reason for reason in line.missing.values())
    assert [cut.event for cut in cuts if cut.event in line.missing] == list(line.missing)


@given(wild_events(), wild_offsets, ALL_CUTS)
def test_phases_keep_the_order_of_the_cuts_and_no_name_is_lost_between_two_seen_events(events, offsets, cuts):
    line = timeline(events, offsets, cuts)
    seen = [number for number, cut in enumerate(cuts) if cut.event not in line.missing]
    if len(seen) > 1:
        wanted = [cut.phase for cut in cuts[seen[0] + 1 : seen[-1] + 1]]
        assert " + ".join(phase.name for phase in line.phases) == " + ".join(wanted)


@given(st.lists(st.floats(0, 120), min_size=len(LAUNCH_CUTS), max_size=len(LAUNCH_CUTS)))
def test_a_good_launch_sums_to_the_time_between_its_first_and_last_event(gaps):
    when, events = T0, []
    for cut, gap in zip(LAUNCH_CUTS, gaps, strict=True):
        when += gap
        events.append(Event.at(cut.event, "harness", when))
    line = timeline(events, (), LAUNCH_CUTS)
    assert line.seconds == pytest.approx(when - T0 - gaps[0], abs=1e-4)
    assert not line.missing
    for phase, gap in zip(line.phases, gaps[1:], strict=True):
        assert phase.seconds == pytest.approx(gap, abs=1e-5)


def launch(**when: float) -> list[Event]:
    return [Event.at(name, "harness", T0 + seconds) for name, seconds in when.items()]


def names(line) -> list[str]:
    return [phase.name for phase in line.phases]


def test_a_missing_event_merges_its_phase_into_the_next_and_says_why():
    events = launch(api_called=0, api_accepted=1, userspace_started=21)
    line = timeline(events, (), FEW, {"nova_active": "Nova's API hides launched_at from this role"})
    assert names(line) == ["API accepted", "Nova building + firmware and kernel"]
    assert line.phases[1].seconds == 20
    assert line.phases[1].note == "nova_active not seen"
    assert line.missing == {"nova_active": "Nova's API hides launched_at from this role"}


def test_nothing_is_invented_after_the_last_event_or_before_the_first():
    line = timeline(launch(api_accepted=1, nova_active=4), (), BOOT_CUTS)
    assert names(line) == ["scheduling + network + image download + spawn"]
    assert line.origin == T0 + 1
    assert set(line.missing) == {cut.event for cut in BOOT_CUTS} - {"api_accepted", "nova_active"}


def test_without_events_there_are_no_phases_but_reasons():
    line = timeline([], [], LAUNCH_CUTS)
    assert line.phases == ()
    assert line.origin is None
    assert len(line.missing) == len(LAUNCH_CUTS)
    assert "docker inspect" in line.missing["container_started"]


def test_a_clock_that_could_not_be_compared_is_never_differenced():
    events = [*launch(api_called=0, api_accepted=1), Event.at("nova_active", "cloud", T0 + 9)]
    line = timeline(events, (), FEW[:3])
    assert names(line) == ["API accepted"]
    assert "clock could not be compared" in line.missing["nova_active"]


def test_offsets_bring_all_events_to_the_harness_clock():
    events = [Event.at("api_called", "harness", T0), Event.at("api_accepted", "guest", T0 + 1)]
    (phase,) = timeline(events, OFFSETS, BOOT_CUTS[:2]).phases
    assert phase.seconds == 1.5
    assert phase.uncertainty == pytest.approx(0.02)


def test_between_two_stamps_of_one_clock_the_offsets_uncertainty_cancels():
    events = [Event.at("api_called", "guest", T0), Event.at("api_accepted", "guest", T0 + 3)]
    (phase,) = timeline(events, OFFSETS, BOOT_CUTS[:2]).phases
    assert (phase.seconds, phase.uncertainty) == (3, 0)


def test_a_polled_event_is_an_interval_and_a_coarse_stamp_lies_up_to_its_resolution_later():
    events = [
        Event.at("api_called", "cloud", T0, resolution=1),
        Event.between("api_accepted", T0 + 10, T0 + 14),
    ]
    (phase,) = timeline(events, OFFSETS, BOOT_CUTS[:2]).phases
    assert phase.seconds == pytest.approx(12 - 0.25)
    assert phase.uncertainty == pytest.approx(0.5 + 0.01 + 2)


@given(
    st.floats(0, 100), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-30, 30),
    st.floats(0, 1), st.floats(-1, 1),
)  # fmt: skip
def test_the_true_duration_lies_within_the_uncertainty(gap, width, place, cut_off, start_place, skew, blur, error):
    # What really happened: an act at T0 + start, and gap seconds later its effect.
    start, end = T0 + start_place, T0 + start_place + gap
    first = Event.at("api_called", "guest", start - skew - cut_off, resolution=1)
    second = Event.between("api_accepted", end - width * place, end + width * (1 - place))
    measured = Offset("guest", skew + blur * error, blur)
    (phase,) = timeline([first, second], [measured], BOOT_CUTS[:2]).phases
    # Clipping to zero can only bring an impossible negative guess closer to the truth.
    assert abs(phase.seconds - gap) <= phase.uncertainty + 1e-5


def test_the_surest_of_several_sightings_counts():
    events = [
        Event.at("api_called", "harness", T0),
        Event.between("api_accepted", T0, T0 + 10),
        Event.at("api_accepted", "harness", T0 + 7),
        Event.between("api_accepted", T0, T0 + 30),
    ]
    assert timeline(events, (), BOOT_CUTS[:2]).phases[0].seconds == 7


def test_an_event_before_its_predecessor_ends_an_empty_phase_and_says_so():
    events = launch(api_called=0, api_accepted=10, nova_active=4, userspace_started=15)
    line = timeline(events, (), FEW)
    assert [phase.seconds for phase in line.phases] == [10, 0, 5]
    assert line.phases[1].note == "6.0 s before the phase above ended"


def test_a_phase_shorter_than_its_uncertainty_prints_as_a_bound():
    events = [Event.at("api_called", "harness", T0), Event.between("api_accepted", T0, T0 + 1)]
    (phase,) = timeline(events, (), BOOT_CUTS[:2]).phases
    assert str(phase) == "0.5 s"  # exactly as long as it is uncertain
    events[1] = Event.between("api_accepted", T0 - 0.95, T0 + 1)
    (phase,) = timeline(events, (), BOOT_CUTS[:2]).phases
    assert not phase.certain
    assert str(phase) == "< 1.0 s"


def test_the_whole_is_as_uncertain_as_its_two_ends():
    events = [
        Event.between("api_called", T0, T0 + 0.2),
        Event.between("api_accepted", T0 + 5, T0 + 25),
        Event.between("nova_active", T0 + 40, T0 + 41),
    ]
    assert timeline(events, (), FEW[:3]).uncertainty == pytest.approx(0.6)


def test_the_best_offset_is_that_of_the_shortest_round_trip():
    offset = best_offset("guest", [(10.0, 3.0, 12.0), (20.0, 13.45, 20.1), (30.0, 20.0, 35.0)])
    assert offset is not None
    assert offset.seconds == pytest.approx(6.6)
    assert offset.uncertainty == pytest.approx(0.05)
    assert best_offset("guest", []) is None
    assert best_offset("guest", [(2.0, 1.0, 1.0), (math.nan, 1.0, 1.0)]) is None


@given(st.floats(-1e6, 1e6), st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=5))
def test_the_true_offset_lies_within_the_uncertainty_however_asymmetric_the_paths(true, delays):
    trips = [(T0, T0 + there - true, T0 + there + back) for there, back in delays]
    offset = best_offset("guest", trips)
    assert offset is not None
    assert abs(offset.seconds - true) <= offset.uncertainty + 1e-5


def test_the_tables_speak_one_vocabulary_and_each_phase_has_its_own_name():
    for cuts in (BOOT_CUTS, LAUNCH_CUTS, HEALTHY_CUTS):
        events = [cut.event for cut in cuts]
        assert [event for event in EVENTS if event in events] == events, "in the order of a good launch"
        phases = [cut.phase for cut in cuts[1:]]
        assert len(set(phases)) == len(phases)
        assert all(phases)
        assert not cuts[0].phase
    assert BOOT_CUTS[-1].event == "broker_connected"
    assert LAUNCH_CUTS[-1].event == "first_query"
    assert (HEALTHY_CUTS[0].event, HEALTHY_CUTS[-1].event) == ("first_query", "healthy")


def test_every_phase_of_a_launch_is_named():
    whole = " ".join(cut.phase for cut in (*LAUNCH_CUTS, *HEALTHY_CUTS))
    for wanted in (
        "API accepted", "scheduling", "network", "image download", "spawn", "firmware and loader", "kernel", "initrd",
        "cloud-init", "agent imports", "broker", "storage preparation", "image pull", "container start",
        "database initialisation", "health polls", "taskmanager's polls", "first query",
    ):  # fmt: skip
        assert wanted in whole


def test_every_event_has_a_meaning_a_source_a_clock_and_a_resolution():
    for kind in EVENTS.values():
        assert kind.what
        assert kind.source
        assert kind.clock in ("harness", "guest", "cloud")
        assert kind.resolution


def test_what_a_good_launch_may_lack_is_missing_with_its_reason_and_not_lost():
    events = launch(api_called=0, api_accepted=1, scheduled=2, nova_active=9)
    line = timeline(events, (), BOOT_CUTS[:6])
    assert names(line) == ["API accepted", "scheduling", "network + image download + spawn"]
    assert line.phases[-1].note == ""
    assert "no API of Nova tells it" in line.missing["image_fetched"]
    assert line.lost == {}


def test_what_every_launch_has_is_lost_when_it_is_missing():
    line = timeline(launch(api_called=0, nova_active=9), (), BOOT_CUTS[:6], {"scheduled": "no rights"})
    assert set(line.lost) == {"api_accepted", "scheduled"}
    assert line.lost["scheduled"] == "no rights"


def test_waiting_is_told_from_work_and_names_the_floors():
    waiting = {cut.phase: cut.waiting for cut in (*LAUNCH_CUTS, *HEALTHY_CUTS) if cut.waiting}
    assert set(waiting) == {"agent's health polls", "taskmanager's polls"}
    said = " ".join(waiting.values())
    assert all(option in said for option in FLOORS if option != "report_interval")
    assert all(floor.source.startswith("trove/") for floor in FLOORS.values())


WAITS = (Cut("api_called", ""), Cut("prepare_ended", "a", "x"), Cut("healthy", "b", "y"), Cut("first_query", "c"))


def test_a_phase_waits_only_where_all_of_it_does():
    line = timeline(launch(api_called=0, healthy=5, first_query=6), (), WAITS)
    assert [(phase.name, phase.waiting) for phase in line.phases] == [("a + b", "x; y"), ("c", "")]
    mixed = timeline(launch(api_called=0, prepare_ended=3, first_query=6), (), WAITS)
    assert [(phase.name, phase.waiting) for phase in mixed.phases] == [("a", "x"), ("b + c", "")]
    assert "in part waiting for y" in mixed.phases[1].note


@given(wild_events(), wild_offsets, ALL_CUTS)
def test_a_samples_phases_are_the_timelines(events, offsets, cuts):
    line = timeline(events, offsets, cuts)
    times = phase_times(line)
    assert all(isinstance(one, PhaseTime) for one in times)
    assert [(one.name, one.seconds, one.uncertainty, one.waiting) for one in times] == [
        (phase.name, phase.seconds, phase.uncertainty, phase.waiting) for phase in line.phases
    ]
    assert math.fsum(one.seconds for one in times) == line.seconds
