"""Booted through Nova by the harness alone: console, config drive, injected files, guest agent, broker."""

import pytest

from imagecheck.causes import TABLE, Evidence, verdict
from imagecheck.guest.console import reached_userspace

pytestmark = pytest.mark.stage("boot")


def test_nova_boots_the_image(server):
    """Nova starts the image and gives it a config drive and an address on both networks."""
    assert server.server.status == "ACTIVE"
    assert server.server.config_drive
    assert server.management
    assert server.tenant


def test_console_speaks(console):
    """The serial console shows the boot up to userspace: without it a dead guest could tell nothing."""
    assert reached_userspace(console)


def test_console_is_sane(console):
    """The console shows no panic, no emergency shell and no traceback."""
    found = verdict(Evidence({"console": (console,)}), [row for row in TABLE if row.fault == "image"])
    assert not found.known, f"{found.sentence}: {found.evidence}"
    assert "Traceback (most recent call last)" not in console


def test_cloud_init_is_done(guest):
    """cloud-init finished without an error: what it does not finish, Trove's files may be part of."""
    status = guest.host.run("cat /run/cloud-init/result.json")
    assert status.rc == 0
    assert '"errors": []' in status.stdout


def test_no_unit_failed(guest):
    """systemd has no failed unit after the boot."""
    failed = guest.host.run("systemctl --failed --no-legend --plain")
    assert failed.stdout.strip() == ""


def test_config_drive_is_there(config_drive, server):
    """The guest has a config drive, and it is this server's."""
    assert config_drive.device
    assert config_drive.instance_uuid == server.server.id


def test_config_drive_carries_the_files(config_drive, server):
    """The files travel as user-data on the config drive, byte for byte."""
    assert config_drive.user_data == server.injected.user_data


def test_config_drive_is_the_carrier(config_drive):
    """cloud-init took its data from the config drive and not from the metadata service."""
    assert config_drive.carried, config_drive.datasource


def test_guest_info_is_in_place(guest, server):
    """guest_info.conf has arrived with the content that was sent."""
    injected = server.injected
    assert guest.host.file(injected.guest_info).content_string == injected.files[injected.guest_info]


def test_guest_info_belongs_to_the_agent(guest, server):
    """guest_info.conf belongs to the injected owner and can be read, but not written, by everybody else."""
    file = guest.host.file(server.injected.guest_info)
    assert (file.user, file.group) == (server.injected.owner, server.injected.group)
    assert file.mode & 0o7133 == 0
    assert file.mode & 0o400


def test_guestagent_conf_equals_the_injected(guest, server):
    """trove-guestagent.conf has arrived byte for byte."""
    injected = server.injected
    same = guest.host.file(injected.guest_config).content_string == injected.files[injected.guest_config]
    assert same, "the file in the guest differs from the one that was sent"


def test_agent_runs(agent):
    """The guest agent's unit is active and running."""
    assert agent.unit.loaded
    assert agent.unit.running, f"{agent.unit.active} ({agent.unit.sub}), result {agent.unit.result}"


def test_agent_was_not_restarted(agent):
    """The guest agent came up at the first try: a restart storm hides its reason."""
    assert agent.unit.restarts == 0


def test_brokers_can_be_reached(agent):
    """From inside the guest every broker of transport_url takes a TCP connection."""
    unreached = [f"{broker}: {dial.said}" for broker, dial in zip(agent.brokers, agent.dials, strict=True)
                 if not dial.reached]  # fmt: skip
    assert unreached == []


def test_broker_is_reached_over_the_management_network(agent, server):
    """The way to the brokers goes out of the management interface."""
    assert {dial.local for dial in agent.dials} == {server.management}


def test_agent_is_connected(agent, server):
    """The agent's own process holds a connection to a broker, over the management network."""
    assert agent.connections
    assert {connection.local for connection in agent.connections} == {server.management}


def test_agent_consumes_from_its_queue(agent):
    """The broker counts a consumer on the agent's queue: the queue alone would prove nothing."""
    if agent.unasked:
        pytest.skip(agent.unasked)
    assert agent.queue is not None
    assert agent.queue.consumers > 0


def test_clock_is_right(boot_times):
    """The guest's clock agrees with ours to a minute: heartbeats of one that is off get lost, certificates fail."""
    off = [one.seconds for one in boot_times.offsets if one.clock == "guest" and abs(one.seconds) > 60]
    assert not off, f"the guest's clock is {-off[0]:+.0f} s off: a time service, or what sets the clock at boot"


def test_boot_was_measured(boot_times):
    """The bare boot is divided into phases without a gap, from the request to the agent on its broker."""
    assert dict(boot_times.timeline.lost) == {}
    names = " ".join(phase.name for phase in boot_times.timeline.phases)
    for part in ("API accepted", "spawn", "firmware and loader", "kernel", "cloud-init", "agent started",
                 "broker connected"):  # fmt: skip
        assert part in names
