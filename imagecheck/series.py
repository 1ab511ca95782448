"""A series: N fresh starts of an image, or of two in turns, on one cloud; every start becomes a sample, kept at once.

Measures and keeps, judges nothing. A start that fails is a sample too; the series goes on.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from imagecheck import causes, fingerprint, progress, waits
from imagecheck.causes import Evidence
from imagecheck.cloud import hypervisor, nova
from imagecheck.cloud.connection import Hiccup
from imagecheck.errors import UNKNOWN, Cause, ImagecheckError, StepFailed, UsageError
from imagecheck.evidence import FULL
from imagecheck.launch.rounds import Stop, rounds
from imagecheck.launch.sample import Sample, append
from imagecheck.options import Launches
from imagecheck.outcomes import Series
from imagecheck.redact import redact
from imagecheck.run import Road
from imagecheck.starts import Started, Starter

FILE = "launches.jsonl"
WARMED = 8  # compute hosts whose cache is warmed; a start on another one counts as cold
GONE = 60.0  # seconds without an answer after which the cloud itself is gone
LAST_REQUEST = 10.0  # seconds that requests under way get when the series is interrupted
LINES = 100  # starts up to which each one leaves a line on the terminal


def walk(
    roads: Sequence[Road],
    options: Launches,
    *,
    release: str,
    yes: bool = False,
    kept: Callable[[Series], Series] = lambda made: made,
) -> Series:
    """The series of these images, the first one's report folder keeping it, as ``kept`` returns it.

    What an interrupted series has is given to ``kept``, too, before it raises. Raises what ends it before its first
    start: UsageError where every start would end in one; StepFailed where an image cannot be had or uploaded.
    """
    mine = _Series(roads, options, release, yes)
    try:
        mine.walk()
    finally:
        mine.close()
        made = mine.made()
        if made.samples:
            made = kept(made)
    return made


class _Series:
    def __init__(self, roads: Sequence[Road], options: Launches, release: str, yes: bool) -> None:
        self._options, self._release = options, release
        self._starters = {
            road.choice.name: Starter(road, options.kind, cold=options.cache == "cold", yes=yes) for road in roads
        }
        self._id = roads[0].run
        self._file = roads[0].folder.path / FILE
        self._seed = secrets.randbits(32)
        self._samples: list[Sample] = []
        self.notes: list[str] = []
        self._stop = Stop()
        self._stopped = ""
        self._warm: set[tuple[str, str]] = set()  # label, compute host
        self._saved: dict[str, int] = {}  # label -> failed starts whose evidence was saved
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, str]] = deque()
        self._running: dict[int, tuple[str, float, list[str]]] = {}  # number -> label, since, what it is doing
        self._broke: BaseException | None = None
        self._fingerprints: dict[str, fingerprint.Fingerprints] = {}
        self.planned = 0  # starts

    # ---- the walk

    def walk(self) -> None:
        options = self._options
        _keep_older(self._file)
        for label, one in self._starters.items():
            one.prepare()
            ground = one.road.cloud()
            known = fingerprint.fixed(ground, release=self._release, concurrency=options.concurrency)
            self._fingerprints[label] = fingerprint.Fingerprints(ground.cloud, known)
        if options.cache == "warm":
            for one in self._starters.values():
                self._warm_up(one)
        self._has_room()
        order = rounds(list(self._starters), options.count, self._seed)
        self._waiting.extend(enumerate(order, 1))
        self.planned = len(order)
        with progress.phase(f"{len(order)} launches") as shown:
            workers = [
                threading.Thread(target=self._work, args=(number,), name=f"imagecheck-start-{number}", daemon=True)
                for number in range(1, min(options.concurrency, len(order)) + 1)
            ]
            for worker in workers:
                worker.start()
            try:
                for worker in workers:
                    while worker.is_alive():
                        worker.join(0.5)
                        shown.update(self._status(len(order)))
            except BaseException:
                self._end("interrupted")
                end = time.monotonic() + LAST_REQUEST
                for worker in workers:  # a request under way gets its answer, so that what it makes is known
                    worker.join(max(0.0, end - time.monotonic()))
                raise
        if self._broke is not None:
            raise self._broke

    def made(self) -> Series:
        """All that there is so far."""
        return Series(
            samples=tuple(sorted(self._samples, key=lambda one: one.number)), planned=self.planned, file=self._file,
            seed=self._seed, stopped=self._stopped, notes=tuple(self.notes),
        )  # fmt: skip

    def close(self) -> None:
        """Remove what is left of all starts."""
        self._end("closed")
        for label, one in self._starters.items():
            made, left = one.close()
            self.notes.append(f"series of {label}: made {made}, removed {made - len(left)}, left {len(left)}")
            for line in left:
                progress.note(f"left: {line} (`imagecheck gc` removes it)")

    def _end(self, why: str) -> None:
        with self._lock:
            self._waiting.clear()
            self._stopped = self._stopped or (why if why != "closed" else "")

    def _status(self, count: int) -> str:
        with self._lock:
            running = sorted(self._running.items())
            done, failed = len(self._samples), sum(not one.completed for one in self._samples)
        if not running:
            return ""
        number, (label, since, doing) = running[0]
        text = f"launch {number} of {count}, {label}, {time.monotonic() - since:.0f} s, {doing[0]}"
        if len(running) > 1:
            text = f"{done} done, {len(running)} under way; {text}"
        return text + (f"; {failed} failed" if failed else "")

    # ---- one worker

    def _work(self, worker: int) -> None:
        try:
            while True:
                with self._lock:
                    if not self._waiting or self._broke is not None:
                        return
                    number, label = self._waiting.popleft()
                    doing = [""]
                    self._running[number] = (label, time.monotonic(), doing)
                try:
                    with progress.aside(functools.partial(doing.__setitem__, 0)):
                        self._one(self._starters[label], worker, number)
                finally:
                    with self._lock:
                        self._running.pop(number, None)
        except BaseException as error:  # noqa: BLE001 - a thread's error is raised where the series was asked for
            with self._lock:
                self._broke = self._broke or error
                self._waiting.clear()

    def _one(self, starter: Starter, worker: int, number: int) -> None:
        started = starter.start(worker, number)
        if self._stopped == "interrupted":
            return  # what ends now ends because everything is being removed
        cause = self._cause(starter, started, worker, number) if started.error else None
        sample = self._sample(starter, started, number, cause)
        self._record(sample, cause.fault if cause else "")
        left = starter.remove(worker)
        if left:
            self._end(f"what start {number} made cannot be removed: {left[0]}")
        if started.error and (cause is None or cause.fault != "image") and (why := self._gone(starter)):
            self._end(why)

    def _record(self, sample: Sample, fault: str) -> None:
        with self._lock:
            append(self._file, sample)
            if self._options.record:
                append(self._options.record, sample)
            self._samples.append(sample)
            why = self._stop.take(sample, fault)
            done = len(self._samples)
        if why:
            self._end(why)
        count = self._options.count * len(self._starters)
        if count <= LINES or not sample.completed:
            how = (
                f"{sample.seconds:.1f} s"
                if sample.completed
                else f"failed after {sample.seconds:.1f} s: {sample.sentence}"
            )
            progress.note(f"launch {sample.number} of {count}  {sample.label}  {how}")
        elif done % LINES == 0:
            progress.note(f"{done} of {count} launches")

    # ---- what becomes of one start

    def _sample(self, starter: Starter, started: Started, number: int, cause: Cause | None) -> Sample:
        error = started.error
        sentence = ""
        if error is not None:
            known = cause.sentence if cause is not None and cause.known else ""
            sentence = redact(known or getattr(error, "sentence", "") or str(error)).partition("\n")[0]
        return Sample(
            series=self._id,
            number=number,
            label=starter.label,
            kind=self._options.kind,
            image=starter.road.image_file().sha256,
            began=started.began,
            seconds=started.seconds,
            completed=error is None,
            uncertainty=started.uncertainty,
            phases=started.phases,
            missing={name: redact(why) for name, why in started.missing.items()},
            fingerprint=self._fingerprints[starter.label].of(
                started.server,
                volume=started.volume,
                cache=self._cache(starter.label, started.server),
                completed=error is None,
            ),
            cause="" if error is None else cause.id if cause is not None else UNKNOWN,
            sentence=sentence,
        )

    def _cache(self, label: str, server: nova.Server | None) -> str:
        """Cold or warm as it was for this start: each host has the image from its first start on."""
        if self._options.cache == "cold":
            return "cold"
        host = _host(server)
        if not host:
            return ""
        with self._lock:
            warm = (label, host) in self._warm
            self._warm.add((label, host))
        return "warm" if warm else "cold"

    def _cause(self, starter: Starter, started: Started, worker: int, number: int) -> Cause:
        """The watchdog's, else what the evidence shows: of the first failed ones all of it, later what they say."""
        error = started.error
        if isinstance(error, StepFailed) and error.cause is not None and error.cause.known:
            return error.cause
        with self._lock:
            nth = self._saved[starter.label] = self._saved.get(starter.label, 0) + 1
        if self._options.kind != "server" and nth <= FULL and error is not None:
            node = starter.road.boxes.aside(f"start {number}", error, starter.ground(worker))
            return node.verdict
        return causes.verdict(Evidence(texts={"nova": (str(error),)}))

    def _gone(self, starter: Starter) -> str:
        """Why the cloud itself is gone; "" while it answers."""
        cloud = starter.road.cloud().cloud
        try:
            waits.until(
                lambda: waits.Ready(nova.flavors(cloud)), reason="the cloud to answer", deadline=GONE, interval=2,
                transient=(Hiccup,),
            )  # fmt: skip
        except ImagecheckError as error:
            return f"the cloud does not answer any more: {str(error).splitlines()[0]}"
        return ""

    def _has_room(self) -> None:
        """UsageError where the quota is too small for what is to go at once; of Trove's own no API tells."""
        ground = next(iter(self._starters.values())).road.cloud()
        if self._options.kind == "launch":
            return
        room = nova.room(ground.cloud)
        if room is not None and room < self._options.concurrency:
            raise UsageError(
                f"--concurrency {self._options.concurrency}: the quota of the project of {ground.cloud.site.cloud!r} "
                f"has room for {room} servers: raise it (openstack quota set --instances), or launch fewer at once"
            )

    # ---- warm caches

    def _warm_up(self, starter: Starter) -> None:
        """One start that counts for nothing on each compute host that has not had the image yet."""
        cloud = starter.road.cloud().cloud
        try:
            hosts = hypervisor.compute_hosts(cloud) or [""]
        except ImagecheckError:
            hosts = [""]
        for host in hosts[:WARMED]:
            bare_name = host.partition(":")[2]
            if bare_name and len(hosts) == 1 and starter.warmed:
                self._warm.add((starter.label, bare_name))
                continue
            with progress.phase(f"{starter.label}: warm the image cache{f' of {bare_name}' if bare_name else ''}"):
                try:
                    server = starter.warm(host)
                    self._warm.add((starter.label, _host(server) or bare_name))
                except ImagecheckError as error:
                    why = str(error).partition("\n")[0]
                    self.notes.append(f"{starter.label}: not warmed on {bare_name or 'any host'}: {why}")
        if len(hosts) > WARMED:
            self.notes.append(f"{len(hosts)} compute hosts: the caches of {WARMED} were warmed")


def _host(server: nova.Server | None) -> str:
    return str(server.raw.get("compute_host") or "") if server is not None else ""


def _keep_older(file: Path) -> None:
    """A series that was killed has its samples still: they are kept under another name."""
    if file.exists():
        file.rename(file.with_name(f"{file.stem}-{int(file.stat().st_mtime)}{file.suffix}"))
