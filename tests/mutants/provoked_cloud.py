"""What a real Nova, Neutron and Trove have to show: requests that cannot be fulfilled, on a cloud with admin rights.

Each scene returns the words that the harness would read: a refusal's, or the fault of what ended as ERROR. What a scene
makes is removed by ``undo``; nothing here boots a guest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openstack import exceptions

from imagecheck import imagefile, sandbox, service, waits
from imagecheck.bare import Ground
from imagecheck.causes.row import Place
from imagecheck.cloud import cleanup, glance, nova, trove
from imagecheck.errors import StepFailed
from imagecheck.sandbox import releases, services

ENDED = 240.0  # seconds until Nova or Trove has given up


@dataclass(frozen=True)
class Scene:
    """``act`` gives the words; it gets the ground, an image of a megabyte and a stack of what is to be undone."""

    id: str
    place: Place
    act: Callable[[Stage], str]


@dataclass
class Stage:
    """What the scenes share."""

    ground: Ground
    image: str
    undo: contextlib.ExitStack
    folder: Path

    @property
    def admin(self) -> Any:
        """The connection with admin rights."""
        return self.ground.cloud.admin

    def uploaded(self, name: str, size: str, *, said: str = "qcow2") -> str:
        """An empty qcow2 of that virtual size in Glance, called ``said`` there."""
        file = self.folder / f"{name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, size], check=True)
        what = dataclasses.replace(imagefile.inspect(file), format=said)
        ground = self.ground
        return glance.upload(ground.cloud, ground.ledger, what, name=f"{ground.run}-{name}", run=ground.run).id

    def flavor(self, **more: Any) -> Any:
        """The site's flavor with something changed."""
        like = self.admin.compute.get_flavor(self.ground.where.flavor.id)
        wanted = {"ram": like.ram, "vcpus": like.vcpus, "disk": like.disk, "ephemeral": like.ephemeral} | more
        made = self.admin.compute.create_flavor(name=f"provoked-{uuid.uuid4().hex[:6]}", **wanted)
        self.undo.callback(self.admin.compute.delete_flavor, made)
        return made

    def network(self, *, pool: bool = True, port_security: bool = True) -> Any:
        """A network of the tenant's, with a subnet that has a single address where there is no ``pool``."""
        admin = self.admin
        made = admin.network.create_network(
            name=f"provoked-{uuid.uuid4().hex[:6]}", project_id=self.ground.cloud.tenant_project,
            is_port_security_enabled=port_security,
        )  # fmt: skip
        self.undo.callback(self._forget, made.id)
        few = {} if pool else {"allocation_pools": [{"start": "198.51.100.9", "end": "198.51.100.9"}]}
        admin.network.create_subnet(
            network_id=made.id, ip_version=4, cidr="198.51.100.0/24", enable_dhcp=False, **few,
            project_id=self.ground.cloud.tenant_project,
        )  # fmt: skip
        if not pool:
            admin.network.create_port(network_id=made.id, project_id=self.ground.cloud.tenant_project)
        return made

    def _forget(self, id: str) -> None:
        for port in self.admin.network.ports(network_id=id):
            self.admin.network.delete_port(port)
        self.admin.network.delete_network(id)

    def server(self, **more: Any) -> str:
        """Nova's refusal, or the fault of a server that ends as ERROR."""
        wanted = {
            "name": "provoked", "image_id": self.image, "flavor_id": self.ground.where.flavor.id, "networks": "none",
        }  # fmt: skip
        try:
            made = self.admin.compute.create_server(**(wanted | more))
        except exceptions.HttpException as error:
            return f"{error}\n"
        self.undo.callback(nova.delete, self.ground.cloud, made.id)

        def ended() -> waits.Ready[str] | waits.NotYet:
            now = nova.show(self.ground.cloud, made.id)
            if now.status == "ERROR":
                raw = now.raw.get("fault") or {}
                return waits.Ready(f"{now.fault}\n{raw.get('details') or ''}\n")
            return waits.NotYet(now.status)

        return waits.until(ended, reason="Nova to give up", deadline=ENDED, interval=1).value

    def instance(self, *, flavor: str = "", network: str = "", image: str = "") -> str:
        """Trove's refusal, or the fault of an instance that ends as ERROR."""
        ground = self.ground
        where = ground.where
        if flavor:
            where = dataclasses.replace(where, flavor=dataclasses.replace(where.flavor, id=flavor))
        if network:
            where = dataclasses.replace(where, tenant=dataclasses.replace(where.tenant, id=network))
        ground = dataclasses.replace(ground, where=where)
        version = service.register(ground, image or self.image)
        try:
            asked = service.ask(ground, version)
        except StepFailed as error:
            return f"{error.sentence}\n{error.seen}\n"
        finally:
            self.undo.callback(cleanup.clean, ground.cloud, ground.ledger, only=("instance", "datastore_version"))

        def ended() -> waits.Ready[str] | waits.NotYet:
            now = trove.show(ground.cloud, asked.id)
            if now.status in ("ERROR", "FAILED") and now.fault:
                return waits.Ready(f"{now.fault}\n{(now.raw.get('fault') or {}).get('details') or ''}\n")
            return waits.NotYet(now.summary)

        return waits.until(ended, reason="Trove to give up", deadline=ENDED, interval=1).value


@contextlib.contextmanager
def quota(stage: Stage, **values: int) -> Iterator[None]:
    """Of the admin's project, for a while."""
    project = stage.admin.current_project_id
    before = stage.admin.compute.get_quota_set(project)
    stage.admin.compute.update_quota_set(project, **values, force=True)
    try:
        yield
    finally:
        stage.admin.compute.update_quota_set(project, **{key: before[key] for key in values}, force=True)


def used_up(stage: Stage) -> str:
    """The quota of servers is zero."""
    with quota(stage, instances=0):
        return stage.server()


def gone_image(stage: Stage) -> str:
    """An image that was deleted meanwhile."""
    id = stage.uploaded("gone", "1M")
    glance.delete(stage.ground.cloud, id)
    return stage.server(image_id=id)


def odd_machine(stage: Stage) -> str:
    """An image property that this QEMU has no machine for."""
    id = stage.uploaded("odd", "1M")
    stage.admin.image.update_image(id, hw_machine_type="pc-q35-99.0")
    return stage.server(image_id=id)


def no_port_security(stage: Stage) -> str:
    """A port with a security group on a network without port security, as Trove makes one."""
    network = stage.network(port_security=False)
    group = stage.admin.network.create_security_group(name="provoked")
    stage.undo.callback(stage.admin.network.delete_security_group, group)
    try:
        stage.admin.network.create_port(network_id=network.id, security_groups=[group.id])
    except exceptions.HttpException as error:
        return f"{error}\n"
    return ""


@contextlib.contextmanager
def setting(file: str, key: str, value: str, *units: str) -> Iterator[None]:
    """One setting of the sandbox's, in [DEFAULT], for a while; ``units`` read it anew."""
    live = sandbox.require_running(releases.DEFAULT)

    def again() -> None:
        live.run(["systemctl", "restart", *units], timeout=120)
        services.wait_apis(live)
        services.wait_trove(live)

    live.run(["cp", "-p", file, f"{file}.provoked"])
    try:
        live.run(["sed", "-i", "-e", f"/^{key} *=/d", "-e", f"s/^\\[DEFAULT\\]/&\\n{key} = {value}/", file])
        again()
        yield
    finally:
        live.run(["mv", f"{file}.provoked", file])
        again()


def too_large(stage: Stage) -> str:
    """An image over Glance's limit."""
    with setting("/etc/glance/glance-api.conf", "image_size_cap", "1024", "glance-api"):
        try:
            stage.uploaded("large", "1M")
        except StepFailed as error:
            return f"{error.sentence}\n{error.seen}\n"
    return ""


def unknown_group(stage: Stage) -> str:
    """management_security_groups that are gone."""
    with setting("/etc/trove/trove.conf", "management_security_groups", str(uuid.uuid4()), "trove-taskmanager"):
        return stage.instance()


def impatient(stage: Stage) -> str:
    """A guest without an agent (without anything), and a Trove that waits for less than a minute."""
    with setting("/etc/trove/trove.conf", "usage_timeout", "40", "trove-taskmanager"):
        return stage.instance()


SCENES = (
    Scene("no-valid-host", "nova", lambda stage: stage.server(flavor_id=stage.flavor(ram=50000).id)),
    Scene("flavor-disk", "nova", lambda stage: stage.server(image_id=stage.uploaded("wide", "900G"))),
    Scene("image-gone", "nova", gone_image),
    Scene("image-unusable", "nova",
          lambda stage: stage.server(image_id=stage.uploaded("said-raw", "1M", said="raw"))),
    Scene("keypair-missing", "nova", lambda stage: stage.server(key_name="provoked-nowhere")),
    Scene("quota", "nova", used_up),
    Scene("user-data-too-long", "nova", lambda stage: stage.server(user_data="QUFB" * 20000)),
    Scene("network-missing", "nova", lambda stage: stage.server(networks=[{"uuid": str(uuid.uuid4())}])),
    Scene("no-addresses-left", "nova",
          lambda stage: stage.server(networks=[{"uuid": stage.network(pool=False).id}])),
    Scene("hosts-gave-up", "nova", odd_machine),
    Scene("port-security-off", "trove", no_port_security),
    Scene("image-too-large", "nova", too_large),
    Scene("no-router", "trove", lambda stage: stage.instance(network=stage.network().id)),
    Scene("port-failed", "trove", unknown_group),
    Scene("agent-silent", "trove", impatient),
    Scene("no-local-storage", "trove", lambda stage: stage.instance(flavor=stage.flavor(ephemeral=0).id)),
)  # fmt: skip


def play(stage: Stage, scene: Scene) -> str:
    """The scene's words; all that it made is removed."""
    with contextlib.ExitStack() as undo:
        return scene.act(dataclasses.replace(stage, undo=undo))
