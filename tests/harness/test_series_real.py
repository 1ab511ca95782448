"""A series of Nova servers on the sandbox: four at once, each kept as a sample, nothing left behind."""

import pytest

from imagecheck import choice, hostcmd, sandbox
from imagecheck.cloud import connection, glance
from imagecheck.definition import load
from imagecheck.imagefile import inspect
from imagecheck.launch.sample import FINGERPRINT, read
from imagecheck.options import Launches
from imagecheck.report import Folder
from imagecheck.run import Road
from imagecheck.series import walk

pytestmark = pytest.mark.sandbox


@pytest.fixture
def road(tmp_path):
    """A road of the smallest file that Nova takes for an image: such a server is ACTIVE and comes to nothing."""
    file = tmp_path / "small.qcow2"
    hostcmd.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "1M"])
    site = sandbox.up()
    one = Road(
        choice.Choice("small", load("mariadb-debian"), inspect(file)), lambda: site, Folder(tmp_path / "report"),
        release="epoxy",
    )  # fmt: skip
    yield one
    assert one.close() == []


def test_servers_of_a_series_are_samples_and_nothing_of_them_is_left(road):
    made = walk([road], Launches(count=5, kind="server", concurrency=4), release="epoxy")
    assert made.failed == []
    assert [one.number for one in made.samples] == [1, 2, 3, 4, 5]
    assert sorted(read(made.file), key=lambda one: one.number) == list(made.samples)
    for one in made.samples:
        assert 0 < one.seconds < 300
        assert [phase.name for phase in one.phases] == ["API accepted", "Nova building"]
        assert set(one.fingerprint) == set(FINGERPRINT)
        assert "unknown" not in one.fingerprint.values()
        assert (one.fingerprint["cache"], one.fingerprint["concurrency"]) == ("warm", "4")
    cloud = connection.connect(road.cloud().cloud.site)
    assert [one for one in cloud.admin.compute.servers() if one.name.startswith(road.run)] == []
    assert glance.find(cloud, road.run) != [], "the road's own image stays until the road is closed"
