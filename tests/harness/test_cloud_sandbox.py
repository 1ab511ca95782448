"""Against the real one-folder OpenStack: bad input tells one sentence, and nothing that was made is left behind.

IMAGECHECK_TEST_SITE names the site file of a sandbox that is up already; without it one is started.
The launches use a megabyte without a system in it: Nova and Trove make everything for it all the same.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from imagecheck import broker, choice, cli, sandbox, site
from imagecheck.cloud import connection, datastore, network, nova, preflight
from imagecheck.cloud import ledger as ledgers
from imagecheck.definition import Needs
from imagecheck.errors import UsageError

pytestmark = pytest.mark.sandbox
NEEDS = Needs(ram_mib=512, disk_gib=1, ephemeral_gib=1, vcpus=1)
SUITE = Path(__file__).parents[1] / "image" / "test_service.py"


@pytest.fixture(scope="module")
def place():
    named = os.environ.get("IMAGECHECK_TEST_SITE", "")
    return site.load(named) if named else sandbox.up(yes=True)


@pytest.fixture(scope="module")
def cloud(place):
    return connection.connect(place)


@pytest.fixture
def other_clouds(place, tmp_path):
    """The sandbox's clouds.yaml with something changed in the administrator's entry."""

    def write(**changes):
        table = yaml.safe_load(place.clouds_file.read_text())
        entry = table["clouds"][place.cloud]
        entry["auth"] = entry["auth"] | changes.pop("auth", {})
        entry.update(changes)
        file = tmp_path / "clouds.yaml"
        file.write_text(yaml.safe_dump(table))
        return dataclasses.replace(place, clouds_file=file)

    return write


def everything(cloud):
    """All that a run may make, by kind."""
    return {
        "servers": sorted(server.id for server in cloud.admin.compute.servers(all_projects=True)),
        "ports": sorted(port["id"] for port in network.ports(cloud) if port["device_owner"].startswith("compute")),
        "trove ports": sorted(port["id"] for port in network.ports(cloud) if port["name"].startswith("trove-")),
        "images": sorted(image.id for image in cloud.admin.image.images()),
        "keypairs": sorted(key.name for key in cloud.admin.compute.keypairs()),
        "groups": sorted(group.id for group in cloud.admin.network.security_groups()),
        "instances": sorted(one.id for one in cloud.trove_admin.mgmt_instances.list()),
        "versions": sorted(one.id for one in cloud.trove_admin.mgmt_ds_versions.list()),
        "datastores": sorted(datastore.datastores(cloud)),
    }


# ---- bad input


def test_wrong_password(other_clouds):
    with pytest.raises(UsageError, match="credentials of entry .* are refused") as told:
        connection.connect(other_clouds(auth={"password": "not-the-password"}))
    assert "not-the-password" not in str(told.value)


def test_unknown_project(other_clouds):
    with pytest.raises(UsageError, match="credentials"):
        connection.connect(other_clouds(auth={"project_name": "nobody"}))


def test_incomplete_entry(other_clouds):
    with pytest.raises(UsageError, match="imagecheck-admin|cannot be used|not complete"):
        connection.connect(other_clouds(auth={"username": None}))


def test_closed_port(other_clouds):
    with pytest.raises(UsageError, match="cannot be reached at"):
        connection.connect(other_clouds(auth={"auth_url": "http://127.0.0.1:9/v3"}))


def test_not_keystone(other_clouds, place):
    (address, *_) = broker.addresses(place.guest_config)
    with pytest.raises(UsageError, match="cannot be reached|cannot be used"):
        connection.connect(other_clouds(auth={"auth_url": f"http://{address.host}:{address.port}/v3"}))


def test_no_trove_in_the_catalogue(other_clouds):
    """Seen from a region in which nothing was registered."""
    with pytest.raises(UsageError, match="no Trove in its catalogue"):
        connection.connect(other_clouds(region_name="RegionNone"))


def test_unknown_network(place):
    cloud = connection.connect(dataclasses.replace(place, tenant_network="nosuch"))
    with pytest.raises(UsageError, match="no network 'nosuch' .*mgmt.*'tenant_network'"):
        preflight.preflight(cloud, NEEDS)


def test_flavor_too_small(cloud):
    with pytest.raises(UsageError, match="is too small|no flavor has"):
        preflight.preflight(cloud, dataclasses.replace(NEEDS, ram_mib=900_000))


def test_a_usage_error_makes_no_ledger(place, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path))
    with pytest.raises(UsageError):
        connection.connect(dataclasses.replace(place, cloud="nowhere"))
    assert not (tmp_path / "ledger").exists()


# ---- the broker


def test_a_queue_without_an_agent(place):
    there = broker.Broker(broker.addresses(place.guest_config))
    assert there.queue("no-such-guest") is None
    there.forget("no-such-guest")
    there.close()


def test_a_wrong_broker_password_is_a_refused_login(place):
    wrong = [dataclasses.replace(one, password="wrong-password") for one in broker.addresses(place.guest_config)]
    with pytest.raises(broker.BrokerUnreachable, match="refused the login of user") as told:
        broker.Broker(wrong).queue("x")
    assert "wrong-password" not in str(told.value)


# ---- nothing is left behind


@pytest.fixture
def launching(place, cloud, tmp_path, monkeypatch):
    """A run under way whose Trove instance has just been accepted: (process, its home, what was there before)."""
    image = tmp_path / "empty.raw"
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
    home = tmp_path / "home"
    monkeypatch.setenv("IMAGECHECK_HOME", str(home))
    site_file = tmp_path / "site.toml"
    site.dump(place, site_file)
    before = everything(cloud)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--image", image, "--datastore", "mariadb:11.8",
            "--site", site_file, "--report", tmp_path / "report", "-k", "healthy", SUITE]  # fmt: skip
    with (tmp_path / "out.txt").open("w") as out:
        process = subprocess.Popen([*map(str, argv)], stdout=out, stderr=out, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not any(
        one.kind == "instance" and one.id for path in home.glob("ledger/*") for one in ledgers.read(path).open
    ):
        assert process.poll() is None, (tmp_path / "out.txt").read_text()
        assert time.monotonic() < deadline, (tmp_path / "out.txt").read_text()
        time.sleep(0.2)
    yield process, home, before
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_of_a_launch_leaves_nothing(launching, cloud, tmp_path, number):
    process, home, before = launching
    process.send_signal(number)
    assert process.wait(timeout=300) == pytest.ExitCode.INTERRUPTED
    said = (tmp_path / "out.txt").read_text()
    assert everything(cloud) == before, said
    assert "left 0" in said
    assert list(home.glob("ledger/*")) == []


def test_gc_removes_what_kill_minus_9_left(launching, cloud, capsys):
    process, home, before = launching
    process.kill()
    process.wait()
    assert everything(cloud) != before
    assert cli.main(["gc", "--dry-run"]) == 0
    assert "instance" in capsys.readouterr().out
    assert cli.main(["gc"]) == 0
    assert everything(cloud) == before
    assert list(home.glob("ledger/*")) == []


def test_a_living_runs_things_are_not_garbage(launching, capsys):
    process, home, _ = launching

    def its_things():
        return {one.id for path in home.glob("ledger/*") for one in ledgers.read(path).open if one.id}

    there = its_things()
    assert cli.main(["gc"]) == 0
    assert capsys.readouterr().out.endswith(", left 0\n")
    assert there <= its_things()  # what a dead run left on this host may have gone
    process.send_signal(signal.SIGINT)
    process.wait(timeout=300)


def test_place_takes_the_site_file(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site.dump(place, "imagecheck.toml")
    assert choice.place() == place
    assert choice.place(cloud="x").cloud == "x"
    assert nova.flavors(connection.connect(choice.place()))
