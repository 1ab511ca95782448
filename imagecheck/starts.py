"""One start of an image, of each kind that a series may have: asked for, waited for, measured, removed.

A start is made on its worker's own ground: a ledger, a broker's connection and Trove clients that no other thread
uses, so that several go at once, and so that what one of them made is known from its ledger alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagecheck import bare, measure, service
from imagecheck.bare import Ground
from imagecheck.broker import Broker
from imagecheck.cloud import cleanup, connection, glance, many, nova, trove
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import ImagecheckError, StepFailed, UsageError
from imagecheck.launch import EVENTS, Timeline, phase_times
from imagecheck.launch.collect import Edges
from imagecheck.launch.sample import Kind, PhaseTime
from imagecheck.run import Road

MADE = ("instance", "server", "queue", "datastore_version", "image")  # what one start makes; removed before the next
ENTER_AFTER = 240.0  # seconds: a start that is measured is looked at from outside only, until it is late
END: Mapping[Kind, str] = {"launch": "first_query", "boot": "broker_connected", "server": "nova_active"}


@dataclass
class Started:
    """One start as far as it came. ``seconds`` from the request to the end, or until ``error`` was known."""

    began: float
    seconds: float = 0.0
    uncertainty: float = 0.0
    phases: tuple[PhaseTime, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    server: nova.Server | None = None
    volume: Mapping[str, Any] | None = None  # Trove's word
    error: ImagecheckError | None = None


class Starter:
    """Starts one image, again and again. ``label`` is its name in the series."""

    def __init__(self, road: Road, kind: Kind, *, cold: bool, yes: bool = False) -> None:
        self.label, self.road, self.kind, self.cold = road.choice.name, road, kind, cold
        self.warmed = False  # the road's own checks had a server of the image up before the series
        self._yes = yes
        self._grounds: dict[int, Ground] = {}
        self._lock = threading.Lock()
        self._listing: many.Listing | None = None

    def prepare(self) -> None:
        """Everything that is made once: the image in Glance, its datastore version; the road's own servers go."""
        file = self.road.image_file()
        broken = {fault.step for fault in self.road.faults}
        self.warmed = bool(set(self.road.seconds) & {"guest", "Trove instance"} - broken)
        self.road.release()
        if self.kind == "launch":
            service.answers(self.road.choice.definition)
            service.hand_over(self.road.cloud(), file, yes=self._yes)
        if not self.cold:
            self.road.image()
            if self.kind == "launch":
                self.road.version()
        self._listing = many.Listing(self.road.cloud().cloud, self.road.run)

    def ground(self, worker: int) -> Ground:
        """That worker's own ground, made when it is first asked for."""
        with self._lock:
            if worker not in self._grounds:
                mine, run = self.road.cloud(), f"{self.road.run}-w{worker}"
                self._grounds[worker] = dataclasses.replace(
                    mine,
                    cloud=connection.apart(mine.cloud),
                    ledger=Ledger.new(run, mine.cloud.site),
                    run=run,
                    broker=Broker(mine.brokers),
                )
            return self._grounds[worker]

    def start(self, worker: int, number: int) -> Started:
        """One start, up to its end or to its fault. Raises UsageError only: every start would meet that."""
        ground, name = self.ground(worker), f"{self.road.run}-{number}"
        made = Started(time.time())
        try:
            image = self._fresh(ground, name) if self.cold else self.road.image().id
            made.began = time.time()
            _KINDS[self.kind](self, ground, image, name, made)
        except UsageError:
            raise
        except ImagecheckError as error:
            made.error = error
            made.seconds = max(0.0, time.time() - made.began)
            made.server = made.server or _server_of(ground)
        return made

    def warm(self, host: str) -> nova.Server:
        """A server on that host ("ZONE:HOST", "" for any), for its cache alone. Raises StepFailed and Hiccup."""
        ground = self.ground(0)
        asked = self._ask(ground, self.road.image().id, f"{self.road.run}-warm", host)
        try:
            return self._listed().wait_active(asked).value
        finally:
            self._listed().remove(ground.ledger, asked.entry)

    def remove(self, worker: int) -> list[str]:
        """Remove what the last start made. Returns what is left, a line each."""
        ground = self.ground(worker)
        if self.kind == "server":  # by the list that watches all of them: many at once are not to ask for each
            for entry in [one for one in ground.ledger.open if one.kind == "server" and one.id]:
                with contextlib.suppress(ImagecheckError):  # what stays is tried again, and told, below
                    self._listed().remove(ground.ledger, entry)
        return cleanup.clean(ground.cloud, ground.ledger, only=MADE)

    def close(self) -> tuple[int, list[str]]:
        """Remove what all workers made. Returns how many things were made at all, and what is left, a line each."""
        made, left = 0, []
        with self._lock:
            grounds = list(self._grounds.values())
        for ground in grounds:
            left += cleanup.clean(ground.cloud, ground.ledger)
            made += len(ground.ledger.entries)
            ground.broker.close()
            ground.ledger.retire()
        return made, left

    # ---- the kinds

    def _fresh(self, ground: Ground, name: str) -> str:
        """A new image in Glance: Nova's libvirt driver keeps images by the SHA-1 of their id
        (nova/virt/libvirt/imagecache.py, get_cache_fname; driver.py, _create_and_inject_local_root), so that a new id
        has to be fetched by every compute host."""
        return glance.upload(ground.cloud, ground.ledger, self.road.image_file(), name=name, run=ground.run).id

    def _launch(self, ground: Ground, image: str, name: str, made: Started) -> None:
        own = dataclasses.replace(ground, run=name)
        version = service.register(own, image) if self.cold else self.road.version()
        edges = Edges()
        made.began = time.time()
        asked = service.ask(ground, version, name)
        made.began = asked.began
        shown = service.wait_healthy(ground, asked, edges, enter_after=ENTER_AFTER)
        made.volume = shown.raw.get("volume") or {}
        service.first_query(ground, asked, shown, edges)
        _end(made, edges, "launch", "no query was answered within a minute of HEALTHY")
        made.server = nova.show(ground.cloud, shown.server_id)
        server = made.server
        found = _look(ground, shown.server_id, lambda: service.login(ground, server))
        _phases(made, measure.launch(found, (asked.began, asked.accepted), edges).timeline)

    def _boot(self, ground: Ground, image: str, name: str, made: Started) -> None:
        edges = Edges()
        booted, made.began, accepted = bare.boot(
            ground, image=image, public_key=self.road.public_key, edges=edges, name=name
        )
        made.server = booted.server

        def timeline(found: measure.Look) -> Timeline:
            return measure.boot(found, (made.began, accepted), edges).timeline

        if bare.connects(ground, booted, edges, patience=ENTER_AFTER):
            _end(made, edges, "boot", "")
            login = functools.partial(bare.login, ground, booted, ground.key, edges, logs=False)
            _phases(made, timeline(_look(ground, booted.server.id, login)))
            return
        guest = bare.login(ground, booted, ground.key, edges)
        try:
            agent = bare.observe_agent(ground, booted, guest, edges)
            if agent.unasked:  # seen from inside, by a question every few seconds
                edges.saw(END["boot"], time.time() - bare.INSIDE_EVERY, time.time())
            _end(made, edges, "boot", "its agent was not seen at the broker")
            _phases(made, timeline(measure.look(ground, guest, booted.server.id)))
        finally:
            guest.forget()

    def _server(self, ground: Ground, image: str, name: str, made: Started) -> None:
        asked = self._ask(ground, image, name)
        made.began = asked.began
        seen = self._listed().wait_active(asked)
        edges = Edges()
        edges.saw(END["server"], seen.last_no, seen.first_yes)
        _end(made, edges, "server", "")
        accepted = asked.accepted - asked.began
        building = PhaseTime("Nova building", max(0.0, made.seconds - accepted), made.uncertainty)
        made.phases = (PhaseTime("API accepted", accepted), building)
        made.server = seen.value

    def _ask(self, ground: Ground, image: str, name: str, host: str = "") -> many.Asked:
        where = ground.where
        return many.ask(
            ground.cloud, ground.ledger, name=name, run=ground.run, image=image, flavor=where.flavor.id,
            network=where.tenant.id, host=host,
        )  # fmt: skip

    def _listed(self) -> many.Listing:
        if self._listing is None:
            self._listing = many.Listing(self.road.cloud().cloud, self.road.run)
        return self._listing


_KINDS: Mapping[Kind, Callable[[Starter, Ground, str, str, Started], None]] = {
    "launch": Starter._launch,
    "boot": Starter._boot,
    "server": Starter._server,
}


def _end(made: Started, edges: Edges, kind: Kind, otherwise: str) -> None:
    """The seconds from the request to the end; StepFailed where that was not seen."""
    for event in edges.events(made.began):
        if event.name == END[kind]:
            made.seconds, made.uncertainty = max(0.0, event.middle - made.began), event.half
            return
    raise StepFailed("database" if kind == "launch" else "guest agent", otherwise)


def _look(ground: Ground, server_id: str, login: Callable[[], Any]) -> measure.Look:
    """The phases of a start that went well are worth a login, and no failure."""
    try:
        guest = login()
    except ImagecheckError as error:
        return measure.Look(
            (), (), dict.fromkeys(EVENTS, f"the guest could not be asked: {str(error).splitlines()[0]}")
        )
    try:
        return measure.look(ground, guest, server_id)
    finally:
        guest.forget()


def _phases(made: Started, timeline: Timeline) -> None:
    made.phases = phase_times(timeline)
    made.missing = dict(timeline.missing)


def _server_of(ground: Ground) -> nova.Server | None:
    """The server of a start that failed, where there is one."""
    with contextlib.suppress(ImagecheckError):
        for entry in ground.ledger.open:
            if entry.kind == "server" and entry.id:
                return nova.show(ground.cloud, entry.id)
            if entry.kind == "instance" and entry.id and (found := trove.show(ground.cloud, entry.id).server_id):
                return nova.show(ground.cloud, found)
    return None
