"""Save what explains a failure, before anything is deleted: one folder for each node, with a page, and one over all.

From the cloud through its APIs, from the guest over SSH, and where SSH is dead from the guest's stopped disk.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from imagecheck import causes, progress, service
from imagecheck.bare import Ground
from imagecheck.blackbox import cloudside, stopped
from imagecheck.blackbox.box import Box
from imagecheck.cloud import nova, trove
from imagecheck.errors import ImagecheckError, StepFailed, UsageError
from imagecheck.guest import evidence as inside
from imagecheck.guest import ssh
from imagecheck.report import Folder, Node, index_page, node_page
from imagecheck.report.files import private, slug

FULL = 3  # failed checks of an image for which all is gathered; a broken image fails many at once
SECONDS = 30.0  # for the cloud's answers and the guest's, which are asked for at the same time
LOGIN_DEADLINE = 15  # seconds; a guest that does not answer now has had its time


class Boxes:
    """The evidence of one image's run. ``node`` is the id of the check under way, "" outside of all."""

    def __init__(self, folder: Folder, image: str) -> None:
        self.node = ""
        self.saved: list[Node] = []
        self.expendable = True  # a guest that does not answer may be stopped, so that its disk can be read
        self._folder, self._image = folder, image
        self._full: list[Node] = []
        self._lock = threading.Lock()

    def broken(self, step: str, error: BaseException, ground: Ground | None) -> Node:
        """A step broke: everything that can still be read. A guest that does not answer is stopped to read its disk.

        Raises nothing of its own: a piece that cannot be had is named with the reason.
        """
        return self._save(step, error, ground, expendable=self.expendable)

    def first_try(self, step: str, error: BaseException, ground: Ground | None) -> Node:
        """A step broke that is tried once more: the same, under the step's name, for the check may pass yet."""
        return self.aside(f"{step}, first time", error, ground)

    def aside(self, step: str, error: BaseException, ground: Ground | None) -> Node:
        """The same under the name ``step``, whatever check is under way. May be called from several threads."""
        with self._lock:
            node, self.node = self.node, ""
            try:
                return self.broken(step, error, ground)
            finally:
                self.node = node

    def failed(self, check: str, error: BaseException, ground: Ground | None) -> tuple[Node, bool]:
        """A check does not hold: the same, but nothing is stopped, later checks need it. And whether it is one of the
        first `FULL`: the others are shown what was gathered for the one before."""
        first = len(self._full) < FULL
        node = self._save(check, error, ground, full=first)
        if first:
            self._full.append(node)
        return node, first

    def of(self, node: str) -> str:
        """The folder of a check's evidence; "" where there is none."""
        return next((str(one.folder) for one in reversed(self.saved) if one.id == node), "")

    def _save(
        self, step: str, error: BaseException, ground: Ground | None, *, expendable: bool = False, full: bool = True
    ) -> Node:
        began = time.time()
        box = Box(self._place(self.node.rpartition("/")[2] or step))
        box.put("fault.txt", "what failed", "imagecheck", f"{error}\n")
        if ground is not None and full:
            with progress.phase("save the evidence") as shown:
                shown.quiet = not ground.ledger.open
                try:
                    _gather(box, ground, expendable)
                except Exception as broke:  # noqa: BLE001 - what is saved already must be shown all the same
                    box.lack("more", "all that comes after this", "imagecheck", str(broke) or type(broke).__name__)
        before = None if full or not self._full else self._full[-1]
        told = error.cause if isinstance(error, StepFailed) and error.cause and error.cause.known else None
        node = Node(
            id=self.node or step,
            folder=box.path,
            sentence=str(error),
            verdict=told or (before.verdict if before else explain(box.path)),
            pieces=box.pieces,
            at=began,
            seconds=time.time() - began,
            see=before.folder.name if before else "",
        )
        self.saved.append(node)
        self._write(box.path / "index.html", node_page(self._image, node))
        self._write(self._folder.index, index_page(self._image, self.saved))
        return node

    def _place(self, name: str) -> Path:
        try:
            return self._folder.node(name)
        except UsageError as error:
            progress.note(str(error))
            return self._folder.path / slug(name)

    def _write(self, file: Path, text: str) -> None:
        try:
            private(file, text)
        except UsageError as error:
            progress.note(str(error))


def explain(folder: Path) -> causes.Verdict:
    """What the evidence that was saved in ``folder`` shows; its id is "unknown" where no known cause fits."""
    texts = {}
    for file in sorted(folder.glob("*")):
        with contextlib.suppress(OSError):
            if file.is_file():
                texts[file.name] = file.read_text(encoding="utf-8", errors="replace")
    return causes.verdict(causes.evidence_from(texts))


def _gather(box: Box, ground: Ground, expendable: bool) -> None:
    end = time.monotonic() + SECONDS
    jobs, guests = [], []
    servers: list[tuple[str, str, Path | None]] = []
    for entry in ground.ledger.open:  # the newest first: it is the one that failed
        if entry.kind == "server" and entry.id:
            others = sum(key is not None for *_, key in servers)
            servers.append((entry.id, f"server{others + 1}-" if others else "", ground.key))
        elif entry.kind == "queue":
            guests.append(entry.name)
        elif entry.kind == "instance" and entry.id:
            guests.append(entry.id)
            jobs += cloudside.of_instance(ground, entry.id)
            with contextlib.suppress(ImagecheckError):
                if server := trove.show(ground.cloud, entry.id).server_id:
                    servers.append((server, "trove-", None))
    for id, prefix, _ in servers:
        jobs += cloudside.of_server(ground, id, prefix)
    if not jobs:
        return
    asked = box.start([*jobs, *cloudside.of_run(ground, guests)])
    silent = [(prefix, found) for id, prefix, key in servers if (found := _ask(box, ground, id, prefix, key))]
    box.wait(asked, seconds=max(2.0, end - time.monotonic()))
    for prefix, (quiet, why) in silent:
        _read_disk(box, ground, quiet, prefix, why, expendable)


def _ask(box: Box, ground: Ground, id: str, prefix: str, key: Path | None) -> tuple[nova.Server, str] | None:
    """Save what the guest says over SSH; the server and the reason where its disk has to tell instead."""
    try:
        server = nova.show(ground.cloud, id)
        if server.status == "SHUTOFF":
            return server, "the server is SHUTOFF"
        if server.status != "ACTIVE":
            stopped.missing(box, prefix, f"the server is {server.status}: no guest runs")
            return None
        with _login(ground, server, key) as guest:
            texts, why = inside.collect(guest, unit=ground.definition.agent.unit, log=ground.definition.agent.log)
    except UsageError as error:  # nobody can tell whether the guest is dead
        stopped.missing(box, prefix, str(error))
        return None
    except ImagecheckError as error:
        return server, str(error).splitlines()[0]
    for piece in inside.PIECES:
        if piece.name in texts:
            box.put(prefix + piece.name, piece.what, "the guest, over SSH", texts[piece.name])
    if not texts:
        return server, why
    stopped.missing(box, prefix, why)
    return None


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


def _read_disk(box: Box, ground: Ground, server: nova.Server, prefix: str, why: str, expendable: bool) -> None:
    reason = "" if expendable else "the server is still needed, so it was not stopped"
    if not reason:
        with contextlib.suppress(ImagecheckError):
            reason = stopped.worthless(nova.console(ground.cloud, server.id))
    if not reason:
        try:
            stopped.save(box, ground, server, prefix)
        except (ImagecheckError, OSError) as error:
            reason = str(error).splitlines()[0]
    stopped.missing(box, prefix, f"{why}; its disk: {reason}" if reason else why)
