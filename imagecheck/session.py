"""All images of one run: their roads, what became of their checks, and the reports at the end. Knows no pytest."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from imagecheck import (
    attached,
    build,
    choice,
    diff,
    held,
    interrupts,
    judging,
    outlets,
    progress,
    sandbox,
    summary,
    turns,
)
from imagecheck.cloud import connection, marks
from imagecheck.cloud.preflight import survey
from imagecheck.definition import Definition
from imagecheck.errors import ImagecheckError, NotReached, StepFailed, UsageError
from imagecheck.kept import Keep
from imagecheck.options import KEEP, Launches, expired
from imagecheck.outcomes import Series
from imagecheck.redact import learn_named
from imagecheck.report import Check, Folder
from imagecheck.report.facts import Outcome
from imagecheck.report.files import slug
from imagecheck.run import Road
from imagecheck.series import walk as series_walk
from imagecheck.site import Site


class Report(Protocol):
    """What is used of a test report."""

    when: Any
    outcome: Any
    duration: float
    longrepr: Any


@dataclass
class _Image:
    choice: choice.Choice
    road: Road | None = None
    checks: dict[str, Check] | None = None
    series: Series | None = None
    left: list[str] | None = None  # what its road could not remove; None while that is not closed


class Session:
    """Made once from the options; raises UsageError for every mistake that can be known without a cloud."""

    def __init__(
        self,
        *,
        images: Sequence[str],
        datastore: str,
        cloud: str,
        site: str,
        release: str,
        report: Path,
        yes: bool,
        sha256: str = "",
        keep: str = "",
        keep_for: str = "2h",
        launches: Launches | None = None,
        attach: str = "",
    ) -> None:
        learn_named(os.environ)
        self._cloud, self._site_file, self._yes = cloud, site, yes
        self._release = release or sandbox.releases.DEFAULT
        self._beginning: sandbox.Beginning | None = None
        self._report = report
        self._keep = Keep(keep or KEEP[0], marks.duration(keep_for, "--keep-for"))
        self._keep_said = bool(keep)
        self.steps = interrupts.TwoSteps(self.still_open)
        self._site: Site | None = None
        self._images: dict[str, _Image] = {}
        self._finished = False
        self._open = contextlib.ExitStack()
        self.told: list[dict[str, Any]] = []  # per image, JSON-able: lines for the terminal, properties for JUnit
        for named in images:
            self._add(choice.image(named, datastore, sha256))
        self.names = list(self._images)
        """The images that are checked, in the order in which they were given."""
        judging.check(launches)
        self.launches = launches
        self._against = ""
        if launches and launches.against:
            self._against = self._add(_other(launches.against, datastore))
        self._attach = attached.find(attach) if attach else None
        if self._attach:
            self._attach.fits(self._images[self.names[0]].choice)
        self._open.enter_context(outlets.guarded())

    def _add(self, one: choice.Choice) -> str:
        """The name that tells it from the others: of its road, its folder, its samples."""
        name, number = one.name, 2
        while name in self._images:
            name, number = f"{one.name}-{number}", number + 1
        self._images[name] = _Image(replace(one, name=name), checks={})
        return name

    def definition(self, name: str) -> Definition:
        """What that image is said to be."""
        return self._images[name].choice.definition

    def can_be_had(self, name: str) -> bool:
        """False for an image that cannot be built on this host: nothing has to be looked up for it."""
        return not build.obstacle(self._images[name].choice.definition)

    def image_of(self, nodeid: str) -> str:
        """The image that a test id ("test_x[NAME-...]") belongs to; "" for other tests."""
        inside = f"-{nodeid.partition('[')[2].removesuffix(']')}-"
        return max((name for name in self.names if f"-{name}-" in inside), key=len, default="")

    def header(self) -> str:
        """One line for the top of the terminal."""
        where = self._site_file or self._cloud or os.environ.get("OS_CLOUD") or "sandbox"
        against = f" against {self._against}" if self._against else ""
        attach = f", attached to {self._attach.run}" if self._attach else ""
        return f"imagecheck: {', '.join(self.names)}{against} on {where}{attach}; report: {self._report}"

    def progress_to(self, stream: Any) -> None:
        """Lead progress to ``stream`` until `end`."""
        self._open.enter_context(progress.to(cast("TextIO", stream)))

    def sandbox_comes(self) -> bool:
        """True when the sandbox is being started beside the build of an image: each keeps one core busy for minutes.

        False when nothing has to be built, another cloud was named, or it is up. Raises UsageError (rights, packages).
        """
        builds = any(one.choice.builds() for one in self._images.values())
        if not builds or choice.elsewhere(self._cloud, self._site_file) or sandbox.running(self._release):
            return False
        if self._beginning is None:
            build.ensure(self._yes)  # not beside each other: there is one dpkg
            self._beginning = sandbox.begin(self._release, yes=self._yes)
            progress.note(f"no cloud was named: the sandbox {self._release} is started beside the build")
        return True

    def site(self) -> Site:
        """The site, looked up (or the sandbox started) once."""
        if self._beginning is not None:
            self._beginning.join()
            self._beginning = None
        if self._site is None:
            if self._attach and not choice.elsewhere(self._cloud, self._site_file):
                self._attach.at_hand(sandbox.running(self._release) is not None)
            self._site = choice.place(self._cloud, self._site_file, self._release, yes=self._yes)
        return self._site

    def look_ahead(self, names: Collection[str]) -> None:
        """Everything about the cloud that can be wrong for these images, before anything is made."""
        if not names:
            return
        cloud = connection.connect(self.site())
        for one in [one for name, one in self._images.items() if name in names]:
            wanted, size = one.choice.definition, one.choice.file.virtual_size if one.choice.file else 0
            look = functools.partial(survey, cloud, wanted.needs, virtual_size=size, agent=wanted.agent.release)
            turns.look_ahead(turns.place(cloud), lambda others, look=look: look(others=others))  # type: ignore[misc]

    def free_reports(self) -> None:
        """UsageError where another run is writing to the folder of one of the reports."""
        for name in self.names:
            with self._alone(name):
                pass

    def _alone(self, name: str) -> contextlib.AbstractContextManager[None]:
        return held.alone(self._folder(name).path, "give another folder with --report")

    def _folder(self, name: str) -> Folder:
        return Folder(self._report / slug(name))

    def road(self, name: str) -> Road:
        """The road of an image; nothing is walked by asking for it."""
        one = self._images[name]
        if one.road is None:
            folder = self._folder(name)
            self._open.enter_context(self._alone(name))
            if folder.report.exists():  # the evidence of an earlier run would pass for this one's
                held.empty(folder.path)
            words = one.choice.words() + choice.where(self._cloud, self._site_file, self._release)
            more: dict[str, Any] = {"release": self._release, "yes": self._yes, "words": words}
            if self._attach:
                keep = self._keep if self._keep_said else None
                one.road = attached.Attached(self._attach, one.choice, self.site, folder, keep=keep, **more)
            else:
                one.road = Road(one.choice, self.site, folder, keep=self._keep, **more)
                one.road.at_once = self.launches.concurrency if self.launches else 1
        return one.road

    def enter(self, name: str) -> None:
        """Reach the cloud for that image, and for the one that its series is compared with: nothing is made before."""
        self.road(name).cloud()
        if self._against and self.can_be_had(self._against):
            self.road(self._against).cloud()

    def series(self, name: str) -> Series:
        """The series of that image, walked once, and judged."""
        roads, launches = [self.road(one) for one in (name, self._against) if one], self.launches
        if launches is None:
            raise UsageError("a series is asked for without --launches N")

        def kept(made: Series) -> Series:
            judged = replace(judging.judged(made, name, launches), changes=_changes(roads[::-1]))
            self._images[name].series = judged
            return judged

        def walk() -> Series:
            return series_walk(roads, launches, release=self._release, yes=self._yes, kept=kept)

        return roads[0].step("series", walk)

    # ---- what became of the checks

    def begins(self, name: str, node: str) -> None:
        """The check with that node id begins: what fails from now on is saved under its name."""
        self.road(name).boxes.node = node

    def evidence(self, name: str, node: str) -> str:
        """The folder of what was saved about that check; "" where nothing was."""
        road = self._images[name].road
        return road.boxes.of(node) if road else ""

    def take(
        self, name: str, check: str, stage: str, sentence: str, report: Report, error: BaseException | None
    ) -> None:
        """Keep the outcome of one phase (setup, call, teardown) of a check; save evidence for a failed assertion."""
        one = self._images[name]
        assert one.checks is not None
        if report.when != "call" and report.outcome == "passed":
            return
        outcome: Outcome = report.outcome
        if report.outcome == "failed" and report.when != "call":
            outcome = "error"
        if report.outcome == "skipped" and getattr(report, "wasxfail", ""):
            outcome = "known"
        cause = "" if report.outcome == "passed" else _cause(report, error)
        if outcome == "known":
            cause = f"{getattr(report, 'wasxfail', '')}: {cause}"
        one.checks[check] = Check(check, sentence, stage, outcome, report.duration, cause)
        # A step that broke for this check has saved its evidence already.
        if report.outcome == "failed" and one.road is not None and not one.road.boxes.of(one.road.boxes.node):
            one.road.check_failed(check, sentence, cause)
        if one.road is not None and (saved := one.road.boxes.of(one.road.boxes.node)):
            one.checks[check] = dataclasses.replace(one.checks[check], evidence=Path(saved).name)

    # ---- the end

    def leave(self, name: str) -> None:
        """No check of that image is still to come: what its road made goes, to make room for the next image's."""
        one = self._images[name]
        if self.launches is None and one.road is not None and one.left is None:
            one.left = one.road.close()

    def finish(self) -> list[str]:
        """Remove everything that was made and write the reports. Returns what is left in the cloud, and which reports
        could not be written, a line each: then the run has failed."""
        left: list[str] = []
        if self._finished:
            return left
        self._finished = True
        with self.steps.removing():
            for name, one in self._images.items():
                if one.road is None:
                    continue
                try:
                    left += one.road.close() if one.left is None else one.left
                finally:
                    left += self._tell(name, one, one.road)
        return left

    def still_open(self) -> list[str]:
        """What was made and may still exist, a line each."""
        roads = [one.road for one in self._images.values() if one.road and one.left is None]
        return [str(entry) for road in roads for entry in road.open]

    def end(self) -> None:
        """Give the streams back; a sandbox that still comes up for nobody is stopped."""
        if self._beginning is not None:
            self._beginning.abandon()
        self._open.close()

    def properties(self) -> list[tuple[str, str]]:
        """For JUnit: of one image as they are, of several with the image's name before them."""
        many = len(self.told) > 1
        return [
            (f"{told['image']}.{name}" if many else name, value)
            for told in self.told
            for name, value in told["properties"]
        ]

    def _tell(self, name: str, one: _Image, road: Road) -> list[str]:
        """Write the reports of an image, and keep the lines about it. Returns why one could not be written."""
        checks = list((one.checks or {}).values())
        known = expired(one.choice.definition.known_failures, datetime.now(UTC).date())
        told = summary.write(road, checks, one.series, expired=known, release=self._release)
        self.told.append({"image": name, "lines": told.lines, "properties": told.properties})
        return told.unwritten


def _other(named: str, datastore: str) -> choice.Choice:
    try:
        return choice.image(named, datastore)
    except UsageError as error:
        raise UsageError(str(error).replace(f"--image {named}", f"--against {named}", 1)) from error


def _changes(roads: Sequence[Road]) -> dict[str, Any] | None:
    """What changed from the first image to the second; None of one, and where an image cannot be looked into."""
    if len(roads) < 2:
        return None
    try:
        with progress.phase("what changed between the images"):
            return diff.as_json(diff.compare(*(diff.of_image(road.image_file()) for road in roads[:2])))
    except ImagecheckError as error:
        progress.note(f"not compared: {error}")
        return None


def _cause(report: Report, error: BaseException | None) -> str:
    if isinstance(error, StepFailed):
        return error.sentence
    if isinstance(error, NotReached):
        return str(error)
    if isinstance(report.longrepr, tuple):  # a skip: (file, line, reason)
        return str(report.longrepr[2])
    text = str(error or "").strip() or str(report.longrepr or "")
    return text.splitlines()[0] if text else ""
