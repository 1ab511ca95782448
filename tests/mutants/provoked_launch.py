"""What an agent shows with a real broker and a real Trove alone: one boot by Nova, one launch by Trove.

The boot's agent is started anew for each scene, with what the broker refuses or does not expect. The launch's prepare
is broken in the image.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import amqp
import overlay

from imagecheck import bare, imagefile, service, waits
from imagecheck.bare import Ground
from imagecheck.causes.row import Place
from imagecheck.causes.scan import compiled
from imagecheck.causes.table import TABLE
from imagecheck.cloud import glance, nova, trove
from imagecheck.guest import ssh
from imagecheck.launch.collect import Edges
from imagecheck.outcomes import BareBoot
from imagecheck.run import Road

TOLD = 300.0  # seconds until an emulated agent, started anew on a busy host, has said it
ENDED = 600.0  # seconds until Trove has given up
PATTERNS = {row.id: compiled(row.pattern) for row in TABLE if row.pattern}
MANAGER = "/usr/lib/python3/dist-packages/trove/guestagent/datastore/mysql_common/manager.py"


@dataclass(frozen=True)
class Booted:
    """The guest whose agent is started again and again."""

    ground: Ground
    boot: BareBoot
    guest: ssh.Guest

    @property
    def queue(self) -> str:
        return f"guestagent.{self.boot.injected.guest_id}"

    def agent(self, verb: str) -> None:
        self.guest.run(f"systemctl {verb} {self.ground.definition.agent.unit}", check=True, timeout=180)

    def told(self, row: str, provoke: Callable[[], Any]) -> str:
        """What the agent's log has gained until it shows the row."""
        log = self.ground.definition.agent.log
        before = int(self.guest.run(f"stat -c %s {log}", check=True).stdout)
        provoke()

        def said() -> waits.Ready[str] | waits.NotYet:
            text = self.guest.run(f"tail -c +{before + 1} {log}", check=True, timeout=60).stdout
            lines = text.splitlines()
            return waits.Ready(text) if any(PATTERNS[row].search(line) for line in lines) else waits.NotYet(
                lines[-1] if lines else "nothing")  # fmt: skip

        with contextlib.suppress(waits.TimedOut):
            waits.until(said, reason=f"the agent to say {row}", deadline=TOLD, interval=3)
            waits.until(lambda: waits.NotYet("more of it"), reason=f"more of {row}", deadline=20, interval=5)
        return self.guest.run(f"tail -c +{before + 1} {log}", check=True, timeout=60).stdout


@contextlib.contextmanager
def channel(ground: Ground) -> Iterator[Any]:
    """Of the cloud's broker."""
    to = ground.brokers[0]
    with amqp.Connection(to.shown, userid=to.user, password=to.password, virtual_host=to.virtual_host) as connection:
        yield connection.channel()


def unknown_vhost(at: Booted) -> str:
    """A transport_url that ends with a virtual host that the broker does not have."""
    file = at.boot.injected.guest_config
    at.guest.run(f"cp -p {file} /root/kept; sed -i 's|^\\(transport_url.*\\)/[^/]*$|\\1/nowhere|' {file}", check=True)
    try:
        return at.told("broker-vhost", lambda: at.agent("restart"))
    finally:
        at.guest.run(f"mv /root/kept {file}", check=True)


def other_queue(at: Booted) -> str:
    """The agent's queue is there already, with other properties."""
    at.agent("stop")
    with channel(at.ground) as broker:
        broker.queue_delete(at.queue)
        broker.queue_declare(at.queue, durable=True, auto_delete=False)
    try:
        return at.told("queue-differs", lambda: at.agent("start"))
    finally:
        with channel(at.ground) as broker:
            broker.queue_delete(at.queue)


def newer_caller(at: Booted) -> str:
    """A call of a version that this agent does not have, in oslo.messaging's envelope (2.0)."""
    said = {"method": "prepare", "args": {}, "version": "99.0", "_unique_id": uuid.uuid4().hex}
    body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(said)})

    def call() -> None:
        at.agent("restart")
        bare.observe_agent(at.ground, at.boot, at.guest, Edges())
        with channel(at.ground) as broker:
            message = amqp.Message(body, content_type="application/json", content_encoding="utf-8")
            broker.basic_publish(message, exchange="", routing_key=at.queue)

    return at.told("rpc-version", call)


BOOTED: Mapping[str, Callable[[Booted], str]] = {
    "broker-vhost": unknown_vhost, "queue-differs": other_queue, "rpc-version": newer_caller,
}  # fmt: skip
LAUNCHED: Mapping[str, Place] = {"prepare-failed": "agent", "agent-said-failed": "trove"}
IDS = (*BOOTED, *LAUNCHED)


def booted(road: Road, wanted: list[str]) -> Iterator[tuple[str, Place, str]]:
    """(row, place, text) of each wanted scene, in one guest that Nova boots."""
    ground = road.cloud()
    boot, _, _ = bare.boot(ground, image=road.image().id, public_key=road.public_key, edges=Edges())
    guest = bare.login(ground, boot, ground.key, Edges())
    try:
        bare.observe_agent(ground, boot, guest, Edges())
        for row in wanted:
            yield row, "agent", BOOTED[row](Booted(ground, boot, guest))
    finally:
        guest.forget()


def launched(road: Road) -> Iterator[tuple[str, Place, str]]:
    """The same of a launch by Trove whose prepare raises what nobody expects."""
    ground, good = road.cloud(), road.image_file().path
    with tempfile.TemporaryDirectory(prefix="provoke-") as name:
        work = Path(name)
        thin, whole = work / "thin.qcow2", work / "whole.qcow2"
        overlay.create(good, thin)
        with overlay.exported(good, thin, work) as raw, overlay.mounted(raw, work) as root:
            guest = overlay.Root(root, "", "", "")
            guest.replace(MANAGER, "        data_dir = mount_point + '/data'\n", "        raise OverflowError(1)\n")
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", thin, whole], check=True)
        image = glance.upload(ground.cloud, ground.ledger, imagefile.inspect(whole), name=ground.run, run=ground.run)
    asked = service.ask(ground, service.register(ground, image.id))

    def ended() -> waits.Ready[trove.Shown] | waits.NotYet:
        now = trove.show(ground.cloud, asked.id)
        return waits.Ready(now) if now.status in ("ERROR", "FAILED") and now.fault else waits.NotYet(now.summary)

    shown = waits.until(ended, reason="Trove to give up", deadline=ENDED, interval=2).value
    yield "agent-said-failed", "trove", f"{shown.fault}\n{(shown.raw.get('fault') or {}).get('details') or ''}\n"
    inside = service.login(ground, nova.show(ground.cloud, shown.server_id))
    try:
        yield "prepare-failed", "agent", inside.read(ground.definition.agent.log)
    finally:
        inside.forget()
