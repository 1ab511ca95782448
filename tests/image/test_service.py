"""Under Trove: the same image registered, launched, queried, stopped, started, restarted, rebooted and deleted."""

import pytest

pytestmark = pytest.mark.stage("service")


def test_datastore_version_is_registered(version, definition):
    """Trove takes the image as a version of its datastore, with the number that names the container's tag."""
    assert (version.datastore, version.number) == (definition.datastore.name, definition.datastore.version)


def test_instance_is_healthy(instance):
    """Trove calls the instance ACTIVE and HEALTHY: ACTIVE alone would only mean that Nova is."""
    assert instance.shown.status == "ACTIVE"
    assert instance.shown.operating_status == "HEALTHY"


def test_instance_has_a_config_drive(instance):
    """Trove booted its server with a config drive."""
    assert instance.server.config_drive


def test_instance_is_on_both_networks(instance):
    """The instance's server has an address on the tenant network and one on the management network."""
    assert instance.tenant
    assert instance.management


def test_management_network_is_hidden_from_the_tenant(instance):
    """Its owner sees the tenant address through Trove's API, and not the management address."""
    assert instance.tenant in instance.owner.addresses
    assert instance.management not in instance.owner.addresses


def test_guest_id_is_the_instance(instance):
    """The guest_info.conf that Trove injected names this instance."""
    assert instance.guest_info.get("guest_id") == instance.id


def test_datastore_reached_the_guest(instance, definition):
    """The guest_info.conf that Trove injected names the datastore's manager and version."""
    assert instance.guest_info.get("datastore_manager") == definition.datastore.manager
    assert instance.guest_info.get("datastore_version") == definition.datastore.version


def test_database_answers_over_the_tenant_network(database, definition):
    """The database that Trove made takes a query over the tenant network, in the version that was asked for."""
    assert database.version.startswith(definition.datastore.version)


def test_user_made_by_trove_writes_a_row(database):
    """The user that Trove made writes a row and reads it back."""
    assert database.row == database.wanted


def test_launch_was_measured(launch):
    """The launch is divided into phases without a gap, from the request to the first answered query."""
    assert dict(launch.timeline.lost) == {}
    names = " ".join(phase.name for phase in launch.timeline.phases)
    for part in ("API accepted", "scheduling", "spawn", "firmware and loader", "kernel", "cloud-init", "agent started",
                 "broker connected", "prepare", "container start", "health polls", "first query"):  # fmt: skip
        assert part in names


def test_stop_shows_in_the_api(stopped):
    """After a stop through Trove the API shows operating_status SHUTDOWN."""
    assert stopped.shown.operating_status == "SHUTDOWN"


def test_stop_closes_the_port(stopped):
    """After a stop the database's port takes no connection any more: it is really down."""
    assert not stopped.port_open


def test_start_brings_it_back(started):
    """A start after the stop ends ACTIVE and HEALTHY, with the port open."""
    assert started.shown.healthy
    assert started.port_open


def test_row_survives_stop_and_start(started):
    """The row written before the stop is there after the start."""
    assert started.row == started.wanted


def test_restart_ends_healthy(restarted):
    """A restart through Trove ends ACTIVE and HEALTHY, and the container was really started anew."""
    assert restarted.shown.healthy
    assert restarted.started_after != restarted.started_before


def test_restart_leaves_the_server_alone(restarted):
    """A restart of the database does not reboot the server."""
    assert restarted.boot_after == restarted.boot_before


def test_row_survives_a_restart(restarted):
    """The row is there after the restart."""
    assert restarted.row == restarted.wanted


def test_reboot_through_trove_ends_healthy(rebooted):
    """A reboot of the server through Trove ends ACTIVE and HEALTHY, and the kernel was really started anew."""
    assert rebooted.shown.healthy
    assert rebooted.boot_after != rebooted.boot_before


def test_row_survives_a_reboot_through_trove(rebooted):
    """The row is there after the reboot through Trove."""
    assert rebooted.row == rebooted.wanted


@pytest.mark.qualify
def test_reboot_through_nova_ends_healthy(nova_rebooted):
    """After a reboot behind Trove's back the image brings agent and database back by itself."""
    assert nova_rebooted.boot_after != nova_rebooted.boot_before
    assert nova_rebooted.shown.healthy


@pytest.mark.qualify
def test_row_survives_a_reboot_through_nova(nova_rebooted):
    """The row is there after the reboot through Nova."""
    assert nova_rebooted.row == nova_rebooted.wanted


def test_delete_removes_the_instance(deleted):
    """Deleted by its owner, the instance is gone from Trove."""
    assert not deleted.instance_left


def test_delete_leaves_nothing(deleted):
    """Nothing of it is left in Nova or Neutron: no server, no port, no security group."""
    assert deleted.left == ()
