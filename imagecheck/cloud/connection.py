"""One cloud, seen twice: with admin rights and as an ordinary project, each by openstacksdk and troveclient."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from keystoneauth1 import exceptions as ksa

from imagecheck.cloud import retry
from imagecheck.cloud.classify import classify
from imagecheck.cloud.quota import remedy
from imagecheck.cloud.retry import Hiccup as Hiccup
from imagecheck.errors import ImagecheckError, StepFailed, UsageError
from imagecheck.redact import learn, learn_named, redact
from imagecheck.site import Site

if TYPE_CHECKING:
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

# openstacksdk and troveclient take a second to load, so whoever calls them loads them: looking inside an image needs
# neither. They warn of each other's deprecations, which no user of ours can do anything about.
warnings.filterwarnings("ignore", category=Warning, module=r"(openstack|osc_lib|troveclient)\b")

API_TIMEOUT = 90  # seconds per request; a GET of a running instance makes an RPC to its guest (trove.md §3)
REACH_TIMEOUT = 10  # seconds to open a connection to Keystone before the cloud counts as unreachable


class Missing(ImagecheckError):
    """404: what was asked for does not exist (any more)."""


@dataclass(frozen=True)
class Cloud:
    """Connections to one site. ``trove_*`` are troveclient clients: openstacksdk cannot drive Trove (trove.md §3).

    ``tally`` counts the requests of both that had to be asked again.
    """

    site: Site
    admin: Connection
    tenant: Connection
    trove_admin: Any
    trove_tenant: Any
    tally: retry.Tally = field(default_factory=retry.Tally)

    @property
    def tenant_project(self) -> str:
        """Id of the ordinary project."""
        return str(self.tenant.current_project_id)


def connect(site: Site, tally: retry.Tally | None = None) -> Cloud:
    """Log in with both entries and find Trove in the catalogue; nothing is made. ``tally`` counts what is asked again.

    Raises UsageError, one sentence each: entry unknown, cloud unreachable, bad credentials, no Trove.
    """
    tally = tally or retry.Tally()
    with retry.patience(REACH_TIMEOUT):
        admin = login(site, site.cloud, tally)
        tenant = login(site, site.tenant_cloud, tally)
        # What is made there is found again there only, whatever the environment names by then.
        there = replace(site, region=str(admin.config.region_name or ""))
        return Cloud(
            there, admin, tenant, trove_client(admin, site.cloud), trove_client(tenant, site.tenant_cloud), tally
        )


def apart(cloud: Cloud) -> Cloud:
    """The same cloud for another thread: with the same logins, but with Trove clients of its own.

    Sessions may be shared (keystoneauth1/identity/base.py, get_access: "to make calls from many threads");
    troveclient's managers keep an open file in an attribute while they list or create (troveclient/base.py,
    completion_cache), which the next thread would close.
    """
    return replace(
        cloud,
        trove_admin=trove_client(cloud.admin, cloud.site.cloud),
        trove_tenant=trove_client(cloud.tenant, cloud.site.tenant_cloud),
    )


def settings(site: Site, entry: str) -> tuple[OpenStackConfig, str]:
    """clouds.yaml with that entry in it, and its path for people. Raises UsageError; asks no cloud."""
    import openstack.config
    import openstack.exceptions

    files = [str(site.clouds_file)] if site.clouds_file else None
    where = str(site.clouds_file) if site.clouds_file else "clouds.yaml"
    try:
        config = openstack.config.OpenStackConfig(
            config_files=files, app_name="imagecheck", session_constructor=retry.Session
        )
    except openstack.exceptions.ConfigException as error:
        raise UsageError(f"{where}: {_one_line(error)}: correct the file") from error
    known = sorted(set(config.get_cloud_names()) - {"defaults"})  # openstacksdk's name for "no entry at all"
    if entry not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"{where} has no entry {entry!r} (it has: {names}): name one with --cloud or OS_CLOUD")
    return config, where


def login(site: Site, entry: str, tally: retry.Tally) -> Connection:
    """A connection by that entry of the site's clouds.yaml, logged in. Raises UsageError."""
    from openstack.connection import Connection

    config, where = settings(site, entry)
    with sentences(f"entry {entry!r} of {where}"):
        # openstacksdk reads OS_REGION_NAME only without a clouds.yaml; it chooses where the entry has not chosen.
        chosen = (config.cloud_config["clouds"][entry] or {}).get("region_name")
        wanted = site.region or ("" if chosen else os.environ.get("OS_REGION_NAME", ""))
        region = config.get_one(cloud=entry, region_name=wanted)
        learn(str(region.auth.get("password") or ""))  # whatever its length
        learn_named(region.auth)  # application credentials, tokens, passcodes
        _reach(str(region.auth.get("auth_url") or ""), entry)
        region.config["api_timeout"] = API_TIMEOUT
        session = region.get_session()
        if isinstance(session, retry.Session):
            session.tally = tally
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


def trove_client(connection: Connection, entry: str) -> Any:
    """A troveclient on the connection's session. Raises UsageError where its catalogue has no Trove."""
    from troveclient.v1 import client as trove

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
            where = f" of its region {config.region_name!r}" if config.region_name else ""
            raise UsageError(
                f"the cloud of entry {entry!r} has no Trove in its catalogue{where} (no service of type 'database'): "
                "choose a cloud or region (region_name in clouds.yaml) that runs Trove, or leave --cloud out for the "
                "sandbox"
            )
        return trove.Client(
            session=connection.session,
            endpoint_type=interface,
            region_name=config.get_region_name("database"),
        )


@contextmanager
def sentences(who: str) -> Iterator[None]:
    """Turn what logging in can raise into one UsageError; ``who`` names the entry."""
    from openstack.exceptions import ConfigException, SDKException

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
    except (ConfigException, SDKException) as error:
        raise UsageError(f"{who} cannot be used: {_one_line(error)}") from error
    except ksa.ClientException as error:
        raise UsageError(f"{who} cannot be used: {_one_line(error)}") from error


@contextmanager
def asking(step: str, what: str) -> Iterator[None]:
    """Give what a request raises its sentence; ``what`` was asked for ("create the server").

    Raises Missing for 404, Hiccup for 429, 5xx and lost connections, StepFailed(step) for everything else.
    """
    from openstack.exceptions import SDKException
    from troveclient.exceptions import ClientException as TroveException

    try:
        yield
    except (ksa.ConnectionError, TimeoutError) as error:
        seen = classify("POST", "", exception=error)
        if seen.kind == "final":
            raise StepFailed(step, f"could not {what}: {_one_line(error)}", remedy="check certificates") from error
        sentence = f"{step}: could not {what}: {_one_line(error)}"
        raise Hiccup(sentence, reason=seen.reason, unsure=seen.kind == "unsure") from error
    except (SDKException, ksa.ClientException, TroveException) as error:
        status, said = _status(error), _said(error)
        if status == 404:
            raise Missing(f"{step}: could not {what}: not found") from error
        seen = classify("POST", "", status)
        if seen.kind != "final":
            sentence = f"{step}: could not {what}: HTTP {status}: {said}"
            raise Hiccup(sentence, reason=seen.reason, unsure=seen.kind == "unsure") from error
        if isinstance(error, ksa.EndpointNotFound):
            said += ": this region's catalogue lacks that service"
        raise StepFailed(step, f"the cloud refused to {what}: {said}", remedy=remedy(said, status)) from error


def server_date(cloud: Cloud, service: str = "compute", path: str = "/") -> tuple[float, float, float] | None:
    """When a service was asked, what its Date header said, when the answer came: seconds since the epoch.

    The header tells whole seconds (RFC 9110, 5.6.7): half of one is added. None where it is missing.
    """
    sent = time.time()
    with asking("clock", f"ask the {service} service for the time"):
        answer = getattr(cloud.admin, service).get(path, raise_exc=False)
    date = answer.headers.get("Date")
    return (sent, parsedate_to_datetime(date).timestamp() + 0.5, time.time()) if date else None


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
