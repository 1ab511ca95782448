"""What a cloud lists that could be imagecheck's, for garbage.py to judge. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from imagecheck.cloud import glance, nova, volume
from imagecheck.cloud.connection import Cloud, asking
from imagecheck.cloud.garbage import BELONGING, GROUP, Found
from imagecheck.cloud.marks import TAG
from imagecheck.errors import ImagecheckError

STEP = "cloud"


def look(cloud: Cloud) -> tuple[list[Found], list[str]]:
    """All that could be ours, and a sentence for each kind that cannot be listed with these rights."""
    found: list[Found] = []
    unseen = []
    for kind, listed in LISTS.items():
        try:
            with asking(STEP, f"list what is a {kind.replace('_', ' ')}"):
                found += [one for one in listed(cloud) if one.name.startswith((TAG, BELONGING, GROUP))]
        except ImagecheckError as error:
            unseen.append(f"{kind.replace('_', ' ')}s are not looked through: {str(error).splitlines()[0]}")
    return found, unseen


def _when(text: object) -> float:
    try:
        return nova.epoch(text)
    except ValueError:  # an API that writes its times otherwise: the run's own begin has to do
        return 0.0


def _instances(cloud: Cloud) -> Iterable[Found]:
    for one in cloud.trove_admin.mgmt_instances.list():
        yield Found("instance", str(one.id), str(one.name), created=_when(getattr(one, "created", "")))


def _servers(cloud: Cloud) -> Iterable[Found]:
    for one in cloud.admin.compute.servers(all_projects=True):
        yield Found("server", str(one.id), str(one.name), _when(one.created_at), dict(one.metadata or {}))


def _versions(cloud: Cloud) -> Iterable[Found]:
    for one in cloud.trove_admin.mgmt_ds_versions.list():
        yield Found("datastore_version", str(one.id), str(one.name))


def _images(cloud: Cloud) -> Iterable[Found]:
    # Not by tag: a snapshot of a server carries properties alone.
    for one in glance.every(cloud):
        carried = {key: str(value) for key, value in one.items() if key.startswith(TAG)}
        tags = frozenset(map(str, one.get("tags") or ()))
        yield Found("image", str(one["id"]), str(one.get("name") or ""), _when(one.get("created_at")), carried, tags)


def _keypairs(cloud: Cloud) -> Iterable[Found]:
    for one in cloud.admin.compute.keypairs():
        yield Found("keypair", str(one.name), str(one.name))


def _network_things(kind: str, ask: Callable[[Any], Iterable[Any]]) -> Callable[[Cloud], Iterable[Found]]:
    def listed(cloud: Cloud) -> Iterable[Found]:
        for one in ask(cloud.admin.network):
            tags, said = frozenset(map(str, one.tags or ())), str(one.description or "")
            yield Found(kind, str(one.id), str(one.name or ""), _when(one.created_at), tags=tags, said=said)

    return listed


def _volumes(cloud: Cloud) -> Iterable[Found]:
    if volume.there(cloud):
        for one in cloud.admin.block_storage.volumes(all_projects=True):
            yield Found("volume", str(one.id), str(one.name or ""), _when(one.created_at), dict(one.metadata or {}))


# Kind -> its list. Flavors and networks are not here: imagecheck makes none.
LISTS: dict[str, Callable[[Cloud], Iterable[Found]]] = {
    "instance": _instances,
    "server": _servers,
    "datastore_version": _versions,
    "image": _images,
    "keypair": _keypairs,
    "security_group": _network_things("security_group", lambda neutron: neutron.security_groups()),
    "port": _network_things("port", lambda neutron: neutron.ports()),
    "volume": _volumes,
}
