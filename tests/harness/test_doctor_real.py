"""The doctor on the real one-folder OpenStack: without its role, its quota and its own network it says so, all at once.

IMAGECHECK_TEST_SITE names the site file of a sandbox that is up already; without it one is started. Every test takes
back what it changed.
"""

import dataclasses
import os
import secrets
import sys
import time
from contextlib import ExitStack

import pytest
import yaml

from imagecheck import choice, cli, doctor, finding, hostcmd, sandbox, site
from imagecheck.cloud import connection, preflight
from imagecheck.cloud.retry import Tally
from imagecheck.definition import Needs
from imagecheck.errors import UsageError

pytestmark = pytest.mark.sandbox
NEEDS = Needs(ram_mib=512, disk_gib=1, ephemeral_gib=1, vcpus=1)
SECONDS = 20  # for a look at a sandbox that may have a guest under emulation beside it


@pytest.fixture(scope="module")
def place():
    named = os.environ.get("IMAGECHECK_TEST_SITE", "")
    return site.load(named) if named else sandbox.up(yes=True)


@pytest.fixture(scope="module")
def cloud(place):
    return connection.connect(place)


def told(place):
    """The findings that are not ok, by subject."""
    found = [one for one in doctor.there(place) if one.level != "ok"]
    return {f"{one.subject} {one.level}": one for one in found}


def small_quota(cloud, undo):
    """The administrator's project may have no server; taken back with ``undo``."""
    project = cloud.admin.current_project_id
    before = cloud.admin.compute.get_quota_set(project)
    undo.callback(cloud.admin.compute.put, f"/os-quota-sets/{project}",
                  json={"quota_set": {"instances": before.instances, "force": True}}, raise_exc=True)  # fmt: skip
    none_left = {"quota_set": {"instances": 0, "force": True}}  # whatever is in use
    cloud.admin.compute.put(f"/os-quota-sets/{project}", json=none_left, raise_exc=True)


def overlapping(cloud, place, undo):
    """Two networks of the administrator's project (its members see them too) with one range, and a site with them."""
    names = [f"imagecheck-overlap-{secrets.token_hex(3)}" for _ in range(2)]
    for name, cidr in zip(names, ("10.99.0.0/16", "10.99.7.0/24"), strict=True):
        network = cloud.admin.network.create_network(name=name)
        undo.callback(cloud.admin.network.delete_network, network)
        subnet = cloud.admin.network.create_subnet(network_id=network.id, ip_version=4, cidr=cidr, name=name)
        undo.callback(cloud.admin.network.delete_subnet, subnet)
    return dataclasses.replace(place, management_network=names[0], tenant_network=names[1])


def without_role(cloud, place, folder, undo):
    """A user who is only a member of the administrator's project, and the site whose `cloud` he is."""
    identity = cloud.admin.identity
    name, password = f"imagecheck-member-{secrets.token_hex(3)}", secrets.token_urlsafe(18)
    user = identity.create_user(name=name, password=password, domain_id="default")
    undo.callback(identity.delete_user, user)
    project = identity.get_project(cloud.admin.current_project_id)
    identity.assign_project_role_to_user(project, user, identity.find_role("member"))
    table = yaml.safe_load(place.clouds_file.read_text())
    auth = table["clouds"][place.cloud]["auth"] | {"username": name, "password": password}
    table["clouds"]["member"] = table["clouds"][place.cloud] | {"auth": auth}
    file = folder / "clouds.yaml"
    file.write_text(yaml.safe_dump(table))
    return dataclasses.replace(place, cloud="member", clouds_file=file)


@pytest.fixture
def undo():
    with ExitStack() as stack:
        yield stack


# ---- only reads


def test_on_the_sandbox_nothing_stops_and_it_takes_seconds(place):
    began = time.monotonic()
    found = doctor.there(place)
    assert finding.stops(found) == []
    assert {"role", "catalogue", "networks", "flavor", "quota", "keypair", "clock", "version"} <= {
        one.subject for one in found
    }
    assert time.monotonic() - began < SECONDS


def test_every_known_image_fits_the_sandbox(place):
    assert not finding.stops(doctor.there(place, choice.image("mariadb-debian")))


def test_a_tenant_as_administrator_is_told_all_that_does_not_work(place):
    seen = told(dataclasses.replace(place, cloud=place.tenant_cloud))
    assert "neither followed nor stopped" in seen["role stop"].sentence
    assert "hypervisors" in seen["role degraded"].sentence
    assert "no network 'mgmt'" in seen["networks stop"].sentence


def test_the_command_fits_80_columns_and_shows_no_secret(place, tmp_path):
    file = tmp_path / "site.toml"
    site.dump(place, file)
    done = hostcmd.run([sys.executable, "-m", "imagecheck.cli", "doctor", "--site", file], env={"COLUMNS": "80"})
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    table = yaml.safe_load(place.clouds_file.read_text())
    for entry in table["clouds"].values():
        assert entry["auth"]["password"] not in done.stdout + done.stderr


def test_a_site_with_another_key_is_told_whose_keypair_it_is(place, tmp_path):
    key = tmp_path / "key"
    hostcmd.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    # It stops a run where a server of Trove's shows that this is its user, and is a guess where there is none.
    (seen,) = [one for one in told(dataclasses.replace(place, guest_key=key)).values() if one.subject == "keypair"]
    assert "none of the 1 keypairs of Trove's service user 'trove' fits 'guest_key'" in seen.sentence


# ---- with something changed in the cloud, and changed back


def test_a_missing_role_is_a_sentence_to_act_on(cloud, place, tmp_path, undo):
    seen = told(without_role(cloud, place, tmp_path, undo))["role stop"]
    assert "may not see all of Trove's instances" in seen.sentence
    assert seen.remedy.startswith("`openstack role add --user imagecheck-member-")


def test_a_quota_that_is_too_small_is_a_sentence_to_act_on(cloud, place, undo):
    small_quota(cloud, undo)
    seen = told(place)["quota stop"]
    assert "instances quota of project 'admin' (Nova): " in seen.sentence
    assert "of 0 used, this run needs 1" in seen.sentence
    assert "`openstack quota set --instances " in seen.remedy


def test_a_network_that_overlaps_is_a_sentence_to_act_on(cloud, place, undo):
    seen = told(overlapping(cloud, place, undo))["networks stop"]
    assert "overlap: a guest on both cannot tell broker from tenant" in seen.sentence


def test_all_three_are_told_at_once_and_exit_with_1(cloud, place, tmp_path, undo, capsys):
    small_quota(cloud, undo)
    file = tmp_path / "site.toml"
    site.dump(without_role(cloud, overlapping(cloud, place, undo), tmp_path, undo), file)
    assert cli.main(["doctor", "--site", str(file)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "may not see all of Trove's instances" in said
    assert "instances quota of project 'admin' (Nova): 0 of 0 used, this run needs 1" in said
    assert "(10.99.0.0/16) and the tenant network" in said
    assert "(10.99.7.0/24) overlap" in said


def test_a_run_stops_before_anything_is_made_with_all_the_sentences(cloud, place, undo):
    small_quota(cloud, undo)
    there = overlapping(cloud, place, undo)
    with pytest.raises(UsageError) as seen:
        preflight.preflight(connection.connect(there), NEEDS)
    assert "instances quota" in str(seen.value)
    assert "overlap" in str(seen.value)


def test_a_login_counts_what_it_had_to_ask_again(place):
    tally = Tally()
    connection.login(place, place.cloud, tally)
    assert tally.total == 0
