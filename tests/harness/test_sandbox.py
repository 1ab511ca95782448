"""The sandbox's pure parts: addresses, tables, settings, sentences. The real one is tested in test_sandbox_real.py."""

from __future__ import annotations

import configparser
import os
import stat
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import hostcmd, occupied, redact
from imagecheck.errors import UsageError
from imagecheck.sandbox import container, host, releases, rootfs, services
from imagecheck.sandbox.folder import REGISTRY, Addresses, Folder, Secrets, free_plan


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(releases.get("epoxy"), tmp_path / "sandbox/epoxy")
    made.path.mkdir(parents=True)
    made.save_plan(Addresses(7), Secrets.fresh())
    return made


@given(st.integers(0, 99), st.integers(0, 99))
def test_two_sandboxes_on_one_host_share_no_network(one: int, other: int) -> None:
    networks = [*Addresses(one).networks(), *(Addresses(other).networks() if other != one else ())]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])


@given(st.integers(0, 99))
def test_every_address_lies_in_its_own_network(index: int) -> None:
    plan = Addresses(index)
    assert {plan.host, plan.sandbox} == set(plan.link.hosts())
    assert plan.broker in plan.management
    assert plan.tenant_router in plan.tenant
    assert plan.tenant_sandbox in plan.tenant
    assert plan.tenant_router != plan.tenant_sandbox


@given(st.lists(st.integers(0, 99).flatmap(lambda i: st.sampled_from(Addresses(i).networks())), max_size=40))
def test_a_new_sandbox_avoids_what_the_host_already_routes(taken: list[IPv4Network]) -> None:
    plan = free_plan(Path("/some/where"), taken)
    assert not any(mine.overlaps(other) for mine in plan.networks() for other in taken)
    assert plan == free_plan(Path("/some/where"), taken)


def test_a_host_that_routes_everything_gets_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"already routes all of 10\.77\.0\.0/16"):
        free_plan(Path("/x"), [IPv4Network("10.0.0.0/8")])


def test_a_machine_name_fits_into_a_network_device_name() -> None:
    assert all(len(f"ve-ic-{name}-99") <= 15 for name in releases.RELEASES)


def test_an_unknown_release_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="--release havana: .* epoxy, zed"):
        releases.get("havana")


def test_the_default_release_is_a_proven_one() -> None:
    assert releases.get(releases.DEFAULT).proven


def test_no_unit_is_both_enabled_and_masked() -> None:
    for row in releases.RELEASES.values():
        assert not set(row.enable) & set(row.mask)


def test_the_folder_keeps_its_secrets_private_and_out_of_print(folder: Folder) -> None:
    _, keys = folder.load_plan()
    assert stat.S_IMODE(folder.plan.stat().st_mode) == 0o600
    assert keys.broker not in redact.redact(f"amqp login with {keys.broker}")


REPLIES = "usr/lib/python3/dist-packages/oslo_messaging/_drivers/amqpdriver.py"
POLL = "            except queue.Empty:\n                time.sleep(0.5)\n"


@pytest.fixture
def configured(folder: Folder) -> Folder:
    """The settings tree written over the few files that it edits in a real root."""
    for service in ("keystone", "glance", "nova"):
        ini = folder.root / f"etc/{service}/{service}-uwsgi.ini"
        ini.parent.mkdir(parents=True)
        ini.write_text(
            "[uwsgi]\nprocesses = 8\nthreads = 32\nplugins = python3,apparmor\napparmor-profile = x\nname = y\n"
        )
    replies = folder.root / REPLIES
    replies.parent.mkdir(parents=True)
    replies.write_text(f"time.sleep(0.5)\nclass ReplyWaiters:\n    def get(self):\n{POLL}{POLL}")
    known = {"keypair": "k", "mgmt_network_id": "net-1", "mgmt_security_group_id": "sg-1"}
    rootfs.configure(folder, known | {"virt_type": "qemu", "cpu_mode": "none"})
    return folder


def test_every_setting_is_filled_in_and_parses(configured: Folder) -> None:
    for path in sorted(configured.root.rglob("*")):
        if path.is_file():
            text = path.read_text()
            assert "${" not in text or path.parent.name == "sbin", f"{path}: a placeholder is left"
            if path.suffix == ".conf" and path.parts[-2] in ("nova", "trove", "neutron", "glance", "keystone"):
                parsed = configparser.ConfigParser(interpolation=None)
                parsed.read_string(text)
                assert parsed.sections() or parsed.defaults()


def test_trove_learns_the_management_network_and_the_guests_the_broker_on_it(configured: Folder) -> None:
    addresses, keys = configured.load_plan()
    trove = configparser.ConfigParser(interpolation=None)
    trove.read(configured.root / "etc/trove/trove.conf")
    guest = configparser.ConfigParser(interpolation=None)
    guest.read(configured.root / "etc/trove/trove-guestagent.conf")
    assert trove["DEFAULT"]["management_networks"] == "net-1"
    assert guest["DEFAULT"]["transport_url"] == f"rabbit://imagecheck:{keys.broker}@{addresses.broker}:5672/"
    assert guest["DEFAULT"]["control_exchange"] == trove["DEFAULT"]["control_exchange"]


def test_guests_find_the_registry_at_the_same_address_in_every_sandbox(configured: Folder) -> None:
    net = (configured.root / "usr/local/sbin/imagecheck-net").read_text()
    assert "ip addr replace 169.254.169.253/32 dev lo\n" in net
    assert net.count("ip daddr 169.254.169.253 tcp dport 5000 dnat to 169.254.169.253:5001\n") == 2
    settings = yaml.safe_load((configured.root / "etc/docker/registry/config.yml").read_text())
    assert settings["http"]["addr"] == ":5001"
    assert "auth" not in settings
    assert not any(REGISTRY in network for index in range(100) for network in Addresses(index).networks())


def test_no_two_services_want_one_port() -> None:
    ports = [api.port for api in services.APIS]
    assert len(set(ports)) == len(ports)


def test_every_release_has_the_registry() -> None:
    assert all("docker-registry" in row.packages for row in releases.RELEASES.values())


def test_each_api_runs_as_one_process(configured: Folder) -> None:
    text = (configured.root / "etc/nova/nova-uwsgi.ini").read_text()
    assert "processes = 1\n" in text
    assert "threads = 4\n" in text
    assert "apparmor" not in text
    assert "name = y\n" in text


def test_only_the_wait_for_an_answer_is_made_shorter(configured: Folder) -> None:
    text = (configured.root / REPLIES).read_text()
    assert text == f"time.sleep(0.5)\nclass ReplyWaiters:\n    def get(self):\n{POLL.replace('0.5', '0.01')}{POLL}"


def test_programs_are_executable_and_pass_shellcheck(configured: Folder) -> None:
    programs = [path for path in configured.root.rglob("*") if path.is_file() and path.read_text().startswith("#!")]
    assert len(programs) >= 4
    for path in programs:
        assert os.access(path, os.X_OK)
    done = subprocess.run(["shellcheck", *map(str, programs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_package_without_uwsgi_settings_is_named(folder: Folder) -> None:
    folder.root.mkdir()
    with pytest.raises(Exception, match="no uwsgi settings"):
        rootfs.configure(
            folder,
            {"keypair": "", "mgmt_network_id": "", "mgmt_security_group_id": "", "virt_type": "", "cpu_mode": ""},
        )


def test_missing_host_packages_are_named_with_reason_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hostcmd, "which", lambda program: None if program.startswith("systemd") else "/there")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(UsageError, match=r"systemd-container \(boots .*apt-get install .*systemd-container.*--yes"):
        host.ensure(yes=False)


def test_without_root_the_sentence_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="needs root .* --cloud"):
        host.ensure(yes=True)


def test_a_recycled_process_number_is_not_the_sandbox(folder: Folder) -> None:
    folder.running.write_text(f'{{"nspawn": [{os.getpid()}, "1"], "leader": [{os.getpid()}, "1"]}}')
    assert container.running(folder) is None


@given(st.binary(max_size=60))
def test_a_broken_state_file_means_not_running(junk: bytes) -> None:
    class Only(Folder):
        @property
        def running(self) -> Path:
            return junk_file

    junk_file = Path("/dev/shm") / f"imagecheck-junk-{os.getpid()}"
    try:
        junk_file.write_bytes(junk)
        assert container.running(Only(releases.get("epoxy"), Path("/nonexistent"))) is None
    finally:
        junk_file.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_what_a_killed_up_left_mounted_is_unmounted_before_its_folder_goes(tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "epoxy"
    precious.mkdir()
    (precious / "device").write_text("the host's own")
    (folder / "root/dev").mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, folder / "root/dev"], check=True)
    left = subprocess.Popen(["sleep", "1000"], cwd=folder / "root")
    occupied.remove(folder, "sandbox")
    assert left.wait(timeout=5) == -9
    assert not folder.exists()
    assert (precious / "device").read_text() == "the host's own"
