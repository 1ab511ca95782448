"""What a guest tells of its own start: read from a good launch's own words, and from guests that tell less."""

from __future__ import annotations

import copy
import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.errors import StepFailed
from imagecheck.guest import facts, history
from imagecheck.guest.facts import MARKS, of_table
from imagecheck.launch import BOOT_CUTS, EVENTS, LAUNCH_CUTS, Event, Offset, timeline
from imagecheck.launch.collect import of_console, of_guest

FIXTURES = Path(__file__).parent / "fixtures"
GOOD = FIXTURES / "causes" / "good"
# The launch that left causes/good/*-postgresql-debian.txt, as guest/history.py would have told it: stamps of logs,
# status.json's and systemd's are its own; the agent's start, and docker's to the second, are read off its journal.
TABLE = json.loads((FIXTURES / "launch" / "postgresql-debian.json").read_text())
AGENT = "trove-guestagent.service"
DAY = 1795392000.0  # 2026-11-23 00:00 UTC


def at(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return DAY + 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def events(table) -> dict[str, Event]:
    return {event.name: event for event in of_guest(of_table(table), agent_unit=AGENT)}


def changed(**parts):
    return {**copy.deepcopy(TABLE), **parts}


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# ---- in the guest


@pytest.fixture
def log() -> list[str]:
    return (GOOD / "agent-postgresql-debian.txt").read_text().splitlines()


def test_the_agents_log_tells_when_it_spoke_first_and_what_it_asked_for(log, utc):
    found = history.marks(log, MARKS, 368, 0.0)
    assert {event: when for event, (when, _) in found.items()} == pytest.approx(
        {"agent_imported": at("14:42:59.429"), "storage_asked": at("14:43:00.340"),
         "container_asked": at("14:43:23.563")}
    )  # fmt: skip
    assert set(found) <= set(EVENTS)


def test_an_agent_that_ended_before_does_not_count(log, utc):
    before = [line.replace(" 368 ", " 300 ").replace("14:4", "14:3") for line in log]
    assert history.marks(before + log, MARKS, 368, 0.0) == history.marks(log, MARKS, 368, 0.0)


def test_an_agent_behind_a_wrapper_counts_from_the_units_start(log, utc):
    early = log[0].replace("14:42:59", "14:30:00")
    found = history.marks([early, *log], MARKS, 1, at("14:42:40"))
    assert found["agent_imported"][0] == pytest.approx(at("14:42:59.429"))
    assert history.marks(log, MARKS, 1, 0.0) == {}


@given(st.lists(st.text(max_size=120), max_size=10), st.integers(0, 500), st.floats(0, 2e9))
def test_any_log_is_read_without_an_error(lines, pid, since):
    stamped = [f"2026-99-99 25:61:61.000 {pid} INFO trove.cmd.guest [-] {line}" for line in lines]
    for when, _ in history.marks(lines + stamped, MARKS, pid, since).values():
        assert when >= 0


def test_a_units_path_on_the_bus():
    assert history.object_path(AGENT) == "/org/freedesktop/systemd1/unit/trove_2dguestagent_2eservice"


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23T14:43:36.553Z 2026-11-23 14:43:36.553 UTC [1] LOG:  database system is ready to accept connections",
        "2026-11-23T14:43:36.553Z 2026-11-23 14:43:36 0 [Note] mariadbd: ready for connections.",
        "2026-11-23T14:43:36.553Z [Server] /usr/sbin/mysqld: ready for connections. Version: '8.4'",
    ],
)
def test_a_database_says_that_it_is_ready(line):
    found = history.READY.match(line)
    assert found
    assert found[1] == "2026-11-23T14:43:36.553Z"


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23T14:43:36Z [Server] X Plugin ready for connections. Bind-address: '::' port: 33060",
        "2026-11-23T14:43:36Z LOG:  database system was shut down at 2026-11-23",
    ],
)
def test_a_neighbour_of_the_database_does_not(line):
    assert not history.READY.match(line)


# ---- from facts to events


def test_a_good_launch_tells_every_event_of_its_guest_in_their_order():
    found = events(TABLE)
    path = [found[cut.event] for cut in LAUNCH_CUTS if cut.event in found]
    assert [event.name for event in path] == [
        "kernel_started", "initrd_started", "userspace_started", "cloudinit_local_began", "cloudinit_local",
        "cloudinit_done", "agent_started", "agent_imported", "storage_mounted", "prepare_started", "container_asked",
        "image_ready", "container_started", "database_ready", "prepare_ended",
    ]  # fmt: skip
    for earlier, later in itertools.pairwise(path):
        assert earlier.middle <= later.middle, (earlier, later)
    assert {event.clock for event in path} == {"guest"}
    beside = {"network_online", "docker_ready", "ssh_ready", "cloudinit_final", "userspace_finished",
              "guest_info_written", "container_created", "storage_asked"}  # fmt: skip
    assert beside <= set(found)


def test_the_phases_of_a_good_launch_are_those_that_its_logs_tell():
    line = timeline(events(TABLE).values(), [Offset("guest", 0.0, 0.01)], LAUNCH_CUTS)
    seconds = {phase.name: phase.seconds for phase in line.phases}
    assert seconds["cloud-init local"] == pytest.approx(3.3, abs=0.1)
    assert seconds["agent imports"] == pytest.approx(20.6, abs=0.1)
    assert seconds["storage preparation"] == pytest.approx(3.7, abs=0.1)
    assert seconds["database settings"] == pytest.approx(14.0, abs=0.1)
    assert seconds["image pull"] == 0.0
    assert seconds["agent's health polls"] == pytest.approx(0.93, abs=0.01)
    assert sum(seconds.values()) == pytest.approx(line.seconds)


CREATE = ["create", at("14:43:24.71"), "database"]


def test_an_image_that_docker_did_not_get_was_preloaded():
    event = events(TABLE)["image_ready"]
    assert event.source == "docker events: preloaded postgres:17"
    assert event.middle == events(TABLE)["container_asked"].middle
    assert "image_ready" not in events(changed(log={})), "nobody knows when it was asked for"


@pytest.mark.parametrize(("action", "how"), [("pull", "pulled"), ("load", "loaded")])
def test_an_image_that_came_while_the_container_was_asked_for(action, how):
    later = ["pull", at("14:43:50"), "a-backup:1"]
    came = [action, at("14:43:24.5"), "postgres:17"]
    event = events(changed(docker=[came, CREATE, later]))["image_ready"]
    assert (event.source, event.middle) == (f"docker events: {how} postgres:17", at("14:43:24.5"))


def test_an_image_that_a_unit_loaded_at_boot_is_ready_when_it_is_asked_for():
    event = events(changed(docker=[["load", at("14:42:50"), "postgres:17"], CREATE]))["image_ready"]
    assert event.source == "docker events: loaded postgres:17"
    assert event.middle == at("14:43:23.563")


def test_a_docker_that_has_forgotten_is_not_believed():
    assert "image_ready" not in events(changed(docker=[["pull", at("14:43:50"), "a-backup:1"]]))


def test_dockers_events_are_read_line_by_line(monkeypatch):
    # As docker 26 prints them; the second line was cut off.
    text = (
        '{"status":"pull","id":"postgres:17","Type":"image","Action":"pull","Actor":{"ID":"postgres:17","Attributes":'
        '{"name":"postgres"}},"scope":"local","time":1795445004,"timeNano":1795445004500000000}\n{"status":"cre'
    )
    monkeypatch.setattr(history, "tell", lambda *argv: text)
    assert history.happened(2e9) == [("pull", 1795445004.5, "postgres")]


def test_a_clock_that_was_set_meanwhile_makes_its_stamps_intervals():
    # The agent began by a clock that was 40 s behind the one of now; what it stamped lies before or after the change.
    ran = [(at("14:42:38.861") - 40) * 1e6, 34.9e6]
    found = events(changed(ran=ran))
    event = found["prepare_started"]
    assert event.latest - event.earliest == pytest.approx(40, abs=0.01)
    assert event.earliest == pytest.approx(at("14:43:09.560"))
    assert found["agent_started"].half == 0, "the monotonic clock was not set"
    assert found["guest_info_written"].half == 0, "the clock agrees with that of userspace's start"


def test_systemd_in_the_initrd_is_believed_before_the_kernels_log():
    table = changed(manager={**TABLE["manager"], "InitRDTimestampMonotonic": "4000000"})
    event = events(table)["initrd_started"]
    assert (event.half, event.source) == (0, EVENTS["initrd_started"].source)


def test_uefi_tells_firmware_and_loader_before_the_kernel():
    manager = {**TABLE["manager"], "FirmwareTimestampMonotonic": "5000000", "LoaderTimestampMonotonic": "2000000"}
    found = events(changed(manager=manager))
    zero = found["kernel_started"].middle
    assert (found["firmware_started"].middle, found["loader_started"].middle) == (zero - 5, zero - 2)


def test_docker_calls_the_container_healthy():
    assert "container_healthy" not in events(TABLE)
    later = [["health_status: healthy", at(f"14:43:{second}"), "database"] for second in (36, 39)]
    assert events(changed(docker=[CREATE, *later]))["container_healthy"].middle == at("14:43:36")


def test_the_console_has_kernel_stamps():
    (event,) = of_console("GRUB\n[   25.015268] cloud-init[323]: x\n[   28.0] y\n", of_table(TABLE))
    assert event.middle == events(TABLE)["kernel_started"].middle + 25.015268
    assert of_console("no stamps", of_table(TABLE)) == []
    assert of_console("[   25.015268] x", None) == []


NOTHING = {
    "manager": {}, "units": [{}], "began": [], "ran": [], "init": "", "cloud_init": {}, "log": {}, "mount": {},
    "files": {"start": 0.0, "end": 0.0, "injected": 0.0}, "created": "", "container": {}, "image": "", "docker": [],
    "ready": [],
}  # fmt: skip


@given(st.sets(st.sampled_from(sorted(NOTHING))), st.sampled_from([BOOT_CUTS, LAUNCH_CUTS]))
def test_a_source_that_is_silent_takes_its_events_away_and_invents_none(silent, cuts):
    good, found = events(TABLE), events(changed(**{name: NOTHING[name] for name in silent}))
    assert set(found) <= set(good)
    for name, event in found.items():
        if name not in (
            "cloudinit_done",
            "database_ready",
            "image_ready",
        ):  # of those the last before another event counts
            assert (event.earliest, event.latest) == (good[name].earliest, good[name].latest)
    line = timeline(found.values(), [Offset("guest", 0.0, 0.01)], cuts)
    assert all(line.missing.values())
    assert sum(phase.seconds for phase in line.phases) == pytest.approx(line.seconds)


class Says:
    """A guest whose answer is given: a real one tells no nonsense on demand."""

    def __init__(self, text):
        self.text = text

    def run(self, command, **options):
        return SimpleNamespace(stdout=self.text)


def test_what_a_login_prints_before_the_answer_is_passed_over():
    assert facts.facts(Says("Welcome!\n" + json.dumps(TABLE) + "\n"), units=[AGENT]) == of_table(TABLE)


@pytest.mark.parametrize(
    "text", ["", "Welcome!", "{}", "[]", json.dumps(changed(files={})), json.dumps(changed(log=3))[:-9]]
)
def test_an_answer_that_cannot_be_read_is_a_failed_step(text):
    with pytest.raises(StepFailed, match="cannot be read"):
        facts.facts(Says(text), units=[AGENT])


@pytest.mark.parametrize("stages", [{}, {"v1": []}, {"v1": {"init": 3}}, {"v1": {"init": {"finished": "soon"}}}])
def test_a_status_of_another_shape_has_no_stages(stages):
    assert of_table(changed(cloud_init=stages)).cloud_init("init") == 0.0
