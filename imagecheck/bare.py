"""The bare boot: Nova, a config drive and files made by us, so that image and agent are seen without Trove."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagecheck import paths, waits
from imagecheck.broker import Address, Broker, BrokerUnreachable
from imagecheck.cloud import network, nova
from imagecheck.cloud.connection import Cloud
from imagecheck.cloud.ledger import Ledger
from imagecheck.cloud.preflight import Surroundings
from imagecheck.definition import Definition
from imagecheck.errors import StepFailed, UsageError
from imagecheck.guest import agent as inside
from imagecheck.guest import config_drive, ssh
from imagecheck.launch.collect import Edges
from imagecheck.outcomes import Agent, BareBoot, Injected
from imagecheck.watchdog import Watchdog

CONF_D = "/etc/trove/conf.d"  # Trove's injected_config_location, default since Victoria (trove/common/cfg.py)
ACTIVE_DEADLINE = 180  # seconds
SSH_DEADLINE = 420
CLOUD_INIT_DEADLINE = 240
AGENT_DEADLINE = 180
INSIDE_EVERY = 5.0  # seconds between two questions to a guest: each takes a second of an emulated CPU


@dataclass(frozen=True)
class Ground:
    """What every boot of one road shares."""

    cloud: Cloud
    ledger: Ledger
    where: Surroundings
    definition: Definition
    run: str
    key: Path
    broker: Broker
    brokers: tuple[Address, ...]


def inject(ground: Ground) -> Injected:
    """Make a guest_info.conf with a fresh id and take the site's trove-guestagent.conf as it is."""
    site, definition = ground.cloud.site, ground.definition
    if site.guest_config is None:
        raise UsageError(
            "the site names no 'guest_config': give the trove-guestagent.conf that this cloud's taskmanager injects"
        )
    guest_id = str(uuid.uuid4())
    info, config = f"{CONF_D}/guest_info.conf", f"{CONF_D}/trove-guestagent.conf"
    files = {
        info: config_drive.guest_info(
            guest_id=guest_id,
            manager=definition.datastore.manager,
            version=definition.datastore.version,
            tenant=ground.cloud.tenant_project,
        ),
        config: paths.small(site.guest_config),
    }
    owner, group = site.injected_owner, site.injected_group
    user_data = config_drive.cloud_config(files, f"{owner}:{group}")
    return Injected(guest_id, files, owner, group, info, config, user_data)


def access(ground: Ground, public_key: str) -> None:
    """The run's key pair and its security group, which every server of the harness shares; made once."""
    if not any(one.kind == "keypair" for one in ground.ledger.open):
        nova.create_keypair(ground.cloud, ground.ledger, ground.run, public_key)
        network.ssh_group(ground.cloud, ground.ledger, ground.run, ground.run)


def boot(ground: Ground, *, image: str, public_key: str, edges: Edges, name: str = "") -> tuple[BareBoot, float, float]:
    """Boot ``image`` through Nova on both networks, tenant first as Trove does. Waits for ACTIVE.

    Returns it with the begin and end of the create request (epoch seconds, harness). ``name``: the run's, unless it
    boots several.
    """
    run, where = ground.run, ground.where
    injected = inject(ground)
    access(ground, public_key)
    ground.ledger.intend("queue", injected.guest_id)
    server, began, accepted = nova.boot(
        ground.cloud,
        ground.ledger,
        name=name or run,
        run=run,
        image=image,
        flavor=where.flavor.id,
        networks=[where.tenant.id, where.management.id],
        group=run,
        keypair=run,
        user_data=injected.user_data,
    )
    watch = watchdog(ground, injected.guest_id, server_id=server.id)

    def each(seen: nova.Server) -> None:
        watch.saw_server(seen)
        edges.answered("spawning", seen.spawning, seen.asked, time.time())

    active = nova.wait_active(ground.cloud, server.id, deadline=ACTIVE_DEADLINE, since=began, each=each, guard=watch)
    edges.saw("nova_active", active.last_no, active.first_yes)
    server = active.value
    management, tenant = server.address(where.management.name), server.address(where.tenant.name)
    if not management:
        raise StepFailed(
            nova.STEP,
            f"the server has no address on the network {where.management.name!r}",
            seen=f"addresses: {dict(server.addresses)}",
        )
    return BareBoot(server, injected, management, tenant, watch), began, accepted


def booted(ground: Ground, server_id: str) -> BareBoot:
    """A server that `boot` made in an earlier run, with what Nova says that it was given. StepFailed unless it runs."""
    server = nova.show(ground.cloud, server_id)
    nova.raise_fault(server)
    if server.status != "ACTIVE":
        by_hand = f"openstack --os-cloud {ground.cloud.site.cloud} server start {server_id}"
        raise StepFailed(nova.STEP, f"the server {server_id} is {server.status}: no guest runs", remedy=by_hand)
    given = nova.user_data(ground.cloud, server_id)
    files, owner = config_drive.files_of(given)
    info, config = f"{CONF_D}/guest_info.conf", f"{CONF_D}/trove-guestagent.conf"
    found = re.search(r"^guest_id=(\S+)$", files.get(info, ""), re.MULTILINE)
    if found is None or config not in files:
        raise StepFailed(
            nova.STEP, f"Nova does not show what the server {server_id} was given as user-data",
            remedy="an administrator's entry sees it, from microversion 2.3 on",
        )  # fmt: skip
    user, _, group = owner.partition(":")
    injected = Injected(found[1], files, user, group, info, config, given)
    watch = watchdog(ground, injected.guest_id, server_id=server_id, from_now=True)
    watch.saw_server(server)
    management, tenant = server.address(ground.where.management.name), server.address(ground.where.tenant.name)
    return BareBoot(server, injected, management, tenant, watch)


def watchdog(ground: Ground, guest_id: str, *, server_id: str = "", told: str = "", from_now: bool = False) -> Watchdog:
    """A watchdog for what is waited for on this ground; see there for what the options mean."""
    return Watchdog(
        ground.cloud,
        ground.definition.agent,
        CONF_D,
        guest_id=guest_id,
        broker=ground.broker,
        brokers=[one.shown for one in ground.brokers],
        server_id=server_id,
        told=told,
        from_now=from_now,
    )


def consumers(ground: Ground, guest_id: str) -> int:
    """Consumers of the agent's queue; 0 without a queue. Raises BrokerUnreachable."""
    queue = ground.broker.queue(guest_id)
    return queue.consumers if queue else 0


def connected(ground: Ground, guest_id: str, edges: Edges) -> bool:
    """Whether the agent consumes from its queue, noted as an edge; asked until it does. Raises BrokerUnreachable."""
    return edges.look("broker_connected", time.time, lambda: consumers(ground, guest_id) > 0)


def watch_connected(ground: Ground, guest_id: str, edges: Edges) -> Callable[[], None]:
    """A look at the broker for the loops that wait for something else; silent when the broker cannot be asked."""
    asked = True

    def look() -> None:
        nonlocal asked
        if asked:
            try:
                connected(ground, guest_id, edges)
            except BrokerUnreachable:
                asked = False

    return look


def connects(ground: Ground, bare: BareBoot, edges: Edges, *, patience: float) -> bool:
    """Wait for the agent at its broker, and leave the guest alone: a session costs one under emulation some seconds.

    False after ``patience`` seconds, or when the broker cannot be asked: the guest is then worth a look inside.
    StepFailed when its console shows that it is in vain.
    """
    end = time.monotonic() + patience

    def seen() -> waits.Ready[bool] | waits.NotYet:
        try:
            if connected(ground, bare.injected.guest_id, edges):
                return waits.Ready(True)
        except BrokerUnreachable:
            return waits.Ready(False)
        return waits.Ready(False) if time.monotonic() >= end else waits.NotYet("no consumer on its queue")

    return waits.until(
        seen,
        reason="the guest agent to consume from its queue",
        deadline=patience + AGENT_DEADLINE,
        interval=1,
        step="guest agent",
        guard=bare.watch,
    ).value


def login(ground: Ground, bare: BareBoot, key: Path, edges: Edges, *, logs: bool = True) -> ssh.Guest:
    """Wait for SSH and for the end of cloud-init; StepFailed at once when console or logs show why that is in vain.

    ``logs``: its logs too; without them, a guest whose agent shall fail is watched by its console alone.
    """
    guest = ssh.Guest(bare.management, ground.definition.login, key, bare.server.id, ground.cloud.site.jump)
    look = watch_connected(ground, bare.injected.guest_id, edges)

    def finished() -> waits.Ready[None] | waits.NotYet:
        look()
        done = guest.run("cat /run/cloud-init/result.json", sudo=False)
        return waits.Ready(None) if done.rc == 0 else waits.NotYet("cloud-init still works")

    try:
        guest.wait(deadline=SSH_DEADLINE, meanwhile=look, guard=bare.watch)
        if logs:
            bare.watch.enter(guest)
        waits.until(
            finished,
            reason="cloud-init to finish",
            deadline=CLOUD_INIT_DEADLINE,
            interval=1,
            transient=(ssh.NoAnswer,),
            step="guest",
            remedy="see cloud-init.log in the evidence",
            guard=bare.watch,
        )
    except BaseException:
        bare.watch.leave()
        guest.forget()
        raise
    if bare.watch.console_spoke:
        edges.saw("console_spoke", *bare.watch.console_spoke)
    return guest


def observe_agent(
    ground: Ground, bare: BareBoot, guest: ssh.Guest, edges: Edges, *, watch: Watchdog | None = None
) -> Agent:
    """Watch until the agent consumes from its queue, then say what there is.

    StepFailed with the cause as soon as it shows, at the latest when the deadline passes. ``watch``: another watchdog
    than the boot's own, for an agent that is started again.
    """
    unit, guest_id = ground.definition.agent.unit, bare.injected.guest_id
    unasked = ""
    began = asked = time.monotonic()

    def there() -> waits.Ready[None] | waits.NotYet:
        nonlocal unasked, asked
        if not unasked:
            try:
                if connected(ground, guest_id, edges):
                    return waits.Ready(None)
                return waits.NotYet("0 consumers on its queue")
            except BrokerUnreachable as error:
                unasked = str(error)
        if time.monotonic() - asked >= INSIDE_EVERY:
            asked = time.monotonic()
            if _to_brokers(ground, guest, unit):
                return waits.Ready(None)
        return waits.NotYet("no connection from the agent to a broker")

    watch = watch or bare.watch
    watch.enter(guest)
    try:
        waits.until(
            there,
            reason="the guest agent to consume from its queue",
            deadline=AGENT_DEADLINE,
            interval=1,
            transient=(ssh.NoAnswer,),
            step="guest agent",
            guard=watch,
        )
    finally:
        watch.leave()
    return Agent(
        unit=inside.unit(guest, unit),
        seconds=time.monotonic() - began,
        brokers=tuple(one.shown for one in ground.brokers),
        dials=tuple(inside.dial(guest, one.host, one.port) for one in ground.brokers),
        connections=tuple(_to_brokers(ground, guest, unit)),
        queue=None if unasked else ground.broker.queue(guest_id),
        unasked=unasked,
    )


def _to_brokers(ground: Ground, guest: ssh.Guest, unit: str) -> list[inside.Connection]:
    ports = {one.port for one in ground.brokers}
    return [one for one in inside.connections(guest, unit) if one.port in ports]
