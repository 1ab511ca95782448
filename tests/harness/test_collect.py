"""From what sources say to events: clocks, intervals and what is left out."""

import itertools

import pytest

from imagecheck import service
from imagecheck.cloud.nova import Server, Step
from imagecheck.cloud.trove import Shown
from imagecheck.guest.agent import Unit
from imagecheck.guest.facts import Facts
from imagecheck.launch import BOOT_CUTS, EVENTS, LAUNCH_CUTS, Event, timeline
from imagecheck.launch.collect import Edges, docker_time, of_guest, of_nova, of_request

EPOCH = 1_700_000_000.0  # the guest's boot


def facts(**changes):
    unit = Unit("trove-guestagent.service", True, "active", "running", "success", 0, 700, 30.0, 31.0)
    values = {
        "boot_id": "b", "wall": EPOCH + 100, "monotonic": 100.0, "manager": {"UserspaceTimestampMonotonic": 4.0},
        "units": {unit.name: unit},
        "stages": {"v1": {"init": {"finished": EPOCH + 18}, "modules-final": {"finished": EPOCH + 25}}},
        "prepare_start": EPOCH + 50, "prepare_end": EPOCH + 70,
        "container": {"StartedAt": "2023-11-14T22:14:20.123456789Z"},
    }  # fmt: skip
    return Facts(**(values | changes))


def test_the_guests_monotonic_moments_become_wall_times():
    found = {event.name: event for event in of_guest(facts(), agent_unit="trove-guestagent.service")}
    assert {name: round(event.earliest - EPOCH, 3) for name, event in found.items()} == (
        {"kernel_started": 0, "userspace_started": 4, "cloudinit_network": 18, "cloudinit_final": 25,
         "cloudinit_done": 25, "agent_started": 30, "prepare_started": 50, "prepare_ended": 70,
         "container_started": 60.123}
    )  # fmt: skip
    assert {event.clock for event in found.values()} == {"guest"}


def test_cloud_init_may_count_from_the_boot():
    """As cloud-init 25.1 on the first Debian guest did: status.json holds uptimes."""
    uptimes = facts(stages={"v1": {"init": {"finished": 20.5}, "modules-final": {"finished": 25.5}}})
    assert (uptimes.cloud_init("init"), uptimes.cloud_init("modules-final")) == (EPOCH + 20.5, EPOCH + 25.5)


def test_cloud_init_ends_for_the_agent_with_the_last_stage_before_it():
    late = facts(stages={"v1": {"init": {"finished": 20.5}, "modules-final": {"finished": 40.0}}})
    found = {event.name: event.earliest - EPOCH for event in of_guest(late, agent_unit="trove-guestagent.service")}
    assert (found["cloudinit_done"], found["agent_started"]) == (20.5, 30.0)


def test_cloud_init_ends_with_its_files_for_an_agent_that_started_before_them():
    stages = {
        "v1": {"init": {"finished": 35.5}, "modules-config": {"finished": 38.0}, "modules-final": {"finished": 60}}
    }
    early = facts(stages=stages, log={"agent_imported": EPOCH + 40.0})
    found = {event.name: event.earliest - EPOCH for event in of_guest(early, agent_unit="trove-guestagent.service")}
    assert (found["agent_started"], found["cloudinit_done"], found["agent_imported"]) == (30.0, 35.5, 40.0)


def test_what_did_not_happen_is_no_event():
    silent = facts(manager={}, units={}, stages={}, prepare_start=0.0, prepare_end=0.0, container={})
    assert [event.name for event in of_guest(silent, agent_unit="x")] == ["kernel_started"]


def test_every_name_is_in_the_vocabulary():
    steps = [Step("create", "compute__do_build_and_run_instance", 10.0, 20.0, "Success", "", 9.0)]
    names = {event.name for event in [*of_request(1, 2), *of_nova(steps), *of_guest(facts(), agent_unit="x")]}
    assert names <= set(EVENTS)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-01-01T00:00:00.5Z", 1767225600.5),
        ("2026-01-01T01:00:00.123456789+01:00", 1767225600.123456789),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
        ("nonsense", 0.0),
    ],
)
def test_docker_times(text, when):
    assert docker_time(text) == pytest.approx(when)


def test_nova_times_without_a_fraction_may_lie_up_to_a_second_later():
    asked, whole, fine = of_nova([Step("create", "a", 10.0, 20.25, "Success", "", 9.5)])
    assert (asked.name, asked.resolution) == ("nova_started", 0.0)
    assert (whole.name, whole.earliest, whole.latest, whole.resolution) == ("scheduled", 10.0, 10.0, 1.0)
    assert (fine.name, fine.resolution) == ("nova_active", 0.0)


def test_a_database_that_rounds_may_have_stamped_half_a_second_too_late():
    (active,) = of_nova([], 20.0, rounded=True)
    assert (active.name, active.earliest, active.latest + active.resolution) == ("nova_active", 19.5, 20.5)


def test_a_creation_that_has_not_ended_is_not_active():
    assert [event.name for event in of_nova([Step("create", "a", 10.0, 0.0, "", "", 9.0)])] == [
        "nova_started", "scheduled",
    ]  # fmt: skip
    assert of_nova([Step("reboot", "a", 10.0, 20.0, "Success", "")]) == []


def test_an_edge_is_an_interval_between_the_last_no_and_the_first_yes():
    edges, clock, answers = Edges(), itertools.count(100), iter([False, False, True])
    for _ in range(5):
        edges.look("broker_connected", lambda: float(next(clock)), lambda: next(answers))
    (event,) = edges.events(since=0.0)
    assert (event.earliest, event.latest) == (101.0, 103.0)


def test_an_edge_that_was_true_at_the_first_look_begins_with_the_request():
    edges = Edges()
    edges.look("broker_connected", lambda: 50.0, lambda: True)
    (event,) = edges.events(since=40.0)
    assert (event.earliest, event.latest) == (40.0, 50.0)


def test_an_answer_got_for_another_purpose_counts_from_its_question():
    edges = Edges()
    assert not edges.answered("spawning", False, 10.0, 11.0)
    assert edges.answered("spawning", True, 12.0, 13.0)
    assert edges.answered("spawning", False, 14.0, 15.0), "what was true once stays"
    (event,) = edges.events(since=0.0)
    assert (event.earliest, event.latest) == (10.0, 13.0)


def test_the_first_stamp_that_an_answer_carried_is_kept():
    edges = Edges()
    for when in (5.0, 6.0):
        edges.keep(Event.at("status_updated", "cloud", when, resolution=1.0))
    assert [event.earliest for event in edges.events(since=0.0)] == [5.0]


@pytest.mark.parametrize("cuts", [BOOT_CUTS, LAUNCH_CUTS])
def test_collected_events_make_a_timeline(cuts):
    found = timeline([*of_request(890.0, 891.0)], [], cuts)
    assert [phase.name for phase in found.phases] == ["API accepted"]
    assert "agent_started" in found.missing


def test_what_trove_has_heard_of_the_agent_is_told_by_its_answers():
    edges = Edges()
    for asked, told, updated in [
        (10.0, "new", ""),
        (11.0, "building", "2023-11-14T22:13:30"),
        (12.0, "healthy", "2023-11-14T22:13:55"),
        (13.0, "healthy", "2023-11-14T22:14:25"),
    ]:
        raw = {"guest_status": {"state_description": told}, "service_status_updated": updated}
        service.status_edges(Shown("i", "BUILD", "", "s", "", (), raw, asked), edges, lambda asked=asked: asked + 0.2)
    found = {event.name: event for event in edges.events(since=0.0)}
    assert (found["status_building"].earliest, found["status_building"].latest) == (10.0, 11.2)
    assert (found["status_healthy"].earliest, found["status_healthy"].latest) == (11.0, 12.2)
    stamp = found["status_updated"]
    assert (stamp.clock, stamp.earliest, stamp.resolution) == ("cloud", EPOCH + 35, 1.0)
    assert set(found) <= set(EVENTS)


@pytest.mark.parametrize("told", ["", "new"])
def test_an_agent_that_said_nothing_has_no_edge(told):
    edges = Edges()
    raw = {"guest_status": {"state_description": told}}
    service.status_edges(Shown("i", "BUILD", "", "s", "", (), raw, 1.0), edges, lambda: 2.0)
    assert edges.events(since=0.0) == []


@pytest.mark.parametrize(
    ("status", "task", "spawning"),
    [("BUILD", "scheduling", False), ("BUILD", "networking", False), ("BUILD", "spawning", True),
     ("ACTIVE", None, True), ("BUILD", None, False)],
)  # fmt: skip
def test_nova_spawns_once_networks_and_disks_are_there(status, task, spawning):
    assert Server("s", "n", "p", status, {}, True, {}, raw={"task_state": task}).spawning is spawning
