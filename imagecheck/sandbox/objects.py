"""What a fresh cloud needs before Trove can serve: accounts, endpoints, networks, flavors, Trove's keypair.

Made through the APIs by openstacksdk (a second in all; the command line client would take half a minute).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagecheck import hostcmd
from imagecheck.sandbox.folder import REGISTRY, Folder

if TYPE_CHECKING:
    from openstack.connection import Connection

ADMIN = "imagecheck-admin"
TENANT = "imagecheck-tenant"
KEYPAIR = "imagecheck-trove"
FLAVOR = "imagecheck.guest"
_TENANT_PROJECT = "imagecheck"

SERVICES = (
    # user of the service, service name, type, path behind the port
    ("glance", "glance", "image", ":9292"),
    ("placement", "placement", "placement", ":8778"),
    ("nova", "nova", "compute", ":8774/v2.1"),
    ("neutron", "neutron", "network", ":9696"),
    ("cinder", "cinderv3", "volumev3", ":8776/v3/%(project_id)s"),
    ("trove", "trove", "database", ":8779/v1.0/%(tenant_id)s"),
)

FLAVORS = (
    # name, vcpus, RAM MiB, disk GiB, ephemeral GiB: Trove formats the ephemeral disk (/dev/vdb) for the data
    (FLAVOR, 2, 2048, 6, 1),
    ("imagecheck.large", 2, 4096, 12, 4),
)


@dataclass(frozen=True)
class Objects:
    """The identifiers that Trove's settings name."""

    mgmt_network_id: str
    mgmt_security_group_id: str


def clouds(folder: Folder) -> dict[str, Any]:
    """The ``clouds`` mapping of clouds.yaml: an administrator and an ordinary tenant."""
    addresses, keys = folder.load_plan()

    def entry(user: str, project: str, password: str) -> dict[str, Any]:
        return {
            "region_name": "RegionOne",
            "identity_api_version": 3,
            "auth": {
                "auth_url": f"http://{addresses.sandbox}:5000/v3",
                "username": user,
                "password": password,
                "project_name": project,
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
        }

    return {
        ADMIN: entry("admin", "admin", keys.admin),
        TENANT: entry(_TENANT_PROJECT, _TENANT_PROJECT, keys.tenant),
    }


def connect(folder: Folder, *, user: str = "", project: str = "", password: str = "") -> Connection:
    """A connection as the administrator, or as another account of this sandbox."""
    import openstack  # a second, which only those who connect shall wait for

    settings = clouds(folder)[ADMIN]
    if user:
        settings["auth"] |= {"username": user, "project_name": project, "password": password}
    # default quotas and microversions; no vendor data, no files of the user's
    return openstack.connect(load_yaml_config=False, load_envvars=False, **settings)


def accounts(folder: Folder, admin: Connection) -> None:
    """Service users with their endpoints, and one tenant."""
    addresses, keys = folder.load_plan()
    identity: Any = admin.identity  # the SDK types it as v2 or v3; this Keystone has v3 only
    roles = {role.name: role for role in identity.roles()}
    for name in {"admin", "member", "service"} - roles.keys():
        roles[name] = identity.create_role(name=name)
    service_project = identity.create_project(name="service", domain_id="default")
    for user, name, kind, path in SERVICES:
        account = identity.create_user(
            name=user, password=keys.service, domain_id="default", default_project_id=service_project.id
        )
        for role in ("admin", "service"):
            identity.assign_project_role_to_user(service_project, account, roles[role])
        service = identity.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            identity.create_endpoint(
                service_id=service.id, interface=interface, url=f"http://{addresses.sandbox}{path}",
                region_id="RegionOne",
            )  # fmt: skip
    tenant = identity.create_project(name=_TENANT_PROJECT, domain_id="default")
    account = identity.create_user(
        name=_TENANT_PROJECT, password=keys.tenant, domain_id="default", default_project_id=tenant.id
    )
    identity.assign_project_role_to_user(tenant, account, roles["member"])


def networks(folder: Folder) -> Objects:
    """``mgmt`` belongs to the service project, ``tenant`` to the tenant; both are flat, so the sandbox is on them."""
    addresses, _ = folder.load_plan()
    admin = connect(folder)
    identity: Any = admin.identity
    projects = {project.name: project.id for project in identity.projects()}

    def flat(name: str, project: str, **subnet: Any) -> tuple[Any, Any]:
        made = admin.network.create_network(
            name=name, project_id=projects[project], provider_network_type="flat", provider_physical_network=name
        )
        return made, admin.network.create_subnet(
            name=name, network_id=made.id, project_id=projects[project], ip_version=4, **subnet
        )

    mgmt, _ = flat(
        "mgmt", "service", cidr=str(addresses.management), gateway_ip=None,
        # it has no gateway, so this route is the only one that DHCP adds: guests keep one default route
        host_routes=[{"destination": f"{REGISTRY}/32", "nexthop": str(addresses.broker)}],
        allocation_pools=[{"start": str(addresses.management[10]), "end": str(addresses.management[250])}],
    )  # fmt: skip
    _, tenant_subnet = flat(
        "tenant", _TENANT_PROJECT, cidr=str(addresses.tenant), gateway_ip=str(addresses.tenant_router),
        allocation_pools=[{"start": str(addresses.tenant[10]), "end": str(addresses.tenant[250])}],
    )  # fmt: skip
    # Trove 23, trove/network/neutron.py: a tenant subnet must be on a router
    router = admin.network.create_router(name="tenant", project_id=projects[_TENANT_PROJECT])
    admin.network.add_interface_to_router(router, subnet=tenant_subnet)
    group = admin.network.create_security_group(
        name="trove-management", project_id=projects["service"], description="Trove's guests, from the management side"
    )
    for rule in ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, {"protocol": "icmp"}):
        admin.network.create_security_group_rule(
            security_group_id=group.id, project_id=projects["service"], direction="ingress", ether_type="IPv4",
            remote_ip_prefix=str(addresses.management), **rule,
        )  # fmt: skip
    return Objects(mgmt.id, group.id)


def compute(folder: Folder) -> None:
    """Flavors for everybody, and the keypair that Trove gives to its servers (it must belong to user trove)."""
    _, keys = folder.load_plan()
    admin = connect(folder)
    for name, vcpus, ram, disk, ephemeral in FLAVORS:
        admin.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk, ephemeral=ephemeral, is_public=True)
    folder.guest_key.unlink(missing_ok=True)
    hostcmd.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "imagecheck", "-f", str(folder.guest_key)],
        step="sandbox keypair", timeout=30,
    )  # fmt: skip
    trove = connect(folder, user="trove", project="service", password=keys.service)
    trove.compute.create_keypair(name=KEYPAIR, public_key=folder.guest_key.with_suffix(".pub").read_text().strip())
