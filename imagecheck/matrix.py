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
from imagecheck.errors import ImagecheckError
from imagecheck.guest import agent as inside
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
    said: str  # of the guest; or why there is nothing to tell

    @property
    def outcome(self) -> str:
        """injected, discarded, or why that is not known."""
        if self.there is None:
            return "injected" if self.agent else self.said
        return "injected" if set(self.there) == set(self.offered) else "in part" if self.there else "discarded"


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
            starts, now = _consumes(self._ground, self._guest, guest_id), look()
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


def _consumes(ground: Ground, guest: ssh.Guest, guest_id: str) -> bool:
    """By the broker's word; where it cannot be asked from here, by the agent's own connections."""
    try:
        return bare.consumers(ground, guest_id) > 0
    except BrokerUnreachable:
        ports = {one.port for one in ground.brokers}
        return any(one.port in ports for one in inside.connections(guest, ground.definition.agent.unit))


def _seen(content: Content, starts: bool, cloud_init: str, now: redeliver.Look) -> Seen:
    texts: dict[Place, list[str]] = {"journal": [now.journal], "agent": [now.log], "cloud-init": [cloud_init]}
    found = causes.verdict(causes.Evidence({place: tuple(text) for place, text in texts.items()}))
    ids = (found.id, *found.also) if found.known else ()
    whole = "\n".join(text for some in texts.values() for text in some)
    says = bool(content.says) and all(one in whole for one in content.says)
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
        last, alone = self._by_neither(metadata)
        return Columns({one.carrier: one for one in (*cells, last)}, refused, (with_drive, alone), metadata)

    def _with_files(self) -> tuple[FilesWay, Metadata]:
        """A boot with a drive that has no user-data, and the files by Nova's `files`; looked into over SSH."""
        injected, files = self._fresh()
        offer = offers.Offer(config_drive=True, files={files.info_path: files.info, files.config_path: files.config})
        with progress.phase("injection: boot with a drive and Nova's files"):
            server = self._ask("files", offer)
            if isinstance(server, offers.Refused):
                return FilesWay((), None, False, f"refused: {server.said}"), Metadata(False, "no guest to ask from")
            try:
                way, metadata = self._look_into(server, injected, tuple(offer.files))
            finally:
                self._remove(server.id)
        self._keep(Cell("config drive", injection.FILES_WAY, f"{way.outcome}, {way.said}", "boot"))
        return way, metadata

    def _look_into(self, server: nova.Server, injected: Injected, offered: Sequence[str]) -> tuple[FilesWay, Metadata]:
        ground, where = self._ground, self._ground.where
        server = nova.wait_active(ground.cloud, server.id, deadline=bare.ACTIVE_DEADLINE).value
        watch = bare.watchdog(ground, injected.guest_id, server_id=server.id)
        addresses = server.address(where.management.name), server.address(where.tenant.name)
        booted = BareBoot(server, injected, *addresses, watch)
        guest = bare.login(ground, booted, ground.key, collect.Edges(), logs=False)
        try:
            listed = guest.run(f"stat -c '%n %U:%G %a' {' '.join(offered)}").stdout
            probed = guest.run("python3 -", input=_PROBE, sudo=False).stdout.strip()
            agent, said = self._word(guest, injected.guest_id)
        finally:
            guest.forget()
        rights = {line.split(" ", 1)[1] for line in listed.splitlines() if " " in line}
        there = tuple(path for path in offered if path in listed)
        told = ", ".join([*sorted(rights), "the agent starts" if agent else f"the agent fails: {said}"])
        return FilesWay(tuple(offered), there, agent, told), Metadata(probed.startswith("yes"), probed)

    def _word(self, guest: ssh.Guest, guest_id: str) -> tuple[bool, str]:
        """Does the agent start; else the cause that its journal shows."""
        unit = self._ground.definition.agent.unit
        said = ["silent"]

        def word() -> waits.Ready[bool] | waits.NotYet:
            if _consumes(self._ground, guest, guest_id):
                return waits.Ready(True)
            journal = guest.run(f"journalctl -q --no-pager -o short-precise -n 200 -u {unit}").stdout
            found = causes.verdict(causes.Evidence({"journal": (journal,)}))
            said[:] = [found.id if found.known else "silent"]
            # A live agent may complain, and get on.
            if found.known and inside.unit(guest, unit).restarts:
                return waits.Ready(False)
            return waits.NotYet("neither a consumer nor a restart with a cause")

        with contextlib.suppress(waits.TimedOut):
            return waits.until(word, reason="the agent's word", deadline=SILENCE, interval=2).value, said[0]
        return False, said[0]

    def _by_metadata(self, metadata: Metadata) -> Cell:
        """A boot without a drive: its user-data can only come from the metadata service."""
        injected, files = self._fresh()
        data = injection.user_data("good", files) or ""
        expected = injection.carries("metadata service", self._datasources, metadata.reached)
        with progress.phase("injection: boot with the metadata service alone"):
            seen = self._outside("metadata", offers.Offer(config_drive=False, user_data=data), injected, expected)
        if isinstance(seen, str):
            return self._keep(Cell("metadata service", "*", seen, "boot"))
        words = "starts" if seen.starts else "no data" if metadata.reached else "no data (no such service)"
        wrong = injection.arrived("metadata service", expected, seen)
        return self._keep(Cell("metadata service", "*", words, "boot", wrong))

    def _by_neither(self, metadata: Metadata) -> tuple[Cell, FilesWay]:
        """A boot without drive and user-data, offered the files by Nova's `files`: where these go, nothing comes."""
        injected, files = self._fresh()
        offer = offers.Offer(config_drive=False, files={files.info_path: files.info, files.config_path: files.config})
        with progress.phase("injection: boot with neither"):
            seen = self._outside("neither", offer, injected, expected=False)
        if isinstance(seen, str):
            return self._keep(Cell("neither", "*", seen, "boot")), FilesWay((), None, False, seen)
        way = FilesWay(tuple(offer.files), None, seen.starts, "discarded")
        self._keep(Cell("neither", injection.FILES_WAY, way.outcome, "boot"))
        if seen.starts:  # this cloud writes them into the disk: then there is no boot without data
            return self._keep(Cell("neither", "*", "not shown: the cloud injects `files`", "boot")), way
        source = injection.carries("metadata service", self._datasources, metadata.reached)
        wrong = injection.arrived("neither", False, seen, source=source)
        return self._keep(Cell("neither", "*", "no data", "boot", wrong)), way

    def _by_both(self, metadata: Metadata) -> Cell:
        """The boot with a drive is the one with both wherever the cloud has a metadata service."""
        words = "as by config drive" if metadata.reached else "not shown (no such service)"
        return self._keep(Cell("both", "*", words, "asked from a guest"))

    def _too_long(self, *, drive: bool) -> Cell:
        """Nova has to refuse user-data beyond its limit, whichever way it shall go; nothing is booted."""
        injected = bare.inject(self._ground)
        content = injection.BY_NAME["over-long"]
        data = injection.user_data("over-long", files_of(self._ground, injected, injected.guest_id)) or ""
        carrier: Carrier = "config drive" if drive else "metadata service"
        answer = self._ask(f"long-{'drive' if drive else 'metadata'}", offers.Offer(drive, data))
        if isinstance(answer, offers.Refused):
            says = all(one in answer.said for one in content.says)
            seen = Seen(False, says, answer.said, (content.cause,) if says else ())
            return self._keep(Cell(carrier, content.name, "refused by Nova", "asked", injection.wrong(content, seen)))
        self._remove(answer.id)
        return self._keep(Cell(carrier, content.name, "taken by Nova", "asked", ("Nova took it",)))

    # ---- what they share

    def _fresh(self) -> tuple[Injected, Files]:
        injected = bare.inject(self._ground)
        self._ground.ledger.intend("queue", injected.guest_id)
        return injected, files_of(self._ground, injected, injected.guest_id)

    def _ask(self, name: str, offer: offers.Offer) -> nova.Server | offers.Refused:
        ground, where = self._ground, self._ground.where
        return offers.boot(
            ground.cloud, ground.ledger, offer, name=f"{ground.run}-{name}", run=ground.run, image=self._image,
            flavor=where.flavor.id, networks=[where.tenant.id, where.management.id], group=ground.run,
            keypair=ground.run,
        )  # fmt: skip

    def _outside(self, name: str, offer: offers.Offer, injected: Injected, expected: bool) -> Seen | str:
        """A boot seen from outside, by console and broker: without data there is no key to log in with.

        Instead, why this cloud cannot show it.
        """
        try:
            bare.consumers(self._ground, injected.guest_id)
        except BrokerUnreachable:
            return "not shown: the broker cannot be asked from here"
        server = self._ask(name, offer)
        if isinstance(server, offers.Refused):
            return f"not shown: Nova refused it ({server.said})"
        try:
            nova.wait_active(self._ground.cloud, server.id, deadline=bare.ACTIVE_DEADLINE)
            if nova.show(self._ground.cloud, server.id).config_drive:
                return "not shown: this cloud gives every server a config drive"
            return self._by_console(server.id, injected.guest_id, bare.AGENT_DEADLINE if expected else SILENCE)
        finally:
            self._remove(server.id)

    def _by_console(self, server: str, guest_id: str, patience: float) -> Seen:
        done: list[float] = []

        def settled() -> waits.Ready[Seen] | waits.NotYet:
            text = console.clean(nova.console(self._ground.cloud, server))
            found = causes.verdict(causes.Evidence({"console": (text,)}))
            ids = (found.id, *found.also) if found.known else ()
            seen = Seen(bare.consumers(self._ground, guest_id) > 0, "no-datasource" in ids, found.seen, ids)
            if not done and ("no-datasource" in ids or "finished at" in text):
                done.append(time.monotonic())
            if seen.starts or (done and time.monotonic() - done[0] >= patience):
                return waits.Ready(seen)
            return waits.NotYet("cloud-init is done, no agent" if done else "cloud-init has not said its last word")

        return waits.until(settled, reason="the boot seen from outside", deadline=BOOT_DEADLINE, interval=3,
                           step=STEP, transient=(BrokerUnreachable, Hiccup)).value  # fmt: skip

    def _keep(self, cell: Cell) -> Cell:
        self._cells.append(cell)
        return cell

    def _remove(self, server: str) -> None:
        entry = next((one for one in self._ground.ledger.open if one.kind == "server" and one.id == server), None)
        with contextlib.suppress(ImagecheckError):  # the road's end tries again, and tells
            nova.delete(self._ground.cloud, server)
            if entry:
                self._ground.ledger.removed(entry)
