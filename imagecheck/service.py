"""The same image under Trove: register, launch, SQL, stop, start, restart, reboot, delete. Judges nothing."""

from __future__ import annotations

import configparser
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagecheck import build, database, waits
from imagecheck.bare import CONF_D, Ground, alarm_ends, watch_connected
from imagecheck.cloud import nova, trove
from imagecheck.cloud.connection import Hiccup, Missing
from imagecheck.errors import StepFailed, UsageError
from imagecheck.guest import ssh
from imagecheck.imagefile import ImageFile
from imagecheck.launch.collect import Edges
from imagecheck.outcomes import Gone, Launch, Operation, Serving
from imagecheck.registry import publish

HEALTHY_DEADLINE = 1200  # seconds; Trove's own usage_timeout is 1800
LOGIN_DEADLINE = 120
STOP_DEADLINE = 240  # a stop shows with the agent's next heartbeat, up to 90 s later (sandbox.md)
START_DEADLINE = 420
REBOOT_DEADLINE = 900
CONSOLE_EVERY = 15.0
NAME = "imagecheck"  # of the database and of its user


@dataclass(frozen=True)
class Asked:
    """An instance that Trove has accepted: enough to save evidence and to remove it."""

    id: str
    name: str
    version: trove.Version
    password: str
    began: float
    accepted: float


def hand_over(ground: Ground, file: ImageFile, *, yes: bool = False) -> None:
    """Put the database's container where a guest that pulls it at launch will look: into the site's own registry.

    Nothing to do where the image brings it, or where the site names no registry (the guest then asks its own).
    """
    archive = file.path.parent / build.CONTAINER
    registry = ground.cloud.site.registry
    if ground.definition.datastore.carried == "pulled" and registry and archive.is_file():
        publish(archive, ground.definition.datastore.container, registry, yes=yes)


def register(ground: Ground, image: str) -> trove.Version:
    """Register ``image`` as a version whose number is the container's tag and whose name is this run's."""
    wanted = ground.definition.datastore
    return trove.register(
        ground.cloud,
        ground.ledger,
        datastore=wanted.name,
        name=ground.run,
        number=wanted.version,
        manager=wanted.manager,
        image=image,
    )


def ask(ground: Ground, version: trove.Version) -> Asked:
    """Create the instance as the ordinary project; on a cloud whose Trove uses volumes, with the smallest one."""
    password = database.password()

    def create(volume_gib: int) -> tuple[str, float, float]:
        return trove.create(
            ground.cloud,
            ground.ledger,
            name=ground.run,
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
    return Asked(made[0], ground.run, version, password, made[1], made[2])


def wait_healthy(ground: Ground, asked: Asked, edges: Edges) -> trove.Shown:
    """Wait for ACTIVE and HEALTHY and note on the way what can be seen from outside."""
    look = watch_connected(ground, asked.id, edges)
    last_console = time.monotonic()

    def each(shown: trove.Shown) -> None:
        nonlocal last_console
        if not shown.server_id:
            return
        if edges.look("nova_active", time.time, lambda: _is_active(ground, shown.server_id)):
            look()
        if time.monotonic() - last_console >= CONSOLE_EVERY:
            last_console = time.monotonic()
            alarm_ends(ground.cloud, shown.server_id)

    seen = trove.wait_healthy(ground.cloud, asked.id, deadline=HEALTHY_DEADLINE, since=asked.accepted, each=each)
    edges.saw("healthy", seen.last_no, seen.first_yes)
    return seen.value


def _is_active(ground: Ground, server: str) -> bool:
    with contextlib.suppress(Missing):  # Trove knows the id a moment before Nova shows it
        return nova.show(ground.cloud, server).status == "ACTIVE"
    return False


def look_around(ground: Ground, asked: Asked, shown: trove.Shown, seconds: float) -> Launch:
    """The healthy instance from every side: both API views, its Nova server, its guest."""
    server = nova.show(ground.cloud, shown.server_id)
    management = server.address(ground.where.management.name)
    guest = login(ground, server)
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(configparser.Error):
        parser.read_string(guest.read(f"{CONF_D}/guest_info.conf"))
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
    guest = ssh.Guest(
        address, ground.definition.login, _own_copy(site.guest_key, ground.key.parent), server.id, site.jump
    )
    try:
        guest.wait(deadline=deadline)
    except BaseException:
        guest.forget()
        raise
    return guest


def _own_copy(key: Path, folder: Path) -> Path:
    """ssh refuses a key that others may read; the site's file is not ours to change."""
    copy = folder / "trove_key"
    if not copy.exists():
        copy.touch(mode=0o600)
        copy.write_bytes(key.read_bytes())
    return copy


def first_query(ground: Ground, asked: Asked, shown: trove.Shown, edges: Edges) -> None:
    """Time the first answered query, before anything else takes a second; a silent database is for `serve` to tell."""
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


def ensure_serving(ground: Ground, launch: Launch) -> trove.Shown:
    """Bring the instance to ACTIVE and HEALTHY, whatever an earlier check left."""
    shown = trove.show(ground.cloud, launch.id)
    if shown.operating_status == "SHUTDOWN":
        trove.restart(ground.cloud, launch.id)
    return trove.wait_healthy(
        ground.cloud, launch.id, deadline=START_DEADLINE, reason="the instance to be ACTIVE and HEALTHY again"
    ).value


def stop(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Stop through Trove's mgmt call and wait until the API shows it."""
    ensure_serving(ground, launch)
    began = time.monotonic()
    answer = trove.stop(ground.cloud, launch.id)
    try:
        shown = trove.wait_down(ground.cloud, launch.id, deadline=STOP_DEADLINE).value
    except waits.TimedOut as late:
        raise StepFailed(
            "stop", late.sentence, seen=f"the API answered the stop: {answer}",
            remedy="see agent.log: the stop is a synchronous call to the guest (agent_call_low_timeout)",
        ) from late  # fmt: skip
    seconds = time.monotonic() - began
    return Operation("stop", answer, seconds, shown, serving.database.port_open(), "", serving.wanted)


def again(
    ground: Ground,
    launch: Launch,
    serving: Serving,
    name: str,
    act: Callable[[], None],
    *,
    deadline: float = START_DEADLINE,
) -> Operation:
    """Do ``act`` and wait until the database serves again; boot id and container tell whether it really happened."""
    boot_before, container_before = _lives(launch.guest)
    began = time.monotonic()
    act()
    # The call itself sets the task, so that the next answer cannot be the old HEALTHY (trove/instance/models.py).
    shown = trove.wait_healthy(
        ground.cloud, launch.id, deadline=deadline, reason=f"the instance to be HEALTHY after the {name}"
    ).value
    seconds = time.monotonic() - began
    launch.guest.wait(deadline=LOGIN_DEADLINE)
    boot_after, container_after = _lives(launch.guest)
    serving.database.wait(deadline=60)
    return Operation(
        name=name,
        answer="accepted",
        seconds=seconds,
        shown=shown,
        port_open=serving.database.port_open(),
        row=_row(serving.database),
        wanted=serving.wanted,
        boot_before=boot_before,
        boot_after=boot_after,
        started_before=container_before,
        started_after=container_after,
    )


def start(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Start a stopped database: Trove has no such call, restart is the one that does it."""
    return again(ground, launch, serving, "start", lambda: trove.restart(ground.cloud, launch.id))


def restart(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Restart a running database."""
    ensure_serving(ground, launch)
    return again(ground, launch, serving, "restart", lambda: trove.restart(ground.cloud, launch.id))


def reboot(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Reboot the server through Trove, which stops the database before and starts it after."""
    ensure_serving(ground, launch)
    return again(
        ground, launch, serving, "reboot", lambda: trove.reboot(ground.cloud, launch.id), deadline=REBOOT_DEADLINE
    )


def nova_reboot(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Reboot the server behind Trove's back, as an operator or a host does: the image alone has to bring all back."""
    ensure_serving(ground, launch)
    before = launch.guest.boot_id()

    def act() -> None:
        nova.reboot(ground.cloud, launch.server.id)
        launch.guest.close()
        launch.guest.wait(deadline=REBOOT_DEADLINE, not_boot=before)
        # What Trove shows until the agent's first heartbeat is the state from before.
        stale = trove.show(ground.cloud, launch.id).heartbeat

        def fresh() -> waits.Ready[None] | waits.NotYet:
            shown = trove.show(ground.cloud, launch.id)
            return waits.NotYet(f"no heartbeat, {shown.summary}") if shown.heartbeat == stale else waits.Ready(None)

        waits.until(
            fresh,
            reason="the agent's first heartbeat after the reboot",
            deadline=START_DEADLINE,
            interval=1,
            transient=(Hiccup,),
            step="reboot by Nova",
        )

    return again(ground, launch, serving, "reboot by Nova", act, deadline=REBOOT_DEADLINE)


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


def _lives(guest: ssh.Guest) -> tuple[str, str]:
    """The boot's id and the container's start: what changes when something was really restarted."""
    done = guest.run(
        "cat /proc/sys/kernel/random/boot_id; docker inspect -f '{{.State.StartedAt}}' database 2>/dev/null"
    )
    lines = [*done.stdout.split(), "", ""]
    return lines[0], lines[1]


def _row(there: database.Database) -> str:
    try:
        return there.read_row()
    except database.NoSQL as error:
        return f"no answer: {error}"
