"""What the cloud tells about a server and a Trove instance: one job for each piece, through APIs alone."""

from __future__ import annotations

import dataclasses
import functools
import json

from imagecheck import sandbox
from imagecheck.bare import Ground
from imagecheck.blackbox.box import Job
from imagecheck.cloud import glance, hypervisor, network, nova, trove
from imagecheck.errors import StepFailed
from imagecheck.guest import console
from imagecheck.sandbox import releases, services
from imagecheck.sandbox.container import Container

LINES = 300  # of a service's log in the sandbox
QUEUES = ("trove-conductor", "taskmanager")  # trove/common/cfg.py, conductor_queue and taskmanager_queue
SERVICES = ("nova-compute", "trove-taskmanager", "trove-conductor")


def of_server(ground: Ground, id: str, prefix: str) -> list[Job]:
    """Nova, the hypervisor, Neutron and Glance about one server."""
    cloud = ground.cloud

    def image() -> str:
        named = (nova.show(cloud, id).raw.get("image") or {}).get("id")
        if not named:
            raise StepFailed("", "the server was not booted from an image")
        return shown(glance.show(cloud, str(named)))

    jobs = [
        Job("console.log", "the serial console", "Nova API", lambda: console.clean(nova.console(cloud, id))),
        Job("nova-server.json", "the server, with its fault", "Nova API", lambda: shown(nova.show(cloud, id).raw)),
        Job(
            "nova-actions.json",
            "what was done with the server, with Nova's own errors",
            "Nova API",
            lambda: shown([dataclasses.asdict(one) for one in nova.actions(cloud, id)]),
        ),
        Job(
            "hypervisor.json",
            "where the server lies: nova-compute's state, the hypervisor's record",
            "Nova API",
            lambda: shown(hypervisor.record(cloud, nova.show(cloud, id))),
        ),
        Job(
            "diagnostics.json",
            "what the hypervisor tells of the machine: state, uptime, traffic of disks and ports",
            "Nova API",
            lambda: shown(hypervisor.diagnostics(cloud, id)),
        ),
        Job(
            "ports.json", "the server's ports", "Neutron API", lambda: shown(network.ports(cloud, device_id=id))
        ),
        Job(
            "networks.json",
            "their networks, subnets, and security groups with rules",
            "Neutron API",
            lambda: shown(network.surroundings(cloud, network.ports(cloud, device_id=id))),
        ),
        Job("image.json", "the image that it was booted from", "Glance API", image),
    ]  # fmt: skip
    if there := _sandbox(ground):
        jobs += [
            Job("domain.txt", "the machine as libvirt has it", "the sandbox's libvirt", lambda: _domain(there, id)),
            Job("qemu.txt", "the machine's qemu: command line and errors", "the sandbox's libvirt",
                lambda: _qemu(there, ground, id)),
        ]  # fmt: skip
    return [dataclasses.replace(job, name=prefix + job.name) for job in jobs]


def of_instance(ground: Ground, id: str) -> list[Job]:
    """Trove about one instance."""
    cloud = ground.cloud
    return [
        Job("trove-instance.json", "the instance, with its fault", "Trove API, mgmt view",
            lambda: shown(trove.show(cloud, id).raw)),
        Job("trove-instance-owner.json", "the same as its owner sees it", "Trove API",
            lambda: shown(trove.show_as_tenant(cloud, id).raw)),
    ]  # fmt: skip


def of_run(ground: Ground, guests: list[str]) -> list[Job]:
    """What does not belong to one server: the broker's queues; in the sandbox, its services' logs."""
    jobs = [Job("broker.txt", "queues with messages and consumers", "the broker", lambda: _queues(ground, guests))]
    if there := _sandbox(ground):
        jobs += [
            Job(f"service-{unit}.txt", f"the end of {unit}'s log", "the sandbox",
                functools.partial(services.log, there, unit, LINES))
            for unit in SERVICES
        ]  # fmt: skip
    return jobs


def shown(value: object) -> str:
    """As JSON that a person can read."""
    return json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n"


def _queues(ground: Ground, guests: list[str]) -> str:
    # oslo.messaging names a server's queue by topic, and once more with the server's name (AMQP driver).
    names = [name for id in guests for name in (f"guestagent.{id}", f"guestagent.{id}.{id}")]
    lines = [f"{'queue':<90} {'messages':>8} {'consumers':>9}"]
    for name in [*names, *QUEUES]:
        queue = ground.broker.named(name)
        lines.append(f"{name:<90} {queue.messages:>8} {queue.consumers:>9}" if queue else f"{name:<90} there is none")
    return "\n".join(lines) + "\n"


def _sandbox(ground: Ground) -> Container | None:
    """The container of the sandbox that this site is; None for any other cloud."""
    if not ground.cloud.site.sandbox:
        return None
    file = ground.cloud.site.clouds_file
    found = (sandbox.running(name) for name in releases.RELEASES)
    return next((one for one in found if one and file and one.folder.path == file.parent), None)


def _domain(there: Container, id: str) -> str:
    return there.run(["virsh", "domstate", id, "--reason"], check=False, timeout=10).stdout + (
        there.run(["virsh", "dumpxml", id], timeout=10).stdout
    )


def _qemu(there: Container, ground: Ground, id: str) -> str:
    name = str(nova.show(ground.cloud, id).raw.get("instance_name"))
    return there.run(["tail", "-n", str(LINES), f"/var/log/libvirt/qemu/{name}.log"], timeout=10).stdout
