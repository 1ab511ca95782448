"""The black box against a real guest: over SSH while it answers, from its stopped disk once its sshd is dead.

IMAGECHECK_TEST_SITE as in test_cloud_sandbox.py. One bare boot serves both.
"""

import os

import pytest

from imagecheck import bare, choice, evidence, sandbox, site, waits
from imagecheck.blackbox import stopped
from imagecheck.cloud import glance
from imagecheck.errors import StepFailed
from imagecheck.guest import evidence as inside
from imagecheck.report import Folder
from imagecheck.run import Road

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    named = os.environ.get("IMAGECHECK_TEST_SITE", "")
    place = site.load(named) if named else sandbox.up(yes=True)
    folder = Folder(tmp_path_factory.mktemp("report") / "an-image")
    one = Road(choice.image("mariadb-debian", ""), lambda: place, folder)
    yield one
    assert one.close() == []
    assert one.end.accounting.endswith("left 0")


@pytest.fixture(scope="module")
def guest(road):
    """A guest whose agent has begun to write its log."""
    guest, log = road.guest(), road.choice.definition.agent.log

    def written():
        return waits.Ready(None) if guest.run(f"test -s {log}").rc == 0 else waits.NotYet("nothing")

    waits.until(written, reason="the agent's log", deadline=bare.AGENT_DEADLINE, interval=1)
    return guest


def test_a_guest_that_answers_tells_all_over_ssh(road, guest):
    road.boxes.node = "t.py::test_alive"
    node, _ = road.boxes.failed("test_alive", StepFailed("test_alive", "does not hold"), road.cloud())
    pieces = {piece.name: piece for piece in node.pieces}
    assert [piece for piece in node.pieces if piece.missing] == []
    assert {piece.name for piece in inside.PIECES} <= set(pieces)
    for name, line in {
        "journal.txt": "systemd[1]: ", "cloud-init.txt": '"modules-final"', "cloud-init.log": "DataSourceConfigDrive",
        "agent.log": "trove", "injected.txt": "guest_id", "network.txt": "default via", "dmesg.txt": "Linux version",
        "disks.txt": "ext4", "units.txt": road.choice.definition.agent.unit, "docker.txt": "mariadb",
        "console.log": "login:", "nova-actions.json": "compute__do_build_and_run_instance", "ports.json": "mac_address",
        "networks.json": "port_range_min", "hypervisor.json": '"state": "up"', "diagnostics.json": '"uptime"',
        "image.json": '"disk_format": "qcow2"', "broker.txt": "trove-conductor", "domain.txt": "<domain",
        "qemu.txt": "qemu-system", "service-nova-compute.txt": "nova",
    }.items():  # fmt: skip
        assert line in (node.folder / name).read_text(), name
    assert node.seconds <= evidence.SECONDS + 15
    assert nova_status(road) == "ACTIVE"


def nova_status(road):
    return road.cloud().cloud.admin.compute.get_server(road.server().server.id).status


def test_a_guest_whose_sshd_is_dead_tells_from_its_stopped_disk(road, guest):
    guest.run("systemctl mask --now ssh.service ssh.socket")
    guest.close()
    road.boxes.node = "t.py::test_dead"
    before = [entry.kind for entry in road.cloud().ledger.open]
    node = road.boxes.broken("guest", StepFailed("guest", "waited for SSH"), road.cloud())
    pieces = {piece.name: piece for piece in node.pieces}
    for name, line in {
        "agent.log": "trove", "cloud-init.log": "DataSourceConfigDrive", "cloud-init-output.log": "Cloud-init v.",
        "cloud-init.txt": '"datasource"', "injected.txt": "guest_id", "disks.txt": "root file system",
    }.items():  # fmt: skip
        assert (pieces[name].source, pieces[name].missing) == (stopped.SOURCE, ""), pieces[name]
        assert line in (node.folder / name).read_text(), name
    assert "keeps its journal in memory" in pieces["journal.txt"].missing
    assert node.seconds <= evidence.SECONDS + stopped.SECONDS
    assert [entry.kind for entry in road.cloud().ledger.open] == before
    assert glance.find(road.cloud().cloud, f"{road.run}-disk") == []
