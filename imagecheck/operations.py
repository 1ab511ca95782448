"""What Trove does with an instance that serves: stop, start, restart, reboot. Judges nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from imagecheck import database, waits
from imagecheck.bare import Ground, watchdog
from imagecheck.cloud import nova, trove
from imagecheck.cloud.connection import Hiccup
from imagecheck.errors import StepFailed
from imagecheck.guest import ssh
from imagecheck.outcomes import Launch, Operation, Serving
from imagecheck.watchdog import Watchdog

LOGIN_DEADLINE = 120  # seconds
STOP_DEADLINE = 240  # a stop shows with the agent's next heartbeat, up to 90 s later (sandbox.md)
START_DEADLINE = 420
REBOOT_DEADLINE = 900


def ensure_serving(ground: Ground, launch: Launch) -> trove.Shown:
    """Bring the instance to ACTIVE and HEALTHY, whatever an earlier check left."""
    shown = trove.show(ground.cloud, launch.id)
    if shown.healthy:
        return shown
    with _watching(ground, launch) as watch:
        if shown.operating_status == "SHUTDOWN":
            trove.restart(ground.cloud, launch.id)
        return trove.wait_healthy(
            ground.cloud,
            launch.id,
            deadline=START_DEADLINE,
            reason="the instance to be ACTIVE and HEALTHY again",
            each=watch.saw_instance,
            guard=watch,
        ).value


def wait_healthy(ground: Ground, instance_id: str, *, deadline: float) -> trove.Shown:
    """Wait for an instance that was left running to be ACTIVE and HEALTHY; nothing is done to bring it there."""
    shown = trove.show(ground.cloud, instance_id)
    watch = watchdog(ground, instance_id, server_id=shown.server_id, from_now=True)
    return trove.wait_healthy(ground.cloud, instance_id, deadline=deadline, each=watch.saw_instance, guard=watch).value


@contextlib.contextmanager
def _watching(ground: Ground, launch: Launch, *, told: str = "shutdown") -> Iterator[Watchdog]:
    """A watchdog for an operation: what was before counts for nothing, a database that is stopped is no fault."""
    watch = watchdog(ground, launch.id, server_id=launch.server.id, told=told, from_now=True)
    watch.enter(launch.guest)
    try:
        yield watch
    finally:
        watch.leave()


def stop(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Stop through Trove's mgmt call and wait until the API shows it."""
    ensure_serving(ground, launch)
    began = time.monotonic()
    with _watching(ground, launch) as watch:
        answer = trove.stop(ground.cloud, launch.id)
        try:
            shown = trove.wait_down(
                ground.cloud, launch.id, deadline=STOP_DEADLINE, each=watch.saw_instance, guard=watch
            ).value
        except waits.TimedOut as late:
            raise StepFailed(
                "stop", late.sentence, seen=f"the API answered the stop: {answer}; {late.seen}", cause=late.cause,
                remedy="see agent.log: the stop is a synchronous call to the guest (agent_call_low_timeout)",
            ) from late  # fmt: skip
    seconds = time.monotonic() - began
    return Operation("stop", answer, seconds, shown, serving.database.port_open(), "", serving.wanted)


def again(
    ground: Ground,
    launch: Launch,
    serving: Serving,
    name: str,
    act: Callable[[Watchdog], None],
    *,
    deadline: float = START_DEADLINE,
    told: str = "shutdown",
) -> Operation:
    """Do ``act`` and wait until the database serves again; boot id and container tell whether it really happened."""
    boot_before, container_before = _lives(launch.guest)
    began = time.monotonic()
    with _watching(ground, launch, told=told) as watch:
        watch.boot = boot_before
        act(watch)
        # The call itself sets the task, so that the next answer cannot be the old HEALTHY (trove/instance/models.py).
        shown = trove.wait_healthy(
            ground.cloud,
            launch.id,
            deadline=deadline,
            reason=f"the instance to be HEALTHY after the {name}",
            each=watch.saw_instance,
            guard=watch,
        ).value
        seconds = time.monotonic() - began
        launch.guest.wait(deadline=LOGIN_DEADLINE, guard=watch)
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
    return again(ground, launch, serving, "start", lambda _: trove.restart(ground.cloud, launch.id))


def restart(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Restart a running database."""
    ensure_serving(ground, launch)
    return again(ground, launch, serving, "restart", lambda _: trove.restart(ground.cloud, launch.id))


def reboot(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Reboot the server through Trove, which stops the database before and starts it after."""
    ensure_serving(ground, launch)
    return again(
        ground, launch, serving, "reboot", lambda _: trove.reboot(ground.cloud, launch.id), deadline=REBOOT_DEADLINE
    )


def nova_reboot(ground: Ground, launch: Launch, serving: Serving) -> Operation:
    """Reboot the server behind Trove's back, as an operator or a host does: the image alone has to bring all back."""
    ensure_serving(ground, launch)
    before = launch.guest.boot_id()

    def act(watch: Watchdog) -> None:
        nova.reboot(ground.cloud, launch.server.id)
        launch.guest.close()
        launch.guest.wait(deadline=REBOOT_DEADLINE, not_boot=before, guard=watch)
        # What Trove shows until the agent's first heartbeat is the state from before.
        stale = trove.show(ground.cloud, launch.id).heartbeat

        def fresh() -> waits.Ready[None] | waits.NotYet:
            shown = trove.show(ground.cloud, launch.id)
            watch.saw_instance(shown)
            return waits.NotYet(f"no heartbeat, {shown.summary}") if shown.heartbeat == stale else waits.Ready(None)

        waits.until(
            fresh,
            reason="the agent's first heartbeat after the reboot",
            deadline=START_DEADLINE,
            interval=1,
            transient=(Hiccup,),
            step="reboot by Nova",
            guard=watch,
        )

    return again(ground, launch, serving, "reboot by Nova", act, deadline=REBOOT_DEADLINE, told="")


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
