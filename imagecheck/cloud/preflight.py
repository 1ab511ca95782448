"""What can be known before anything is made: networks, flavor, keys. One sentence for everything that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from imagecheck.cloud import network, nova
from imagecheck.cloud.connection import Cloud
from imagecheck.errors import UsageError


class Needs(Protocol):
    """What an image asks of a flavor (definition.Needs): MiB, GiB, GiB, count."""

    @property
    def ram_mib(self) -> int: ...
    @property
    def disk_gib(self) -> int: ...
    @property
    def ephemeral_gib(self) -> int: ...
    @property
    def vcpus(self) -> int: ...


@dataclass(frozen=True)
class Surroundings:
    """Where servers will be made."""

    management: network.Network
    tenant: network.Network
    flavor: nova.Flavor


def preflight(cloud: Cloud, needs: Needs, *, virtual_size: int = 0) -> Surroundings:
    """Find both networks and a flavor (``virtual_size``: the image's, in bytes). Makes nothing.

    Raises UsageError, one sentence that names the site's key and the remedy.
    """
    site = cloud.site
    return Surroundings(
        management=_network(cloud, "management_network", site.management_network),
        tenant=_network(cloud, "tenant_network", site.tenant_network),
        flavor=choose(nova.flavors(cloud), needs, named=site.flavor, virtual_size=virtual_size),
    )


def _network(cloud: Cloud, key: str, name: str) -> network.Network:
    found = network.find(cloud, name)
    if found is None:
        there = ", ".join(network.names(cloud)) or "none"
        raise UsageError(
            f"the cloud {cloud.site.cloud!r} has no network {name!r} (it has: {there}): "
            f"name one as {key!r} in the site file"
        )
    if not found.cidrs:
        raise UsageError(f"the network {name!r} has no subnet: add one, or name another as {key!r} in the site file")
    return found


def choose(flavors: Sequence[nova.Flavor], needs: Needs, *, named: str = "", virtual_size: int = 0) -> nova.Flavor:
    """The flavor called ``named``, or the smallest that satisfies ``needs``. Raises UsageError."""
    disk = max(needs.disk_gib, -(-virtual_size // 2**30))

    def lacks(flavor: nova.Flavor) -> list[str]:
        pairs = (
            ("MiB of memory", flavor.ram, needs.ram_mib),
            ("GiB of disk", flavor.disk, disk),
            # The agent formats its own disk: the flavor's ephemeral one where Trove has no volumes (trove.md §7).
            ("GiB of ephemeral disk", flavor.ephemeral, needs.ephemeral_gib),
            ("CPUs", flavor.vcpus, needs.vcpus),
        )
        # disk 0 means "as large as the image" (Nova flavors).
        return [
            f"{has} of {wants} {unit}"
            for unit, has, wants in pairs
            if has < wants and not (unit == "GiB of disk" and has == 0)
        ]

    names = ", ".join(flavor.name for flavor in flavors) or "none"
    if named:
        for flavor in flavors:
            if named in (flavor.name, flavor.id):
                if missing := lacks(flavor):
                    raise UsageError(
                        f"the flavor {named!r} is too small for this image (it has {', '.join(missing)}): "
                        "name a larger one as 'flavor' in the site file"
                    )
                return flavor
        raise UsageError(f"there is no flavor {named!r} (there are: {names}): name one as 'flavor' in the site file")
    for flavor in flavors:
        if not lacks(flavor):
            return flavor
    raise UsageError(
        f"no flavor has {needs.ram_mib} MiB of memory, {disk} GiB of disk, {needs.ephemeral_gib} GiB of ephemeral disk "
        f"and {needs.vcpus} CPUs (there are: {names}): create one, or choose a smaller image"
    )
