"""The sandbox's registry, for real: a container image goes in and comes out, where guests look for it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from imagecheck import registry, sandbox, site
from imagecheck.sandbox import releases, services
from imagecheck.sandbox.container import Container
from imagecheck.sandbox.folder import REGISTRY, REGISTRY_PORT

pytestmark = [pytest.mark.sandbox, pytest.mark.xdist_group("sandbox")]

TAG = "imagecheck-test:1"
GET = (
    "import sys, urllib.request as r; "
    'q = r.Request(sys.argv[1], headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"}); '
    "print(r.build_opener(r.ProxyHandler({})).open(q, timeout=10).read().decode())"
)
MANIFEST = f"http://{REGISTRY}:{REGISTRY_PORT}/v2/library/imagecheck-test/manifests/1"
# A station on the management network with a guest's address and a guest's only route beyond it.
STATION = """set -eu
ip netns add station
trap 'ovs-vsctl --if-exists del-port br-mgmt station; ip netns delete station' EXIT
ovs-vsctl add-port br-mgmt station -- set interface station type=internal
ip link set station netns station
ip -n station address add "$1/24" dev station
ip -n station link set station up
ip -n station route add "$2/32" via "$3"
ip netns exec station python3 -c "$4" "$5"
"""


def docker_archive(path: Path, content: bytes) -> str:
    """Write what ``docker save`` writes for one layer with one file; gives the digest of its configuration."""

    def packed(*members: tuple[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    layer = packed(("content", content))
    diff = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/content"]},
                         "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode()  # fmt: skip
    digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [TAG], "Layers": ["1/layer.tar"]}]
    files = (("1/layer.tar", layer), (f"{digest}.json", config), ("manifest.json", json.dumps(manifest).encode()))
    path.write_bytes(packed(*files))
    return f"sha256:{digest}"


@pytest.fixture
def place() -> site.Site:
    return sandbox.up(yes=True)


@pytest.fixture
def up(place: site.Site) -> Container:
    return sandbox.require_running(releases.DEFAULT)


def test_an_image_goes_in_once_and_is_read_back(place: site.Site, tmp_path: Path) -> None:
    digest = docker_archive(tmp_path / "first.tar", b"one")
    assert registry.present(place.registry, "imagecheck-nobody:1") == ""
    first = registry.publish(tmp_path / "first.tar", TAG, place.registry, yes=True)
    assert first.reference == f"{place.registry}/library/{TAG}"
    assert first.digest == digest == registry.present(place.registry, TAG)
    assert 0 < first.size < 1000
    again = registry.publish(tmp_path / "first.tar", TAG, place.registry)
    assert (again.digest, again.size, again.pushed) == (first.digest, first.size, False)


def test_another_image_takes_the_tag_over(place: site.Site, tmp_path: Path) -> None:
    docker_archive(tmp_path / "first.tar", b"one")
    newer = docker_archive(tmp_path / "second.tar", b"two")
    registry.publish(tmp_path / "first.tar", TAG, place.registry, yes=True)
    assert registry.publish(tmp_path / "second.tar", TAG, place.registry).pushed
    assert registry.present(place.registry, TAG) == newer


@pytest.fixture
def published(place: site.Site, tmp_path: Path) -> str:
    digest = docker_archive(tmp_path / "container.tar", b"three")
    registry.publish(tmp_path / "container.tar", TAG, place.registry, yes=True)
    return digest


def test_the_fixed_address_answers_from_inside_the_sandbox(up: Container, published: str) -> None:
    assert json.loads(up.run(["python3", "-c", GET, MANIFEST]).stdout)["config"]["digest"] == published


def test_the_fixed_address_answers_a_station_on_the_management_network(up: Container, published: str) -> None:
    addresses, _ = up.folder.load_plan()
    # above the pool that Neutron gives to guests
    mine = str(addresses.management[252])
    said = up.run(["sh", "-c", STATION, "sh", mine, str(REGISTRY), str(addresses.broker), GET, MANIFEST]).stdout
    assert json.loads(said)["config"]["digest"] == published


def test_guests_learn_the_way_to_it_and_no_second_default_route(up: Container, place: site.Site) -> None:
    addresses, _ = up.folder.load_plan()
    import openstack

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(place.clouds_file))
        admin = openstack.connect(cloud=place.cloud)
    (subnet,) = admin.network.subnets(name="mgmt")
    assert subnet.host_routes == [{"destination": f"{REGISTRY}/32", "nexthop": str(addresses.broker)}]
    assert subnet.gateway_ip is None
    said = up.run(
        ["ovn-nbctl", "--no-leader-only", "--bare", "--columns=options", "find", "DHCP_Options",
         f'cidr="{addresses.management}"']
    ).stdout  # fmt: skip
    assert f"{REGISTRY}/32,{addresses.broker}" in said.replace(", ", ",")
    # RFC 3442: a client that is given classless routes ignores the router option
    assert "0.0.0.0/0" not in said
    assert "router=" not in said


def test_guests_may_call_out(up: Container, place: site.Site) -> None:
    import openstack

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(place.clouds_file))
        admin = openstack.connect(cloud=place.cloud)
    (group,) = admin.network.security_groups(name="trove-management")
    outwards = [rule for rule in group.security_group_rules if rule["direction"] == "egress"]
    assert any(rule["ethertype"] == "IPv4" and not rule["protocol"] for rule in outwards)


def test_the_registry_is_a_service_like_the_others(up: Container) -> None:
    assert services.states(up)["docker-registry"] == "active/running"


def test_it_costs_little_memory(up: Container) -> None:
    pid = up.run(["systemctl", "show", "-p", "MainPID", "--value", "docker-registry"]).stdout.strip()
    status = up.run(["cat", f"/proc/{pid}/status"]).stdout
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident < 64 * 1024, "KiB: three times what it takes"
