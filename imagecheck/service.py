"""The same image under Trove: register, launch, SQL, delete. Judges nothing."""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import functools
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagecheck import build, database, waits
from imagecheck.bare import CONF_D, Ground, watch_connected, watchdog
from imagecheck.cloud import datastore, nova, trove
from imagecheck.cloud.connection import Hiccup, Missing
from imagecheck.definition import Definition
from imagecheck.errors import StepFailed, UsageError
from imagecheck.guest import ssh
from imagecheck.imagefile import ImageFile
from imagecheck.launch import Event
from imagecheck.launch.collect import Edges
from imagecheck.outcomes import Gone, Launch, Serving
from imagecheck.redact import learn_named
from imagecheck.registry import publish

HEALTHY_DEADLINE = 1200  # seconds; Trove's own usage_timeout is 1800
LOGIN_DEADLINE = 120
KNOCK = 0.5  # seconds for one TCP connect; Trove is asked once per second meanwhile
GLANCE = 3.0  # seconds for each step of a query that may come too early
NAME = "imagecheck"  # of the database and of its user


@dataclass(frozen=True)
class Asked:
    """An instance that Trove has accepted: enough to save evidence and to remove it."""

    id: str
    name: str
    version: datastore.Version
    password: str
    began: float
    accepted: float


def answers(definition: Definition) -> None:
    """UsageError where no client here speaks to that database: before minutes are spent on a launch."""
    database.dialect(definition.datastore.manager)


def hand_over(ground: Ground, file: ImageFile, *, yes: bool = False) -> None:
    """Put the database's container where a guest that pulls it at launch will look: into the site's own registry.

    Nothing to do where the image brings it, or where the site names no registry (the guest then asks its own).
    """
    archive = file.path.parent / build.CONTAINER
    registry = ground.cloud.site.registry
    if ground.definition.datastore.carried == "pulled" and registry and archive.is_file():
        publish(archive, ground.definition.datastore.container, registry, yes=yes)


def register(ground: Ground, image: str) -> datastore.Version:
    """Register ``image`` as a version whose number is the container's tag and whose name is this run's."""
    wanted = ground.definition.datastore
    return datastore.register(
        ground.cloud,
        ground.ledger,
        datastore=wanted.name,
        name=ground.run,
        number=wanted.version,
        manager=wanted.manager,
        image=image,
    )


def ask(ground: Ground, version: datastore.Version, name: str = "") -> Asked:
    """Create the instance as the ordinary project; on a cloud whose Trove uses volumes, with the smallest one.

    ``name``: the run's, unless it makes several.
    """
    name = name or ground.run
    password = database.password()

    def create(volume_gib: int) -> tuple[str, float, float]:
        return trove.create(
            ground.cloud,
            ground.ledger,
            name=name,
            version=version,
            flavor=ground.where.flavor.id,
            tenant_network=ground.where.tenant.id,
            volume_gib=volume_gib,
            database=NAME,
            user=NAME,
            password=password,
        )

    try:
        made = create(0)
    except StepFailed as refused:
        # volume_support is not in any API; the refusal names it (trove/common/exception.py, VolumeSizeNotSpecified).
        if "volume" not in refused.sentence.lower() or "size" not in refused.sentence.lower():
            raise
        made = create(max(1, ground.definition.needs.ephemeral_gib))
    return Asked(made[0], name, version, password, made[1], made[2])


def wait_healthy(ground: Ground, asked: Asked, edges: Edges, *, enter_after: float = 0.0) -> trove.Shown:
    """Wait for ACTIVE and HEALTHY and note on the way what can be seen from outside.

    The guest is looked into by SSH as well, once ``enter_after`` seconds have passed: a session costs a guest under
    emulation some seconds of its processors.
    """
    look = watch_connected(ground, asked.id, edges)
    watch = watchdog(ground, asked.id)
    guest: ssh.Guest | None = None
    port: database.Database | None = None

    def each(shown: trove.Shown) -> None:
        nonlocal guest, port
        watch.saw_instance(shown)
        status_edges(shown, edges)
        if not shown.server_id:
            return
        if edges.has("nova_active") or _is_active(ground, shown.server_id, edges):
            look()
            # Until the agent is there, a guest may swallow what knocks. Trove's word stands in for a silent broker.
            if edges.has("broker_connected") or edges.has("status_building"):
                if port is None:
                    tenant = nova.show(ground.cloud, shown.server_id).address(ground.where.tenant.name)
                    port = dataclasses.replace(_database(ground, tenant, asked.password), timeout=GLANCE)
                if port.address and edges.look(
                    "port_open", time.time, functools.partial(port.port_open, timeout=KNOCK)
                ):
                    edges.look("first_query", time.time, port.answers)
            if guest is None and ground.cloud.site.guest_key and time.time() - asked.began >= enter_after:
                guest = _reach(ground, nova.show(ground.cloud, shown.server_id))
                watch.enter(guest)

    try:
        seen = trove.wait_healthy(
            ground.cloud, asked.id, deadline=HEALTHY_DEADLINE, since=asked.accepted, each=each, guard=watch
        )
    finally:
        watch.leave()
        if guest is not None:
            guest.forget()
    edges.saw("healthy", seen.last_no, seen.first_yes)
    if watch.console_spoke:
        edges.saw("console_spoke", *watch.console_spoke)
    return seen.value


def status_edges(shown: trove.Shown, edges: Edges, now: Callable[[], float] = time.time) -> None:
    """Keep what Trove has heard of the agent, which its mgmt view alone tells."""
    answered = now()
    edges.answered("status_building", shown.told not in ("", "new"), shown.asked, answered)
    if edges.answered("status_healthy", shown.told == "healthy", shown.asked, answered) and shown.heartbeat:
        updated = nova.epoch(shown.heartbeat)
        edges.keep(Event.at("status_updated", "cloud", updated, resolution=1.0 if updated == int(updated) else 0.0))


def _is_active(ground: Ground, server_id: str, edges: Edges) -> bool:
    """Ask Nova and keep the edges; True once the server is ACTIVE."""
    with contextlib.suppress(Missing):  # Trove knows the id a moment before Nova shows it
        server = nova.show(ground.cloud, server_id)
        edges.answered("spawning", server.spawning, server.asked, time.time())
        return edges.answered("nova_active", server.status == "ACTIVE", server.asked, time.time())
    return False


def look_around(ground: Ground, asked: Asked, shown: trove.Shown, seconds: float) -> Launch:
    """The healthy instance from every side: both API views, its Nova server, its guest."""
    server = nova.show(ground.cloud, shown.server_id)
    management = server.address(ground.where.management.name)
    guest = login(ground, server)
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(configparser.Error):
        parser.read_string(guest.read(f"{CONF_D}/guest_info.conf"))
        learn_named(parser.defaults())  # instance_rpc_encr_key
    return Launch(
        id=asked.id,
        version=asked.version,
        shown=shown,
        owner=trove.show_as_tenant(ground.cloud, asked.id),
        server=server,
        guest=guest,
        management=management,
        tenant=server.address(ground.where.tenant.name),
        guest_info=dict(parser.defaults()),
        seconds=seconds,
    )


def login(ground: Ground, server: nova.Server, deadline: float = LOGIN_DEADLINE) -> ssh.Guest:
    """SSH to a server that Trove made, with Trove's key."""
    guest = _reach(ground, server)
    try:
        guest.wait(deadline=deadline)
    except BaseException:
        guest.forget()
        raise
    return guest


def _reach(ground: Ground, server: nova.Server) -> ssh.Guest:
    """The same before it answers."""
    site = ground.cloud.site
    if site.guest_key is None:
        raise UsageError("the site names no 'guest_key': give the private key of Trove's nova_keypair")
    address = server.address(ground.where.management.name)
    if not address:
        raise StepFailed(
            "guest",
            "Trove's server has no address on the management network",
            seen=f"addresses: {dict(server.addresses)}",
        )
    key = _own_copy(site.guest_key, ground.key.parent)
    return ssh.Guest(address, ground.definition.login, key, server.id, site.jump)


def _own_copy(key: Path, folder: Path) -> Path:
    """ssh refuses a key that others may read; the site's file is not ours to change."""
    copy = folder / "trove_key"
    if not copy.exists():
        mine = folder / f"trove_key.{threading.get_ident()}"  # others may launch at the same time
        mine.touch(mode=0o600)
        mine.write_bytes(key.read_bytes())
        mine.replace(copy)
    return copy


def first_query(ground: Ground, asked: Asked, shown: trove.Shown, edges: Edges) -> None:
    """The first answered query, where nothing was answered before HEALTHY; a silent database is for `serve` to tell."""
    if edges.has("first_query"):
        return
    address = nova.show(ground.cloud, shown.server_id).address(ground.where.tenant.name)
    with contextlib.suppress(waits.TimedOut):
        seen = _database(ground, address, asked.password).wait(deadline=60)
        edges.saw("first_query", seen.last_no, seen.first_yes)


def _database(ground: Ground, address: str, password: str) -> database.Database:
    return database.Database(address, NAME, NAME, password, database.dialect(ground.definition.datastore.manager))


def serve(ground: Ground, launch: Launch, password: str) -> Serving:
    """SQL over the tenant network, and a row that has to last."""
    there = _database(ground, launch.tenant, password)
    seen = there.wait(deadline=60)
    wanted = secrets.token_hex(8)
    try:
        there.write_row(wanted)
        row = there.read_row()
    except database.NoSQL as error:
        raise StepFailed("database", f"the user that Trove made cannot write a row: {error}") from error
    return Serving(there, seen.value, row, wanted)


def delete(ground: Ground, launch: Launch, name: str) -> Gone:
    """Delete the instance as its owner would and look for what stays. What stays is removed all the same."""
    began = time.monotonic()
    launch.guest.forget()
    entry = next((one for one in ground.ledger.open if one.kind == "instance" and one.id == launch.id), None)
    with contextlib.suppress(Missing):
        trove.ask_delete(ground.cloud, launch.id)

    def gone() -> waits.Ready[None] | waits.NotYet:
        try:
            return waits.NotYet(trove.show(ground.cloud, launch.id).summary)
        except Missing:
            left = trove.leftovers(ground.cloud, launch.id, name)
            return waits.NotYet(", ".join(left)) if left else waits.Ready(None)

    with contextlib.suppress(waits.TimedOut):
        waits.until(
            gone,
            reason="Trove to remove the instance and all it made",
            deadline=trove.DELETE_DEADLINE,
            interval=1,
            transient=(Hiccup,),
        )
    seconds = time.monotonic() - began
    left = tuple(trove.leftovers(ground.cloud, launch.id, name))
    try:
        trove.show(ground.cloud, launch.id)
        there = True
    except Missing:
        there = False
    if not there and not left and entry:
        ground.ledger.removed(entry)
    return Gone(seconds, there, left)
