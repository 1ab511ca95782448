"""A compute host that starts nothing, for a while, in the running sandbox: Nova's own fake driver beside the real one.

Everything around it is real: nova-api, conductor, scheduler, Placement, Neutron's ports, the message bus. Placement
keeps the two hosts apart: the fake one alone has a resource that only its flavor asks for, and no memory for any other
flavor. OVN binds a port only where it knows a chassis, so the fake host has a fake one.
"""

import contextlib
import dataclasses
import fcntl
import secrets
import tempfile
import time
from pathlib import Path

from imagecheck import progress, sandbox, site, waits
from imagecheck.sandbox import objects
from imagecheck.sandbox.container import Container
from imagecheck.waits import NotYet, Ready

PREFIX = "imagecheck-fake-"
RESOURCE = "CUSTOM_IMAGECHECK_FAKE"
MEMORY = 800_000  # MiB that nova/virt/fake.py, FakeDriver, says it has: all of it is reserved
ROOM = 1000  # servers
_QUOTAS = {"instances": ROOM, "cores": 4 * ROOM, "ram": 4096 * ROOM}
_PORTS = {"port": 2 * ROOM}
ENCAPSULATION = "127.77.0.1"  # a tunnel's end that nobody uses: both networks are flat; OVN wants one of its own
_NEVER_DEAD = 1_000_000  # Neutron calls a chassis alive whose nb_cfg is not behind (ovn/agent/neutron_agent.py, alive)

_SETTINGS = """\
[DEFAULT]
host = {name}
compute_driver = fake.FakeDriver
state_path = {home}
log_file = {name}.log
reserved_host_memory_mb = {memory}
[oslo_concurrency]
lock_path = {home}/lock
[compute]
provider_config_location = {home}/providers
"""
_PROVIDER = """\
meta:
  schema_version: '1.0'
providers:
  - identification:
      uuid: $COMPUTE_NODE
    inventories:
      additional:
        - {resource}:
            total: {room}
"""


@dataclasses.dataclass(frozen=True)
class Host:
    """The fake host. A run with ``--site`` of ``site`` has its flavor, and so its servers there."""

    live: Container
    name: str
    site: Path

    def left(self):
        """How many servers and ports are on it: what -> number."""
        admin = objects.connect(self.live.folder)
        servers = list(admin.compute.servers(all_projects=True, host=self.name))
        ports = [one for one in admin.network.ports() if one.binding_host_id == self.name]
        return {"servers": len(servers), "ports": len(ports)}


@contextlib.contextmanager
def fake_host(release, folder):
    """A Host; its site file is in ``folder``. It is gone at the end, with all that is on it."""
    live = sandbox.require_running(release)
    name = PREFIX + secrets.token_hex(3)
    with _alone(live), contextlib.ExitStack() as last:
        last.callback(_removed, live)
        sweep(live)
        with progress.phase(f"a fake compute host, {name}"):
            _begin(live, name)
        with _more_room(objects.connect(live.folder)):
            file = folder / "site.toml"
            site.dump(dataclasses.replace(site.load(live.folder.site), flavor=name), file)
            yield Host(live, name, file)


@contextlib.contextmanager
def _alone(live):
    """One at a time: whoever begins removes what others have left."""
    with (Path(tempfile.gettempdir()) / f"{PREFIX}{live.folder.machine}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another fake compute host is in use in this sandbox: wait for its end") from None
        yield


# ---- made


def _begin(live, name):
    admin, home = objects.connect(live.folder), f"/var/lib/{name}"
    live.run(["install", "-d", "-o", "nova", "-g", "nova", home, f"{home}/lock", f"{home}/providers"])
    for file, text in (
        (f"{home}/nova.conf", _SETTINGS.format(name=name, home=home, memory=MEMORY)),
        (f"{home}/providers/provider.yaml", _PROVIDER.format(resource=RESOURCE, room=ROOM)),
    ):
        live.run(["tee", file], input=text)
    _chassis(live, name)
    live.run(
        ["systemd-run", f"--unit={name}", "--uid=nova", "--gid=nova", "--property=LimitNOFILE=65535", "nova-compute",
         "--config-file=/etc/nova/nova.conf", f"--config-file={home}/nova.conf"],
    )  # fmt: skip

    def up():
        state = live.run(["systemctl", "is-active", name], check=False).stdout.strip()
        if state not in ("active", "activating"):
            said = live.run(["tail", "-n", "20", f"/var/log/nova/{name}.log"], check=False).stdout
            raise SystemExit(f"the fake nova-compute ended ({state}):\n{said}")
        there = [one.state for one in admin.compute.services(host=name)]
        nodes = [one.name for one in admin.compute.hypervisors() if one.name == name]
        return Ready(None) if there == ["up"] and nodes else NotYet(f"service {there}, nodes {nodes}")

    # The hypervisors' API shows a host only once it is mapped to its cell, and mapping wants its node in the cell.
    def mapped():
        live.run(["nova-manage", "cell_v2", "discover_hosts"], user="nova", timeout=120)
        return up()

    waits.until(mapped, reason="the fake nova-compute to join its cell", deadline=180, interval=2)
    flavor = admin.compute.create_flavor(name=name, vcpus=2, ram=2048, disk=6, ephemeral=1, is_public=True)
    nothing = {f"resources:{one}": "0" for one in ("VCPU", "MEMORY_MB", "DISK_GB")}
    admin.compute.create_flavor_extra_specs(flavor, {f"resources:{RESOURCE}": "1", **nothing})

    def offered():
        found = admin.placement.get(f"/allocation_candidates?resources={RESOURCE}:1", microversion="1.26")
        said = found.json()
        return Ready(None) if said.get("provider_summaries") else NotYet(str(said)[:200])

    waits.until(offered, reason="Placement to know what the fake host offers", deadline=120, interval=1)


def _chassis(live, name):
    """What Neutron's OVN driver looks for before it binds a port to a host."""
    live.run(["ovn-sbctl", "chassis-add", name, "geneve", ENCAPSULATION])
    live.run(["ovn-sbctl", "set", "chassis", name, f"hostname={name}", "other_config:datapath-type=netdev",
              'other_config:ovn-bridge-mappings="mgmt:br-mgmt,tenant:br-tenant"'])  # fmt: skip
    id = live.run(["ovn-sbctl", "--bare", "--columns=_uuid", "find", "chassis", f"name={name}"]).stdout.strip()
    live.run(["ovn-sbctl", "create", "chassis_private", f"name={name}", f"chassis={id}", f"nb_cfg={_NEVER_DEAD}",
              f"nb_cfg_timestamp={int(1000 * time.time())}"])  # fmt: skip


@contextlib.contextmanager
def _more_room(admin):
    """Quotas of the own project for that many servers and ports; afterwards they are as they were."""
    project = admin.current_project_id
    before = admin.compute.get_quota_set(project), admin.network.get_quota(project)
    told = [{key: getattr(before[0], key) for key in _QUOTAS}, {"port": before[1].ports}]
    usual = [{key: getattr(admin.compute.get_quota_set_defaults(project), key) for key in _QUOTAS},
             {"port": admin.network.get_quota_default(project).ports}]  # fmt: skip
    admin.compute.update_quota_set(project, **_QUOTAS)
    admin.network.put(f"/quotas/{project}", json={"quota": _PORTS})
    try:
        yield
    finally:
        if told[0] == usual[0]:
            admin.compute.revert_quota_set(project)
        else:
            admin.compute.update_quota_set(project, **told[0])
        if told[1] == usual[1]:
            admin.network.delete(f"/quotas/{project}")
        else:
            admin.network.put(f"/quotas/{project}", json={"quota": told[1]})


# ---- removed


def _removed(live):
    with progress.phase("remove the fake compute host"):
        sweep(live)


def sweep(live):
    """Remove every fake host, this run's and those of runs that were killed; what cannot be removed is said."""
    admin = objects.connect(live.folder)
    listed = live.run(["ovn-sbctl", "--bare", "--columns=name", "list", "chassis"]).stdout.split()
    services = [one for one in admin.compute.services() if one.host.startswith(PREFIX)]
    homes = live.run(["ls", "/var/lib"]).stdout.split()
    for service in services:
        _try(_servers_gone, admin, service.host)
    # Servers first, while the host can still remove them; the unit before its service, which it would make again.
    for name in {one.host for one in services} | {one for one in homes + listed if one.startswith(PREFIX)}:
        _try(live.run, ["systemctl", "stop", name], check=False)
        _try(live.run, ["sh", "-c", f"rm -rf /var/lib/{name} /var/log/nova/{name}.log"])
    for service in services:
        _try(admin.compute.delete_service, service)
    for name in (one for one in listed if one.startswith(PREFIX)):
        id = live.run(["ovn-sbctl", "--bare", "--columns=_uuid", "find", "chassis_private", f"name={name}"]).stdout
        _try(live.run, ["ovn-sbctl", "destroy", "chassis_private", *id.split()])
        _try(live.run, ["ovn-sbctl", "chassis-del", name])
        _try(admin.network.delete_agent, name)
    for flavor in admin.compute.flavors(is_public=None):
        if flavor.name.startswith(PREFIX):
            _try(admin.compute.delete_flavor, flavor)
    _try(admin.placement.delete, f"/resource_classes/{RESOURCE}", microversion="1.26")


def _servers_gone(admin, host):
    def gone():
        there = list(admin.compute.servers(all_projects=True, host=host))
        for one in there:
            admin.compute.delete_server(one.id, ignore_missing=True)
        return NotYet(f"{len(there)} servers") if there else Ready(None)

    waits.until(gone, reason=f"the servers of {host} to go", deadline=120, interval=2)


def _try(act, *words, **more):
    """One thing that stays must not keep the others from being removed."""
    try:
        act(*words, **more)
    except Exception as error:  # noqa: BLE001
        progress.note(f"not removed: {' '.join(map(str, words))}: {type(error).__name__}: {error}")
