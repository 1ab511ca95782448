"""Save what explains a failure, before anything is deleted: consoles, faults, actions, and the guest's own logs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from imagecheck import causes, progress, service
from imagecheck.bare import Ground
from imagecheck.cloud import network, nova, trove
from imagecheck.errors import ImagecheckError
from imagecheck.guest import console, ssh
from imagecheck.guest import evidence as inside
from imagecheck.report import Folder

LOGIN_DEADLINE = 30  # seconds; a guest that does not answer now has had its time


def save(folder: Folder, step: str, error: BaseException, ground: Ground | None) -> Path:
    """Everything that can still be read, below ``folder``; returns the folder of this step.

    Raises nothing of its own: a piece that cannot be read says so in its file. Files are private (0600).
    """
    keep = _Keeper(folder, step)
    keep.text("fault.txt", f"{error}\n")
    if ground is not None:
        with progress.phase("save the evidence", quiet=True):
            for entry in ground.ledger.open:
                if entry.kind == "server" and entry.id:
                    _server(keep, ground, entry.id, "", ground.key)
                elif entry.kind == "instance" and entry.id:
                    _instance(keep, ground, entry.id)
    return folder.evidence(step)


def explain(folder: Path) -> causes.Verdict:
    """What the evidence that was saved in ``folder`` shows; its id is "unknown" where no known cause fits."""
    texts = {}
    for file in sorted(folder.glob("*")):
        with contextlib.suppress(OSError):
            if file.is_file():
                texts[file.name] = file.read_text(encoding="utf-8", errors="replace")
    return causes.verdict(causes.evidence_from(texts))


class _Keeper:
    def __init__(self, folder: Folder, step: str) -> None:
        self._folder, self._step = folder, step

    def text(self, name: str, text: str) -> None:
        with contextlib.suppress(ImagecheckError):
            path = self._folder.save(self._step, name, text)
            path.chmod(0o600)
            path.parent.chmod(0o700)

    def read(self, name: str, how: Callable[[], str]) -> None:
        try:
            text = how()
        except ImagecheckError as error:
            text = f"could not be read: {error}\n"
        self.text(name, text)


def _server(keep: _Keeper, ground: Ground, id: str, prefix: str, key: Path | None) -> None:
    cloud, definition = ground.cloud, ground.definition
    keep.read(f"{prefix}console.log", lambda: console.clean(nova.console(cloud, id)))
    keep.read(f"{prefix}nova-server.json", lambda: _json(nova.show(cloud, id).raw))
    keep.read(f"{prefix}nova-actions.json", lambda: _json([dataclasses.asdict(one) for one in nova.actions(cloud, id)]))
    keep.read(f"{prefix}ports.json", lambda: _json(network.ports(cloud, device_id=id)))
    try:
        server = nova.show(cloud, id)
        if server.status != "ACTIVE":
            return
        with _login(ground, server, key) as guest:
            for name, text in inside.collect(guest, unit=definition.agent.unit, log=definition.agent.log):
                keep.text(prefix + name, text)
    except ImagecheckError as error:
        keep.text(f"{prefix}guest.txt", f"the guest could not be asked: {error}\n")


@contextlib.contextmanager
def _login(ground: Ground, server: nova.Server, key: Path | None) -> Iterator[ssh.Guest]:
    if key is None:
        guest = service.login(ground, server, deadline=LOGIN_DEADLINE)
    else:
        address = server.address(ground.where.management.name)
        guest = ssh.Guest(address, ground.definition.login, key, server.id, ground.cloud.site.jump)
    try:
        guest.wait(deadline=LOGIN_DEADLINE)
        yield guest
    finally:
        guest.forget()


def _instance(keep: _Keeper, ground: Ground, id: str) -> None:
    cloud = ground.cloud
    keep.read("trove-instance.json", lambda: _json(trove.show(cloud, id).raw))
    keep.read("trove-instance-owner.json", lambda: _json(trove.show_as_tenant(cloud, id).raw))
    keep.read("broker.txt", lambda: f"{ground.broker.queue(id)}\n")
    with contextlib.suppress(ImagecheckError):
        if server := trove.show(cloud, id).server_id:
            _server(keep, ground, server, "trove-", None)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n"
