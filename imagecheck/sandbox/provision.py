"""First provisioning: databases and schemas inside the container, by each service's own tool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from imagecheck import progress, waits
from imagecheck.sandbox.container import Container
from imagecheck.waits import NotYet, Ready

_DATABASES = ("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0", "neutron", "cinder", "trove")
_NEUTRON_FILES = "--config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini"
_STATEFUL = ("mariadb.service", "rabbitmq-server.service", "ovn-central.service", "openvswitch-switch.service")
_SCHEMA_DEADLINE = 300.0  # seconds; the slowest (neutron) takes 20 s on an idle core


@dataclass(frozen=True)
class Schema:
    """One service's commands, which follow each other; services do not depend on each other."""

    user: str
    commands: tuple[str, ...]


SCHEMAS = (
    Schema("nova", (
        "nova-manage api_db sync", "nova-manage cell_v2 map_cell0", "nova-manage db sync",
        "nova-manage cell_v2 create_cell --name cell1",
    )),
    Schema("neutron", (f"neutron-db-manage {_NEUTRON_FILES} upgrade heads",)),
    Schema("keystone", (
        "keystone-manage db_sync",
        "keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone",
        "keystone-manage credential_setup --keystone-user keystone --keystone-group keystone",
    )),
    Schema("cinder", ("cinder-manage db sync",)),
    Schema("glance", ("glance-manage db_sync",)),
    Schema("trove", ("trove-manage db_sync",)),
    Schema("placement", ("placement-manage db sync",)),
)  # fmt: skip


def databases(container: Container) -> None:
    """One database for each service, one account for all of them, reached over the socket."""
    _, keys = container.folder.load_plan()

    def answers() -> Ready[None] | NotYet:
        done = container.run(["mariadb", "-e", "SELECT 1"], check=False)
        return Ready(None) if done.rc == 0 else NotYet(done.stderr.strip() or "no answer")

    waits.until(answers, reason="the sandbox's MariaDB", deadline=90, interval=0.5, step="sandbox database")
    statements = "".join(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;\n" for name in _DATABASES)
    statements += f"CREATE OR REPLACE USER openstack@localhost IDENTIFIED BY '{keys.database}';\n"
    statements += "GRANT ALL ON *.* TO openstack@localhost;\n"
    container.run(["mariadb"], input=statements, step="sandbox database")


def schemas(container: Container) -> None:
    """Make every service's tables, two services at a time (each is one busy core)."""
    with progress.phase("database schemas") as phase, ThreadPoolExecutor(max_workers=2) as pool:
        done: list[str] = []

        def work(schema: Schema) -> Callable[[], None]:
            def job() -> None:
                for command in schema.commands:
                    container.run(
                        command.split(), user=schema.user, timeout=_SCHEMA_DEADLINE, step=f"sandbox schema: {command}"
                    )
                done.append(schema.user)
                phase.update(f"{len(done)} of {len(SCHEMAS)} services")

            return job

        for future in [pool.submit(work(schema)) for schema in SCHEMAS]:
            future.result()


def bootstrap(container: Container) -> None:
    """Keystone's first account, role and endpoint."""
    addresses, keys = container.folder.load_plan()
    url = f"http://{addresses.sandbox}:5000/v3"
    container.run(
        ["keystone-manage", "bootstrap", "--bootstrap-username", "admin", "--bootstrap-project-name", "admin",
         "--bootstrap-role-name", "admin", "--bootstrap-service-name", "keystone", "--bootstrap-region-id", "RegionOne",
         "--bootstrap-public-url", url, "--bootstrap-internal-url", url, "--bootstrap-admin-url", url],
        user="keystone", environment={"OS_BOOTSTRAP_PASSWORD": keys.admin}, step="sandbox identity", timeout=120,
    )  # fmt: skip


def discover_hosts(container: Container) -> None:
    """Map the one nova-compute to its cell, once it has reported itself."""

    def mapped() -> Ready[None] | NotYet:
        container.run(["nova-manage", "cell_v2", "discover_hosts"], user="nova", timeout=120)
        listing = container.run(["nova-manage", "cell_v2", "list_hosts"], user="nova", timeout=120).stdout
        return Ready(None) if container.folder.release.name in listing else NotYet("nova-compute has not reported yet")

    waits.until(mapped, reason="nova-compute to join its cell", deadline=120, interval=3, step="sandbox compute")


def close(container: Container) -> None:
    """Stop what keeps data, so that the folder's files are whole; the rest may be killed (a clean stop takes 60 s)."""
    with progress.phase("close the databases"):
        container.run(["systemctl", "stop", *_STATEFUL], timeout=120, step="sandbox databases")
        container.run(["sync"], timeout=120)
