"""All images of one run: their roads, what became of their checks, and the reports at the end. Knows no pytest."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from imagecheck import build, choice, injection, progress, sandbox
from imagecheck.cloud import connection
from imagecheck.cloud.preflight import preflight
from imagecheck.definition import Definition
from imagecheck.errors import NotReached, StepFailed
from imagecheck.options import expired
from imagecheck.report import (
    Check,
    Folder,
    fault_lines,
    html,
    properties,
    report_table,
    timeline_lines,
    timings_table,
)
from imagecheck.report.facts import Outcome
from imagecheck.report.files import slug
from imagecheck.report.terminal import clean
from imagecheck.run import Road
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
    ) -> None:
        self._cloud, self._site_file, self._yes = cloud, site, yes
        self._release = release or sandbox.releases.DEFAULT
        self._beginning: sandbox.Beginning | None = None
        self._report = report
        self._site: Site | None = None
        self._images: dict[str, _Image] = {}
        self._finished = False
        self._open = contextlib.ExitStack()
        self.told: list[dict[str, Any]] = []  # per image, JSON-able: lines for the terminal, properties for JUnit
        for named in images:
            one = choice.image(named, datastore, sha256)
            name, number = one.name, 2
            while name in self._images:
                name, number = f"{one.name}-{number}", number + 1
            self._images[name] = _Image(one, checks={})

    @property
    def names(self) -> list[str]:
        """The images in the order in which they were given."""
        return list(self._images)

    def definition(self, name: str) -> Definition:
        """What that image is said to be."""
        return self._images[name].choice.definition

    def can_be_had(self, name: str) -> bool:
        """False for an image that cannot be built on this host: nothing has to be looked up for it."""
        return not build.obstacle(self._images[name].choice.definition)

    def image_of(self, nodeid: str) -> str:
        """The image that a test id ("test_x[NAME-...]") belongs to; "" for other tests."""
        inside = f"-{nodeid.partition('[')[2].removesuffix(']')}-"
        return max((name for name in self._images if f"-{name}-" in inside), key=len, default="")

    def header(self) -> str:
        """One line for the top of the terminal."""
        where = self._site_file or self._cloud or os.environ.get("OS_CLOUD") or "sandbox"
        return f"imagecheck: {', '.join(self.names)} on {where}; report: {self._report}"

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
            self._site = choice.place(self._cloud, self._site_file, self._release, yes=self._yes)
        return self._site

    def look_ahead(self) -> None:
        """Everything about the cloud that can be wrong before anything is made."""
        cloud = connection.connect(self.site())
        for one in self._images.values():
            preflight(
                cloud, one.choice.definition.needs, virtual_size=one.choice.file.virtual_size if one.choice.file else 0
            )

    def road(self, name: str) -> Road:
        """The road of an image; nothing is walked by asking for it."""
        one = self._images[name]
        if one.road is None:
            folder = Folder(self._report / slug(name))
            if folder.report.exists():  # the evidence of an earlier run would pass for this one's
                shutil.rmtree(folder.path, ignore_errors=True)
            one.road = Road(one.choice, self.site, folder, release=self._release, yes=self._yes)
        return one.road

    # ---- what became of the checks

    def begins(self, name: str, node: str) -> None:
        """The check with that node id begins: what fails from now on is saved under its name."""
        self.road(name).boxes.node = node

    def evidence(self, name: str, node: str) -> str:
        """The folder of what was saved about that check; "" where nothing was."""
        return self.road(name).boxes.of(node)

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

    def finish(self) -> list[str]:
        """Remove everything that was made and write the reports. Returns what is left in the cloud."""
        left: list[str] = []
        if self._finished:
            return left
        self._finished = True
        for name, one in self._images.items():
            if one.road is None:
                continue
            try:
                left += one.road.close()
            finally:
                self._tell(name, one, one.road, left)
        return left

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

    def _tell(self, name: str, one: _Image, road: Road, left: Sequence[str]) -> None:
        run, checks = road.facts(), list((one.checks or {}).values())
        fault = road.faults[0] if road.faults else None
        table = report_table(run, checks, road.measured, fault, accounting=road.accounting, left=left)
        road.folder.write_report(table | ({"injection": injection.as_json(road.cells)} if road.cells else {}))
        if road.measured:
            road.folder.write_timings(timings_table(run, road.measured))
        road.folder.write_page(html.page(*road.folder.documents()))
        width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
        lines: list[str] = []
        for one_fault in road.faults:
            lines += [*fault_lines(one_fault, width=width), ""]
        circumstances = ", ".join(
            part for part in (run.acceleration, run.release if run.sandbox else run.cloud) if part
        )
        for measured in road.measured:
            lines += [*timeline_lines(measured, width=width, circumstances=circumstances), ""]
        lines += [
            f"again     {one.step}: {one.sentence} ({one.cause}); the second time it "
            f"{'passed' if one.passed else 'failed too'}"
            for one in run.retries
        ]
        lines += [clean(line) for line in injection.table_lines(road.cells)]
        lines += [f"known     {check.id}: {check.cause}" for check in checks if check.outcome == "known"]
        today = datetime.now(UTC).date()
        lines += [f"expired   {line}" for line in expired(one.choice.definition.known_failures, today)]
        lines += [f"steps     {', '.join(f'{step} {took:.1f} s' for step, took in run.steps.items())}"]
        if road.accounting:
            lines += [f"cloud     {road.accounting}"]
        lines += [f"          left: {line}" for line in left]
        if run.sandbox:
            lines += [f"sandbox   {self._release} stays up for the next run; `imagecheck sandbox down` stops it"]
        if road.boxes.saved:
            lines += [f"evidence  {road.folder.index}"]
        lines += [f"report    {road.folder.page}"]
        self.told.append({"image": name, "lines": lines, "properties": properties(run, road.measured, road.faults)})


def _cause(report: Report, error: BaseException | None) -> str:
    if isinstance(error, StepFailed):
        return error.sentence
    if isinstance(error, NotReached):
        return str(error)
    if isinstance(report.longrepr, tuple):  # a skip: (file, line, reason)
        return str(report.longrepr[2])
    text = str(error or "").strip() or str(report.longrepr or "")
    return text.splitlines()[0] if text else ""
