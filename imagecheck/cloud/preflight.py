"""What can be known before anything is made, all of it at once: findings, of which one may stop a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from imagecheck import finding, hostcmd, progress
from imagecheck.cloud import answers, examine, network, nova, room
from imagecheck.cloud.connection import Cloud, server_date
from imagecheck.cloud.retry import patience
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.finding import Finding, stops

T = TypeVar("T")
PATIENCE = 10.0  # seconds that one question is asked again for: all of them are to take seconds
# Service of openstacksdk -> as people call it, where a project's quota is with its use, Nova's microversion.
QUOTAS = {
    "compute": ("Nova", "/os-quota-sets/{}/detail", "2.1"),
    "network": ("Neutron", "/quotas/{}/details.json", ""),
    "block_storage": ("Cinder", "/os-quota-sets/{}?usage=true", ""),
    "database": ("Trove", "/mgmt/quotas/{}", ""),
}
DATED = (("compute", "/"), ("network", "/"), ("image", "/images?limit=1"), ("database", "/datastores"))


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
    plan: room.Plan


def preflight(cloud: Cloud, needs: Needs, *, virtual_size: int = 0, agent: int = 0, makes: bool = True) -> Surroundings:
    """Look at everything that `survey` does, and `conclude`. Makes nothing."""
    return conclude(*survey(cloud, needs, virtual_size=virtual_size, agent=agent), makes=makes)


def conclude(findings: Sequence[Finding], where: Surroundings | None, *, makes: bool = True) -> Surroundings:
    """What is degraded is noted; UsageError with the sentences of all findings that stop a run.

    ``makes``: False where the run will make nothing, so that it needs no room.
    """
    told = [one for one in stops(findings) if makes or one.subject not in room.SUBJECTS]
    if where is None or told:
        raise UsageError("\n".join(one.whole for one in told))
    for one in findings:
        if one.level == "degraded":
            progress.note(f"{one.subject}: {one.whole}")
    return where


def survey(
    cloud: Cloud, needs: Needs, *, virtual_size: int = 0, agent: int = 0, others: Sequence[room.Other] = ()
) -> tuple[list[Finding], Surroundings | None]:
    """All findings about a cloud for an image of ``virtual_size`` bytes whose agent is of Trove ``agent`` (0: unknown).

    Some thirty GETs; nothing is made. The surroundings are None where a network or a flavor is missing. ``others``
    are at work there too, and get what they have yet to take.
    """
    with patience(PATIENCE):
        return _survey(cloud, needs, virtual_size, agent, room.taken(cloud, others))


def _survey(
    cloud: Cloud, needs: Needs, virtual_size: int, agent: int, others: room.Taken
) -> tuple[list[Finding], Surroundings | None]:
    site, found = cloud.site, list[Finding]()
    admin = answers.account(cloud.admin, site.cloud)
    tenant = answers.account(cloud.tenant, site.tenant_cloud)
    told = {name: answers.ask(cloud.admin, *question) for name, question in answers.QUESTIONS.items()}
    cinder = answers.ask(cloud.admin, "block_storage", f"/os-quota-sets/{admin.project_id}?usage=true")
    found += examine.rights(admin, tenant, told)
    found += examine.services(admin.region, told, cinder)
    management = _or_finding(found, "networks", lambda: _network(cloud, "management_network", site.management_network))
    tenants = _or_finding(found, "networks", lambda: _network(cloud, "tenant_network", site.tenant_network))
    if management and tenants:
        found += examine.overlaps((management.name, management.cidrs), (tenants.name, tenants.cidrs))
    flavor = _or_finding(
        found, "flavor", lambda: choose(nova.flavors(cloud), needs, named=site.flavor, virtual_size=virtual_size)
    )
    server = _trove_server(cloud, told["instances"])
    if flavor:
        shown = f"{flavor.name}: {flavor.vcpus} CPUs, {flavor.ram} MiB, disk {flavor.disk} + {flavor.ephemeral} GiB"
        found.append(Finding("ok", "flavor", shown))
        volumes = bool(server and server.get("os-extended-volumes:volumes_attached"))
        plan = room.Plan(flavor.ram, flavor.vcpus, max(1, needs.ephemeral_gib) if volumes else 0)
        found += _quotas(cloud, admin, tenant, told, plan, server, others)
        found += room.here(plan.ram, room.available(), others) if site.sandbox else []
        found.append(examine.data_disk(server, flavor.ephemeral, cinder.ok))
    found.append(examine.carrier(server))
    found.append(_keypair(cloud, told, server))
    if trip := _or_finding(found, "clock", lambda: examine.clock(_date(cloud))):
        found.append(trip)
    found += examine.versions(told["nova"], agent)
    where = Surroundings(management, tenants, flavor, plan) if management and tenants and flavor else None
    return found, where


def _or_finding(found: list[Finding], subject: str, make: Callable[[], T]) -> T | None:
    """What ``make`` gives; what it raises becomes a finding that stops."""
    try:
        return make()
    except ImagecheckError as error:
        found.append(finding.of(subject, error))
    return None


def _trove_server(cloud: Cloud, instances: answers.Answer) -> dict[str, object] | None:
    """A server that Trove has made, as Nova's 2.1 shows it (without user-data); None where there is none."""
    for one in instances.listed("instances"):
        # Both spellings exist: a list has server_id, a single instance has server (trove/extensions/mgmt views).
        server = one.get("server")
        id = one.get("server_id") or (server.get("id") if isinstance(server, dict) else "")
        if id:
            seen = answers.ask(cloud.admin, "compute", f"/servers/{id}", "2.1").below("server")
            if seen:
                return dict(seen)
    return None


def _quotas(
    cloud: Cloud,
    admin: answers.Account,
    tenant: answers.Account,
    told: dict[str, answers.Answer],
    plan: room.Plan,
    server: dict[str, object] | None,
    others: room.Taken,
) -> list[Finding]:
    """What is made at one time (docs/clouds.md) against what is left, in each of the projects that are charged."""
    compute, around = plan.of("compute"), plan.of("network")
    keys = {"key_pairs": compute.pop("key_pairs")}
    service = next(iter(told["projects"].listed("projects")), {})
    troves = str((server or {}).get("tenant_id") or service.get("id") or "")
    name = str(service.get("name") or "") if troves == service.get("id") else troves
    found: list[Finding] = []
    unknown: list[str] = []

    def look(kind: str, id: str, shown: str, wanted: dict[str, int]) -> None:
        service_name, path, microversion = QUOTAS[kind]
        answer = answers.ask(cloud.admin, kind, path.format(id), microversion)
        there = examine.usage(answer)
        if not there:
            unknown.append(f"{service_name}'s of {shown!r} ({answer.said or f'HTTP {answer.status}'})")
        if "key_pairs" in wanted and (limit := there.get("key_pairs")):
            # Nova tells no use here: keypairs are a user's, not a project's.
            used = answers.ask(cloud.admin, "compute", "/os-keypairs", "2.1").listed("keypairs")
            there["key_pairs"] = examine.Usage(len(used), limit.limit)
        # Trove's own quota is the tenant's, while its servers are in a project of Trove's, for all tenants.
        to_come = others.of(kind, troves if kind == "database" else id, "" if id == troves else id)
        for name, number in to_come.items():
            if (now := there.get(name)) and name in wanted:
                there[name] = examine.Usage(now.used + number, now.limit)
        found.extend(examine.quotas(service_name, shown, there, wanted, trove=kind == "database"))

    same = troves in ("", admin.project_id)
    look("compute", admin.project_id, admin.project, compute | keys)
    look("network", admin.project_id, admin.project, {**around, "security_group": 2 if same else 1})
    if not same:
        look("compute", troves, name, compute)
        look("network", troves, name, around)
    if plan.volume:
        look("block_storage", troves or admin.project_id, name or admin.project, plan.of("block_storage"))
    look("database", tenant.project_id, tenant.project, plan.of("database"))
    if unknown:
        found.append(
            Finding("degraded", "quota", f"not shown, so not looked at: {', '.join(unknown)}",
                    "see `openstack quota show --usage PROJECT`")
        )  # fmt: skip
    if not found:
        projects = sorted({admin.project, tenant.project, *([name] if name else [])})
        found.append(Finding("ok", "quota", f"there is room for a run in {', '.join(projects)}"))
    return found


def _date(cloud: Cloud) -> tuple[float, float, float] | None:
    return next((trip for service, path in DATED if (trip := server_date(cloud, service, path))), None)


def _keypair(cloud: Cloud, told: dict[str, answers.Answer], server: dict[str, object] | None) -> Finding:
    user = next(iter(told["users"].listed("users")), {})
    id = str((server or {}).get("user_id") or user.get("id") or "")
    name = str(user.get("name") or "") if id == user.get("id") else id
    keys: list[str] = []
    if id:
        # Another user's keypairs are an administrator's matter (Nova, 2.10).
        listed = answers.ask(cloud.admin, "compute", f"/os-keypairs?user_id={id}", "2.10").listed("keypairs")
        keys = [str((one.get("keypair") or {}).get("public_key") or "") for one in listed]
    return examine.keypair(name, server is not None, keys, _public(cloud))


def _public(cloud: Cloud) -> str:
    """The public half of the site's guest_key; "" where there is none, or where it wants a passphrase."""
    key = cloud.site.guest_key
    if key is None or hostcmd.which("ssh-keygen") is None:
        return ""
    return hostcmd.run(["ssh-keygen", "-y", "-P", "", "-f", key], check=False, timeout=30).stdout.strip()


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
