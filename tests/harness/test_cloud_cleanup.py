"""What is removed, in which order, and what is said when it cannot be. The removers are stand-ins: a real cloud does
not fail to order. The real ones are proven in test_cloud_sandbox.py."""

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

        return Kind(lambda _cloud, entry: [f"found-{entry.name}"], remove)

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


def test_every_kind_that_is_intended_anywhere_can_be_removed():
    """A ledger's kind without a remover would never be cleaned up."""
    import re
    from pathlib import Path

    package = Path(cleanup.__file__).parents[1]
    used = {kind for file in package.rglob("*.py") for kind in re.findall(r'\.intend\(\s*"(\w+)"', file.read_text())}
    assert used == set(KINDS)
