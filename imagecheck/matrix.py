"""The injection matrix walked: contents in one booted guest, carriers by a boot each. Judges nothing but its fields."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imagecheck import bare, causes, injection, progress, waits
from imagecheck.bare import Ground
from imagecheck.broker import BrokerUnreachable
from imagecheck.causes import Place
from imagecheck.cloud import nova, offers
from imagecheck.cloud.connection import Hiccup
from imagecheck.errors import ImagecheckError, StepFailed
from imagecheck.guest import config_drive, console, redeliver, ssh
from imagecheck.injection import Carrier, Cell, Content, Files, Seen
from imagecheck.launch import collect
from imagecheck.outcomes import Agent, BareBoot, Injected

STEP = "injection"
WORD_DEADLINE = 150  # seconds for an agent to start or to say why not; an emulated one takes 40
BOOT_DEADLINE = 420
# Seconds that the broker is watched for an agent after cloud-init is done: from there an emulated one takes 45.
SILENCE = 60
METADATA = "169.254.169.254"
FORCED = "not shown: this cloud gives every server a config drive"
_PROBE = (
    "import urllib.request\n"
    f"try: print('yes', urllib.request.urlopen('http://{METADATA}/openstack/', timeout=4).status)\n"
    "except Exception as e: print('no', type(e).__name__, e)"
)


@dataclass(frozen=True)
class Metadata:
    """Is there a metadata service? As a guest on the cloud's own networks sees it."""

    reached: bool
    said: str


@dataclass(frozen=True)
class FilesWay:
    """What the cloud does with Nova's `files`: ``there`` names those that stand in the guest (None: nobody looked)."""

    offered: tuple[str, ...]
    there: tuple[str, ...] | None
    agent: bool
    said: str

    @property
    def outcome(self) -> str:
        """injected, discarded or refused."""
        if self.there is None:
            return self.said if not self.agent else "injected"
        return "injected" if set(self.there) == set(self.offered) else "discarded"


def files_of(ground: Ground, injected: Injected, guest_id: str) -> Files:
    """The files of the bare boot for another guest id."""
    store = ground.definition.datastore
    info = config_drive.guest_info(
        guest_id=guest_id, manager=store.manager, version=store.version, tenant=ground.cloud.tenant_project
    )
    return Files(injected.guest_info, info, injected.guest_config, injected.files[injected.guest_config],
                 f"{injected.owner}:{injected.group}")  # fmt: skip


class Contents:
    """The rows of the matrix, in the guest of the bare boot, whose agent they stop and start."""

    def __init__(
        self,
        ground: Ground,
        server: BareBoot,
        guest: ssh.Guest,
        agent: Agent,
        drive: config_drive.ConfigDrive,
        cells: list[Cell],
    ) -> None:
        self._ground, self._server, self._guest, self._cells = ground, server, guest, cells
        self._agent, self._drive = agent, drive

    def good(self) -> Cell:
        """What the boot itself has shown, by the drive."""
        agent, drive = self._agent, self._drive
        reached = agent.queue.consumers > 0 if agent.queue else bool(agent.connections)
        return self._cell(injection.BY_NAME["good"], Seen(reached and drive.carried, line=drive.datasource), "boot")

    def walk(self, name: str) -> Cell:
        """Deliver ``name``, start the agent on it, and wait until it consumes or says the documented message."""
        content, definition = injection.BY_NAME[name], self._ground.definition
        guest_id = str(uuid.uuid4())
        files = files_of(self._ground, self._server.injected, guest_id)
        about = {"unit": definition.agent.unit, "log": definition.agent.log}
        self._ground.ledger.intend("queue", guest_id)
        with progress.phase(f"injection: {name}") as shown:
            done = redeliver.deliver(self._guest, injection.user_data(name, files),
                                     paths=(files.info_path, files.config_path), **about)  # fmt: skip
            shown.update("the agent starts on it")
            seen = self._watch(content, guest_id, lambda: redeliver.look(self._guest, done, **about), done)
        return self._cell(content, seen, "delivered again")

    def _watch(
        self, content: Content, guest_id: str, look: Callable[[], redeliver.Look], done: redeliver.Delivered
    ) -> Seen:
        last: list[Seen] = []

        def word() -> waits.Ready[Seen] | waits.NotYet:
            starts = bare.consumers(self._ground, guest_id) > 0
            now = look()
            seen = _seen(content, starts, done.cloud_init, now)
            last[:] = [seen]
            # One that knows no broker goes on for ever: its disk is the last thing that it gets to.
            finished = seen.says and (not content.disk or bool(now.mounted))
            return waits.Ready(seen) if starts or finished else waits.NotYet(seen.line or "nothing said yet")

        with contextlib.suppress(waits.TimedOut):
            waits.until(word, reason=f"the agent's word ({content.name})", deadline=WORD_DEADLINE, interval=2,
                        transient=(ssh.NoAnswer,))  # fmt: skip
        return last[0] if last else Seen(starts=False, line="the guest did not answer")

    def _cell(self, content: Content, seen: Seen, how: str) -> Cell:
        made = Cell("config drive", content.name, injection.outcome(content, seen), how, injection.wrong(content, seen))
        self._cells.append(made)
        return made


def _seen(content: Content, starts: bool, cloud_init: str, now: redeliver.Look) -> Seen:
    texts: dict[Place, list[str]] = {"journal": [now.journal], "agent": [now.log], "cloud-init": [cloud_init]}
    found = causes.verdict(causes.Evidence({place: tuple(text) for place, text in texts.items()}))
    ids = (found.id, *found.also) if found.known else ()
    says = bool(content.says) and any(content.says in text for some in texts.values() for text in some)
    return Seen(starts, says, found.seen, ids, now.written, now.mounted)


@dataclass(frozen=True)
class Columns:
    """What the carriers came to. ``files`` is Nova's way of old: with a drive, and without."""

    cells: Mapping[str, Cell]  # by carrier
    refused: tuple[Cell, ...]
    files: tuple[FilesWay, FilesWay]
    metadata: Metadata


class Carriers:
    """The columns of the matrix: three more boots, one after the other, and two requests that Nova has to refuse."""

    def __init__(
        self, ground: Ground, *, image: str, public_key: str, datasources: Sequence[str], cells: list[Cell]
    ) -> None:
        self._ground, self._image, self._datasources, self._cells = ground, image, datasources, cells
        bare.access(ground, public_key)

    def walk(self) -> Columns:
        """All of them. Raises StepFailed when a server does not boot."""
        refused = (self._too_long(drive=True), self._too_long(drive=False))
        with_drive, metadata = self._with_files()
        cells = [self._by_metadata(metadata), self._by_both(metadata)]
        last, alone = self._by_neither()
        return Columns({one.carrier: one for one in (*cells, last)}, refused, (with_drive, alone), metadata)

    def _with_files(self) -> tuple[FilesWay, Metadata]:
        """A boot with a drive that has no user-data, and the files by Nova's `files`; looked into over SSH."""
        guest_id, injected, files = self._fresh()
        offer = offers.Offer(config_drive=True, files={files.info_path: files.info, files.config_path: files.config})
        with progress.phase("injection: boot with a drive and Nova's files"):
            server = self._ask("files", offer)
            if isinstance(server, offers.Refused):
                return FilesWay((), None, False, f"refused: {server.said}"), Metadata(False, "no guest to ask from")
            server = nova.wait_active(self._ground.cloud, server.id, deadline=bare.ACTIVE_DEADLINE).value
            management = server.address(self._ground.where.management.name)
            tenant = server.address(self._ground.where.tenant.name)
            guest = bare.login(self._ground, BareBoot(server, injected, management, tenant), self._ground.key,
                               collect.Edges())  # fmt: skip
            try:
                listed = guest.run(f"ls -l {' '.join(offer.files)} 2>/dev/null").stdout
                metadata = guest.run("python3 -", input=_PROBE, sudo=False).stdout.strip()
                agent = self._agent(guest_id, deadline=SILENCE)
            finally:
                guest.forget()
                self._remove(server.id)
        there = tuple(path for path in offer.files if path in listed)
        return (
            FilesWay(tuple(offer.files), there, agent, listed.strip().replace("\n", "; ")),
            Metadata(metadata.startswith("yes"), metadata),
        )

    def _by_metadata(self, metadata: Metadata) -> Cell:
        """A boot without a drive: its user-data can only come from the metadata service."""
        guest_id, _, files = self._fresh()
        data = injection.user_data("good", files) or ""
        with progress.phase("injection: boot with the metadata service alone"):
            seen = self._outside("metadata", offers.Offer(config_drive=False, user_data=data), guest_id)
        if seen is None:
            return self._keep(Cell("metadata service", "*", FORCED, "boot"))
        expected = injection.carries("metadata service", self._datasources, metadata.reached)
        return self._column("metadata service", expected, seen, metadata)

    def _by_neither(self) -> tuple[Cell, FilesWay]:
        """A boot without drive and user-data, offered the files by Nova's `files`: where these go, nothing comes."""
        guest_id, _, files = self._fresh()
        offer = offers.Offer(config_drive=False, files={files.info_path: files.info, files.config_path: files.config})
        with progress.phase("injection: boot with neither"):
            seen = self._outside("neither", offer, guest_id)
        if seen is None:
            return self._keep(Cell("neither", "*", FORCED, "boot")), FilesWay((), None, False, FORCED)
        way = FilesWay(tuple(offer.files), None, seen.starts, "discarded")
        if seen.starts:  # this cloud writes them into the disk: then there is no boot without data
            return self._keep(Cell("neither", "*", "not shown: the cloud injects `files`", "boot")), way
        return self._column("neither", False, seen, None), way

    def _by_both(self, metadata: Metadata) -> Cell:
        """The boot with a drive is the one with both wherever the cloud has a metadata service."""
        if not metadata.reached:
            why = f"not shown: no metadata service ({metadata.said.removeprefix('no ')[:80]})"
            return self._keep(Cell("both", "*", why, "asked from a guest"))
        return self._keep(Cell("both", "*", "as by config drive", "the bare boot"))

    def _too_long(self, drive: bool) -> Cell:
        """Nova has to refuse user-data beyond its limit, whichever way it shall go; nothing is booted."""
        _, _, files = self._fresh()
        content = injection.BY_NAME["over-long"]
        data = injection.user_data("over-long", files) or ""
        carrier: Carrier = "config drive" if drive else "metadata service"
        answer = self._ask(f"long-{'drive' if drive else 'metadata'}", offers.Offer(drive, data))
        if isinstance(answer, offers.Refused):
            says = content.says in answer.said
            seen = Seen(False, says, answer.said, (content.cause,) if says else ())
            return self._keep(Cell(carrier, content.name, "refused by Nova", "asked", injection.wrong(content, seen)))
        self._remove(answer.id)
        return self._keep(Cell(carrier, content.name, "taken by Nova", "asked", ("Nova took it",)))

    # ---- what they share

    def _fresh(self) -> tuple[str, Injected, Files]:
        injected = bare.inject(self._ground)
        self._ground.ledger.intend("queue", injected.guest_id)
        return injected.guest_id, injected, files_of(self._ground, injected, injected.guest_id)

    def _ask(self, name: str, offer: offers.Offer) -> nova.Server | offers.Refused:
        ground, where = self._ground, self._ground.where
        return offers.boot(
            ground.cloud, ground.ledger, offer, name=f"{ground.run}-{name}", run=ground.run, image=self._image,
            flavor=where.flavor.id, networks=[where.tenant.id, where.management.id], group=ground.run,
            keypair=ground.run,
        )  # fmt: skip

    def _outside(self, name: str, offer: offers.Offer, guest_id: str) -> Seen | None:
        """A boot seen from outside, by console and broker: without data there is no key to log in with.

        None when the cloud gives every server a config drive: then there is no boot without one.
        """
        server = self._ask(name, offer)
        if isinstance(server, offers.Refused):
            raise StepFailed(STEP, f"Nova refused the server: {server.said}")
        try:
            nova.wait_active(self._ground.cloud, server.id, deadline=bare.ACTIVE_DEADLINE)
            if nova.show(self._ground.cloud, server.id).config_drive:
                return None
            return self._by_console(server.id, guest_id)
        finally:
            self._remove(server.id)

    def _by_console(self, server: str, guest_id: str) -> Seen:
        done: list[float] = []

        def settled() -> waits.Ready[Seen] | waits.NotYet:
            text = console.clean(nova.console(self._ground.cloud, server))
            found = causes.verdict(causes.Evidence({"console": (text,)}))
            ids = (found.id, *found.also) if found.known else ()
            seen = Seen(bare.consumers(self._ground, guest_id) > 0, "no-datasource" in ids, found.seen, ids)
            if not done and ("no-datasource" in ids or "finished at" in text):
                done.append(time.monotonic())
            if seen.starts or (done and time.monotonic() - done[0] >= SILENCE):
                return waits.Ready(seen)
            return waits.NotYet("cloud-init is done, no agent" if done else "cloud-init has not said its last word")

        return waits.until(settled, reason="the boot seen from outside", deadline=BOOT_DEADLINE, interval=3,
                           step=STEP, transient=(BrokerUnreachable, Hiccup)).value  # fmt: skip

    def _agent(self, guest_id: str, *, deadline: float) -> bool:
        def consumes() -> waits.Ready[None] | waits.NotYet:
            return waits.Ready(None) if bare.consumers(self._ground, guest_id) else waits.NotYet("no consumer")

        try:
            waits.until(consumes, reason="an agent from Nova's files", deadline=deadline, interval=2)
        except waits.TimedOut:
            return False
        return True

    def _column(self, carrier: Carrier, expected: bool, seen: Seen, metadata: Metadata | None) -> Cell:
        why = "" if metadata is None or metadata.reached else ", the cloud has no metadata service"
        words = "starts" if seen.starts else f"no data{why}"
        return self._keep(Cell(carrier, "*", words, "boot", injection.arrived(carrier, expected, seen)))

    def _keep(self, cell: Cell) -> Cell:
        self._cells.append(cell)
        return cell

    def _remove(self, server: str) -> None:
        entry = next((one for one in self._ground.ledger.open if one.kind == "server" and one.id == server), None)
        with contextlib.suppress(ImagecheckError):  # the road's end tries again, and tells
            nova.delete(self._ground.cloud, server)
            if entry:
                self._ground.ledger.removed(entry)
