"""Many servers watched by one list. Nova is stood in for: a real one fails, vanishes and answers late when it likes."""

import threading
import time
from types import SimpleNamespace

import pytest

from imagecheck.cloud import many, nova
from imagecheck.cloud.connection import Hiccup, Missing
from imagecheck.cloud.ledger import Entry
from imagecheck.errors import StepFailed


@pytest.fixture
def cloud(monkeypatch):
    """Servers by id -> status; ``lists`` counts the lists, ``slow`` is how long one takes."""
    one = SimpleNamespace(servers={}, lists=0, slow=0.0, deleted=[], shown=[], fails=0)

    def decided(_cloud, prefix):
        one.lists += 1
        if one.fails:
            one.fails -= 1
            raise Hiccup("busy")
        shown = {id for id, status in one.servers.items() if status in ("ACTIVE", "ERROR")}
        time.sleep(one.slow)
        return shown

    def show(_cloud, id):
        one.shown.append(id)
        if id not in one.servers:
            raise Missing("gone")
        return nova.Server(id, f"run-{id}", "p", one.servers[id], {}, True, {}, fault="no valid host")

    def delete_server(id, ignore_missing):
        one.deleted.append(id)
        one.servers.pop(id, None)

    one.admin = SimpleNamespace(compute=SimpleNamespace(delete_server=delete_server))
    monkeypatch.setattr(nova, "decided", decided)
    monkeypatch.setattr(nova, "show", show)
    monkeypatch.setattr(many, "EVERY", 0.1)
    monkeypatch.setattr(many, "LOOK", 0.02)
    return one


def asked(id):
    now = time.time()
    return many.Asked(Entry(1, "server", f"run-{id}", id), id, now - 0.1, now)


def test_one_list_serves_all_who_wait(cloud):
    cloud.servers = {str(number): "BUILD" for number in range(20)}
    listing, seen = many.Listing(cloud, "run"), []
    threads = [
        threading.Thread(target=lambda id=id: seen.append(listing.wait_active(asked(id)))) for id in cloud.servers
    ]
    began = time.monotonic()
    for one in threads:
        one.start()
    time.sleep(0.3)
    cloud.servers = dict.fromkeys(cloud.servers, "ACTIVE")
    for one in threads:
        one.join(10)
    took = time.monotonic() - began
    assert len(seen) == 20
    assert cloud.lists <= took / many.EVERY + 2, "not one for each server"
    assert sorted(cloud.shown) == sorted(cloud.servers), "and each is looked at once, when it is there"


def test_active_lies_between_the_last_list_that_said_no_and_the_first_that_said_yes(cloud):
    cloud.servers, cloud.slow = {"1": "BUILD"}, 0.05
    listing, mine = many.Listing(cloud, "run"), asked("1")
    later = threading.Timer(0.4, lambda: cloud.servers.update({"1": "ACTIVE"}))
    later.start()
    changed = time.time() + 0.4
    seen = listing.wait_active(mine)
    assert mine.accepted < seen.last_no < changed + 0.2
    assert changed - 0.05 < seen.first_yes
    assert seen.first_yes - seen.last_no < 1.0


def test_a_fault_of_nova_ends_the_wait_in_its_own_words(cloud):
    cloud.servers = {"1": "ERROR"}
    with pytest.raises(StepFailed, match="no valid host"):
        many.Listing(cloud, "run").wait_active(asked("1"))


def test_a_server_that_vanishes_ends_the_wait(cloud, monkeypatch):
    monkeypatch.setattr(many, "CLOSER", 0.1)
    with pytest.raises(StepFailed, match="vanished"):
        many.Listing(cloud, "run").wait_active(asked("1"))


def test_a_list_that_fails_once_is_asked_for_again(cloud):
    cloud.servers, cloud.fails = {"1": "ACTIVE"}, 2
    assert many.Listing(cloud, "run").wait_active(asked("1")).value.id == "1"


def test_a_removed_server_is_waited_for_and_forgotten(cloud):
    cloud.servers = {"1": "ACTIVE"}
    listing, mine, removed = many.Listing(cloud, "run"), asked("1"), []
    listing.wait_active(mine)
    listing.remove(SimpleNamespace(removed=removed.append), mine.entry)
    assert (cloud.deleted, removed) == (["1"], [mine.entry])
    assert listing._watched == {}, "a series of hundreds keeps nothing of those that are gone"


def test_a_server_that_never_came_is_removed_when_nova_does_not_know_it_any_more(cloud):
    cloud.servers, removed = {"1": "BUILD"}, []
    many.Listing(cloud, "run").remove(SimpleNamespace(removed=removed.append), asked("1").entry)
    assert (cloud.deleted, len(removed)) == (["1"], 1)
    assert cloud.shown == ["1"], "no list has it, before or after"
