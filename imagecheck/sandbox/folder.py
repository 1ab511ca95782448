"""One sandbox on disk: its files, its addresses, its secrets."""

from __future__ import annotations

import json
import os
import secrets
import zlib
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from imagecheck import paths, redact
from imagecheck.errors import UsageError
from imagecheck.sandbox.releases import Release

REGISTRY = IPv4Address("169.254.169.253")
"""Where guests find the registry: the same in every sandbox, so that an image can carry it before there is one."""
REGISTRY_PORT = 5000
REGISTRY_LISTENS = 5001
"""Its port on the sandbox's own address, where 5000 is Keystone's."""
_PLANS = 100  # 172.31.0.0/16 holds two /24 for each


@dataclass(frozen=True)
class Addresses:
    """The networks of one sandbox; its index keeps two sandboxes on one host apart."""

    index: int

    @property
    def link(self) -> IPv4Network:
        """Host and sandbox, a veth pair."""
        return IPv4Network(f"10.77.{self.index}.0/30")

    @property
    def management(self) -> IPv4Network:
        return IPv4Network(f"172.31.{2 * self.index}.0/24")

    @property
    def tenant(self) -> IPv4Network:
        return IPv4Network(f"172.31.{2 * self.index + 1}.0/24")

    @property
    def host(self) -> IPv4Address:
        return self.link[1]

    @property
    def sandbox(self) -> IPv4Address:
        """Where the APIs and the broker answer."""
        return self.link[2]

    @property
    def broker(self) -> IPv4Address:
        """The sandbox on the management network: what guests call the broker."""
        return self.management[1]

    @property
    def tenant_router(self) -> IPv4Address:
        return self.tenant[1]

    @property
    def tenant_sandbox(self) -> IPv4Address:
        return self.tenant[2]

    def networks(self) -> tuple[IPv4Network, ...]:
        return (self.link, self.management, self.tenant)


@dataclass(frozen=True)
class Secrets:
    """Made at random when the folder is made; never printed."""

    admin: str
    tenant: str
    service: str
    broker: str
    database: str

    @classmethod
    def fresh(cls) -> Secrets:
        return cls(*(secrets.token_hex(12) for _ in range(5)))


@dataclass(frozen=True)
class Folder:
    """The paths below ``home()/sandbox/<release>``."""

    release: Release
    path: Path

    @classmethod
    def of(cls, release: Release) -> Folder:
        return cls(release, paths.home() / "sandbox" / release.name)

    @property
    def root(self) -> Path:
        """The provisioned root file system; read-only once it is ready."""
        return self.path / "root"

    @property
    def layer(self) -> Path:
        """What one ``up`` writes: thrown away by ``down``."""
        return self.path / "layer"

    @property
    def running(self) -> Path:
        return self.path / "running.json"

    @property
    def console(self) -> Path:
        return self.path / "console.log"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def ready(self) -> Path:
        """Exists once provisioning has ended well; says with what it was made."""
        return self.path / "ready.json"

    @property
    def clouds(self) -> Path:
        return self.path / "clouds.yaml"

    @property
    def site(self) -> Path:
        return self.path / "site.toml"

    @property
    def guest_key(self) -> Path:
        return self.path / "guest_key"

    @property
    def guest_config(self) -> Path:
        return self.path / "trove-guestagent.conf"

    @property
    def log(self) -> Path:
        """What a background `up` said; beside the folder, which it may make anew."""
        return self.path.with_suffix(".log")

    @property
    def lock(self) -> Path:
        return self.path.with_suffix(".lock")

    @property
    def veth(self) -> str:
        """The host's end, as systemd-nspawn names it; the kernel allows 15 characters."""
        return f"ve-{self.machine}"

    @property
    def machine(self) -> str:
        return f"ic-{self.release.name}-{self.load_plan()[0].index}"

    def save_plan(self, addresses: Addresses, keys: Secrets) -> None:
        write_private(self.plan, json.dumps({"index": addresses.index, "secrets": asdict(keys)}))
        self.load_plan()

    def load_plan(self) -> tuple[Addresses, Secrets]:
        """Addresses and secrets of this folder; the secrets are known to the redaction from here on."""
        data = json.loads(self.plan.read_text())
        keys = Secrets(**data["secrets"])
        for secret in asdict(keys).values():
            redact.learn(secret)
        return Addresses(data["index"]), keys


def write_private(path: Path, text: str) -> None:
    """Write a file that holds secrets: 0600 from its first byte."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def free_plan(path: Path, taken: list[IPv4Network]) -> Addresses:
    """Addresses for a new folder: always the same for a path, unless this host already routes one of them."""
    first = zlib.crc32(str(path).encode()) % _PLANS
    for step in range(_PLANS):
        plan = Addresses((first + step) % _PLANS)
        if not any(mine.overlaps(other) for mine in plan.networks() for other in taken if other.prefixlen):
            return plan
    raise UsageError(
        "this host already routes all of 10.77.0.0/16 or 172.31.0.0/16, which the sandbox's networks are taken from: "
        "run it on another machine or in a network namespace of its own"
    )
