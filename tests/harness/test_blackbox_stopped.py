"""The black box of a guest that answers no more: what its stopped disk tells, and when it is not stopped at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from blackbox_fixtures import BOOTED, SERVER, broken, reasons

from imagecheck import evidence
from imagecheck.blackbox import box as boxes
from imagecheck.blackbox import stopped
from imagecheck.cloud import glance, nova
from imagecheck.cloud.connection import Hiccup
from imagecheck.errors import StepFailed, UsageError
from imagecheck.guest import evidence as inside

pytest_plugins = ["blackbox_fixtures"]
pytestmark = pytest.mark.usefixtures("canary")


def test_every_piece_of_a_guest_is_read_from_its_disk_or_has_a_reason():
    names = {piece.name for piece in inside.PIECES}
    assert set(stopped.READERS) | set(stopped.GONE) == names
    assert not set(stopped.READERS) & set(stopped.GONE)


def test_a_silent_guests_pieces_come_from_its_disk(ground, silent, guest_files, folder):
    node = broken(folder, ground)
    by_name = {piece.name: piece for piece in node.pieces}
    assert by_name["cloud-init.log"].source == stopped.SOURCE
    assert "\nred password" in "\n" + (node.folder / "container.log").read_text().replace("***\n", "")
    assert "keeps its journal in memory" in by_name["journal.txt"].missing
    assert "end with the guest" in by_name["network.txt"].missing
    assert by_name["cloud-init.txt"].missing == ""
    page = (node.folder / "index.html").read_text()
    assert "From its stopped disk" in page
    assert "keeps its journal in memory" in page


@pytest.mark.parametrize(
    ("console", "status", "expendable", "reason"),
    [
        ("GRUB loading\nerror: no such device\n", "ACTIVE", True, "no sign of a running system"),
        ("Welcome to Debian\nYou are in emergency mode. After\n", "ACTIVE", True, "You are in emergency mode"),
        (BOOTED, "ACTIVE", False, "still needed, so it was not stopped"),
        (BOOTED, "ERROR", True, "the server is ERROR: no guest runs"),
    ],
)
def test_a_server_is_not_stopped_in_vain(ground, silent, folder, monkeypatch, console, status, expendable, reason):
    monkeypatch.setattr(nova, "console", lambda *_: console)
    monkeypatch.setattr(nova, "show", lambda *_: replace(SERVER, status=status))
    monkeypatch.setattr(nova, "stop", lambda *_, **__: pytest.fail("it was stopped"))
    run = evidence.Boxes(folder, "an-image")
    error = StepFailed("guest", "no")
    node = run.broken("guest", error, ground) if expendable else run.failed("test_x", error, ground)[0]
    missing = reasons(node)
    for piece in inside.PIECES:
        assert reason in missing[piece.name]


def test_without_the_key_nobody_knows_that_a_guest_is_dead(ground, folder, monkeypatch):
    def login(*_):
        raise UsageError("the site names no 'guest_key'")

    monkeypatch.setattr(evidence, "_login", login)
    monkeypatch.setattr(nova, "stop", lambda *_, **__: pytest.fail("it was stopped"))
    assert reasons(broken(folder, ground))["journal.txt"] == "the site names no 'guest_key'"


@pytest.fixture
def snapshots(ground, monkeypatch):
    """Nova stops and takes snapshots; Glance has them. Returns what was asked for, in order."""
    asked = []
    monkeypatch.setattr(stopped.disk, "require", lambda: None)
    monkeypatch.setattr(nova, "stop", lambda *_, **__: asked.append("stop"))

    def snapshot(cloud, ledger, id, *, name, run):
        assert ledger.intend("image", name)
        asked.append("snapshot")
        return ledger.made(ledger.open[0], "a-snapshot")

    monkeypatch.setattr(nova, "snapshot", snapshot)
    monkeypatch.setattr(glance, "delete", lambda _, id: asked.append(f"delete {id}"))
    image = {"id": "a-snapshot", "status": "active", "disk_format": "qcow2", "size": 5, "checksum": "0" * 32}
    monkeypatch.setattr(glance, "show", lambda *_: image)
    return asked, image


def test_a_snapshot_is_removed_whatever_happens(ground, snapshots, monkeypatch):
    def download(*_, **__):
        raise StepFailed("image fetch", "it did not come within 60 s")

    monkeypatch.setattr(glance, "download", download)
    before = [entry.kind for entry in ground.ledger.open]
    with pytest.raises(StepFailed, match="did not come"):
        stopped.save(boxes.Box(Path()), ground, SERVER, "")
    assert snapshots[0] == ["stop", "snapshot", "delete a-snapshot"]
    assert [entry.kind for entry in ground.ledger.open] == before


def test_a_snapshot_that_cannot_be_removed_stays_in_the_ledger(ground, snapshots, monkeypatch):
    def busy(*_):
        raise Hiccup("HTTP 503")

    monkeypatch.setattr(glance, "delete", busy)
    snapshots[1]["size"] = stopped.LARGEST + 1
    with pytest.raises(StepFailed, match=r"8\.0 GiB"):
        stopped.save(boxes.Box(Path()), ground, SERVER, "")
    assert ground.ledger.open[0].kind == "image"


def test_a_server_on_a_volume_is_left_alone(ground, snapshots):
    with pytest.raises(StepFailed, match="root disk is a volume"):
        stopped.save(boxes.Box(Path()), ground, replace(SERVER, raw={"image": ""}), "")
    assert snapshots[0] == []


def test_who_may_not_mount_stops_nothing(ground, snapshots, monkeypatch):
    def require():
        raise UsageError("looking inside an image needs root")

    monkeypatch.setattr(stopped.disk, "require", require)
    with pytest.raises(UsageError, match="needs root"):
        stopped.save(boxes.Box(Path()), ground, SERVER, "")
    assert snapshots[0] == []
