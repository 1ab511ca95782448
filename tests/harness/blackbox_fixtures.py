"""A run that breaks, for tests of the black box: its cloud and its guest, stood in for, say secrets in every answer."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import pytest

from imagecheck import evidence, redact
from imagecheck.blackbox import stopped
from imagecheck.cloud import glance, hypervisor, network, nova, trove
from imagecheck.cloud.ledger import Ledger
from imagecheck.definition import known, load
from imagecheck.errors import StepFailed
from imagecheck.guest import evidence as inside
from imagecheck.guest import ssh
from imagecheck.report import Folder, Node
from imagecheck.site import Site
from imagecheck.tree import Tree

CANARY = "canary-in-the-mine-77"
LEAKS = f"{CANARY}\n\x1b[31mred\x1b[0m password = hunter2222\nrabbit://trove:hunter2222@10.0.0.1/\n"
TABLE = {"fault": LEAKS, "X-Auth-Token": "hunter2222", "image": {"id": "an-image"}, "instance_name": "i-1"}
SERVER = nova.Server("a-server", "n", "p", "ACTIVE", {"mgmt": ("192.0.2.1",)}, True, {}, raw=TABLE)
BOOTED = "Welcome to Debian\nguest login: "
NODE = "tests/image/test_boot.py::test_the_agent_connects[mariadb-debian]"


@pytest.fixture
def canary():
    """A secret that a run has learned."""
    redact.learn(CANARY)


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """A run with a bare server and a Trove instance, whose cloud says its secrets in every answer."""
    site = Site("admin", "tenant")
    ledger = Ledger.new("a-run", site, tmp_path / "ledger")
    ledger.made(ledger.intend("server", "bare"), "a-server")
    ledger.intend("queue", "a-guest")
    ledger.made(ledger.intend("instance", "one"), "an-instance")
    instance = trove.Shown("an-instance", "BUILD", "", "troves-server", "", (), TABLE)
    answers = {
        nova: {"show": SERVER, "console": BOOTED + LEAKS, "actions": [nova.Step("create", LEAKS, 0, 0, "", LEAKS)]},
        hypervisor: {"diagnostics": TABLE, "record": TABLE},
        network: {"ports": [TABLE], "surroundings": TABLE},
        glance: {"show": TABLE},
        trove: {"show": instance, "show_as_tenant": instance},
    }  # fmt: skip
    for module, table in answers.items():
        for name, value in table.items():
            monkeypatch.setattr(module, name, lambda *_, _value=value, **__: _value)
    where = SimpleNamespace(management=SimpleNamespace(name="mgmt"))
    broker = SimpleNamespace(named=lambda name: None)
    key = tmp_path / "run" / "key"
    return SimpleNamespace(
        cloud=SimpleNamespace(site=site), ledger=ledger, where=where, definition=load(known()[0]), run="a-run",
        key=key, broker=broker, brokers=(),
    )  # fmt: skip


@pytest.fixture
def talkative(monkeypatch):
    """Every guest answers, with secrets in every piece."""

    @contextlib.contextmanager
    def login(*_):
        yield None

    monkeypatch.setattr(evidence, "_login", login)
    monkeypatch.setattr(inside, "collect", lambda *_, **__: ({piece.name: LEAKS for piece in inside.PIECES}, ""))


@pytest.fixture
def silent(monkeypatch):
    """No guest answers."""

    def login(*_):
        raise ssh.NoAnswer("no SSH to debian@192.0.2.1: Connection refused")

    monkeypatch.setattr(evidence, "_login", login)


@pytest.fixture
def guest_files(tmp_path, monkeypatch):
    """The files of a stopped guest."""
    root = tmp_path / "root"
    files = {
        "var/log/cloud-init.log": LEAKS, "var/log/cloud-init-output.log": LEAKS,
        "var/log/trove/trove-guestagent.log": LEAKS, "var/lib/cloud/data/status.json": LEAKS,
        "etc/trove/conf.d/guest_info.conf": LEAKS, "etc/fstab": LEAKS,
        "var/lib/docker/containers/abc/abc-json.log": json.dumps({"log": LEAKS}) + "\n",
        "var/lib/docker/containers/abc/config.v2.json": json.dumps({"Env": [f"MYSQL_ROOT_PASSWORD={CANARY}"]}),
    }  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    @contextlib.contextmanager
    def opened(*_):
        yield Tree(root)

    monkeypatch.setattr(stopped, "_opened", opened)
    return root


@pytest.fixture
def folder(tmp_path):
    """Where an image's report goes."""
    return Folder(tmp_path / "report" / "an-image")


def broken(folder, ground, error=None) -> Node:
    """What is saved when no guest answers."""
    run = evidence.Boxes(folder, "an-image")
    run.node = NODE
    return run.broken("guest", error or StepFailed("guest", f"waited 420 s for SSH, seen {CANARY}"), ground)


def reasons(node: Node) -> dict[str, str]:
    """Why what is missing is missing."""
    return {piece.name: piece.missing for piece in node.pieces if piece.missing}
