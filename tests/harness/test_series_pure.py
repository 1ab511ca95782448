"""The pure parts of a series: its order, when it ends early, fingerprints, what makes none."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import fingerprint
from imagecheck.cloud.nova import Server
from imagecheck.errors import UsageError
from imagecheck.launch.rounds import FIRST, Stop, rounds
from imagecheck.launch.sample import FINGERPRINT, Sample
from imagecheck.options import Launches, launches


def sample(label="a", *, completed=True, cause="", number=1):
    sentence = "" if completed else "it broke"
    return Sample("s", number, label, "launch", "ab" * 32, 1.7e9, 60.0, completed, cause=cause, sentence=sentence)


# ---- the order


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True), st.integers(1, 40), st.integers(0, 2**32))
def test_every_round_has_every_label_once(labels, count, seed):
    order = rounds(labels, count, seed)
    assert len(order) == count * len(labels)
    for start in range(0, len(order), len(labels)):
        assert sorted(order[start : start + len(labels)]) == sorted(labels)


def test_the_seed_makes_the_order_again_and_both_orders_come():
    assert rounds(["a", "b"], 20, 7) == rounds(["a", "b"], 20, 7)
    order = rounds(["a", "b"], 200, 7)
    first = Counter(order[::2])
    assert 60 < first["a"] < 140, "within a round either label may come first"


# ---- when it ends early


def test_the_first_starts_that_all_fail_by_the_image_end_the_series():
    stop = Stop()
    told = [stop.take(sample(completed=False, cause="agent-missing"), "image") for _ in range(FIRST)]
    assert told[:-1] == [""] * (FIRST - 1)
    assert "first 3 starts of a all failed" in told[-1]
    assert "agent-missing" in told[-1]
    assert "it broke" in told[-1]


@pytest.mark.parametrize("other", [sample(), sample(completed=False, cause="no-valid-host")])
def test_one_start_that_went_otherwise_lets_the_series_go_on(other):
    stop = Stop()
    stop.take(sample(completed=False), "image")
    stop.take(other, "" if other.completed else "cloud")
    assert [stop.take(sample(completed=False), "image") for _ in range(10)] == [""] * 10


def test_labels_are_counted_each_for_itself():
    stop = Stop()
    for _ in range(FIRST - 1):
        assert stop.take(sample("a", completed=False), "image") == ""
        assert stop.take(sample("b", completed=False), "image") == ""
    assert "starts of b" in stop.take(sample("b", completed=False), "image")


# ---- fingerprints


def server(**raw):
    return Server("1", "s", "p", "ACTIVE", {}, True, {}, raw=raw)


def test_a_fingerprint_has_every_key_and_says_what_is_unknown():
    found = fingerprint.complete({"cloud": "c", "acceleration": ""})
    assert list(found) == list(FINGERPRINT)
    assert found["cloud"] == "c"
    assert found["acceleration"] == found["host"] == fingerprint.UNKNOWN


def test_what_a_failed_start_did_not_come_to_know_is_left_out():
    prints = fingerprint.Fingerprints(SimpleNamespace(), {"flavor": "small", "acceleration": ""})
    assert prints.of(None, volume=None, cache="", completed=False) == {"flavor": "small"}
    done = prints.of(None, volume=None, cache="warm")
    assert (done["flavor"], done["cache"], done["host"]) == ("small", "warm", fingerprint.UNKNOWN)


def test_each_hypervisor_is_asked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr(fingerprint, "hypervisor", lambda _, one: asked.append(one) or "QEMU 7002022")
    prints = fingerprint.Fingerprints(SimpleNamespace(), {})
    for _ in range(3):
        found = prints.of(server(hypervisor_hostname="h", host_id="abc"), volume=None, cache="cold")
    assert len(asked) == 1
    assert (found["hypervisor"], found["host"], found["carrier"]) == ("QEMU 7002022", "abc", "config drive")


@pytest.mark.parametrize(
    ("volume", "raw", "said"),
    [
        ({"size": 5, "type": "fast"}, {}, "volume, fast, 5 GiB"),
        ({"size": 5}, {}, "volume, default type, 5 GiB"),
        ({}, {}, "ephemeral"),
        (None, {"attached_volumes": [{"id": 1}]}, "volume"),
        (None, {"attached_volumes": []}, "ephemeral"),
    ],
)
def test_storage_is_troves_word_or_what_is_attached(volume, raw, said):
    assert fingerprint.storage(server(**raw), volume) == said


# ---- options


def test_without_launches_there_is_no_series():
    assert launches({}) is None
    assert launches({"launches": None, "image": ["a"], "stage": "disk"}) is None


def test_what_is_not_said_is_one_warm_launch_at_a_time():
    assert launches({"launches": 3, "image": ["a"]}) == Launches(3)
    assert launches({"launches": 3, "image": ["a"]}).kind == "launch"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"launches": 0}, "at least one"),
        ({"launches": -3}, "at least one"),
        ({"against": "other"}, "--against"),
        ({"concurrency": 2}, "--concurrency"),
        ({"cache": "warm"}, "--cache"),
        ({"kind": "boot"}, "--kind"),
        ({"record": "x.jsonl"}, "--record"),
        ({"baseline": "x.json"}, "--baseline"),
        ({"launches": 2, "concurrency": 0}, "from 1 to 2"),
        ({"launches": 2, "concurrency": 3}, "from 1 to 2"),
        ({"launches": 2, "against": "o", "concurrency": 5}, "from 1 to 4"),
        ({"launches": 2, "stage": "boot"}, "--stage boot"),
        ({"launches": 2, "record": "/"}, "is a folder"),
        ({"launches": 2, "baseline": "/nowhere/at.all"}, "no such file"),
        ({"launches": 2, "image": []}, "--image"),
    ],
)
def test_what_makes_no_series_is_one_sentence(given, word):
    with pytest.raises(UsageError, match=word):
        launches({"image": ["a"], **given})
