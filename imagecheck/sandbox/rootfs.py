"""The root file system folder: Debian's packages by mmdebstrap, then our settings written over them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from imagecheck import hostcmd, mirror, progress
from imagecheck.errors import StepFailed
from imagecheck.sandbox import acceleration
from imagecheck.sandbox.folder import REGISTRY, REGISTRY_LISTENS, REGISTRY_PORT, Folder, Secrets
from imagecheck.sandbox.releases import Release

_LEAN = ("man", "doc", "locale", "info", "help", "lintian", "bug")
_DROPPED = re.compile(r"(apparmor-profile|add-header)\s*=")
_UWSGI_SERVICES = ("keystone", "glance", "placement", "nova", "neutron", "cinder")


def make(folder: Folder) -> None:
    """Fill ``folder.root`` with the release's packages, about 2.3 GB; StepFailed with mmdebstrap's last lines."""
    release = folder.release
    archive = mirror.debian()
    folder.root.mkdir(parents=True)
    argv = [
        "mmdebstrap", "--variant=apt", "--components=main", "--format=directory",
        f"--include={','.join(release.packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        # a snapshot mirror's Release file may be older than apt likes
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEAN),
        "--dpkgopt=force-unsafe-io",
        *([f"--customize-hook={acceleration.FETCH_KERNEL}"] if acceleration.offered() else []),
        release.suite, str(folder.root), archive,
    ]  # fmt: skip
    with progress.phase(f"Debian {release.suite} with OpenStack {release.openstack}") as phase:

        def on_line(line: str) -> None:
            if line.startswith("I: "):
                phase.update(line[3:].split(" (")[0].split(" in shell")[0])

        hostcmd.stream(argv, on_line=on_line, step="sandbox root file system")


def configure(folder: Folder, extra: Mapping[str, str]) -> None:
    """Write the settings tree (``files/``) into the folder and choose its units; may be repeated."""
    addresses, keys = folder.load_plan()
    values = {
        "hostname": folder.release.name,
        "ip": str(addresses.sandbox),
        "host_ip": str(addresses.host),
        "mgmt_ip": str(addresses.broker),
        "tenant_ip": str(addresses.tenant_sandbox),
        "registry_ip": str(REGISTRY),
        "registry_port": str(REGISTRY_PORT),
        "registry_listens": str(REGISTRY_LISTENS),
        "transport_url": f"rabbit://imagecheck:{keys.broker}@127.0.0.1:5672/",
        "guest_transport_url": f"rabbit://imagecheck:{keys.broker}@{addresses.broker}:5672/",
        "broker_user": "imagecheck",
        "broker_password": keys.broker,
        "nova_api_database": database_url("nova_api", keys),
        **extra,
    }
    for path, template in _settings():
        service = path.parts[1] if path.parts[0] == "etc" and len(path.parts) > 2 else ""
        text = Template(template.read_text()).substitute({**values, **_service_values(service, folder)})
        _write(folder.root / path, text)
    _slim_uwsgi(folder.root)
    _quick_replies(folder.root)


def choose_units(folder: Folder) -> None:
    """Enable and mask by the release's table."""
    for verb, units in (("enable", folder.release.enable), ("mask", folder.release.mask)):
        hostcmd.run(["systemctl", f"--root={folder.root}", verb, *units], step="sandbox units", timeout=60)


def database_url(name: str, keys: Secrets) -> str:
    """SQLAlchemy URL of one of the databases, over MariaDB's socket (it does not listen on TCP)."""
    socket = "unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4"
    return f"mysql+pymysql://openstack:{keys.database}@localhost/{name}?{socket}"


def recipe(release: Release) -> str:
    """A digest of all that decides what a made folder holds, but for the archive's state."""
    digest = hashlib.sha256(repr(release).encode())
    here = resources.files("imagecheck.sandbox")
    # the modules whose change changes a folder, and the settings themselves
    for module in ("rootfs.py", "provision.py", "objects.py"):
        digest.update((here / module).read_bytes())

    for path, node in _settings():
        digest.update(str(path).encode() + b"\0" + node.read_bytes() + b"\0")
    return digest.hexdigest()


def _service_values(service: str, folder: Folder) -> dict[str, str]:
    addresses, keys = folder.load_plan()

    def auth(user: str) -> str:
        return "\n".join((
            f"auth_url = http://{addresses.sandbox}:5000/v3", "auth_type = password", f"username = {user}",
            f"password = {keys.service}", "project_name = service", "user_domain_name = Default",
            "project_domain_name = Default", "region_name = RegionOne",
        ))  # fmt: skip

    authtoken = "\n".join((
        f"www_authenticate_uri = http://{addresses.sandbox}:5000/v3", auth(service).rsplit("\n", 1)[0],
        "service_token_roles_required = true", "service_token_roles = service",
        "memcached_servers = 127.0.0.1:11211",
    ))  # fmt: skip
    return {
        "auth": auth(service),
        "auth_nova": auth("nova"),
        "authtoken": authtoken,
        "database": database_url(service, keys),
    }


def _settings() -> Iterator[tuple[Path, Traversable]]:
    """The settings tree: path in the root file system, template."""

    def walk(node: Traversable, relative: Path) -> Iterator[tuple[Path, Traversable]]:
        for child in sorted(node.iterdir(), key=lambda item: item.name):
            if child.is_dir():
                yield from walk(child, relative / child.name)
            else:
                yield relative / child.name, child

    return walk(resources.files("imagecheck.sandbox") / "files", Path())


def _write(path: Path, text: str) -> None:
    """Keep owner and mode of a package's own file; what starts with #! is a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()  # an absolute link would lead to the host's own file
    fresh = not path.exists()
    path.write_text(text)
    if fresh:
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def _slim_uwsgi(root: Path) -> None:
    """One process with at most four threads for each API: eight processes each would want 6 GB."""
    for service in _UWSGI_SERVICES:
        for path in sorted((root / "etc" / service).glob("*-uwsgi.ini")):
            lines = [_slim(line) for line in path.read_text().splitlines() if not _DROPPED.match(line)]
            # uwsgi closes after every answer and does not say so: after a 204 a client would send its next request
            # into the closing connection
            path.write_text("\n".join([*lines, "add-header = Connection: close"]) + "\n")
    if not any((root / "etc" / "keystone").glob("*-uwsgi.ini")):
        raise StepFailed("sandbox settings", "the keystone package brought no uwsgi settings: is the suite right?")


def _quick_replies(root: Path) -> None:
    """Look for the answer to a call every 10 ms: Debian's oslo.messaging 16.1 looks every 500 (ReplyWaiters.get, for
    bug 2035113), and Nova makes some fifteen calls for each server."""
    driver = root / "usr/lib/python3/dist-packages/oslo_messaging/_drivers/amqpdriver.py"
    head, found, rest = driver.read_text().partition("class ReplyWaiters:")
    slow = "except queue.Empty:\n                time.sleep(0.5)"
    if found and slow in rest:  # other releases wait for it
        driver.write_text(head + found + rest.replace(slow, slow.replace("0.5", "0.01"), 1))


def _slim(line: str) -> str:
    key, _, value = (word.strip() for word in line.partition("="))
    match key:
        case "processes":
            return "processes = 1"
        case "threads":
            # never more than Debian's own: neutron-api loses its notifications to Nova with more than one
            return f"threads = {min(int(value), 4)}"
        case "plugins":
            return "plugins = python3"
    return line
