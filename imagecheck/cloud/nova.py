"""Nova: boot a server with a config drive, watch it, keep its evidence, remove it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from imagecheck import waits
from imagecheck.cloud import network
from imagecheck.cloud.connection import Cloud, Hiccup, Missing, asking
from imagecheck.cloud.ledger import Entry, Ledger
from imagecheck.cloud.marks import TAG
from imagecheck.cloud.quota import remedy
from imagecheck.cloud.retry import once
from imagecheck.errors import StepFailed

STEP = "Nova server"
USER_DATA_LIMIT = 65535  # bytes of base64 (nova/api/openstack/compute/schemas/servers.py, user_data maxLength)
DELETE_DEADLINE = 120  # seconds


@dataclass(frozen=True)
class Flavor:
    """A flavor; ram in MiB, disks in GiB."""

    id: str
    name: str
    ram: int
    disk: int
    ephemeral: int
    vcpus: int


@dataclass(frozen=True)
class Server:
    """A server as an administrator sees it; ``addresses`` by network name."""

    id: str
    name: str
    project: str
    status: str
    addresses: Mapping[str, tuple[str, ...]]
    config_drive: bool
    metadata: Mapping[str, str]
    fault: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    asked: float = field(default=0.0, repr=False, compare=False)  # epoch seconds, harness: before the request

    @property
    def spawning(self) -> bool:
        """Whether Nova has networks and disks for it and starts it, or has (nova/compute/manager.py, task_states)."""
        return self.status == "ACTIVE" or self.raw.get("task_state") == "spawning"

    def address(self, network_name: str) -> str:
        """The first address on that network; "" when there is none."""
        return next(iter(self.addresses.get(network_name, ())), "")


@dataclass(frozen=True)
class Step:
    """One event of an instance action, by Nova's clock (seconds since the epoch); finish is 0.0 while it runs.

    ``requested`` is the action's own start: the moment of the API request (nova/objects/instance_action.py).
    """

    action: str
    event: str
    start: float
    finish: float
    result: str
    traceback: str
    requested: float = 0.0


def flavors(cloud: Cloud) -> list[Flavor]:
    """Every flavor, the smallest memory first."""
    with asking(STEP, "list flavors"):
        found = [
            Flavor(str(f.id), str(f.name), int(f.ram), int(f.disk), int(f.ephemeral or 0), int(f.vcpus))
            for f in cloud.admin.compute.flavors(is_public=None)
        ]
    return sorted(found, key=lambda f: (f.ram, f.disk + f.ephemeral, f.vcpus))


def create_keypair(cloud: Cloud, ledger: Ledger, name: str, public: str) -> None:
    """Register an SSH public key under ``name``."""
    entry = ledger.intend("keypair", name)

    def make() -> str:
        with asking(STEP, "create a keypair"):
            return str(cloud.admin.compute.create_keypair(name=name, public_key=public).name)

    def find() -> str | None:
        with asking(STEP, "list keypairs"):
            return next((str(one.name) for one in cloud.admin.compute.keypairs() if one.name == name), None)

    ledger.made(entry, once(cloud.tally, "nova", make, find))


def delete_keypair(cloud: Cloud, name: str) -> None:
    """Delete; Missing when it is gone already."""
    with asking(STEP, "delete the keypair"):
        cloud.admin.compute.delete_keypair(name, ignore_missing=False)


def boot(
    cloud: Cloud,
    ledger: Ledger,
    *,
    name: str,
    run: str,
    image: str,
    flavor: str,
    networks: Sequence[str],
    group: str,
    keypair: str,
    user_data: str,
) -> tuple[Server, float, float]:
    """Ask for a server with a config drive; returns it with the request's begin and end (epoch seconds, harness).

    ``networks`` are ids in the order of the guest's interfaces, ``group`` the name of a security group.
    """
    coded = base64.b64encode(user_data.encode()).decode()
    if len(coded) > USER_DATA_LIMIT:
        raise StepFailed(
            STEP,
            f"the user-data has {len(coded)} bytes of base64, Nova takes {USER_DATA_LIMIT}",
            remedy="shorten trove-guestagent.conf: about 36 kB of injected text is the ceiling",
        )
    entry = ledger.intend("server", name)
    began = time.time()

    def make() -> str:
        nonlocal began
        began = time.time()
        with asking(STEP, "create the server"):
            made = cloud.admin.compute.create_server(
                name=name,
                image_id=image,
                flavor_id=flavor,
                networks=[{"uuid": one} for one in networks],
                security_groups=[{"name": group}],
                key_name=keypair,
                user_data=coded,
                config_drive=True,
                metadata={TAG: run} | ledger.marks(),
            )
        return str(made.id)

    def there() -> str | None:
        # By its mark too: Trove gives its server the instance's name, which may be the same.
        return next((one.id for one in find(cloud, name) if one.metadata.get(TAG) == run), None)

    id = once(cloud.tally, "nova", make, there)
    accepted = time.time()
    ledger.made(entry, id)
    return show(cloud, id), began, accepted


def show(cloud: Cloud, server_id: str) -> Server:
    """The server now; Missing when there is none."""
    asked = time.time()
    with asking(STEP, "show the server"):
        return _server(cloud.admin.compute.get_server(server_id), asked)


def user_data(cloud: Cloud, server_id: str) -> str:
    """What the server was given as user-data, decoded; "" where Nova does not show it (administrators, from 2.3 on)."""
    with asking(STEP, "show the server's user-data"):
        coded = str(cloud.admin.compute.get_server(server_id).user_data or "")
    try:
        return base64.b64decode(coded, validate=True).decode()
    except ValueError:
        return ""


def find(cloud: Cloud, name: str) -> list[Server]:
    """Servers of all projects with exactly that name."""
    with asking(STEP, "list servers"):
        found = cloud.admin.compute.servers(all_projects=True, name=f"^{name}$")
        return [_server(server) for server in found if server.name == name]


def decided(cloud: Cloud, prefix: str) -> set[str]:
    """Ids of the own project's servers whose names begin with ``prefix`` and that are ACTIVE or in ERROR.

    Without details: with them Nova asks Neutron for each server's security groups, and one list a second of fifty
    servers keeps an API process busy that was to make them (nova/api/openstack/compute/views/servers.py).
    """
    with asking(STEP, "list servers"):
        found = cloud.admin.compute.servers(details=False, name=f"^{prefix}", status=["ACTIVE", "ERROR"])
        return {str(one.id) for one in found}


def wait_active(
    cloud: Cloud,
    server_id: str,
    *,
    deadline: float,
    since: float | None = None,
    each: Callable[[Server], None] | None = None,
    guard: waits.Guard | None = None,
) -> waits.Seen[Server]:
    """Wait for ACTIVE; a Nova fault ends the wait at once (StepFailed with the fault). ``each`` sees every answer."""

    def active() -> waits.Ready[Server] | waits.NotYet:
        server = show(cloud, server_id)
        if each:
            each(server)
        raise_fault(server)
        if server.status == "ACTIVE":
            return waits.Ready(server)
        task = server.raw.get("task_state") or "no task"
        return waits.NotYet(f"{server.status} ({task})")

    return waits.until(
        active,
        reason="Nova to call the server ACTIVE",
        deadline=deadline,
        interval=0.5,
        transient=(Hiccup,),
        step=STEP,
        since=since,
        guard=guard,
    )


def raise_fault(server: Server) -> None:
    """StepFailed with Nova's own words when the server is in ERROR."""
    if server.status == "ERROR":
        raise StepFailed(
            STEP,
            f"Nova gave up on the server: {server.fault or 'no fault was recorded'}",
            seen=f"server {server.id} status ERROR",
            remedy=remedy(server.fault) or "see nova-actions.json in the evidence",
        )


def console(cloud: Cloud, server_id: str) -> str:
    """The whole serial console as text; "" where the driver keeps none."""
    with asking(STEP, "read the console"):
        answer = cloud.admin.compute.get_server_console_output(server_id)
    return str(answer.get("output") or "")


def actions(cloud: Cloud, server_id: str) -> list[Step]:
    """Every event of every instance action, the oldest first (os-instance-actions; events need 2.51 for owners)."""
    steps = []
    with asking(STEP, "list instance actions"):
        for action in cloud.admin.compute.server_actions(server_id):
            if not action.request_id:
                continue
            full = cloud.admin.compute.get_server_action(action.request_id, server_id)
            for event in getattr(full, "events", None) or ():
                get = event.get if isinstance(event, dict) else lambda key, event=event: getattr(event, key, None)
                steps.append(
                    Step(
                        str(action.action or ""),
                        str(get("event") or ""),
                        epoch(get("start_time")),
                        epoch(get("finish_time")),
                        str(get("result") or ""),
                        str(get("traceback") or ""),
                        epoch(getattr(action, "start_time", None)),
                    )
                )
    return sorted(steps, key=lambda step: step.start)


def room(cloud: Cloud) -> int | None:
    """How many more servers the own project's quota has room for; None where it has no limit."""
    with asking(STEP, "show the project's limits"):
        limits = cloud.admin.compute.get_limits().absolute
    most = int(limits.instances if limits.instances is not None else -1)
    return None if most < 0 else max(0, most - int(limits.instances_used or 0))


def stop(cloud: Cloud, server_id: str, *, deadline: float) -> None:
    """Shut the server down and wait for it. Nova asks the guest first, for 60 s by default (nova.conf,
    shutdown_timeout), and then takes its power away."""
    with asking(STEP, "stop the server"):
        cloud.admin.compute.stop_server(server_id)

    def down() -> waits.Ready[None] | waits.NotYet:
        server = show(cloud, server_id)
        task = server.raw.get("task_state")
        if server.status == "SHUTOFF" and not task:
            return waits.Ready(None)
        return waits.NotYet(f"{server.status} ({task or 'no task'})")

    waits.until(down, reason="the server to stop", deadline=deadline, interval=1, transient=(Hiccup,), step=STEP)


def snapshot(cloud: Cloud, ledger: Ledger, server_id: str, *, name: str, run: str) -> Entry:
    """Ask for an image of the server's root disk; the ledger's entry has its id. It is not active yet."""
    entry = ledger.intend("image", name)

    def make() -> str:
        with asking(STEP, "take a snapshot of the server"):
            # Not create_server_image: that looks the image up in every list before it gives its id.
            server = cloud.admin.compute.get_server(server_id)
            carried = {TAG: run, f"{TAG}_run": run} | ledger.marks()
            return str(server.create_image(cloud.admin.compute, name, carried))

    def there() -> str | None:
        with asking(STEP, "list images"):
            return next((str(one.id) for one in cloud.admin.image.images(name=name)), None)

    return ledger.made(entry, once(cloud.tally, "nova", make, there))


def mark(cloud: Cloud, server_id: str, key: str, value: str) -> None:
    """Set one key of the server's metadata."""
    with asking(STEP, "set the server's metadata"):
        cloud.admin.compute.set_server_metadata(server_id, **{key: value})


def reboot(cloud: Cloud, server_id: str) -> None:
    """Ask for a soft reboot."""
    with asking(STEP, "reboot the server"):
        cloud.admin.compute.reboot_server(server_id, "SOFT")


def delete(cloud: Cloud, server_id: str, *, deadline: float = DELETE_DEADLINE) -> None:
    """Delete and wait until Nova and Neutron no longer know it; Missing when it was gone before."""
    with asking(STEP, "delete the server"):
        cloud.admin.compute.delete_server(server_id, ignore_missing=False)

    def gone() -> waits.Ready[None] | waits.NotYet:
        try:
            server = show(cloud, server_id)
        except Missing:
            left = network.ports(cloud, device_id=server_id)
            return waits.NotYet(f"{len(left)} ports") if left else waits.Ready(None)
        return waits.NotYet(f"{server.status} ({server.raw.get('task_state') or 'no task'})")

    waits.until(gone, reason="Nova to remove the server", deadline=deadline, interval=1, transient=(Hiccup,), step=STEP)


def _server(raw: Any, asked: float = 0.0) -> Server:
    table: dict[str, Any] = raw.to_dict()
    # The user-data holds trove-guestagent.conf in base64 within base64, where no redaction finds its password.
    for secret in ("user_data", "admin_password"):
        table.pop(secret, None)
    addresses = {name: tuple(str(one["addr"]) for one in many) for name, many in (table.get("addresses") or {}).items()}
    fault = table.get("fault") or {}
    return Server(
        id=str(table["id"]),
        name=str(table["name"]),
        project=str(table.get("project_id") or ""),
        status=str(table.get("status") or ""),
        addresses=addresses,
        # Nova answers "True", true or "" (config_drive is a string in its database).
        config_drive=str(table.get("has_config_drive") or "").lower() in ("true", "1"),
        metadata=dict(table.get("metadata") or {}),
        fault=str(fault.get("message") or ""),
        raw=table,
        asked=asked,
    )


def epoch(text: object) -> float:
    """An ISO time of an OpenStack API (UTC) as seconds since the epoch; 0.0 for nothing."""
    if not text:
        return 0.0
    moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
