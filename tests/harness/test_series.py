"""A series walked with starts that are stood in for: what is kept, how many go at once, what ends it.

The starts themselves need a cloud (test_series_real.py); faults in their midst come here to order.
"""

import json
import threading
from types import SimpleNamespace

import pytest

from imagecheck import fingerprint, series
from imagecheck.cloud import hypervisor, nova
from imagecheck.errors import Cause, StepFailed, UsageError
from imagecheck.launch.sample import FINGERPRINT, read
from imagecheck.options import Launches
from imagecheck.starts import Started

BROKEN = Cause("agent-missing", "boot", "image", "certain", "the image has no guest agent")
BUSY = Cause("no-valid-host", "boot", "cloud", "certain", "no host has room")


def failing(cause):
    return StepFailed("guest agent", "it did not come", cause=cause)


class Fake:
    """A Starter; ``plan`` gives the error of start number N, or what is to happen then."""

    def __init__(self, world, road):
        self.world, self.road, self.label, self.warmed = world, road, road.choice.name, False

    def prepare(self):
        self.world.calls.append(("prepare", self.label))

    def start(self, worker, number):
        world = self.world
        with world.lock:
            world.running += 1
            world.most = max(world.most, world.running)
            world.calls.append(("start", self.label, number))
        try:
            error = world.plan(self.label, number)
            server = None if error else world.server
            return Started(100.0 + number, 5.0 + number, 0.5, server=server, error=error)
        finally:
            with world.lock:
                world.running -= 1

    def warm(self, host):
        self.world.calls.append(("warm", self.label, host))
        return self.world.server

    def remove(self, worker):
        self.world.calls.append(("remove", self.label))
        return self.world.left

    def close(self):
        self.world.calls.append(("close", self.label))
        return 3, []


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A cloud of one host, and two images."""
    server = nova.Server("1", "s", "p", "ACTIVE", {}, True, {}, raw={"compute_host": "h", "host_id": "hash"})
    one = SimpleNamespace(
        calls=[], lock=threading.Lock(), running=0, most=0, left=[], plan=lambda label, number: None, server=server,
        hosts=["nova:h"], file=tmp_path / "report" / "launches.jsonl",
    )  # fmt: skip

    def road(name):
        return SimpleNamespace(
            choice=SimpleNamespace(name=name), run="run-1", folder=SimpleNamespace(path=tmp_path / "report"),
            cloud=lambda: SimpleNamespace(cloud=None), image_file=lambda: SimpleNamespace(sha256="ab" * 32),
        )  # fmt: skip

    one.roads = {name: road(name) for name in ("a", "b")}
    monkeypatch.setattr(series, "Starter", lambda road, kind, *, cold, yes: Fake(one, road))
    monkeypatch.setattr(fingerprint, "fixed", lambda *_, **__: {"flavor": "small", "concurrency": "1"})
    monkeypatch.setattr(hypervisor, "compute_hosts", lambda _: one.hosts)
    monkeypatch.setattr(nova, "flavors", lambda _: [])

    def walk(*names, kept=lambda made: made, **options):
        return series.walk([one.roads[name] for name in names], Launches(**options), release="epoxy", kept=kept)

    one.walk = walk
    return one


def test_every_start_becomes_a_line_with_its_fingerprint(world):
    made = world.walk("a", "b", count=3)
    assert [one.number for one in made.samples] == [1, 2, 3, 4, 5, 6]
    assert sorted(read(world.file), key=lambda one: one.number) == list(made.samples)
    assert {one.label for one in made.samples[:2]} == {one.label for one in made.samples[2:4]} == {"a", "b"}
    assert all(list(one.fingerprint) == list(FINGERPRINT) for one in made.samples)
    assert (made.planned, made.stopped, made.failed) == (6, "", [])


def test_a_start_is_on_disk_before_the_next_one_begins(world):
    lines = []

    def plan(label, number):
        lines.append(len(world.file.read_text().splitlines()) if world.file.exists() else 0)

    world.plan = plan
    world.walk("a", count=4)
    assert lines == [0, 1, 2, 3]


def test_each_start_is_removed_before_the_next_one_begins(world):
    world.walk("a", count=2)
    assert [call[0] for call in world.calls] == ["prepare", "warm", "start", "remove", "start", "remove", "close"]


def test_as_many_go_at_once_as_are_asked_for(world):
    together = threading.Barrier(4, timeout=20)
    world.plan = lambda label, number: together.wait() and None
    made = world.walk("a", count=8, concurrency=4)
    assert world.most == 4
    assert len(read(world.file)) == len(made.samples) == 8


def test_a_failed_start_is_a_sample_and_the_series_goes_on(world, tmp_path):
    world.plan = lambda label, number: failing(BUSY) if number == 2 else None
    made = world.walk("a", count=4, record=tmp_path / "kept.jsonl")
    bad = made.samples[1]
    assert [one.completed for one in made.samples] == [True, False, True, True]
    assert (bad.cause, bad.sentence, bad.seconds) == ("no-valid-host", "no host has room", 7.0)
    assert "host" not in bad.fingerprint
    assert made.failed == ["launch 2 of a, after 7 s: no host has room (no-valid-host)"]
    assert read(tmp_path / "kept.jsonl") == list(made.samples)


def test_an_image_that_never_comes_up_ends_the_series(world):
    world.plan = lambda label, number: failing(BROKEN)
    made = world.walk("a", count=20)
    assert len(made.samples) == 3
    assert "the image has no guest agent" in made.stopped


def test_a_cloud_that_is_gone_ends_the_series(world, monkeypatch):
    world.plan = lambda label, number: failing(BUSY)
    monkeypatch.setattr(nova, "flavors", lambda _: (_ for _ in ()).throw(StepFailed("Nova", "no answer")))
    made = world.walk("a", count=20)
    assert len(made.samples) == 1
    assert made.stopped.startswith("the cloud does not answer any more: Nova: no answer")


def test_what_cannot_be_removed_ends_the_series(world):
    world.left = ["server s 1: refused"]
    made = world.walk("a", count=5)
    assert len(made.samples) == 1
    assert made.stopped == "what start 1 made cannot be removed: server s 1: refused"


def test_bad_input_ends_the_series_with_its_sentence_and_everything_is_removed(world):
    def plan(label, number):
        raise UsageError("the site names no 'guest_config'")

    world.plan = plan
    with pytest.raises(UsageError, match="guest_config"):
        world.walk("a", "b", count=3)
    assert [call for call in world.calls if call[0] == "close"] == [("close", "a"), ("close", "b")]


def test_a_quota_that_is_too_small_is_told_before_anything_is_launched(world, monkeypatch):
    world.roads["a"].cloud = lambda: SimpleNamespace(cloud=SimpleNamespace(site=SimpleNamespace(cloud="prod")))
    monkeypatch.setattr(nova, "room", lambda _: 3)
    with pytest.raises(UsageError, match="'prod' has room for 3 servers"):
        world.walk("a", count=8, concurrency=4, kind="server")
    assert not [call for call in world.calls if call[0] == "start"]
    monkeypatch.setattr(nova, "room", lambda _: None)
    assert len(world.walk("a", count=8, concurrency=4, kind="server").samples) == 8


def test_an_interrupted_series_removes_everything_and_counts_nothing_more(world, monkeypatch):
    gone = threading.Event()
    world.plan = lambda label, number: gone.wait(20) and None

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(series._Series, "_status", interrupt)
    monkeypatch.setattr(series, "LAST_REQUEST", 0.1)
    with pytest.raises(KeyboardInterrupt):
        world.walk("a", count=5, concurrency=2)
    gone.set()
    assert ("close", "a") in world.calls
    assert not world.file.exists()


def test_what_an_interrupted_series_has_is_kept_all_the_same(world, monkeypatch):
    gone, second, told = threading.Event(), threading.Event(), []

    def plan(label, number):
        if number == 2:
            second.set()
            gone.wait(20)

    def interrupt(*_):
        if second.wait(20):
            raise KeyboardInterrupt

    world.plan = plan
    monkeypatch.setattr(series._Series, "_status", interrupt)
    monkeypatch.setattr(series, "LAST_REQUEST", 0.1)
    with pytest.raises(KeyboardInterrupt):
        world.walk("a", count=5, kept=lambda made: told.append(made) or made)
    gone.set()
    assert [([one.number for one in made.samples], made.planned, made.stopped) for made in told] == [
        ([1], 5, "interrupted")
    ]


def test_a_host_is_warmed_once_and_one_that_was_not_is_cold(world):
    made = world.walk("a", count=1)
    assert ("warm", "a", "nova:h") in world.calls
    assert made.samples[0].fingerprint["cache"] == "warm"
    world.server.raw["compute_host"], world.hosts = "other", []
    world.walk("a", count=1)
    assert ("warm", "a", "") in world.calls, "where the hosts cannot be told, one start anywhere"


def test_a_host_that_was_not_warmed_is_cold_for_its_first_start_only(world, monkeypatch):
    monkeypatch.setattr(series, "WARMED", 0)
    made = world.walk("a", count=2)
    assert [one.fingerprint["cache"] for one in made.samples] == ["cold", "warm"]


def test_a_host_that_cannot_be_warmed_is_one_line(world, monkeypatch):
    def refuse(self, host):
        raise StepFailed("Nova server", "no valid host", seen="server 1", remedy="make room")

    monkeypatch.setattr(Fake, "warm", refuse)
    made = world.walk("a", count=1)
    assert made.notes[0] == "a: not warmed on h: Nova server: no valid host"
    assert made.samples[0].fingerprint["cache"] == "cold"


def test_a_cold_series_warms_nothing(world):
    made = world.walk("a", count=2, cache="cold")
    assert not [call for call in world.calls if call[0] == "warm"]
    assert {one.fingerprint["cache"] for one in made.samples} == {"cold"}


def test_the_samples_of_a_series_that_was_killed_are_kept(world):
    world.file.parent.mkdir(parents=True)
    world.file.write_text("older\n")
    world.walk("a", count=1)
    (older,) = world.file.parent.glob("launches-*.jsonl")
    assert older.read_text() == "older\n"
    assert json.loads(world.file.read_text())["number"] == 1
