"""One cloud, seen twice: with admin rights and as an ordinary project, each by openstacksdk and troveclient."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

# These libraries warn of each other's deprecations, which no user of ours can do anything about.
warnings.filterwarnings("ignore", category=Warning, module=r"(openstack|osc_lib|troveclient)\b")

import openstack.config  # noqa: E402
import openstack.exceptions  # noqa: E402
from keystoneauth1 import exceptions as ksa  # noqa: E402
from openstack.connection import Connection  # noqa: E402
from troveclient import exceptions as trove_exceptions  # noqa: E402
from troveclient.v1 import client as trove  # noqa: E402

from imagecheck.errors import ImagecheckError, StepFailed, UsageError  # noqa: E402
from imagecheck.redact import learn, redact  # noqa: E402
from imagecheck.site import Site  # noqa: E402

API_TIMEOUT = 90  # seconds per request; a GET of a running instance makes an RPC to its guest (trove.md §3)
REACH_TIMEOUT = 10  # seconds to open a connection to Keystone before the cloud counts as unreachable


class Hiccup(ImagecheckError):
    """The cloud answered 429 or 5xx, or did not answer: worth asking again within the deadline of a wait."""


class Missing(ImagecheckError):
    """404: what was asked for does not exist (any more)."""


@dataclass(frozen=True)
class Cloud:
    """Connections to one site. ``trove_*`` are troveclient clients: openstacksdk cannot drive Trove (trove.md §3)."""

    site: Site
    admin: Connection
    tenant: Connection
    trove_admin: Any
    trove_tenant: Any

    @property
    def tenant_project(self) -> str:
        """Id of the ordinary project."""
        return str(self.tenant.current_project_id)


def connect(site: Site) -> Cloud:
    """Log in with both entries and find Trove in the catalogue; nothing is made.

    Raises UsageError, one sentence each: entry unknown, cloud unreachable, bad credentials, no Trove.
    """
    admin = _login(site, site.cloud)
    tenant = _login(site, site.tenant_cloud)
    return Cloud(site, admin, tenant, _trove(admin, site.cloud), _trove(tenant, site.tenant_cloud))


def apart(cloud: Cloud) -> Cloud:
    """The same cloud for another thread: with the same logins, but with Trove clients of its own.

    Sessions may be shared (keystoneauth1/identity/base.py, get_access: "to make calls from many threads");
    troveclient's managers keep an open file in an attribute while they list or create (troveclient/base.py,
    completion_cache), which the next thread would close.
    """
    return replace(
        cloud,
        trove_admin=_trove(cloud.admin, cloud.site.cloud),
        trove_tenant=_trove(cloud.tenant, cloud.site.tenant_cloud),
    )


def _login(site: Site, entry: str) -> Connection:
    files = [str(site.clouds_file)] if site.clouds_file else None
    where = str(site.clouds_file) if site.clouds_file else "clouds.yaml"
    try:
        config = openstack.config.OpenStackConfig(config_files=files, app_name="imagecheck")
    except openstack.exceptions.ConfigException as error:
        raise UsageError(f"{where}: {_one_line(error)}: correct the file") from error
    known = sorted(set(config.get_cloud_names()) - {"defaults"})  # openstacksdk's name for "no entry at all"
    if entry not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"{where} has no entry {entry!r} (it has: {names}): name one with --cloud or OS_CLOUD")
    with sentences(f"entry {entry!r} of {where}"):
        region = config.get_one(cloud=entry)
        learn(str(region.auth.get("password") or ""))
        _reach(str(region.auth.get("auth_url") or ""), entry)
        region.config["api_timeout"] = API_TIMEOUT
        connection = Connection(config=region)
        # Not Connection.authorize: it wraps what Keystone said in an error of its own.
        learn(connection.session.get_token() or "")
        return connection


def _reach(auth_url: str, entry: str) -> None:
    """A dead address is told within seconds, not after the time-out of a request."""
    where = urlsplit(auth_url)
    if not where.hostname or any(os.environ.get(name) for name in ("http_proxy", "https_proxy", "HTTPS_PROXY")):
        return  # incomplete entries are told by keystoneauth, proxies connect for us
    try:
        port = where.port or (443 if where.scheme == "https" else 80)
        socket.create_connection((where.hostname, port), timeout=REACH_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the cloud of entry {entry!r} cannot be reached at {auth_url} ({error}): check auth_url and network"
        ) from error


def _trove(connection: Connection, entry: str) -> Any:
    config = connection.config
    with sentences(f"entry {entry!r}"):
        interface = config.get_interface("database") or "public"
        try:
            endpoint = connection.session.get_endpoint(
                service_type="database", interface=interface, region_name=config.get_region_name("database")
            )
        except ksa.EndpointNotFound:
            endpoint = None
        if not endpoint:
            raise UsageError(
                f"the cloud of entry {entry!r} has no Trove in its catalogue (no service of type 'database'): "
                "choose a cloud that runs Trove, or leave --cloud out for the sandbox"
            )
        return trove.Client(
            session=connection.session,
            endpoint_type=interface,
            region_name=config.get_region_name("database"),
        )


@contextmanager
def sentences(who: str) -> Iterator[None]:
    """Turn what logging in can raise into one UsageError; ``who`` names the entry."""
    try:
        yield
    except (ksa.Unauthorized, ksa.Forbidden) as error:
        raise UsageError(
            f"the credentials of {who} are refused by {getattr(error, 'url', None) or 'Keystone'}: "
            "check user, password and project"
        ) from error
    except (ksa.MissingRequiredOptions, ksa.MissingAuthPlugin, ksa.NoMatchingPlugin) as error:
        raise UsageError(f"{who} is not complete: {_one_line(error)}") from error
    except (ksa.ConnectFailure, ksa.ConnectTimeout, ksa.DiscoveryFailure, ksa.SSLError) as error:
        raise UsageError(
            f"the cloud of {who} cannot be reached ({_one_line(error)}): check auth_url, network and certificates"
        ) from error
    except (openstack.exceptions.ConfigException, openstack.exceptions.SDKException) as error:
        raise UsageError(f"{who} cannot be used: {_one_line(error)}") from error
    except ksa.ClientException as error:
        raise UsageError(f"{who} cannot be used: {_one_line(error)}") from error


@contextmanager
def asking(step: str, what: str) -> Iterator[None]:
    """Give what a request raises its sentence; ``what`` was asked for ("create the server").

    Raises Missing for 404, Hiccup for 429, 5xx and lost connections, StepFailed(step) for everything else.
    """
    try:
        yield
    except (ksa.ConnectFailure, ksa.ConnectTimeout, ksa.UnknownConnectionError, TimeoutError) as error:
        raise Hiccup(f"{step}: could not {what}: {_one_line(error)}") from error
    except (openstack.exceptions.SDKException, ksa.ClientException, trove_exceptions.ClientException) as error:
        status = _status(error)
        if status == 404:
            raise Missing(f"{step}: could not {what}: not found") from error
        if status == 429 or status >= 500:
            raise Hiccup(f"{step}: could not {what}: HTTP {status}: {_said(error)}") from error
        raise StepFailed(step, f"the cloud refused to {what}: {_said(error)}") from error


def _status(error: Exception) -> int:
    for name in ("status_code", "http_status", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int):
            return value
    return 0


def _said(error: Exception) -> str:
    return _one_line(getattr(error, "details", None) or getattr(error, "message", None) or error)


def _one_line(error: object) -> str:
    text = " ".join(redact(str(error)).split())
    return text if len(text) <= 300 else text[:297] + "..."
