"""gc in the real one-folder OpenStack, with things that cost nothing: what was lost is found by what it carries.

IMAGECHECK_TEST_SITE names the site file of a sandbox that is up already; without it one is started.
"""

import os
import time

import pytest

from imagecheck import hostcmd, imagefile, sandbox, site
from imagecheck.cloud import cleanup, collection, connection, datastore, glance, inventory, marks, network, nova
from imagecheck.cloud.collection import collect_garbage
from imagecheck.cloud.garbage import judge
from imagecheck.cloud.ledger import Ledger
from imagecheck.guest import ssh

pytestmark = pytest.mark.sandbox
LONG_AGO = time.time() - 3 * marks.TTL


@pytest.fixture(scope="module")
def cloud():
    named = os.environ.get("IMAGECHECK_TEST_SITE", "")
    return connection.connect(site.load(named) if named else sandbox.up(yes=True))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(collection.host, "collect", lambda *_, **__: ([], []))  # other runs of this host
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "empty.qcow2"
    hostcmd.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
    return imagefile.inspect(path)


@pytest.fixture
def made(cloud, file, tmp_path, monkeypatch):
    """Make what a run makes, as it makes it; what is left of it goes at the end. Gives the run and its ledger."""
    ledgers = []
    _, public = ssh.keypair(tmp_path)

    def make(began, ttl=marks.TTL):
        run = marks.new_run(began)
        ledger = Ledger.new(run, cloud.site)
        ledgers.append(ledger)
        with monkeypatch.context() as patch:
            patch.setattr(marks, "TTL", ttl)  # what was made long ago says so
            nova.create_keypair(cloud, ledger, run, public)
            network.ssh_group(cloud, ledger, run, run)
            glance.upload(cloud, ledger, file, name=run, run=run)
        return run, ledger

    yield make
    for ledger in ledgers:
        assert cleanup.clean(cloud, ledger) == []


def of(cloud, run):
    """What the cloud has of a run, by kind."""
    verdicts = judge(inventory.look(cloud)[0], {}, time.time())
    return sorted(one.found.kind for one in verdicts if one.run == run)


MADE = ["image", "keypair", "security_group"]


def test_everything_can_be_listed_by_an_administrator(cloud):
    found, unseen = inventory.look(cloud)
    assert unseen == []
    assert all(one.kind in cleanup.KINDS for one in found)


def test_what_a_run_made_is_known_by_what_it_carries(cloud, made):
    run, ledger = made(time.time())
    assert of(cloud, run) == MADE
    found = [one for one in inventory.look(cloud)[0] if one.name == run]
    assert all(one.until > time.time() for one in found if one.kind != "keypair")
    assert cleanup.clean(cloud, ledger) == []
    assert of(cloud, run) == []
    assert str(ledger.account) == "made 3, removed 3, left 0"


def test_with_the_ledger_lost_a_run_whose_time_is_over_is_removed_and_no_other(cloud, made):
    old, ledger = made(LONG_AGO, ttl=-60)
    young, _ = made(time.time())
    ledger.path.unlink()
    before = [one for one in inventory.look(cloud)[0] if one.name != old]
    dry = collect_garbage(cloud=cloud, dry_run=True, run=old)
    assert len(dry.left) == 3
    assert of(cloud, old) == MADE
    assert collect_garbage(cloud=cloud, run=old).gone == 3
    assert of(cloud, old) == []
    assert of(cloud, young) == MADE
    assert [one for one in inventory.look(cloud)[0] if one.name != old] == before


def test_with_the_ledger_lost_a_young_run_has_its_time(cloud, made):
    run, ledger = made(time.time())
    ledger.path.unlink()
    done = collect_garbage(cloud=cloud, dry_run=True)
    assert not [line for line in done.left if run in line]
    assert len([line for line in done.kept if run in line and "no ledger here" in line]) == 3


def test_a_living_runs_things_stay_even_when_it_is_named(cloud, made):
    run, _ = made(time.time())
    assert collect_garbage(cloud=cloud, run=run).gone == 0
    assert of(cloud, run) == MADE


def test_an_answer_that_was_lost_is_made_up_for_by_the_name(cloud, made):
    run, ledger = made(time.time())
    ledger.path.write_text("".join(line for line in ledger.path.open() if '"made"' not in line))
    (read,) = [one for one in collection.ledger.everyone()[0] if one.owner.run == run]
    assert cleanup.clean(cloud, read) == []
    assert of(cloud, run) == []


def test_a_property_of_an_image_moves_its_end(cloud, made):
    _, ledger = made(time.time())
    (image,) = [one.id for one in ledger.open if one.kind == "image"]
    glance.mark(cloud, image, marks.UNTIL, "2099-01-01T00:00:00Z")
    assert glance.show(cloud, image)[marks.UNTIL] == "2099-01-01T00:00:00Z"


def test_a_datastore_version_is_found_by_its_name(cloud, made):
    """Makes a version of a datastore of its own."""
    run, ledger = made(time.time())
    (image,) = [one.id for one in ledger.open if one.kind == "image"]
    datastore.register(cloud, ledger, datastore=f"{run}-store", name=run, number="1", manager="mariadb", image=image)
    assert of(cloud, run) == sorted([*MADE, "datastore_version"])
    assert cleanup.clean(cloud, ledger) == []
    assert f"{run}-store" not in datastore.datastores(cloud)


def test_a_datastore_version_that_is_gone_already_is_no_failure(cloud, made):
    """Trove refuses to remove it with 400; a run killed while it removes its things leaves one in its ledger."""
    run, ledger = made(time.time())
    (image,) = [one.id for one in ledger.open if one.kind == "image"]
    version = datastore.register(
        cloud, ledger, datastore=f"{run}-store", name=run, number="1", manager="mariadb", image=image
    )
    datastore.delete_version(cloud, version.id)
    with pytest.raises(connection.Missing):
        datastore.delete_version(cloud, version.id)
    assert cleanup.clean(cloud, ledger) == []


def test_a_datastore_that_two_runs_share_goes_with_the_last_of_them(cloud, made):
    """Neither can remove it while the other has a version of it."""
    (one, first), (two, second) = made(time.time()), made(time.time())
    for run, ledger in ((one, first), (two, second)):
        (image,) = [entry.id for entry in ledger.open if entry.kind == "image"]
        datastore.register(
            cloud, ledger, datastore=f"{one}-store", name=run, number="1", manager="mariadb", image=image
        )
    assert cleanup.clean(cloud, first) == []
    assert f"{one}-store" in datastore.datastores(cloud)
    assert cleanup.clean(cloud, second) == []
    assert f"{one}-store" not in datastore.datastores(cloud)


def test_a_server_is_found_by_its_metadata_and_takes_another_end(cloud, made):
    """Boots a megabyte without a system in it."""
    run, ledger = made(time.time())
    (image,) = [one.id for one in ledger.open if one.kind == "image"]
    management = network.find(cloud, cloud.site.management_network)
    server, _, _ = nova.boot(
        cloud, ledger, name=run, run=run, image=image, flavor=nova.flavors(cloud)[0].id, networks=[management.id],
        group=run, keypair=run, user_data="#cloud-config\n",
    )  # fmt: skip
    assert of(cloud, run) == sorted([*MADE, "server"])
    nova.wait_active(cloud, server.id, deadline=180, since=time.time())  # Nova takes no metadata while it builds
    nova.mark(cloud, server.id, marks.UNTIL, "2099-01-01T00:00:00Z")
    assert nova.show(cloud, server.id).metadata[marks.UNTIL] == "2099-01-01T00:00:00Z"
    assert nova.show(cloud, server.id).metadata[marks.TAG] == run
    assert cleanup.clean(cloud, ledger) == []
    assert of(cloud, run) == []
