"""What is removed, in which order, and what is said when it cannot be. The removers are stand-ins: a real cloud does
not fail to order. The real ones are proven in test_cloud_sandbox.py."""

import dataclasses

import pytest

from imagecheck.cloud import cleanup
from imagecheck.cloud.cleanup import KINDS, Kind, clean
from imagecheck.cloud.connection import Hiccup, Missing
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import StepFailed
from imagecheck.site import Site


@pytest.fixture
def ledger(tmp_path):
    return Ledger.new("run-1", Site(cloud="a", tenant_cloud="b"), tmp_path)


@pytest.fixture
def removed(monkeypatch):
    """Removers that only note what they were asked for; ``answers`` has what to raise, by id."""
    done, answers = [], {}

    def kind(name):
        def remove(_cloud, id, _entry):
            if problem := next(iter(answers.get(id, [])), None):
                answers[id].pop(0)
                raise problem
            done.append((name, id))

        return Kind(lambda _cloud, entry: [f"found-{entry.name}"], remove, "openstack thing delete {id}")

    monkeypatch.setattr(cleanup, "KINDS", {name: kind(name) for name in KINDS})
    return done, answers


def test_users_of_a_thing_go_before_the_thing(ledger, removed):
    for name in ("image", "keypair", "security_group", "queue", "datastore", "datastore_version", "server", "instance"):
        ledger.made(ledger.intend(name, "x"), f"id-{name}")
    assert clean(None, ledger) == []
    order = [name for name, _ in removed[0]]
    for user, thing in (("instance", "datastore_version"), ("datastore_version", "datastore"),
                        ("datastore_version", "image"), ("server", "image"), ("server", "keypair"),
                        ("server", "security_group"), ("instance", "server"), ("server", "queue")):  # fmt: skip
        assert order.index(user) < order.index(thing)
    assert ledger.open == []


def test_what_has_no_id_is_looked_for_by_its_name(ledger, removed):
    ledger.intend("server", "run-1")
    assert clean(None, ledger) == []
    assert removed[0] == [("server", "found-run-1")]


def test_what_is_gone_already_counts_as_removed(ledger, removed):
    removed[1]["id-1"] = [Missing("gone")]
    ledger.made(ledger.intend("server", "x"), "id-1")
    assert clean(None, ledger) == []
    assert ledger.open == []


def test_a_hiccup_is_asked_again(ledger, removed):
    removed[1]["id-1"] = [Hiccup("503"), Hiccup("503")]
    ledger.made(ledger.intend("server", "x"), "id-1")
    assert clean(None, ledger) == []
    assert removed[0] == [("server", "id-1")]


def test_what_stays_is_named_and_stays_in_the_ledger(ledger, removed):
    removed[1]["id-1"] = [StepFailed("Nova server", "the cloud refused to delete the server")]
    ledger.made(ledger.intend("server", "x"), "id-1")
    ledger.made(ledger.intend("image", "y"), "id-2")
    (line,) = clean(None, ledger)
    assert line.startswith("server x id-1: ")
    assert "refused" in line
    assert [one.kind for one in ledger.open] == ["server"]
    assert removed[0] == [("image", "id-2")]  # one failure does not keep the rest


def test_only_some_kinds(ledger, removed):
    for name in ("image", "server"):
        ledger.made(ledger.intend(name, "x"), f"id-{name}")
    clean(None, ledger, only=("server",))
    assert removed[0] == [("server", "id-server")]


def test_what_stays_is_named_with_the_command_that_removes_it(ledger, removed):
    removed[1]["id 1"] = [StepFailed("Nova server", "refused")]
    ledger.made(ledger.intend("server", "x"), "id 1")
    (line,) = clean(None, ledger)
    assert line.endswith("; by hand: openstack --os-cloud a thing delete 'id 1'")


def test_an_error_that_nobody_foresaw_does_not_keep_the_rest(ledger, removed):
    removed[1]["id-1"] = [KeyError("links")]
    ledger.made(ledger.intend("server", "x"), "id-1")
    ledger.made(ledger.intend("image", "y"), "id-2")
    (line,) = clean(None, ledger)
    assert "KeyError" in line
    assert removed[0] == [("image", "id-2")]


def test_what_comes_with_a_thing_goes_with_it_and_is_not_removed_beneath_it(ledger, removed):
    instance = ledger.made(ledger.intend("instance", "x"), "id-1")
    ledger.intend("port", "trove-id-1", of=instance)
    removed[1]["id-1"] = [StepFailed("Trove instance", "refused")]
    assert len(clean(None, ledger)) == 1
    assert (removed[0], len(ledger.open)) == ([], 2)
    assert clean(None, ledger) == []
    assert (removed[0], ledger.open) == ([("instance", "id-1")], [])


def test_the_account_counts_what_there_was_and_not_what_the_cloud_refused(ledger, removed, monkeypatch):
    ledger.made(ledger.intend("image", "y"), "id-2")
    ledger.intend("server", "answered too late")
    clean(None, ledger)
    assert str(ledger.account) == "made 2, removed 2, left 0"
    nothing = {name: dataclasses.replace(kind, find=lambda *_: []) for name, kind in cleanup.KINDS.items()}
    monkeypatch.setattr(cleanup, "KINDS", nothing)
    ledger.intend("server", "refused")
    clean(None, ledger)
    assert str(ledger.account) == "made 2, removed 2, left 0"
    removed[1]["id-3"] = [StepFailed("Nova server", "refused")]
    ledger.made(ledger.intend("server", "x"), "id-3")
    clean(None, ledger)
    assert str(ledger.account) == "made 3, removed 2, left 1"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_command_for_people(kind):
    told = cleanup.command(kind, "an-id", "prod cloud")
    assert told.split()[-1].endswith("an-id")
    assert ("openstack --os-cloud 'prod cloud' " in told) == KINDS[kind].command.startswith("openstack ")


def test_a_command_for_people_is_one_that_the_client_has():
    """Of the clients in this environment: troveclient has its own plugin, the rest is python-openstackclient's."""
    import importlib.metadata

    (group,) = [
        entries for name, entries in _groups(importlib.metadata.entry_points()) if name == "openstack.database.v1"
    ]
    ours = {kind.command for kind in KINDS.values() if "database" in kind.command or "datastore" in kind.command}
    assert len(ours) == 3
    assert {"_".join(one.split()[1:-1]) for one in ours} <= group


def _groups(points):
    return [(name, set(points.select(group=name).names)) for name in points.groups]


def test_a_folder_that_is_not_kept_is_never_removed(ledger, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    for path in (tmp_path / "mine", cleanup.kept_folder() / "a" / "b", cleanup.kept_folder() / "run-1"):
        path.mkdir(parents=True)
        ledger.intend("folder", str(path))
    ledger.intend("folder", str(cleanup.kept_folder() / ".." / "mine"))
    assert len(cleanup.clean_here(ledger)) == 3
    assert (tmp_path / "mine").is_dir()
    assert not (cleanup.kept_folder() / "run-1").exists()


def test_every_kind_that_is_intended_anywhere_can_be_removed():
    """A ledger's kind without a remover would never be cleaned up."""
    import re
    from pathlib import Path

    package = Path(cleanup.__file__).parents[1]
    used = {kind for file in package.rglob("*.py") for kind in re.findall(r'\.intend\(\s*"(\w+)"', file.read_text())}
    assert used == set(KINDS)
