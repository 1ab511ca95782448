"""Trove through python-troveclient: datastore versions, instances, and the operations on their database.

Status is not health: ACTIVE only says that Nova is active and no task runs, so every wait here looks at
``operating_status`` too (Trove 23, trove/instance/models.py, SimpleInstance.status and .operating_status).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagecheck import waits
from imagecheck.cloud import network, nova, volume
from imagecheck.cloud.connection import Cloud, Hiccup, Missing, asking
from imagecheck.cloud.datastore import Version
from imagecheck.cloud.ledger import Ledger
from imagecheck.cloud.marks import TAG
from imagecheck.cloud.quota import remedy
from imagecheck.cloud.retry import once, patience
from imagecheck.errors import StepFailed

STEP = "Trove instance"
DELETE_DEADLINE = 300  # seconds; Trove stops the database first (server_delete_time_out is 60 s by default)


@dataclass(frozen=True)
class Shown:
    """An instance as an administrator's mgmt view and its owner see it at one moment."""

    id: str
    status: str
    operating_status: str
    server_id: str
    fault: str
    addresses: tuple[str, ...]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    asked: float = field(default=0.0, repr=False, compare=False)  # epoch seconds, harness: before the request

    @property
    def healthy(self) -> bool:
        """ACTIVE and HEALTHY: only both together mean that the database serves."""
        return (self.status, self.operating_status) == ("ACTIVE", "HEALTHY")

    @property
    def heartbeat(self) -> str:
        """When Trove last took a heartbeat of the agent (moves with each; 1 s resolution)."""
        return str(self.raw.get("service_status_updated") or "")

    @property
    def told(self) -> str:
        """What the agent has said last, in the mgmt view alone; "new": nothing yet (service_status.py)."""
        return str((self.raw.get("guest_status") or {}).get("state_description", ""))

    @property
    def summary(self) -> str:
        """Both states in a few words; while building, also what the agent has said ("new": nothing yet)."""
        told = self.told if self.status == "BUILD" else ""
        return f"{self.status}/{self.operating_status or '-'}" + (f", agent: {told}" if told else "")


# ---- datastore versions (admin)


# ---- instances


def create(
    cloud: Cloud,
    ledger: Ledger,
    *,
    name: str,
    version: Version,
    flavor: str,
    tenant_network: str,
    volume_gib: int,
    database: str,
    user: str,
    password: str,
) -> tuple[str, float, float]:
    """Ask, as the ordinary project, for an instance with one database and one user.

    Returns its id and the begin and end of the request (epoch seconds, harness). ``volume_gib`` 0 = no volume.
    """
    entry = ledger.intend("instance", name)
    began = time.time()

    def make() -> str:
        nonlocal began
        began = time.time()
        with asking(STEP, "create the instance"):
            made = cloud.trove_tenant.instances.create(
                name,
                flavor_id=flavor,
                volume={"size": volume_gib} if volume_gib else None,
                databases=[{"name": database}],
                users=[{"name": user, "password": password, "databases": [{"name": database}]}],
                datastore=version.datastore,
                datastore_version=version.name,
                datastore_version_number=version.number,
                nics=[{"net-id": tenant_network}],
            )
        return str(made.id)

    id = once(cloud.tally, "trove", make, lambda: next(iter(find(cloud, name)), None))
    accepted = time.time()
    entry = ledger.made(entry, id)
    # What Trove is now about to make; removed with the instance. Its server is found by the instance's name.
    ledger.intend("port", f"trove-{id}", of=entry)
    ledger.intend("security_group", f"trove_sg-{id}", of=entry)
    if volume_gib:
        ledger.intend("volume", f"trove-{id}", of=entry)
    return id, began, accepted


def show(cloud: Cloud, instance_id: str) -> Shown:
    """The instance by the mgmt view (it alone tells the server); Missing when there is none."""
    asked = time.time()
    with asking(STEP, "show the instance"):
        return _shown(cloud.trove_admin.mgmt_instances.show(instance_id), asked)


def show_as_tenant(cloud: Cloud, instance_id: str) -> Shown:
    """The instance as its owner sees it."""
    with asking(STEP, "show the instance to its owner"):
        return _shown(cloud.trove_tenant.instances.get(instance_id))


def find(cloud: Cloud, name: str) -> list[str]:
    """Ids of all instances of that name, in all projects."""
    with asking(STEP, "list instances"):
        return [str(one.id) for one in cloud.trove_admin.mgmt_instances.list() if one.name == name]


def wait_healthy(
    cloud: Cloud,
    instance_id: str,
    *,
    deadline: float,
    reason: str = "Trove to call the instance ACTIVE and HEALTHY",
    since: float | None = None,
    each: Callable[[Shown], None] | None = None,
    guard: waits.Guard | None = None,
) -> waits.Seen[Shown]:
    """Wait for ACTIVE and HEALTHY; ERROR and a Nova fault end the wait at once. ``each`` sees every answer."""

    def healthy() -> waits.Ready[Shown] | waits.NotYet:
        shown = show(cloud, instance_id)
        if each:
            each(shown)
        raise_fault(cloud, shown)
        return waits.Ready(shown) if shown.healthy else waits.NotYet(shown.summary)

    return waits.until(
        healthy, reason=reason, deadline=deadline, interval=1, transient=(Hiccup,), step=STEP, since=since, guard=guard
    )


def wait_down(
    cloud: Cloud,
    instance_id: str,
    *,
    deadline: float,
    each: Callable[[Shown], None] | None = None,
    guard: waits.Guard | None = None,
) -> waits.Seen[Shown]:
    """Wait until the API shows SHUTDOWN: it comes with the agent's periodic heartbeat, not with the stop."""

    def down() -> waits.Ready[Shown] | waits.NotYet:
        shown = show(cloud, instance_id)
        if each:
            each(shown)
        return waits.Ready(shown) if shown.operating_status == "SHUTDOWN" else waits.NotYet(shown.summary)

    return waits.until(
        down,
        reason="Trove to show operating_status SHUTDOWN",
        deadline=deadline,
        interval=1,
        transient=(Hiccup,),
        step=STEP,
        guard=guard,
    )


def raise_fault(cloud: Cloud, shown: Shown) -> None:
    """StepFailed with Trove's fault, and Nova's when there is one."""
    if shown.status not in ("ERROR", "FAILED") and shown.operating_status not in ("FAILED", "ERROR"):
        return
    seen = f"instance {shown.id} {shown.summary}"
    with contextlib.suppress(Missing, Hiccup, StepFailed):
        server = nova.show(cloud, shown.server_id) if shown.server_id else None
        if server and server.fault:
            seen += f"; Nova: {server.fault}"
    raise StepFailed(
        STEP,
        f"Trove gave up on the instance: {shown.fault or 'no fault was recorded'}",
        seen=seen,
        remedy=remedy(f"{shown.fault} {seen}") or "see the guest's agent log and journal in the evidence",
    )


def stop(cloud: Cloud, instance_id: str) -> str:
    """Stop the database (a mgmt call; there is no other). Returns what the API answered.

    The API waits for the guest and may give up although the stop succeeds (agent_call_low_timeout, 15 s by
    default, against docker's stop; trove/guestagent/api.py), so an answer of 5xx is told, not raised.
    """
    try:
        with asking(STEP, "stop the database"):
            cloud.trove_admin.mgmt_instances.stop(instance_id)
    except Hiccup as late:
        return str(late)
    return "accepted"


def restart(cloud: Cloud, instance_id: str) -> None:
    """Restart the database; also the only way to start a stopped one (trove/instance/models.py, restart)."""
    with asking(STEP, "restart the database"):
        cloud.trove_tenant.instances.restart(instance_id)


def reboot(cloud: Cloud, instance_id: str) -> None:
    """Reboot the instance's server through Trove (mgmt): stop, Nova soft reboot, restart."""
    with asking(STEP, "reboot the instance"):
        cloud.trove_admin.mgmt_instances.reboot(instance_id)


def ping(cloud: Cloud, instance_id: str) -> None:
    """An RPC to the guest agent and back (GET mgmt/instances/ID/rpc_ping, no client binding). Raises Hiccup."""
    with patience(0), asking(STEP, "ping the guest agent"):  # 5xx says that the agent is silent
        cloud.trove_admin.client.get(f"/mgmt/instances/{instance_id}/rpc_ping")


def ask_delete(cloud: Cloud, instance_id: str) -> None:
    """The owner's DELETE, without waiting."""
    with asking(STEP, "delete the instance"):
        cloud.trove_tenant.instances.delete(instance_id)


def delete(cloud: Cloud, instance_id: str, *, name: str = "", deadline: float = DELETE_DEADLINE) -> None:
    """Delete an instance in whatever state it is and wait until nothing of it is left.

    An instance in BUILD cannot be deleted: its status is reset first (admin), again and again until Trove takes
    the deletion. What Trove's own launch makes after that is removed here (see `leftovers`).
    """
    building = False

    def taken() -> waits.Ready[None] | waits.NotYet:
        nonlocal building
        try:
            shown = show(cloud, instance_id)
            if shown.status == "SHUTDOWN" and not shown.operating_status and not shown.raw.get("service_status"):
                return waits.Ready(None)
            if shown.status == "BUILD":
                building = True
                # Deleting before the server exists would leave a server behind that Trove no longer knows.
                if not shown.server_id and _younger(shown, seconds=60):
                    return waits.NotYet("BUILD, no server yet")
                reset(cloud, instance_id)
            with asking(STEP, "delete the instance"):
                cloud.trove_admin.instances.delete(instance_id)
        except Missing:
            return waits.Ready(None)
        except StepFailed as refused:
            return waits.NotYet(refused.sentence)
        return waits.Ready(None)

    waits.until(
        taken, reason="Trove to take the deletion", deadline=deadline, interval=2, transient=(Hiccup,), step=STEP
    )

    def gone() -> waits.Ready[None] | waits.NotYet:
        try:
            return waits.NotYet(show(cloud, instance_id).summary)
        except Missing:
            left = leftovers(cloud, instance_id, name)
            return waits.NotYet(", ".join(left)) if left else waits.Ready(None)

    try:
        waits.until(
            gone,
            reason="Trove to remove the instance",
            deadline=deadline if not building else 60,
            interval=1,
            transient=(Hiccup,),
            step=STEP,
        )
    except waits.TimedOut:
        sweep(cloud, instance_id, name)
        if left := leftovers(cloud, instance_id, name):
            raise StepFailed(
                STEP,
                f"of the deleted instance {instance_id} there is left: {', '.join(left)}",
                remedy="run 'imagecheck gc' later, or delete them as an administrator",
            ) from None


def reset(cloud: Cloud, instance_id: str) -> None:
    """Set task and service status back (admin), so that Trove lets go of an instance."""
    with asking(STEP, "reset the instance's status"):
        cloud.trove_admin.instances.reset_status(instance_id)


def leftovers(cloud: Cloud, instance_id: str, name: str = "") -> list[str]:
    """What still exists for a deleted instance: server, ports, security groups and volumes, each in a few words."""
    return [f"{kind} {id}" for kind, id in _belongings(cloud, instance_id, name)]


def sweep(cloud: Cloud, instance_id: str, name: str = "") -> None:
    """Remove what a deleted instance left behind; errors are for `leftovers` to show."""
    removers: Mapping[str, Callable[[Cloud, str], None]] = {
        "server": nova.delete,
        "port": network.delete_port,
        "security group": network.delete_group,
        "volume": volume.delete,
    }
    for kind, id in _belongings(cloud, instance_id, name):
        with contextlib.suppress(Missing, Hiccup, StepFailed):
            removers[kind](cloud, id)


def _belongings(cloud: Cloud, instance_id: str, name: str) -> Sequence[tuple[str, str]]:
    """Server first: its ports go with it. Names as in trove/taskmanager/models.py (_create_port, _create_secgroup,
    _create_volume). It makes no server group without a `locality` and no DNS record by default (trove_dns_support)."""
    servers = [
        ("server", server.id)
        for server in (nova.find(cloud, name) if name else ())
        # A bare boot of the same run has the same name, and is nothing of Trove's.
        if TAG not in server.metadata and server.metadata.get("trove_instance_id", instance_id) == instance_id
    ]
    ports = [("port", str(port["id"])) for port in network.ports(cloud, name=f"trove-{instance_id}")]
    groups = [("security group", id) for id in network.groups(cloud, f"trove_sg-{instance_id}")]
    volumes = [("volume", id) for id in volume.find(cloud, f"trove-{instance_id}")]
    return [*servers, *ports, *groups, *volumes]


def _younger(shown: Shown, seconds: float) -> bool:
    created = nova.epoch(shown.raw.get("created"))
    return bool(created) and time.time() - created < seconds


def _shown(raw: Any, asked: float = 0.0) -> Shown:
    table: dict[str, Any] = raw.to_dict()
    server = table.get("server") or {}
    fault = table.get("fault") or {}
    return Shown(
        id=str(table["id"]),
        status=str(table.get("status") or ""),
        operating_status=str(table.get("operating_status") or ""),
        server_id=str(table.get("server_id") or server.get("id") or ""),
        fault=str(fault.get("message") or ""),
        addresses=tuple(str(one["address"]) for one in table.get("addresses") or ()),
        raw=table,
        asked=asked,
    )
