"""What a start's seconds depend on besides its image: the fingerprint of a sample (launch.sample.FINGERPRINT)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from imagecheck.bare import Ground
from imagecheck.cloud import hypervisor as hypervisors
from imagecheck.cloud import nova
from imagecheck.cloud.connection import Cloud
from imagecheck.errors import ImagecheckError
from imagecheck.launch.sample import FINGERPRINT

UNKNOWN = "unknown"  # what cannot be seen: equal to nothing but itself


class Fingerprints:
    """Of the starts of one series; each hypervisor is asked for once. May be used from several threads."""

    def __init__(self, cloud: Cloud, fixed: Mapping[str, str]) -> None:
        self._cloud, self._fixed = cloud, dict(fixed)
        self._hypervisors: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(
        self, server: nova.Server | None, *, volume: Mapping[str, Any] | None, cache: str, completed: bool = True
    ) -> dict[str, str]:
        """``server``: where it was seen; ``volume``: Trove's word of it, None where the start was not Trove's."""
        found = {**self._fixed, "cache": cache}
        if server is not None:
            name = str(server.raw.get("hypervisor_hostname") or "")
            with self._lock:
                if name not in self._hypervisors:
                    self._hypervisors[name] = hypervisor(self._cloud, server) if name else ""
                found["hypervisor"] = self._hypervisors[name]
            found["host"] = str(server.raw.get("host_id") or "")
            found["carrier"] = "config drive" if server.config_drive else "metadata service"
            found["storage"] = storage(server, volume)
        return complete(found) if completed else {key: found[key] for key in FINGERPRINT if found.get(key)}


def complete(found: Mapping[str, str]) -> dict[str, str]:
    """Every key of FINGERPRINT, in its order; what is missing or empty is unknown. Pure.

    Of a start that completed: one that failed may not have come as far as to know, and leaves it out.
    """
    return {key: found.get(key) or UNKNOWN for key in FINGERPRINT}


def fixed(ground: Ground, *, release: str, concurrency: int) -> dict[str, str]:
    """What is the same for all starts of one image on one ground."""
    site, flavor, store = ground.cloud.site, ground.where.flavor, ground.definition.datastore
    region = str(getattr(ground.cloud.admin.config, "region_name", "") or "")
    return {
        "cloud": f"{site.cloud} {region}".strip(),
        "release": release if site.sandbox else nova_release(ground.cloud),
        "flavor": f"{flavor.name}: {flavor.vcpus} vCPU, {flavor.ram} MiB, {flavor.disk} GiB, "
        f"{flavor.ephemeral} GiB ephemeral",
        "acceleration": site.acceleration,
        "datastore": f"{store.name} {store.version}",
        "concurrency": str(concurrency),
    }


def nova_release(cloud: Cloud) -> str:
    """No API names the release; the newest microversion of Nova's stands for it: it grows with most of them."""
    try:
        newest = cloud.admin.compute.get_endpoint_data()
    except Exception:  # noqa: BLE001 - whatever discovery raises, the release is then not known
        return ""
    version = getattr(newest, "max_microversion", None)
    return f"Nova API {version[0]}.{version[1]}" if version else ""


def hypervisor(cloud: Cloud, server: nova.Server) -> str:
    """Type and version as Nova's record has them; "" where it may not be read."""
    try:
        record = hypervisors.record(cloud, server)["hypervisor"] or {}
    except ImagecheckError:
        return ""
    return f"{record.get('hypervisor_type') or ''} {record.get('hypervisor_version') or ''}".strip()


def storage(server: nova.Server, volume: Mapping[str, Any] | None) -> str:
    """Where the database's files lie: on a volume (by Trove's word, or attached), else on the flavor's own disks."""
    if volume and volume.get("size"):
        return f"volume, {volume.get('type') or 'default type'}, {volume['size']} GiB"
    return "volume" if server.raw.get("attached_volumes") else "ephemeral"
