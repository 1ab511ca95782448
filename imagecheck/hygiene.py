"""What a build may leave in an image and no guest should share: credentials, identities, expired certificates."""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from imagecheck import inside
from imagecheck.tree import Tree

_LARGEST = 1 << 20  # bytes: settings are short, what is longer is no setting


@dataclass(frozen=True)
class Leftover:
    """``places`` are files, folders (all below), or "~/..." in every home; ``sign`` is looked for in each line."""

    what: str
    places: tuple[str, ...]
    sign: re.Pattern[str]
    source: str


_TROVE = ("/etc/trove", "/opt/trove-guestagent")
LEFTOVERS = (
    Leftover(
        "the message broker's password",
        _TROVE,
        re.compile(r"^\s*(?:transport_url\s*=\s*\w+(?:\+\w+)?://[^:@/\s]+:[^@\s]+@|rabbit_password\s*=\s*\S)"),
        "trove-guestagent.conf is injected (reference/trove.md §1.1); oslo.messaging, transport_url",
    ),
    Leftover(
        "a guest's RPC key",
        _TROVE,
        re.compile(r"^\s*instance_rpc_encr_key\s*=\s*\S"),
        "one key for each instance (trove/instance/models.py, get_injected_files)",
    ),
    Leftover(
        "an OpenStack password",
        (*_TROVE, "/etc/openstack", "~/.config/openstack", "~/openrc", "~/admin-openrc.sh", "~/keystonerc_admin"),
        re.compile(
            r"^\s*(?:(?:admin_|service_)?password\s*[=:]\s*\S|(?:export\s+)?OS_PASSWORD=\S"
            r"|nova_proxy_admin_pass\s*=\s*\S)"
        ),
        "[service_credentials] left in guests: Trove change 305ee9e0",
    ),
    Leftover(
        "a password that cloud-init would set",
        ("/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d"),
        re.compile(r"^\s*(?:-\s+)?(?:password|passwd|plain_text_passwd|hashed_passwd|chpasswd)\s*:\s*(?!\s*$|null|~)"),
        "cloud-init, cc_set_passwords and cc_users_groups",
    ),
    Leftover(
        "a login to a container registry",
        ("~/.docker/config.json", "~/.dockercfg", "/etc/containers/auth.json"),
        re.compile(r'"(?:auth|identitytoken|password)"\s*:\s*"[^"]'),
        "docker login stores it unencrypted (docker-credential-helpers)",
    ),
    Leftover(
        "a login to a package source",
        ("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/auth.conf", "/etc/apt/auth.conf.d",
         "/etc/apt/apt.conf.d", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf", "~/.netrc",
         "~/.git-credentials", "/etc/yum.repos.d"),
        re.compile(r"://[^/\s:@$]+:[^/\s@$]+@|^\s*machine\s.*\bpassword\s+\S"),
        "apt_auth.conf(5), pip's index-url, netrc(5)",
    ),
)  # fmt: skip

# What makes a guest itself. Source: systemd's "Building Images Safely" (docs/BUILDING_IMAGES.md), dbus-uuidgen(1),
# Docker's own key until 23.0.
IDENTITIES = (
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/boot/loader/random-seed",
    "/etc/docker/key.json",
)

# Where an operator's own certificates lie; the distribution's bundle is kept by its package and may hold an old root.
_CERTIFICATES = ("/usr/local/share/ca-certificates", "/etc/trove", "/etc/docker", "/etc/ssl/private",
                 "/etc/pki/ca-trust/source/anchors", "/opt/trove-guestagent", "/etc/mysql",
                 "/etc/postgresql")  # fmt: skip


def leftovers(tree: Tree) -> list[str]:
    """ "file: what", without the secret itself."""
    found = []
    for row in LEFTOVERS:
        for file in _files(tree, row.places):
            # Comments are a distribution's examples.
            lines = (line for line in tree.text(file).splitlines() if not line.lstrip().startswith(("#", ";")))
            if any(row.sign.search(line) for line in lines):
                found.append(f"{file}: {row.what}")
    return sorted(set(found))


def identities(tree: Tree) -> list[str]:
    """Files that would be the same in all guests of this image and must not be."""
    return [file for file in IDENTITIES if (seen := tree.stat(file)) and stat.S_ISREG(seen.st_mode) and seen.st_size]


def _files(tree: Tree, places: tuple[str, ...]) -> Iterator[str]:
    for place in places:
        for real in [f"{home}{place[1:]}" for home in inside.homes(tree)] if place.startswith("~") else [place]:
            seen = tree.stat(real)
            if seen and stat.S_ISDIR(seen.st_mode):
                yield from (file for file in tree.files(real) if _is_short(tree, file))
            elif seen and _is_short(tree, real):
                yield real


def _is_short(tree: Tree, file: str) -> bool:
    seen = tree.stat(file)
    return bool(seen and stat.S_ISREG(seen.st_mode) and 0 < seen.st_size <= _LARGEST)


_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----")
# X.509's Validity (RFC 5280, 4.1): a sequence of two times, each UTCTime (13 bytes) or GeneralizedTime (15).
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22](?:\x17\x0d|\x18\x0f)(\d{12,14})Z(?:\x17\x0d|\x18\x0f)(\d{12,14})Z")


def certificates(tree: Tree, now: datetime) -> list[str]:
    """ "file: when it ended or begins" for certificates of the image's own that are not valid now."""
    found = []
    for file in _files(tree, _CERTIFICATES):
        for body in _PEM.findall(tree.text(file)):
            try:
                told = _VALIDITY.search(base64.b64decode("".join(body.split())))
                begins, ends = (_time(one.decode()) for one in told.groups()) if told else (now, now)
            except (binascii.Error, ValueError):
                found.append(f"{file}: is no certificate")
                continue
            if ends < now:
                found.append(f"{file}: expired on {ends:%Y-%m-%d}")
            elif begins > now:
                found.append(f"{file}: is not valid before {begins:%Y-%m-%d}")
    return sorted(set(found))


def _time(text: str) -> datetime:
    if len(text) == 12:  # two digits of the year: RFC 5280, 4.1.2.5.1
        text = ("20" if int(text[:2]) < 50 else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
