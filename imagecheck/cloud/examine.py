"""From a cloud's answers to findings: rights, quotas, networks, keypair, disks, clock, versions. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagecheck.cloud.answers import ABSENT, Account, Answer
from imagecheck.cloud.quota import raising, raising_trove
from imagecheck.finding import Finding, Level

CLOCK = 5.0  # seconds: Trove drops heartbeats older than the last one, and tokens are dated
DOCKER = ipaddress.ip_network("172.17.0.0/16")  # Docker's own bridge (docs.docker.com, default address pools)


@dataclass(frozen=True)
class Right:
    """A question that only an administrator is answered, and what a run lacks without the answer."""

    question: str
    level: Level
    what: str
    without: str
    source: str


RIGHTS = (
    Right("instances", "stop", "see all of Trove's instances", "a launch can be neither followed nor stopped",
          "trove/extensions/mgmt/instances/service.py, admin_context"),
    Right("versions", "stop", "register datastore versions", "Trove cannot be given the image",
          "trove/extensions/mgmt/datastores/service.py, admin_context"),
    Right("servers", "stop", "see servers of all projects", "the server behind an instance cannot be shown",
          "nova/policies/servers.py, servers:detail:get_all_tenants"),
    Right("images", "stop", "list images", "the image cannot be uploaded", "glance/policies/image.py, get_images"),
    Right("hypervisors", "degraded", "list hypervisors", "evidence does not say where a server lies",
          "nova/policies/hypervisors.py"),
    Right("services", "degraded", "list Nova's services", "evidence does not say whether nova-compute is up",
          "nova/policies/services.py"),
    Right("users", "degraded", "list Keystone's users", "it cannot be told whether Trove's keypair fits guest_key",
          "keystone/common/policies/user.py, list_users"),
    Right("projects", "degraded", "list Keystone's projects", "the quotas of Trove's own project are not looked at",
          "keystone/common/policies/project.py, list_projects"),
)  # fmt: skip

NEEDED = {"nova": "compute", "images": "image", "networks": "network"}  # question -> type in the catalogue


@dataclass(frozen=True)
class Floor:
    """A microversion of Nova that something needs."""

    version: tuple[int, int]
    what: str
    source: str


FLOORS = (
    Floor((2, 10), "the keypairs of Trove's user are not shown", "rest_api_version_history.rst, 2.10"),
    Floor((2, 48), "evidence has no diagnostics of a server", "rest_api_version_history.rst, 2.48"),
    Floor((2, 51), "where Nova's time went is not told to a server's owner", "rest_api_version_history.rst, 2.51"),
    Floor((2, 56), "--qualify cannot offer files the old way", "rest_api_version_history.rst, 2.57"),
)
# Nova's newest microversion -> release, Trove's major version (rest_api_version_history.rst, releases.openstack.org).
RELEASES: Mapping[tuple[int, int], tuple[str, tuple[int, ...]]] = {
    (2, 87): ("Ussuri or Victoria", (13, 14)),
    (2, 88): ("Wallaby", (15,)),
    (2, 90): ("Xena or Yoga", (16, 17)),
    (2, 93): ("Zed", (18,)),
    (2, 95): ("2023.1 Antelope or 2023.2 Bobcat", (19, 20)),
    (2, 96): ("2024.1 Caracal or 2024.2 Dalmatian", (21, 22)),
    (2, 100): ("2025.1 Epoxy or 2025.2 Flamingo", (23, 24)),
    (2, 103): ("2026.1 Gazpacho", (25,)),
}


def rights(admin: Account, tenant: Account, answers: Mapping[str, Answer]) -> list[Finding]:
    """Which of the administrator's reads are refused, and whether the tenant is an ordinary one."""
    found: list[Finding] = []
    for level in ("stop", "degraded"):
        lacking = [one for one in RIGHTS if one.level == level and answers[one.question].refused]
        if lacking:
            what = "; ".join(f"{one.what}, so {one.without}" for one in lacking)
            found.append(
                Finding(
                    "stop" if level == "stop" else "degraded",
                    "role",
                    f"{admin.shown} may not {what}",
                    f"`openstack role add --user {admin.user} --project {admin.project} admin`, or name an entry with "
                    "administrator's rights (--cloud, or 'cloud' in the site file)",
                )
            )
    server = next(iter(answers["servers"].listed("servers")), None)
    if server is not None and "OS-EXT-SRV-ATTR:host" not in server:
        found.append(
            Finding(
                "degraded", "role", f"{admin.shown} is not shown on which host a server is, so evidence lacks it",
                "allow os_compute_api:os-extended-server-attributes in Nova's policy",
            )
        )  # fmt: skip
    if "admin" in tenant.roles:
        found.append(
            Finding(
                "degraded", "role", f"{tenant.shown} is an administrator, so what a tenant may not see is not proven",
                "name an ordinary project's entry as 'tenant_cloud' in the site file",
            )
        )  # fmt: skip
    if not found:
        found.append(Finding("ok", "role", f"{admin.user} is an administrator, {tenant.user} is not"))
    return found


def services(region: str, answers: Mapping[str, Answer], cinder: Answer) -> list[Finding]:
    """What the catalogue lacks, or what stands in it and does not answer."""
    where = f"region {region!r}" if region else "the catalogue"
    found = []
    for question, kind in NEEDED.items():
        answer = answers[question]
        if answer.status == ABSENT:
            found.append(
                Finding("stop", "catalogue", f"{where} has no service of type {kind!r}",
                        "choose another region (region_name in clouds.yaml, or OS_REGION_NAME)")
            )  # fmt: skip
        elif not answer.ok and not answer.refused:
            found.append(
                Finding("stop", kind, f"the {kind} service of {where} does not answer: {_seen(answer)}",
                        "look at that service, then try again")
            )  # fmt: skip
    for question in ("instances", "versions"):
        answer = answers[question]
        if not answer.ok and not answer.refused:
            found.append(
                Finding("stop", "database", f"Trove's management view does not answer: {_seen(answer)}",
                        "look at trove-api, then try again")
            )  # fmt: skip
            break
    if not cinder.ok and not cinder.refused:
        why = "has no Cinder" if cinder.status == ABSENT else f"has a Cinder that does not answer ({_seen(cinder)})"
        found.append(
            Finding("degraded", "volume service",
                    f"{where} {why}: Trove may not be able to delete instances, nor Nova to reboot servers",
                    "give it a volumev3 endpoint that answers, or see docs/clouds.md")
        )  # fmt: skip
    return found or [Finding("ok", "catalogue", f"all services answer in {where}")]


def _seen(answer: Answer) -> str:
    return answer.said or f"HTTP {answer.status}"


# ---- quotas


@dataclass(frozen=True)
class Usage:
    """Of one resource; ``limit`` -1 is none."""

    used: int
    limit: int


def usage(answer: Answer) -> dict[str, Usage]:
    """Resource -> usage, from Nova's, Neutron's, Cinder's or Trove's answer; empty where there is none."""
    rows: dict[str, Any] = dict(answer.below("quota_set") or answer.below("quota"))
    rows |= {str(one.get("resource")): one for one in answer.listed("quotas")}
    found = {}
    for name, row in rows.items():
        if isinstance(row, dict) and isinstance(row.get("limit"), int):
            used = [row.get(key) for key in ("in_use", "used", "reserved")]
            found[name] = Usage(sum(one for one in used if isinstance(one, int)), row["limit"])
    return found


def quotas(
    service: str, project: str, there: Mapping[str, Usage], wanted: Mapping[str, int], *, trove: bool = False
) -> list[Finding]:
    """One finding for each resource whose quota does not hold what this run makes at one time."""
    found = []
    for name, needs in wanted.items():
        now = there.get(name)
        if now is None or now.limit < 0 or now.used + needs <= now.limit:
            continue
        command = raising_trove(name, project) if trove else raising(name, project)
        found.append(
            Finding(
                "stop", "quota",
                f"{name} quota of project {project!r} ({service}): {now.used} of {now.limit} used, this run needs "
                f"{needs}", command.replace(" N", f" {now.used + needs}"),
            )
        )  # fmt: skip
    return found


# ---- networks


def overlaps(management: tuple[str, Sequence[str]], tenant: tuple[str, Sequence[str]]) -> list[Finding]:
    """Networks as (name, address ranges): those of the guest's two interfaces must not meet."""
    found = []
    ours = [(management[0], ipaddress.ip_network(one)) for one in management[1]]
    theirs = [(tenant[0], ipaddress.ip_network(one)) for one in tenant[1]]
    for name, one in ours:
        for other, two in theirs:
            if one.version == two.version and one.overlaps(two):
                found.append(
                    Finding(
                        "stop", "networks",
                        f"the management network {name!r} ({one}) and the tenant network {other!r} ({two}) overlap: a "
                        "guest on both cannot tell broker from tenant",
                        "give one of them another address range, or name another 'tenant_network' in the site file",
                    )
                )  # fmt: skip
    for name, one in (*ours, *theirs):
        if one.version == DOCKER.version and one.overlaps(DOCKER):
            found.append(
                Finding(
                    "degraded", "networks",
                    f"the network {name!r} ({one}) overlaps Docker's bridge in the guest ({DOCKER}): answers to it "
                    "may go nowhere", "set docker_bridge_network_ip in trove.conf to another range",
                )
            )  # fmt: skip
    told = f"{management[0]} {', '.join(management[1])}; {tenant[0]} {', '.join(tenant[1])}"
    return found or [Finding("ok", "networks", told)]


# ---- what an existing server of Trove's shows


def keypair(user: str, observed: bool, keys: Sequence[str], ours: str) -> Finding:
    """Public keys of Trove's service user against guest_key's. ``observed``: a server of Trove's names the user."""
    if not ours:
        return Finding(
            "degraded", "keypair", "the site names no 'guest_key': Trove's guests cannot be looked into",
            "name the private key of trove.conf's nova_keypair as 'guest_key' in the site file",
        )  # fmt: skip
    if not user:
        return Finding(
            "degraded", "keypair", "Trove's service user is not known (none is called 'trove'), nor are its keypairs",
            "see that trove.conf's nova_keypair belongs to the user of its service_credentials",
        )  # fmt: skip
    if _key(ours) in map(_key, keys):
        return Finding("ok", "keypair", f"guest_key fits one of user {user!r}")
    return Finding(
        "stop" if observed else "degraded", "keypair",
        f"none of the {len(keys)} keypairs of Trove's service user {user!r} fits 'guest_key': a keypair belongs to a "
        "user, and Trove boots with its own", "create nova_keypair as that user (`openstack keypair create --user "
        f"{user} NAME`, or as that user), or name its private key as 'guest_key' in the site file",
    )  # fmt: skip


def _key(text: str) -> str:
    """Type and base64 of an OpenSSH public key, without its comment."""
    return " ".join(text.split()[:2])


def carrier(server: Mapping[str, Any] | None) -> Finding:
    """use_nova_server_config_drive, as a server of Trove's shows it."""
    if server is None:
        return Finding("ok", "config drive", "not known: there is no server of Trove's")
    # Nova answers "True", true or "" (config_drive is a string in its database).
    drive = str(server.get("config_drive") or "").lower() in ("true", "1")
    return Finding("ok", "config drive", f"Trove boots with {'a config drive' if drive else 'the metadata service'}")


def data_disk(server: Mapping[str, Any] | None, ephemeral: int, cinder: bool) -> Finding:
    """Where the database's files will lie. ``ephemeral``: GiB that the chosen flavor has."""
    if server is not None and server.get("os-extended-volumes:volumes_attached"):
        if cinder:
            return Finding("ok", "data disk", "Trove gives its servers a volume")
        return Finding(
            "stop", "data disk", "Trove gives its servers a volume, and Cinder does not answer",
            "mend Cinder, or set trove_volume_support = false",
        )  # fmt: skip
    seen = "not known whether Trove uses volumes" if server is None else "Trove uses no volumes"
    if ephemeral:
        return Finding("ok", "data disk", f"{ephemeral} GiB ephemeral; {seen}")
    return Finding(
        "degraded" if server is None else "stop", "data disk",
        f"{seen}, and the flavor has no ephemeral disk: the agent formats one of both",
        "choose a flavor with an ephemeral disk as 'flavor' in the site file",
    )  # fmt: skip


# ---- clock and versions


def clock(trip: tuple[float, float, float] | None) -> Finding:
    """Sent, the cloud's Date (half a second uncertain), received: seconds since the epoch."""
    if trip is None:
        return Finding("ok", "clock", "not known: no service says the date")
    sent, there, received = trip
    apart, unsure = there - (sent + received) / 2, (received - sent) / 2 + 0.5
    if abs(apart) - unsure > CLOCK:
        return Finding(
            "degraded", "clock",
            f"the cloud's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this host's: times of "
            "different sources cannot be put in one order", "set both by NTP",
        )  # fmt: skip
    return Finding("ok", "clock", f"{apart + 0.0:.1f} s ± {unsure:.1f} s against this host's")


def microversion(text: object) -> tuple[int, int]:
    """(2, 100) of "2.100"; (0, 0) of anything else."""
    major, _, minor = str(text or "").partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def versions(nova: Answer, agent: int = 0) -> list[Finding]:
    """Nova's microversions against what is used of them, and the release against the image's agent (0: not known)."""
    table = nova.below("version")
    low, high = microversion(table.get("min_version")), microversion(table.get("version"))
    if high == (0, 0):
        return []
    shown = f"Nova {low[0]}.{low[1]} to {high[0]}.{high[1]}"
    lacking = [one for one in FLOORS if not low <= one.version <= high]
    found = [
        Finding("degraded", "microversion",
                f"{shown}, and imagecheck wants {one.version[0]}.{one.version[1]}: {one.what}",
                "nothing to do, unless that is needed: then upgrade Nova")
        for one in lacking
    ]  # fmt: skip
    release, troves = RELEASES.get(high, ("a release that this imagecheck does not know", ()))
    if agent and troves and agent not in troves:
        told = " or ".join(map(str, troves))
        found.append(
            Finding("degraded", "version",
                    f"the image has the agent of Trove {agent}, and by its Nova this cloud runs Trove {told}",
                    "see that trove.conf's [upgrade_levels] guestagent fits, or take an image for that release")
        )  # fmt: skip
    return [*found, Finding("ok", "version", f"{shown}: {release}")]
