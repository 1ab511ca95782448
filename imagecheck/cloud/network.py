"""Neutron: the two networks of a site, ports as an administrator sees them, a security group for our own boots."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from imagecheck.cloud.connection import Cloud, asking
from imagecheck.cloud.ledger import Ledger
from imagecheck.cloud.marks import TAG, UNTIL
from imagecheck.cloud.retry import once

STEP = "network"


@dataclass(frozen=True)
class Network:
    """A network and the address ranges of its subnets."""

    id: str
    name: str
    cidrs: tuple[str, ...]

    def holds(self, address: str) -> bool:
        """True when ``address`` lies in one of the subnets."""
        ip = ipaddress.ip_address(address)
        return any(ip in ipaddress.ip_network(cidr) for cidr in self.cidrs)


def find(cloud: Cloud, name_or_id: str) -> Network | None:
    """The network as an administrator sees it; None when there is none."""
    with asking(STEP, f"find the network {name_or_id!r}"):
        found = cloud.admin.network.find_network(name_or_id, ignore_missing=True)
        if found is None:
            return None
        subnets = cloud.admin.network.subnets(network_id=found.id)
        return Network(str(found.id), str(found.name), tuple(str(subnet.cidr) for subnet in subnets))


def names(cloud: Cloud) -> list[str]:
    """Names of all networks that an administrator sees."""
    with asking(STEP, "list networks"):
        return sorted(str(network.name) for network in cloud.admin.network.networks())


def ports(cloud: Cloud, **query: str) -> list[Mapping[str, Any]]:
    """Ports of all projects that match (name=..., device_id=...)."""
    with asking(STEP, "list ports"):
        return [port.to_dict() for port in cloud.admin.network.ports(**query)]


def surroundings(cloud: Cloud, ports_: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The networks of these ports with their subnets, and their security groups with the rules in them."""
    networks = sorted({str(port["network_id"]) for port in ports_})
    groups_ = sorted({str(group) for port in ports_ for group in port.get("security_group_ids") or ()})
    with asking(STEP, "show networks and security groups"):
        return {
            "networks": [cloud.admin.network.get_network(id).to_dict() for id in networks],
            "subnets": [one.to_dict() for id in networks for one in cloud.admin.network.subnets(network_id=id)],
            "security_groups": [cloud.admin.network.get_security_group(id).to_dict() for id in groups_],
        }


def ssh_group(cloud: Cloud, ledger: Ledger, name: str, run: str) -> str:
    """A security group that lets SSH and ping in; returns its id."""
    entry = ledger.intend("security_group", name)

    def make() -> str:
        with asking(STEP, "create a security group"):
            group = cloud.admin.network.create_security_group(
                name=name, description=f"{TAG} {run}: removed after the run"
            )
        return str(group.id)

    id = once(cloud.tally, "neutron", make, lambda: next(iter(groups(cloud, name)), None))
    ledger.made(entry, id)
    for protocol, port in (("tcp", 22), ("icmp", None)):
        once(
            cloud.tally, "neutron", partial(_let_in, cloud, id, protocol, port), partial(_lets_in, cloud, id, protocol)
        )
    with contextlib.suppress(Exception):  # tags need Neutron's tag extension; the description says it too
        until = f"{UNTIL}={ledger.marks()[UNTIL]}"
        cloud.admin.network.set_tags(cloud.admin.network.get_security_group(id), [TAG, run, until])
    return id


def _let_in(cloud: Cloud, group: str, protocol: str, port: int | None) -> str:
    with asking(STEP, "create a security group rule"):
        made = cloud.admin.network.create_security_group_rule(
            security_group_id=group,
            direction="ingress",
            ether_type="IPv4",
            protocol=protocol,
            port_range_min=port,
            port_range_max=port,
        )
    return str(made.id)


def _lets_in(cloud: Cloud, group: str, protocol: str) -> str | None:
    with asking(STEP, "list security group rules"):
        rules = cloud.admin.network.security_group_rules(security_group_id=group, direction="ingress")
        return next((str(rule.id) for rule in rules if rule.protocol == protocol), None)


def groups(cloud: Cloud, name: str) -> list[str]:
    """Ids of the security groups of that name, in all projects."""
    with asking(STEP, "list security groups"):
        return [str(group.id) for group in cloud.admin.network.security_groups(name=name)]


def delete_group(cloud: Cloud, group_id: str) -> None:
    """Delete; Missing when it is gone already."""
    with asking(STEP, "delete the security group"):
        cloud.admin.network.delete_security_group(group_id, ignore_missing=False)


def delete_port(cloud: Cloud, port_id: str) -> None:
    """Delete; Missing when it is gone already."""
    with asking(STEP, "delete the port"):
        cloud.admin.network.delete_port(port_id, ignore_missing=False)
