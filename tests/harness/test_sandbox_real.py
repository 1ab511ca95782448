"""The sandbox itself, for real: made if need be, booted, broken on purpose, stopped, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagecheck import sandbox, waits
from imagecheck.errors import StepFailed, UsageError
from imagecheck.sandbox import container, host, releases, services, vantage
from imagecheck.sandbox.cli import main
from imagecheck.sandbox.container import Container
from imagecheck.sandbox.folder import Folder, free_plan
from imagecheck.waits import NotYet, Ready

if TYPE_CHECKING:
    from openstack.connection import Connection

pytestmark = [pytest.mark.sandbox, pytest.mark.xdist_group("sandbox")]

MINE = Folder.of(releases.get(releases.DEFAULT))


def connected(entry: str) -> Connection:
    import openstack  # not above: the fast tests collect this file too

    return openstack.connect(cloud=entry)


def host_state() -> dict[str, str]:
    """What the host must have again after a stop: mounts, loop devices, listeners, routes."""

    def said(*argv: str) -> str:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    return {
        "mounts": Path("/proc/self/mounts").read_text(),
        "loops": said("losetup", "-l", "-O", "NAME,BACK-FILE"),
        "listeners": "\n".join(sorted(line.split()[3] for line in said("ss", "-Hltn").splitlines())),
        "routes": said("ip", "route"),
        "links": "\n".join(line.split()[0] for line in said("ip", "-br", "link").splitlines()),
    }


@pytest.fixture
def up() -> Container:
    sandbox.up(yes=os.environ.get("CI") == "true")
    return sandbox.require_running(releases.DEFAULT)


@pytest.fixture
def admin(up: Container) -> Iterator[Connection]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(MINE.clouds))
        yield connected(sandbox.objects.ADMIN)


def test_every_service_of_a_fresh_sandbox_is_up(up: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(services.states(up).values()) <= {"active/running", "active/exited"}
    assert main(["status"]) == 0
    assert "services active" in capsys.readouterr().out


def test_the_clouds_file_serves_any_openstack_client_as_admin_and_as_tenant(admin: Connection) -> None:
    assert {network.name for network in admin.network.networks()} == {"mgmt", "tenant"}
    tenant = connected(sandbox.objects.TENANT)
    # the management network is not the tenant's business
    assert {network.name for network in tenant.network.networks()} == {"tenant"}
    assert "volumev3" in {entry["type"] for entry in admin.service_catalog}
    assert "database" in {entry["type"] for entry in tenant.service_catalog}


def test_a_place_on_the_tenant_network_sees_that_network_alone_and_goes_again(up: Container) -> None:
    addresses, _ = MINE.load_plan()
    bridge = ["ovs-vsctl", "list-ports", "br-tenant"]
    before = up.run(bridge).stdout
    with vantage.on_tenant(up) as place:
        tried = place.dial({"neighbour": (str(addresses.tenant_sandbox), 5672), "broker": (str(addresses.broker), 5672),
                            "APIs": (str(addresses.sandbox), 5000)})  # fmt: skip
    assert {name: one.reached for name, one in tried.items()} == {"neighbour": True, "broker": False, "APIs": False}
    assert up.run(bridge).stdout == before
    assert up.run(["ip", "netns"]).stdout == ""


def test_what_is_meant_for_a_sandbox_that_died_does_not_leave_this_host(up: Container) -> None:
    """Its veth goes with it, and with that the routes through it; see also tests/faults, service-sandbox."""
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    for network in MINE.load_plan()[0].networks():
        assert f"unreachable {network} metric 4294967295" in routes


def test_files_with_secrets_are_private(up: Container) -> None:
    for path in (MINE.clouds, MINE.plan, MINE.guest_key, MINE.guest_config, MINE.running):
        assert path.stat().st_mode & 0o077 == 0, path


def test_guests_are_emulated_where_a_kernel_does_not_boot_on_kvm(up: Container) -> None:
    found = (MINE.path / "acceleration").read_text()
    assert found in ("kvm", "tcg")
    setting = (MINE.root / "etc/nova/nova.conf").read_text()
    assert ("virt_type = kvm" in setting) == (found == "kvm")
    if not Path("/dev/kvm").exists():
        assert found == "tcg"


def test_a_unit_that_cannot_start_is_named_with_its_last_lines(up: Container) -> None:
    drop_in = "/run/systemd/system/glance-api.service.d"
    broken = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo the disk is on fire >&2; exit 3'\n"
    up.run(["mkdir", "-p", drop_in])
    up.run(["tee", f"{drop_in}/broken.conf"], input=broken)
    up.run(["systemctl", "daemon-reload"])
    up.run(["systemctl", "restart", "glance-api"], check=False)
    try:
        with pytest.raises(StepFailed, match="the unit glance-api failed") as caught:
            services.wait_apis(up)
        assert "the disk is on fire" in caught.value.seen
        assert main(["status"]) == 1
    finally:
        up.run(["rm", "-r", drop_in])
        up.run(["systemctl", "daemon-reload"])
        up.run(["systemctl", "reset-failed", "glance-api"], check=False)
        up.run(["systemctl", "restart", "glance-api"])
        services.wait_apis(up)


def test_logs_shows_the_journal_of_a_unit(up: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "keystone"]) == 0
    assert "keystone" in capsys.readouterr().out


def test_each_up_is_pristine_and_a_stop_leaves_nothing_on_the_host(admin: Connection) -> None:
    admin.network.create_network(name="left-over")
    began = time.monotonic()
    assert sandbox.down()
    assert time.monotonic() - began < 15, "the budget is 5 s; three times that is broken, not busy"
    before = host_state()
    assert MINE.veth not in before["links"]
    assert not MINE.layer.exists()
    assert not sandbox.down()
    sandbox.up()
    during = host_state()
    assert during["mounts"] == before["mounts"], "the overlay is visible on the host"
    assert during["listeners"] == before["listeners"], "something listens on the host"
    fresh = connected(sandbox.objects.ADMIN)
    assert "left-over" not in {network.name for network in fresh.network.networks()}
    sandbox.down()
    assert host_state() == before


def test_a_killed_up_is_cleaned_by_the_next_command() -> None:
    sandbox.up()
    sandbox.down()
    before = host_state()
    script = "from imagecheck import sandbox; sandbox.up()"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as starting:
        waits.until(
            lambda: Ready(None) if container.running(MINE) else NotYet("no container"),
            reason="the container that is to outlive its starter",
            deadline=60,
            interval=0.1,
        )
        starting.send_signal(signal.SIGKILL)
    assert sandbox.down(), "the container outlives the command that started it"
    assert host_state() == before


def test_verbs_that_need_a_running_sandbox_say_how_to_start_it() -> None:
    sandbox.down()
    with pytest.raises(UsageError, match="imagecheck sandbox up"):
        main(["logs", "keystone"])


def test_a_second_sandbox_gets_other_addresses(up: Container) -> None:
    mine, _ = MINE.load_plan()
    # the same path hashes to the same addresses: only the routes keep them apart
    other = free_plan(MINE.path, host.routed_networks())
    assert not any(a.overlaps(b) for a in mine.networks() for b in other.networks())
