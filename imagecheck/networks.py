"""The management and the tenant network around a guest, seen from every side that there is. Judges nothing."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from imagecheck import sandbox
from imagecheck.bare import Ground
from imagecheck.cloud import trove
from imagecheck.cloud.connection import asking
from imagecheck.errors import ImagecheckError
from imagecheck.guest import network as of_guest
from imagecheck.guest.network import GuestNetwork
from imagecheck.guest.ssh import Guest
from imagecheck.outcomes import Launch, Serving
from imagecheck.sandbox import vantage
from imagecheck.sandbox.vantage import Try

STEP = "networks"
CONNECT = 5.0  # seconds; over a network that drops what it does not let in, this is what a refusal costs


@dataclass(frozen=True)
class Reach:
    """Who reaches what, of a running instance.

    ``ping`` is what Trove's RPC to the agent said ("" is well), ``consumers`` what the broker counts. ``tenant_sees``
    are the addresses that the tenant finds in Nova and Neutron, ``tenant_networks`` the networks' ids. ``tries`` are
    connections from a place on the tenant network alone; ``no_vantage`` says why there are none.
    """

    ping: str
    consumers: int
    management: str
    management_network: str
    tenant_sees: tuple[str, ...]
    tenant_networks: tuple[str, ...]
    by_management: Try
    no_way: str
    tries: dict[str, Try]
    no_vantage: str


def inside(ground: Ground, guest: Guest) -> GuestNetwork:
    """Ask ``guest`` about its networks; the MTUs that its ports should have come from Neutron, by address."""
    wanted = {}
    for one in (ground.where.management, ground.where.tenant):
        with asking(STEP, "show a network"):
            mtu = int(ground.cloud.admin.network.get_network(one.id).mtu or 0)
        wanted.update(dict.fromkeys(one.cidrs, mtu))
    return of_guest.look(guest, ground.definition.agent.unit, wanted)


def reach(ground: Ground, launch: Launch, serving: Serving) -> Reach:
    """Look at a healthy instance from Trove, the broker, the tenant, the management side and the tenant network."""
    ping = ""
    try:
        trove.ping(ground.cloud, launch.id)
    except ImagecheckError as error:
        ping = str(error)
    queue = ground.broker.queue(launch.id) if ground.brokers else None
    port = serving.database.port
    tries: dict[str, Try] = {}
    no_vantage = "this cloud gives no place that is on the tenant network alone"
    site = ground.cloud.site
    live = sandbox.running(site.clouds_file.parent.name) if site.sandbox and site.clouds_file else None
    if live:
        no_vantage = ""
        targets = {
            "database": (launch.tenant, port),
            "agent's ssh": (launch.management, 22),
            "database by management": (launch.management, port),
            **{f"broker {one.shown}": (one.host, one.port) for one in ground.brokers},
        }
        with vantage.on_tenant(live) as place:
            tries = place.dial(targets)
    return Reach(
        ping=ping,
        consumers=queue.consumers if queue else 0,
        management=launch.management,
        management_network=ground.where.management.id,
        tenant_sees=_tenant_sees(ground),
        tenant_networks=_tenant_networks(ground),
        by_management=Try(False, "") if site.jump else dial(launch.management, port),
        no_way=f"guests are reached by way of {site.jump}" if site.jump else "",
        tries=tries,
        no_vantage=no_vantage,
    )


def dial(host: str, port: int) -> Try:
    """A TCP connection from here, where the management network is reached."""
    try:
        socket.create_connection((host, port), timeout=CONNECT).close()
    except OSError as error:
        return Try(False, str(error))
    return Try(True, "")


def _tenant_sees(ground: Ground) -> tuple[str, ...]:
    found: set[str] = set()
    with asking(STEP, "list servers and ports as the tenant"):
        for server in ground.cloud.tenant.compute.servers():
            found |= {str(one["addr"]) for many in (server.addresses or {}).values() for one in many}
        for port in ground.cloud.tenant.network.ports():
            found |= {str(one["ip_address"]) for one in port.fixed_ips or ()}
    return tuple(sorted(found))


def _tenant_networks(ground: Ground) -> tuple[str, ...]:
    with asking(STEP, "list networks as the tenant"):
        return tuple(str(one.id) for one in ground.cloud.tenant.network.networks())
