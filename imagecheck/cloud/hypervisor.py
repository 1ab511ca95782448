"""What Nova's API tells of the machines that servers run on: an administrator's view."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from imagecheck.cloud.connection import Cloud, Hiccup, Missing, asking
from imagecheck.cloud.nova import STEP, Server
from imagecheck.errors import StepFailed


def diagnostics(cloud: Cloud, server_id: str) -> Mapping[str, Any]:
    """What the hypervisor tells of a running server: state, uptime, memory, disks, ports (microversion 2.48)."""
    with asking(STEP, "ask for the server's diagnostics"):
        found: Mapping[str, Any] = cloud.admin.compute.get_server_diagnostics(server_id).to_dict()
        return found


STALE = "not running"


def switched_off(cloud: Cloud, server_id: str) -> str:
    """The power state that the hypervisor has at this moment where it is not running; "" where it is, or nobody knows.

    The status follows 15 s later: nova-compute holds back a guest's own end (nova/virt/libvirt/host.py, lifecycle
    delay), while diagnostics ask the hypervisor first. They are refused for a machine that does not run, yet in words
    that name the state of Nova's last record: "running" is none to go by then, and told as ``STALE``
    (nova/compute/manager.py, get_instance_diagnostics, 2025.1).
    """
    try:
        diagnostics(cloud, server_id)
    except StepFailed as error:
        return refused_state(str(error))
    except (Hiccup, Missing):
        return ""
    return ""


def refused_state(words: str) -> str:
    """The power state in Nova's refusal; "" when it was refused for something else. Pure."""
    found = re.search(r"while it is in power state (\w{1,20})", words)
    if not found:
        return ""
    return STALE if found[1] == "running" else found[1]


def compute_hosts(cloud: Cloud) -> list[str]:
    """ "ZONE:HOST" of each nova-compute that is up and enabled: what a server's availability_zone may name to be put
    there (Nova API guide, "Availability zones"; os_compute_api:servers:create:forced_host, administrators)."""
    with asking(STEP, "list compute services"):
        found = cloud.admin.compute.services(binary="nova-compute")
        return sorted(
            f"{one.availability_zone}:{one.host}" for one in found if (one.state, one.status) == ("up", "enabled")
        )


def record(cloud: Cloud, server: Server) -> dict[str, Any]:
    """Where the server lies, as an administrator sees it: nova-compute's service and the hypervisor's record."""
    host, name = server.raw.get("compute_host"), server.raw.get("hypervisor_hostname")
    with asking(STEP, "show the hypervisor"):
        services = [one.to_dict() for one in cloud.admin.compute.services(host=host)] if host else []
        found = cloud.admin.compute.find_hypervisor(name, ignore_missing=True) if name else None
    return {
        "instance_name": server.raw.get("instance_name"),
        "vm_state": server.raw.get("vm_state"),
        "task_state": server.raw.get("task_state"),
        "power_state": server.raw.get("power_state"),
        "services": services,
        "hypervisor": found.to_dict() if found else None,
    }
