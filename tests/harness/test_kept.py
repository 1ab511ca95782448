"""The end of a road: removed and counted, or kept with the ways in. Nova and Trove answer here what a test says."""

import os
import stat
import time
from types import SimpleNamespace

import pytest

from imagecheck import cli, kept
from imagecheck.cloud import cleanup, collection, glance, marks, nova, trove
from imagecheck.cloud.collection import Collected, collect_garbage
from imagecheck.cloud.garbage import Found
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import StepFailed
from imagecheck.kept import Keep, Memory, end, recall
from imagecheck.site import Site

RUN = marks.new_run(time.time())
MEMORY = Memory("an-image", "ab" * 32, "mariadb:11.8", ("--image", "an image.qcow2", "--cloud", "prod"), "s3cret-word")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(collection.host, "collect", lambda *_, **__: ([], []))  # what else lies on this host
    return tmp_path / "home"


@pytest.fixture
def removed(monkeypatch):
    """What was removed from the cloud, by kind."""
    done = []

    def remove(_cloud, entry, _ids):
        done.append(entry.kind)
        return ""

    monkeypatch.setattr(cleanup, "remove", remove)
    return done


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """A run with a server and an instance that can be reached."""
    for name in ("id_ed25519", "site_key"):
        (tmp_path / name).write_text(f"private {name}")
        (tmp_path / name).chmod(0o644)
    site = Site(cloud="prod", tenant_cloud="prod", guest_key=tmp_path / "site_key", jump="me@bastion")
    ledger = Ledger.new(RUN, site)
    for kind in ("keypair", "image", "server", "instance"):
        ledger.made(ledger.intend(kind, RUN), f"{kind}-id")
    shown = SimpleNamespace(address=lambda _: "10.0.0.7", server_id="troves-server")
    monkeypatch.setattr(nova, "show", lambda *_: shown)
    monkeypatch.setattr(trove, "show", lambda *_: shown)
    return SimpleNamespace(
        cloud=SimpleNamespace(site=site), ledger=ledger, run=RUN, key=tmp_path / "id_ed25519",
        definition=SimpleNamespace(login="debian"), where=SimpleNamespace(management=SimpleNamespace(name="mgmt")),
    )  # fmt: skip


def dies(ledger):
    """Its process is gone: the pid is another's by now."""
    text = ledger.path.read_text()
    ledger.path.write_text(text.replace(f'"started": "{ledger.owner.started}"', '"started": "1"'))


@pytest.mark.parametrize(
    ("when", "failed", "holds"),
    [("never", True, False), ("on-failure", False, False), ("on-failure", True, True), ("always", False, True)],
)
def test_when_a_run_is_kept(ground, removed, when, failed, holds):
    done = end(MEMORY, ground, Keep(when), failed=failed)
    assert done.left == []
    assert (removed == []) == holds
    assert ground.ledger.path.exists() == holds
    # With the folder of the keys.
    assert done.accounting == ("made 5, removed 0, left 5 (kept)" if holds else "made 4, removed 4, left 0")


def test_what_is_kept_comes_with_the_ways_in_and_out(ground, removed, home):
    done = end(MEMORY, ground, Keep("always", 3600), failed=False)
    folder = home / "kept" / RUN
    text = "\n".join(done.lines)
    for key in ("key", "trove_key"):
        assert f"ssh -i {folder}/{key} -o StrictHostKeyChecking=no" in text
    assert text.count("-o UserKnownHostsFile=/dev/null -J me@bastion debian@10.0.0.7") == 2
    assert f"go on     pytest --image 'an image.qcow2' --cloud prod --attach {RUN}\n" in text
    assert f"imagecheck gc --run {RUN}" in text
    assert MEMORY.password not in text
    assert recall(folder) == MEMORY
    assert (folder / "key").read_text() == "private id_ed25519"
    assert (folder / "trove_key").read_text() == "private site_key"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}


def test_where_no_instance_is_kept_the_command_stops_before_it(ground, removed):
    ground.ledger.removed(next(one for one in ground.ledger.open if one.kind == "instance"))
    text = "\n".join(end(MEMORY, ground, Keep("always"), failed=False).lines)
    assert f"--cloud prod --stage boot --attach {RUN}" in text


def test_a_server_that_cannot_be_shown_is_kept_and_that_is_said(ground, removed, monkeypatch):
    def gone(*_):
        raise StepFailed("Nova server", "the cloud refused")

    monkeypatch.setattr(nova, "show", gone)
    text = "\n".join(end(MEMORY, ground, Keep("always"), failed=False).lines)
    assert "no way into the server server-id is known: Nova server: the cloud refused" in text
    assert ground.ledger.kept > time.time()


def test_what_cannot_be_kept_is_removed(ground, removed, home):
    home.mkdir(exist_ok=True)
    (home / "kept").write_text("a file in the way")
    assert end(MEMORY, ground, Keep("always"), failed=False).lines == []
    assert {"server", "instance", "image", "keypair"} <= set(removed)


def test_nothing_is_kept_where_there_is_nothing_to_log_in_to(ground, removed):
    for one in [one for one in ground.ledger.open if one.kind in ("server", "instance")]:
        ground.ledger.removed(one)
    assert end(MEMORY, ground, Keep("always"), failed=True).lines == []
    assert removed == ["image", "keypair"]


def test_what_is_kept_for_longer_than_others_would_wait_says_so_itself(ground, removed, monkeypatch):
    told = []
    for kind in (nova, glance):
        monkeypatch.setattr(kind, "mark", lambda _cloud, id, key, value: told.append((id, key, marks.moment(value))))
    monkeypatch.setattr(kept.time, "time", lambda: 1_900_000_000.0)
    end(MEMORY, ground, Keep("always", marks.TTL * 2), failed=True)
    until = 1_900_000_000.0 + marks.TTL * 2
    assert sorted(told) == [("image-id", marks.UNTIL, until), ("server-id", marks.UNTIL, until)]


# ---- and gc


@pytest.fixture
def connected(monkeypatch):
    monkeypatch.setattr(collection, "connect", lambda site: SimpleNamespace(site=site))


def test_gc_takes_what_was_kept_after_its_time_or_when_it_is_named(ground, removed, home, connected, monkeypatch):
    end(MEMORY, ground, Keep("always", 3600), failed=False)
    dies(ground.ledger)
    done = collect_garbage()
    assert (done.gone, done.left, removed) == (0, [], [])
    assert any("keeps it until" in line for line in done.kept)
    assert collect_garbage(run="imagecheck-260101-000000-abcdef").gone == 0
    assert collect_garbage(run=RUN, dry_run=True).gone == 0
    # cleanup.remove is a stand-in, so the folder goes by its own hand.
    assert collect_garbage(run=RUN).gone == 5
    assert removed == ["instance", "server", "image", "keypair", "folder"]
    assert not ground.ledger.path.exists()


def test_gc_takes_what_was_kept_when_its_time_is_over(ground, removed, connected, monkeypatch):
    end(MEMORY, ground, Keep("always", 3600), failed=False)
    dies(ground.ledger)
    later = time.time() + 3601
    monkeypatch.setattr(collection.time, "time", lambda: later)
    assert collect_garbage().gone == 5


def test_gc_leaves_a_living_run_alone_even_when_it_is_named(ground, removed, connected):
    done = collect_garbage(run=RUN)
    assert (done.gone, removed) == (0, [])
    assert any(f"{RUN} is at work (process {os.getpid()}" in line for line in done.kept)


def test_the_keys_go_even_when_the_cloud_is_gone(ground, home, monkeypatch):
    end(MEMORY, ground, Keep("always"), failed=False)
    dies(ground.ledger)

    def connect(_):
        raise StepFailed("cloud", "cannot be reached")

    monkeypatch.setattr(collection, "connect", connect)
    assert (home / "kept" / RUN / "key").exists()
    assert len(collect_garbage(run=RUN).left) == 4
    assert not (home / "kept" / RUN).exists()


def test_what_no_ledger_names_is_found_by_what_it_carries(ground, removed, connected, monkeypatch):
    lost = marks.new_run(time.time() - 3 * marks.TTL)
    found = [
        Found("keypair", lost, lost),
        Found("server", "s-1", lost, carried={marks.TAG: lost}),
        Found("server", "s-2", "imagecheck-of-somebody"),
        Found("server", "server-id", RUN, carried={marks.TAG: RUN}),  # this one a ledger names, whose run lives
    ]
    monkeypatch.setattr(collection.inventory, "look", lambda _: (found, ["volumes are not looked through: refused"]))
    cloud = SimpleNamespace(site=Site(cloud="prod", tenant_cloud="prod"))
    dry = collect_garbage(cloud=cloud, dry_run=True)
    assert dry.left == [
        f"server {lost} s-1 (run {lost}, by what it carries)",
        f"keypair {lost} (run {lost}, by what it carries)",
    ]
    assert "volumes are not looked through: refused" in dry.kept
    assert "1 more with such a name: nothing proves them imagecheck's" in dry.kept
    assert removed == []
    assert collect_garbage(cloud=cloud).gone == 2
    assert removed == ["server", "keypair"]


def test_what_is_found_and_cannot_be_removed_is_named_with_its_command(monkeypatch):
    lost = marks.new_run(time.time() - 3 * marks.TTL)
    monkeypatch.setattr(collection.inventory, "look", lambda _: ([Found("keypair", lost, lost)], []))
    monkeypatch.setattr(cleanup, "remove", lambda *_: "refused")
    cloud = SimpleNamespace(site=Site(cloud="prod", tenant_cloud="prod"))
    assert collect_garbage(cloud=cloud) == Collected(
        left=[f"keypair {lost}: refused; by hand: openstack --os-cloud prod keypair delete {lost}"]
    )


def test_another_hosts_run_is_over_long_after_its_time(ground, removed, connected, monkeypatch):
    text = ground.ledger.path.read_text()
    ground.ledger.path.write_text(text.replace(f'"host": "{ground.ledger.owner.host}"', '"host": "elsewhere"'))
    assert collect_garbage().gone == 0
    later = time.time() + marks.TTL + 60
    monkeypatch.setattr(collection.time, "time", lambda: later)
    assert collect_garbage().gone == 4


def test_gc_says_what_it_keeps_and_why(ground, capsys, monkeypatch):
    monkeypatch.delenv("OS_CLOUD", raising=False)
    assert cli.main(["gc", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"keep    server {RUN} server-id (run {RUN}): {RUN} is at work" in told
    assert told.endswith("would remove 0\n")


@pytest.mark.parametrize("words", [["--older-than", "soon"], ["--cloud", "nowhere"], ["--site", "none.toml"]])
def test_bad_input_of_gc_is_one_sentence(words, capsys):
    assert cli.main(["gc", *words]) == 2
    assert capsys.readouterr().err.startswith("imagecheck: ")


def test_a_usual_cloud_that_does_not_answer_does_not_keep_gc_from_the_rest(monkeypatch, capsys):
    monkeypatch.setenv("OS_CLOUD", "nowhere")
    assert cli.main(["gc"]) == 0
    assert "only what ledgers name is looked for" in capsys.readouterr().err
