"""What a cloud says when it has no room, and what to raise or free then. Pure; nothing of it is ever retried."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Resource as an API calls it -> the option of `openstack quota set` (openstackclient, common/quota.py).
OPTIONS = {
    "instances": "instances",
    "cores": "cores",
    "ram": "ram",
    "key_pairs": "key-pairs",
    "server_groups": "server-groups",
    "port": "ports",
    "network": "networks",
    "subnet": "subnets",
    "router": "routers",
    "security_group": "secgroups",
    "security_group_rule": "secgroup-rules",
    "volumes": "volumes",
    "gigabytes": "gigabytes",
    "per_volume_gigabytes": "per-volume-gigabytes",
}
# Registered limits of Keystone (oslo.limit) -> how they are raised: there `quota set` does not help.
_LIMIT = "raise it with `openstack limit set` (or `registered limit set`) for {what}, or free some"


@dataclass(frozen=True)
class Row:
    """A refusal's words, what to do, and the source of the words. ``statuses`` () where the words are enough."""

    pattern: re.Pattern[str]
    remedy: Callable[[re.Match[str]], str]
    source: str
    statuses: tuple[int, ...] = ()


def raising(resources: str, project: str = "PROJECT") -> str:
    """ "raise it with `openstack quota set --ports N PROJECT` or free some"; ``resources`` with commas."""
    options = " ".join(f"--{OPTIONS.get(one, one.replace('_', '-'))} N" for one in _names(resources))
    return f"raise it with `openstack quota set {options} {project}` or free some"


def raising_trove(resources: str, project: str = "PROJECT") -> str:
    """The same for a quota of Trove's own, which has a command of its own."""
    told = " and ".join(f"`openstack database quota update {project} {one} N`" for one in _names(resources))
    return f"raise it with {told} or free some"


def _names(resources: str) -> list[str]:
    return [one.strip(" '\"[]u") or "?" for one in resources.split(",")]


def _nova(match: re.Match[str]) -> str:
    pairs = zip(*(map(str.strip, match[key].split(",")) for key in ("what", "used", "limit")), strict=False)
    state = ", ".join(f"{what}: {used} of {limit} used" for what, used, limit in pairs)
    return f"{state}; {raising(match['what'])}"


TABLE = (
    Row(re.compile(r"Quota exceeded for (?P<what>[\w, ]+): Requested [\d, ]+, but already used (?P<used>[\d, -]+) of "
                   r"(?P<limit>[\d, -]+)"), _nova, "nova/exception.py, TooManyInstances; the API answers 403"),
    Row(re.compile(r"too many key pairs|Maximum number of key pairs"),
        lambda _: f"{raising('key_pairs')}: `openstack keypair list`", "nova/exception.py, KeypairLimitExceeded"),
    Row(re.compile(r"Quota exceeded for resources?: (?P<what>\[?['\w, ]+\]?)"), lambda m: raising_trove(m["what"]),
        "trove/common/exception.py, QuotaExceeded; trove/common/wsgi.py maps it to 413", (413,)),
    Row(re.compile(r"Instance volume quota exceeded"), lambda _: raising_trove("volumes"),
        "trove/common/exception.py, VolumeQuotaExceeded"),
    Row(re.compile(r"Quota exceeded for resources?: (?P<what>\[?['\w, ]+\]?)"), lambda m: raising(m["what"]),
        "neutron_lib/exceptions, OverQuota, a Conflict (409)"),
    Row(re.compile(r"Maximum number of (?P<what>volumes|snapshots|backups) allowed \((?P<limit>\d+)\) exceeded"),
        lambda m: f"all {m['limit']} {m['what']} are used; {raising(m['what'])}",
        "cinder/exception.py, VolumeLimitExceeded (413, with Retry-After: 0)"),
    Row(re.compile(r"exceeds allowed (?P<what>\w+) quota\. Requested (?P<asked>\d+)G, quota is (?P<limit>\d+)G and "
                   r"(?P<used>\d+)G"),
        lambda m: f"{m['used']} of {m['limit']} GiB used, {m['asked']} more asked for; {raising(m['what'])}",
        "cinder/exception.py, VolumeSizeExceedsAvailableQuota (413)"),
    Row(re.compile(r"Resource (?P<what>[\w:]+) is over limit of (?P<limit>\d+) due to current usage (?P<used>\d+) and "
                   r"delta (?P<asked>\d+)"),
        lambda m: f"{m['used']} of {m['limit']} used, {m['asked']} more asked for; {_LIMIT.format(what=m['what'])}",
        "oslo_limit/exception.py, ProjectOverLimit: unified limits of Nova and Glance"),
    Row(re.compile(r"exceeds (?:the )?quota|storage quota|Request Entity Too Large|maximum (?:image )?size"),
        lambda _: "raise glance-api.conf's user_storage_quota or image_size_cap, or delete images",
        "glance/common/exception.py, StorageQuotaFull and ImageSizeLimitExceeded", (413,)),
    Row(re.compile(r"No valid host was found"),
        lambda _: "no hypervisor has room for the flavor: see `openstack hypervisor list --long` and `openstack "
        "allocation candidate list --resource VCPU=N --resource MEMORY_MB=N --resource DISK_GB=N`; free some, or name "
        "a smaller 'flavor' in the site file", "nova/exception.py, NoValidHost"),
    Row(re.compile(r"Exceeded maximum number of retries"),
        lambda _: "every hypervisor that was tried failed: see nova-compute's log there, by the server's id",
        "nova/exception.py, MaxRetriesExceeded"),
    Row(re.compile(r"(?i)quota exceeded|over ?quota|overLimit"),
        lambda _: "see `openstack quota show --usage PROJECT` and `openstack database quota show PROJECT`; raise one "
        "or free some",
        "any other quota"),
)  # fmt: skip


def remedy(said: str, status: int = 0) -> str:
    """What to raise or free, by the cloud's words (a refusal's or a server's fault); "" where they are no quota."""
    for row in TABLE:
        if (found := row.pattern.search(said)) and (not row.statuses or status in row.statuses):
            return row.remedy(found)
    return ""
