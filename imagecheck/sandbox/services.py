"""Whether the services of a running sandbox serve; which unit does not, and what it logged last."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import amqp

from imagecheck import waits
from imagecheck.errors import StepFailed
from imagecheck.sandbox.container import Container
from imagecheck.sandbox.folder import REGISTRY_LISTENS
from imagecheck.waits import NotYet, Ready

if TYPE_CHECKING:
    from openstack.connection import Connection

_STEP = "sandbox services"


@dataclass(frozen=True)
class Api:
    """A service that answers HTTP: any answer below 500 will do (most roots say 300 or 401)."""

    unit: str
    port: int


APIS: Final = (
    Api("keystone", 5000),
    Api("glance-api", 9292),
    Api("placement-api", 8778),
    Api("nova-api", 8774),
    Api("neutron-api", 9696),
    Api("cinder-api", 8776),
    Api("trove-api", 8779),
    Api("docker-registry", REGISTRY_LISTENS),
)
CONSUMERS: Final = {
    # unit: the queue on which Trove's daemon listens (trove 23, trove/common/cfg.py)
    "trove-taskmanager": "taskmanager",
    "trove-conductor": "trove-conductor",
}
UNITS: Final = (
    "mariadb", "rabbitmq-server", "memcached", "libvirtd", "ovn-controller", "ovs-vswitchd", "nova-conductor",
    "nova-scheduler", "nova-compute", *CONSUMERS, *(api.unit for api in APIS),
)  # fmt: skip


def wait_identity(container: Container) -> None:
    """Until Keystone answers (provisioning makes everything else through it)."""
    _wait(container, "keystone to answer", 90, lambda: _silent(container, APIS[:1]))


def wait_apis(container: Container) -> None:
    """Until every API answers."""
    _wait(container, "the APIs", 120, lambda: _silent(container, APIS))


def wait_compute(container: Container, admin: Connection) -> None:
    """Until a hypervisor and its network agent have reported themselves to the control plane."""

    def late() -> list[str]:
        try:
            compute = [s for s in admin.compute.services() if s.binary == "nova-compute" and s.state == "up"]
            agents = [a for a in admin.network.agents() if a.binary == "ovn-controller" and a.is_alive]
        except Exception as error:  # noqa: BLE001 the APIs are still starting: any answer but the wanted one means "not yet"
            return [f"the APIs ({type(error).__name__})"]
        return [name for name, there in (("nova-compute", compute), ("ovn-controller", agents)) if not there]

    _wait(container, "nova-compute and the network agent", 120, late)


def wait_trove(container: Container) -> None:
    """Until Trove's daemons consume from the broker: a running process proves nothing."""
    _wait(container, "Trove's taskmanager and conductor", 120, lambda: _without_consumer(container))


def states(container: Container) -> dict[str, str]:
    """Unit -> ActiveState/SubState, as systemd says."""
    shown = container.run(
        ["systemctl", "show", "-p", "Id,ActiveState,SubState", *(f"{unit}.service" for unit in UNITS)], step=_STEP
    ).stdout
    found = {}
    for block in shown.strip().split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines())
        found[fields["Id"].removesuffix(".service")] = f"{fields['ActiveState']}/{fields['SubState']}"
    return found


def log(container: Container, unit: str, lines: int = 15) -> str:
    """The unit's journal and the end of its newest log file."""
    journal = container.run(
        ["journalctl", "--no-pager", "-o", "short-precise", "-n", str(lines), "-u", unit], check=False, step=_STEP
    ).stdout
    project = unit.split("-")[0]
    newest = container.run(
        ["sh", "-c", 'f=$(ls -t /var/log/"$1"/"$2"*.log /var/log/"$1"/*.log 2>/dev/null | head -1); '
         '[ -z "$f" ] || { echo "== $f"; tail -n "$3" "$f"; }', "sh", project, unit, str(lines)],
        check=False, step=_STEP,
    ).stdout  # fmt: skip
    return (journal + newest).strip()


def _wait(container: Container, reason: str, deadline: float, late: object) -> None:
    assert callable(late)

    def probe() -> Ready[None] | NotYet:
        if not container.leader.alive():
            raise StepFailed(_STEP, "the sandbox's container ended while its services started")
        waiting = late()
        if not waiting:
            return Ready(None)
        broken = [unit for unit, state in states(container).items() if state.startswith("failed")]
        if broken:
            raise StepFailed(_STEP, f"the unit {broken[0]} failed", seen=log(container, broken[0]))
        return NotYet(f"waiting for {', '.join(waiting)}")

    try:
        waits.until(probe, reason=reason, deadline=deadline, interval=1, step=_STEP)
    except waits.TimedOut as error:
        first = late()
        unit = first[0].split(" ")[0] if first else ""
        raise StepFailed(_STEP, error.sentence, seen=log(container, unit) if unit in UNITS else error.seen) from error


def _silent(container: Container, apis: tuple[Api, ...]) -> list[str]:
    addresses, _ = container.folder.load_plan()
    return [api.unit for api in apis if not _answers(f"http://{addresses.sandbox}:{api.port}/")]


def _answers(url: str) -> bool:
    # the standard library will do: one GET whose status alone matters, without the environment's proxies
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False


def _without_consumer(container: Container) -> list[str]:
    addresses, keys = container.folder.load_plan()
    waiting = list(CONSUMERS)
    try:
        with amqp.Connection(
            f"{addresses.sandbox}:5672", userid="imagecheck", password=keys.broker, connect_timeout=3
        ) as broker:
            for unit, queue in CONSUMERS.items():
                try:
                    if broker.channel().queue_declare(queue, passive=True).consumer_count:
                        waiting.remove(unit)
                except amqp.NotFound:
                    pass
    except (OSError, amqp.AMQPError):
        return ["rabbitmq-server", *waiting]
    return waiting
