"""Turns on a cloud: real processes that claim and end; the cloud behind them answers what a test says."""

import io
import json
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import process, progress, turns
from imagecheck.cloud import room
from imagecheck.cloud.preflight import Surroundings
from imagecheck.cloud.room import Other, Plan, Taken
from imagecheck.errors import UsageError
from imagecheck.finding import Finding
from imagecheck.process import Process
from imagecheck.waits import TimedOut

PLAN = Plan(2048, 2)
HERE = turns.Place("here", ("p",))
FOUND = Surroundings(None, None, None, PLAN)  # where servers would be made is nobody's matter here
FULL = Finding("stop", "quota", "instances quota of project 'p' (Nova): 1 of 1 used, this run needs 1", "raise it")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(turns, "EVERY", 0.1)
    return tmp_path / "home"


@pytest.fixture
def other(home):
    """Another process of this host, which has claims; it lives until it is ended."""
    started = []

    def start(*runs, where="here", plan=PLAN):
        there = {"cloud": where, "projects": ["p"]}
        child = subprocess.Popen(["sleep", "60"])
        started.append(child)
        owner = Process(child.pid, process.start(child.pid), process.boot(), process.mine().host)
        (home / "turns").mkdir(parents=True, exist_ok=True)
        for run in runs:
            claim = {"place": there, "run": run, "plan": vars(plan), "time": time.time(), "process": vars(owner)}
            (home / "turns" / f"{run}.json").write_text(json.dumps(claim))
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


def one_at_a_time(others):
    return ([FULL] if others else []), FOUND


def ended(child):
    child.kill()
    child.wait()


def test_whoever_is_alone_has_his_turn_and_gives_it_back(home):
    assert turns.take(HERE, "run-1", one_at_a_time) is FOUND
    claim = json.loads((home / "turns" / "run-1.json").read_text())
    assert (claim["place"]["cloud"], claim["plan"], claim["process"]["pid"]) == ("here", vars(PLAN), process.mine().pid)
    assert turns.others(HERE) == []  # what is one's own does not stand in one's way
    turns.give_back("run-1")
    turns.give_back("run-1")
    assert not list((home / "turns").glob("*.json"))


def test_where_there_is_no_room_it_waits_for_the_others_end_and_says_for_whom(other):
    child = other("run-1")
    threading.Timer(1.0, ended, [child]).start()
    told = io.StringIO()
    began = time.monotonic()
    with progress.to(told):
        assert turns.take(HERE, "run-2", one_at_a_time) is FOUND
    assert 0.8 < time.monotonic() - began < 10
    text = told.getvalue()
    assert f"run-2 waits for its turn on the cloud here: {FULL.sentence}; at work: run-1 (process {child.pid})" in text
    assert f"1 of 1 used, this run needs 1; at work: run-1 (process {child.pid})" in text
    assert "run-2: its turn on the cloud here came after 1 s" in text


def test_where_there_is_room_for_both_nobody_waits(other):
    other("run-1")
    began = time.monotonic()
    turns.take(HERE, "run-2", lambda others: ([FULL] if len(others) > 1 else [], FOUND))
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("findings", [[FULL], [Finding("stop", "role", "no admin", "add it")]])
def test_what_no_others_end_changes_stops_at_once(findings):
    with pytest.raises(UsageError, match=findings[0].sentence.split()[0]):
        turns.take(HERE, "run-2", lambda _: (findings, FOUND))


def test_a_missing_role_stops_at_once_beside_others_too(other):
    other("run-1")
    with pytest.raises(UsageError, match="no admin"):
        turns.take(HERE, "run-2", lambda _: ([FULL, Finding("stop", "role", "no admin", "add it")], FOUND))


def test_who_is_on_another_cloud_or_dead_stands_in_nobodys_way(other, home):
    other("run-1", where="there")
    ended(other("run-2"))
    (home / "turns" / "torn.json").write_text('{"place": "her')
    assert turns.others(HERE) == []
    assert sorted(file.name for file in (home / "turns").glob("*.json")) == ["run-1.json", "torn.json"]


def test_the_runs_of_one_process_come_one_after_the_other(other, home):
    child = other("run-1")
    claim = json.loads((home / "turns" / "run-1.json").read_text())
    (home / "turns" / "run-2.json").write_text(json.dumps(claim | {"run": "run-2", "plan": vars(Plan(1024, 4, 7))}))
    assert turns.others(HERE) == [Other(f"run-2 (process {child.pid})", ("run-1", "run-2"), Plan(2048, 4, 7), ("p",))]


def test_who_comes_while_one_looks_is_looked_at_too(other):
    looks = []

    def look(others):
        looks.append(len(others))
        if len(looks) == 1:
            other("run-1")
        return [], FOUND

    turns.take(HERE, "run-2", look)
    assert looks == [0, 1]


def test_a_turn_that_does_not_come_is_told_with_what_to_do(other, monkeypatch):
    other("run-1")
    monkeypatch.setattr(turns, "DEADLINE", 0.5)
    with pytest.raises(TimedOut) as late:
        turns.take(HERE, "run-2", one_at_a_time)
    assert "for a turn on the cloud here; seen last: instances quota" in late.value.sentence
    assert "run fewer at once (-n)" in late.value.remedy
    assert not (turns._folder() / "run-2.json").exists()


def test_looking_ahead_minds_only_what_waiting_does_not_change(other):
    def full(_):
        return [FULL], FOUND

    with pytest.raises(UsageError, match="instances quota"):
        turns.look_ahead(HERE, full)
    other("run-1")
    turns.look_ahead(HERE, full)
    with pytest.raises(UsageError, match="no admin"):
        turns.look_ahead(HERE, lambda _: ([FULL, Finding("stop", "role", "no admin", "add it")], FOUND))


def test_a_folder_that_cannot_be_written_is_one_sentence(home):
    home.mkdir()
    (home / "turns").write_text("a file in the way")
    with pytest.raises(Exception, match=r"turns cannot be written \(File exists\)"):
        turns.take(HERE, "run-1", one_at_a_time)


WORKER = """
import sys, time
from pathlib import Path
from imagecheck import turns
from imagecheck.cloud.preflight import Surroundings
from imagecheck.cloud.room import Plan
from imagecheck.finding import Finding
turns.EVERY = 0.05
full = Finding("stop", "quota", "full", "wait")
run, log = sys.argv[1:]
for number in range(3):
    name = f"{run}-{number}"
    there = Surroundings(None, None, None, Plan(1, 1))
    turns.take(turns.Place("here"), name, lambda others: ([full] if len(others) >= 2 else [], there))
    with open(log, "a") as file:
        file.write(f"{time.monotonic()} 1\\n")
    time.sleep(0.2)
    with open(log, "a") as file:
        file.write(f"{time.monotonic()} -1\\n")
    turns.give_back(name)
"""


def test_five_processes_with_room_for_two_are_never_three(tmp_path):
    log = tmp_path / "log"
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, f"run-{number}", log]) for number in range(5)]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 5
    events = sorted((float(at), int(step)) for at, step in (line.split() for line in log.read_text().splitlines()))
    at_once, most = 0, 0
    for _, step in events:
        at_once += step
        most = max(most, at_once)
    assert (len(events), at_once, most) == (30, 0, 2)


# ---- what others have yet to take


OTHER = Other("run-1 (process 1)", ("run-1",), Plan(2048, 2, 3), ("p", "tenant"))


def test_what_is_there_of_anothers_plan_is_used_already():
    nothing = Taken((OTHER,), {})
    assert nothing.of("compute", "p") == {"instances": 1, "cores": 2, "ram": 2048, "key_pairs": 1}
    assert nothing.of("network", "p") == {"port": 2, "security_group": 1}
    assert nothing.of("block_storage", "p") == {"volumes": 1, "gigabytes": 3}
    assert nothing.of("database", "p") == {"instances": 1, "ram": 2048, "volumes": 3}
    booted = Taken((OTHER,), {"run-1": (("p", "id"),)})
    assert booted.of("compute", "p") == {}
    assert booted.of("compute", "troves")["instances"] == 1  # its launch is still to come there
    assert booted.of("database", "") == {}
    # In Trove's project all tenants' servers are; of anybody else's quota it takes nothing.
    assert nothing.of("database", "troves", "tenant")["instances"] == 1
    assert nothing.of("compute", "troves")["instances"] == 1
    assert nothing.of("compute", "q", "q") == {}


@given(st.integers(1, 20), st.integers(0, 25))
def test_of_a_series_what_is_not_there_yet_is_to_come(times, there):
    one = Other("x", ("run",), Plan(100, 1, 0, times))
    taken = Taken((one,), {"run": (("p", "id"),) * there})
    assert taken.of("compute", "p").get("ram", 0) == 100 * max(0, times - there)


def test_servers_of_others_are_known_by_their_names():
    listed = [SimpleNamespace(name=name, project_id="p", id=name[-1]) for name in (
        "imagecheck-260101-000000-abcdef", "imagecheck-260101-000000-abcdef-w2", "imagecheck-of-somebody",
    )]  # fmt: skip
    asked = []
    compute = SimpleNamespace(servers=lambda **how: asked.append(how) or listed)
    cloud = SimpleNamespace(admin=SimpleNamespace(compute=compute))
    assert room.taken(cloud, []) == Taken()
    assert asked == []
    found = room.taken(cloud, [OTHER])
    assert found.servers["imagecheck-260101-000000-abcdef"] == (("p", "f"), ("p", "2"))
    assert asked == [{"all_projects": True, "name": "^imagecheck-"}]


def test_memory_is_waited_for_only_where_somebody_gives_it_back(monkeypatch):
    monkeypatch.setattr(room, "resident", lambda id: {"booted": 1500}.get(id, 0))
    assert room.here(2048, 2048 + room.SPARE, Taken()) == []
    (alone,) = room.here(2048, 2047 + room.SPARE, Taken())
    assert (alone.level, alone.subject) == ("degraded", "memory")
    to_come = Taken((OTHER,), {})
    (beside,) = room.here(2048, 4095 + room.SPARE, to_come)
    assert beside.level == "stop"
    assert beside.sentence.endswith(
        f"{4095 + room.SPARE} MiB are available, and guests of others will take 2048 of them"
    )
    assert room.here(2048, 4096 + room.SPARE, to_come) == []
    assert room.here(2048, 2048 + 548 + room.SPARE, Taken((OTHER,), {"run-1": (("p", "booted"),)})) == []


def test_what_a_guest_has_of_the_memory_is_read_from_its_process(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(64 * 2**20); print(flush=True); input()", "-uuid", "an-id"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        child.stdout.readline()
        assert 64 <= room.resident("an-id") <= 256
        assert room.resident("another-id") == 0
    finally:
        child.communicate(b"\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    2097152 kB\n")
    assert room.available(tmp_path / "meminfo") == 2048
    assert 0 < room.available() < 2**24


def test_one_cloud_is_one_cloud_by_whatever_entry():
    def cloud(url, region="R"):
        config = SimpleNamespace(auth={"auth_url": url}, region_name=region)
        admin = SimpleNamespace(config=config, current_project_id="p")
        return SimpleNamespace(admin=admin, tenant_project="tenant")

    here = turns.place(cloud("http://10.0.0.1:5000/v3"))
    assert here == turns.place(cloud("http://10.0.0.1:5000")) == turns.Place("10.0.0.1:5000 R", ("p", "tenant"))
    assert turns.place(cloud("http://10.0.0.1:5000", "S")) != here
    assert turns.place(cloud("https://user:secret@keystone.example.org/v3", None)).cloud == "keystone.example.org"
