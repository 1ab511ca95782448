"""The road of one image on one cloud, from definition to database: each step is made once, when it is first needed.

A step that breaks keeps its sentence. Whoever needs it next learns that it was not reached, instead of trying again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from imagecheck import __version__, bare, broker, build, evidence, measure, operations, progress, service, turns
from imagecheck.again import BOOT, LAUNCH, UNDONE, Again
from imagecheck.bare import Ground
from imagecheck.choice import Choice
from imagecheck.cloud import cleanup, connection, glance, marks, nova
from imagecheck.cloud.datastore import Version
from imagecheck.cloud.ledger import Entry, Ledger
from imagecheck.cloud.preflight import Surroundings, survey
from imagecheck.cloud.retry import Tally
from imagecheck.errors import ImagecheckError, NotReached, StepFailed
from imagecheck.guest import config_drive, console, ssh
from imagecheck.held import folder as held_folder
from imagecheck.imagefile import ImageFile
from imagecheck.injection import Cell
from imagecheck.kept import NEVER, End, Keep, Memory, end
from imagecheck.launch import collect
from imagecheck.outcomes import Agent, BareBoot, Gone, Launch, Operation, Serving
from imagecheck.report import Fault, Folder, Measured, Retry, Run
from imagecheck.site import Site
from imagecheck.steps import Steps

if TYPE_CHECKING:
    from imagecheck.disk import Disk

T = TypeVar("T")


class Road(Steps):
    """One image's way. The methods are the steps; calling one walks as far as it needs."""

    def __init__(
        self, choice: Choice, site: Callable[[], Site], folder: Folder, *, release: str = "", yes: bool = False,
        keep: Keep = NEVER, words: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(choice.name)
        self.choice = choice
        self.keep = keep
        self.words = tuple(words)
        self.at_once = 1  # servers
        self.folder = folder
        self.run = marks.new_run(time.time())
        self.faults: list[Fault] = []
        self.measured: list[Measured] = []
        self.cells: list[Cell] = []  # of the injection matrix
        self.end = End("")
        self.boxes = evidence.Boxes(folder, choice.name)
        self._release = release
        self._yes = yes
        self._began = time.time()
        self._find_site = site
        self._site: Site | None = None
        self._password = ""
        self._tally = Tally()
        self._again = Again()
        self._open = contextlib.ExitStack()
        self._edges = {"boot": collect.Edges(), "launch": collect.Edges()}

    def _tried(self, step: str, make: Callable[[], T]) -> T:
        def undo(error: StepFailed) -> None:
            self.boxes.first_try(step, error, self._made.get("cloud"))
            self._undo(*UNDONE[step])

        return self._again.tried(step, make, undo)

    @property
    def retries(self) -> list[Retry]:
        """Steps that were tried a second time."""
        return self._again.retries

    def _undo(self, start: str, kinds: tuple[str, ...]) -> None:
        """Remove what a start has made, so that it can be made again."""
        self._edges[start] = collect.Edges()
        if start == "boot":
            self._forget_boot("console", "config drive")
        ground: Ground = self._made["cloud"]
        if left := cleanup.clean(ground.cloud, ground.ledger, only=kinds):
            raise StepFailed("cloud", f"what the first try made cannot be removed: {left[0]}")

    def _forget_boot(self, *read: str) -> None:
        if guest := self._made.get("guest"):
            guest.forget()
        for step in ("Nova server", "guest", *read):
            self._made.pop(step, None)

    def _broke(self, step: str, error: ImagecheckError) -> None:
        saved = self.boxes.broken(step, error, self._made.get("cloud"))
        fault = Fault.of(error, str(saved.folder)).explained(saved.verdict)
        self.faults.append(fault if fault.step else dataclasses.replace(fault, step=step))

    def check_failed(self, check: str, sentence: str, cause: str) -> None:
        """A check's assertion failed: keep what explains it, and tell the first ones with the faults of the road."""
        failure = StepFailed(check, f"does not hold: {sentence or cause}", seen=cause if sentence else "")
        saved, first = self.boxes.failed(check, failure, self._made.get("cloud"))
        if first:
            self.faults.append(Fault.of(failure, str(saved.folder)).explained(saved.verdict))

    # ---- the image

    def image_file(self) -> ImageFile:
        """Built or taken from the cache; the file that was named; or what its address or Glance has."""

        def get() -> ImageFile:
            if self.choice.file:
                return self.choice.file
            named = self.choice.definition.image_source
            if named.startswith("glance:"):
                cloud = self.cloud().cloud
                return glance.download(
                    cloud, glance.look_up(cloud, named), build.fetched(), self.choice.definition.sha256
                )
            return build.build(self.choice.definition, yes=self._yes)

        return self.step("image file", get)

    def disk(self) -> Disk:
        """The image opened read-only until the road is closed."""
        from imagecheck import disk

        return self.step("look inside", lambda: self._open.enter_context(disk.opened(self.image_file())))

    # ---- the cloud

    def cloud(self) -> Ground:
        """Logged in, looked around, ledger begun: nothing is made before this."""
        return self.step("cloud", self._enter_cloud)

    def _private(self) -> Path:
        """A folder for this run's key, removed when the road is closed."""
        return self._open.enter_context(held_folder("imagecheck-run-"))

    def _enter_cloud(self) -> Ground:
        self._site = site = self._find_site()
        cloud = connection.connect(site, self._tally)
        file = self._made.get("image file") or self.choice.file
        wanted, size = self.choice.definition, file.virtual_size if file else 0
        look = functools.partial(survey, cloud, wanted.needs, virtual_size=size, agent=wanted.agent.release)
        where = self._room(cloud, lambda others: look(others=others))
        brokers = tuple(broker.addresses(site.guest_config)) if site.guest_config else ()
        key, ledger = self._begin(cloud)
        talk = broker.Broker(brokers)
        self._open.callback(talk.close)
        return Ground(cloud, ledger, where, self.choice.definition, self.run, key, talk, brokers)

    def _room(self, cloud: connection.Cloud, look: turns.Look) -> Surroundings:
        """Wait until there is room beside the other runs of this host."""
        self._open.callback(turns.give_back, self.run)
        return turns.take(turns.place(cloud), self.run, look, times=self.at_once)

    def _begin(self, cloud: connection.Cloud) -> tuple[Path, Ledger]:
        """The key that opens what will be made, and the ledger for it."""
        key, self.public_key = ssh.keypair(self._private())
        return key, Ledger.new(self.run, cloud.site)

    def image(self) -> glance.GlanceImage:
        """The image in Glance."""

        def upload() -> glance.GlanceImage:
            file, ground = self.image_file(), self.cloud()
            return glance.upload(ground.cloud, ground.ledger, file, name=self.run, run=self.run)

        return self.step("Glance image", upload)

    # ---- the bare boot

    def server(self) -> BareBoot:
        """A server booted through Nova by the harness alone."""

        def boot() -> BareBoot:
            image, ground = self.image(), self.cloud()
            made, began, accepted = bare.boot(
                ground, image=image.id, public_key=self.public_key, edges=self._edges["boot"]
            )
            self._boot_times = (began, accepted)
            return made

        return self.step("Nova server", boot)

    def guest(self) -> ssh.Guest:
        """SSH to the bare boot, cloud-init done."""

        def login() -> ssh.Guest:
            server, ground = self.server(), self.cloud()
            guest = bare.login(ground, server, ground.key, self._edges["boot"])
            self._open.callback(guest.forget)
            return guest

        return self.step("guest", login)

    def console(self) -> str:
        """The bare boot's console once its guest is up, without control sequences."""

        def read() -> str:
            self.guest()
            return console.clean(nova.console(self.cloud().cloud, self.server().server.id))

        return self.step("console", read)

    def config_drive(self) -> config_drive.ConfigDrive:
        """The bare boot's config drive from inside."""
        return self.step("config drive", lambda: config_drive.read(self.guest()))

    def agent(self) -> Agent:
        """The guest agent of the bare boot, watched until it consumes from its queue."""
        return self.step(
            "guest agent",
            lambda: bare.observe_agent(self.cloud(), self.server(), self.guest(), self._edges["boot"]),
        )

    def boot_times(self) -> Measured:
        """Where the time of the bare boot went."""

        def take() -> Measured:
            guest, ground = self.guest(), self.cloud()
            self.agent()
            found = measure.look(ground, guest, self.server().server.id)
            return measure.boot(found, self._boot_times, self._edges["boot"])

        return self._measured("boot timings", take)

    def release_server(self) -> None:
        """Remove the bare boot's server: nothing needs it any more, and the hypervisor has better things to do."""
        if "Nova server" in self._made and "cloud" in self._made and not self.keep.holds(bool(self.faults)):
            self._forget_boot()
            ground: Ground = self._made["cloud"]
            with progress.phase(f"{self.choice.name}: remove the bare boot"):
                cleanup.clean(ground.cloud, ground.ledger, only=("server", "queue"))
            error = StepFailed("Nova server", "its server has been removed, no later check seemed to need it")
            self._broken |= {"Nova server": error, "guest": error}

    def release(self) -> None:
        """Remove bare boot and instance, also what a broken step left: what comes now has the hypervisor for itself."""
        self.release_server()
        if launch := self._made.pop("Trove instance", None):
            launch.guest.forget()
            self._broken["Trove instance"] = StepFailed("Trove instance", "it has been removed for the series")
        ground = self.cloud()
        cleanup.clean(ground.cloud, ground.ledger, only=(*BOOT[1], *LAUNCH[1]))

    # ---- Trove

    def version(self) -> Version:
        """The image as a datastore version."""
        return self.step("datastore version", lambda: service.register(self.cloud(), self.image().id))

    def launch(self) -> Launch:
        """A Trove instance, ACTIVE and HEALTHY."""

        def go() -> Launch:
            version, ground, edges = self.version(), self.cloud(), self._edges["launch"]
            service.answers(self.choice.definition)
            service.hand_over(ground, self.image_file(), yes=self._yes)
            self._asked = asked = service.ask(ground, version)
            self._password = asked.password
            shown = service.wait_healthy(ground, asked, edges)
            seconds = time.time() - asked.began
            service.first_query(ground, asked, shown, edges)
            made = service.look_around(ground, asked, shown, seconds)
            self._open.callback(made.guest.forget)
            # Now: a restart would move the container's start.
            self._launch_look = measure.look(ground, made.guest, made.server.id)
            return made

        return self.step("Trove instance", go)

    def serving(self) -> Serving:
        """SQL over the tenant network, one row written."""

        return self.step("database", lambda: service.serve(self.cloud(), self.launch(), self._password))

    def launch_times(self) -> Measured:
        """Where the time of the Trove launch went."""

        def take() -> Measured:
            self.launch()
            return measure.launch(self._launch_look, (self._asked.began, self._asked.accepted), self._edges["launch"])

        def after() -> Measured:
            return measure.healthy(self._launch_look, self._edges["launch"])

        found = self._measured("launch timings", take)
        self._measured("HEALTHY timings", after)
        return found

    def stopped(self) -> Operation:
        """The database stopped through Trove."""
        return self._operation("stop", operations.stop)

    def started(self) -> Operation:
        """The database started again after the stop."""
        self.stopped()
        return self._operation("start", operations.start)

    def restarted(self) -> Operation:
        """The database restarted through Trove."""
        return self._operation("restart", operations.restart)

    def rebooted(self) -> Operation:
        """The server rebooted through Trove."""
        return self._operation("reboot", operations.reboot)

    def nova_rebooted(self) -> Operation:
        """The server rebooted by Nova, behind Trove's back."""
        return self._operation("reboot by Nova", operations.nova_reboot)

    def deleted(self) -> Gone:
        """The instance deleted by its owner: the end of the road, nothing works on it afterwards."""

        def delete() -> Gone:
            launch = self.launch()
            if self.keep.holds(bool(self.faults)):
                raise NotReached("delete", "the instance is kept (--keep)")
            gone = service.delete(self.cloud(), launch, self.run)
            self._broken["Trove instance"] = StepFailed("Trove instance", "it has been deleted by an earlier check")
            self._made.pop("Trove instance")
            return gone

        return self.step("delete", delete)

    def _operation(self, step: str, act: Callable[[Ground, Launch, Serving], Operation]) -> Operation:
        return self.step(step, lambda: act(self.cloud(), self.launch(), self.serving()))

    def _measured(self, step: str, take: Callable[[], Measured]) -> Measured:
        found = self.step(step, take)
        if found not in self.measured:
            self.measured.append(found)
        return found

    # ---- the end

    def facts(self) -> Run:
        """The circumstances of this run, for reports."""
        file: ImageFile | None = self._made.get("image file")
        store = self.choice.definition.datastore
        site = self._site
        return Run(
            image=self.choice.name,
            image_sha256=file.sha256 if file else "",
            release=self._release,
            acceleration=site.acceleration if site else "",
            datastore=f"{store.name} {store.version}",
            cloud=site.cloud if site else "",
            sandbox=site.sandbox if site else False,
            version=__version__,
            started=self._began,
            ended=time.time(),
            steps=dict(self.seconds),
            retries=tuple(self.retries),
            requests=self._tally.as_json(),
        )

    def close(self) -> list[str]:
        """Remove everything that was made, in the cloud and here. Returns what is left, a line each."""
        try:
            if ground := self.ground:
                self.end = self._finish(ground)
        finally:
            self._open.close()
        return self.end.left

    def _finish(self, ground: Ground) -> End:
        file, store = self._made.get("image file") or self.choice.file, self.choice.definition.datastore
        memory = Memory(
            self.choice.name, file.sha256 if file else "", f"{store.name}:{store.version}", self.words,
            self._password,
        )  # fmt: skip
        return end(memory, ground, self.keep, failed=bool(self.faults))

    @property
    def open(self) -> list[Entry]:
        """What was made and may still exist."""
        return self.ground.ledger.open if self.ground else []

    @property
    def ground(self) -> Ground | None:
        """The cloud and the ledger, once they are reached."""
        return self._made.get("cloud")
