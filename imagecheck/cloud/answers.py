"""What a cloud's APIs answer to a doctor's questions: only GETs, and a refusal is an answer like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystoneauth1 import exceptions as ksa

if TYPE_CHECKING:
    from openstack.connection import Connection

ABSENT = -1  # instead of an HTTP status: the catalogue has no such service
SILENT = 0  # instead of an HTTP status: no answer


@dataclass(frozen=True)
class Answer:
    """An HTTP status (or ABSENT, SILENT) with the JSON that came; ``said`` is why there is none."""

    status: int
    table: Mapping[str, Any] = field(default_factory=dict, repr=False)  # a server's holds its user-data
    said: str = ""

    @property
    def ok(self) -> bool:
        """The question was answered."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """The role is missing. Trove answers 401 where others answer 403 (trove/common/auth.py, admin_context)."""
        return self.status in (401, 403)

    def listed(self, key: str) -> list[Mapping[str, Any]]:
        """The tables below ``key``; empty where there is nothing."""
        found = self.table.get(key)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def below(self, key: str) -> Mapping[str, Any]:
        """The table below ``key``; empty where there is none."""
        found = self.table.get(key)
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Account:
    """Who an entry of clouds.yaml is."""

    entry: str
    user: str
    user_id: str
    project: str
    project_id: str
    roles: tuple[str, ...]
    region: str = ""

    @property
    def shown(self) -> str:
        """For people."""
        return f"user {self.user!r} of entry {self.entry!r} (roles in {self.project!r}: {', '.join(self.roles) or '-'})"


# Question -> service of openstacksdk, path, microversion of Nova ("" = none). The administrator asks them.
QUESTIONS: Mapping[str, tuple[str, str, str]] = {
    "nova": ("compute", "/", ""),
    "servers": ("compute", "/servers/detail?all_tenants=1&limit=1", "2.1"),
    "hypervisors": ("compute", "/os-hypervisors", "2.1"),
    "services": ("compute", "/os-services?binary=nova-compute", "2.1"),
    "instances": ("database", "/mgmt/instances?deleted=false&limit=20", ""),
    "versions": ("database", "/mgmt/datastore-versions", ""),
    "images": ("image", "/images?visibility=all&limit=1", ""),
    "networks": ("network", "/networks?limit=1&fields=id", ""),
    "users": ("identity", "/users?name=trove", ""),
    "projects": ("identity", "/projects?name=service", ""),
}


def ask(connection: Connection, service: str, path: str, microversion: str = "") -> Answer:
    """One GET. Raises nothing that a cloud can do wrong."""
    import openstack.exceptions

    try:
        answer = getattr(connection, service).get(path, raise_exc=False, microversion=microversion or None)
        table = answer.json() if answer.content else {}
    except (ksa.EndpointNotFound, openstack.exceptions.NotSupported):
        return Answer(ABSENT, said="no endpoint in the catalogue of this region")
    except (openstack.exceptions.SDKException, ksa.ClientException) as error:
        return Answer(SILENT, said=" ".join(str(error).split())[:200])
    except ValueError:
        return Answer(SILENT, said="the answer is not JSON")
    return Answer(answer.status_code, table if isinstance(table, dict) else {})


def account(connection: Connection, entry: str) -> Account:
    """Who is logged in, from the token."""
    access: Any = connection.session.auth.get_access(connection.session)  # type: ignore[union-attr]
    return Account(
        entry,
        str(access.username or ""),
        str(access.user_id or ""),
        str(access.project_name or ""),
        str(access.project_id or ""),
        tuple(sorted(str(role) for role in access.role_names)),
        str(connection.config.region_name or ""),
    )
