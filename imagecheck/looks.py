"""Steps of the road that look at more than its own: the networks around a guest, and the injection matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagecheck import inside, matrix, networks
from imagecheck.guest.network import GuestNetwork

if TYPE_CHECKING:
    from imagecheck.run import Road


def contents(road: Road) -> matrix.Contents:
    """The injection matrix's rows, in the guest of the bare boot, which is not what it was afterwards."""

    def begin() -> matrix.Contents:
        server, guest = road.server(), road.guest()
        return matrix.Contents(road.cloud(), server, guest, road.agent(), road.config_drive(), road.cells)

    return road.step("injection contents", begin)


def carriers(road: Road) -> matrix.Columns:
    """The injection matrix's columns: three boots of their own."""

    def walk() -> matrix.Columns:
        image, ground = road.image(), road.cloud()
        listed = inside.datasources(road.disk().tree)
        return matrix.Carriers(
            ground, image=image.id, public_key=road.public_key, datasources=listed, cells=road.cells
        ).walk()

    return road.step("injection carriers", walk)


def network(road: Road) -> GuestNetwork:
    """The bare boot's networks, from inside its guest."""

    def look() -> GuestNetwork:
        guest = road.guest()
        road.agent()
        return networks.inside(road.cloud(), guest)

    return road.step("guest network", look)


def instance_network(road: Road) -> GuestNetwork:
    """The same inside the guest of a Trove instance."""
    return road.step("instance network", lambda: networks.inside(road.cloud(), road.launch().guest))


def reach(road: Road) -> networks.Reach:
    """The running instance from its tenant's side, from the management side, and through its broker."""

    def look() -> networks.Reach:
        launch = road.launch()
        return networks.reach(road.cloud(), launch, road.serving())

    return road.step("reach of the networks", look)
