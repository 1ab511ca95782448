"""Breaks a good image on purpose and counts what the real checks say: the proof of the harness.

    python tests/mutants/run.py [--image mariadb-debian] [--file IMAGE] [--only PATTERN] [--write]
    python tests/mutants/run.py --boot [--only PATTERN] [--write]   those that only a boot can tell, on the sandbox
    python tests/mutants/run.py --clean 5 --stage boot              the good image five times, each run counted
    python tests/mutants/run.py --only agent-masked --make FILE     that mutant as an image

The good image goes first and must pass everything. Needs root, as looking inside an image does.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fnmatch
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import overlay  # noqa: E402
import results  # noqa: E402
import walk  # noqa: E402
from boots import BOOTS  # noqa: E402
from edits import Files  # noqa: E402
from mutant import GOOD, BootMutant, Mutant  # noqa: E402
from table import MUTANTS  # noqa: E402

from imagecheck import build, container, definition, disk, imagefile  # noqa: E402
from imagecheck.definition import Definition  # noqa: E402
from imagecheck.disk import Disk  # noqa: E402
from imagecheck.errors import ImagecheckError  # noqa: E402
from imagecheck.imagefile import ImageFile  # noqa: E402

CHECKS = sorted((ROOT / "tests" / "image").glob("test_disk*.py"))
# They start programs of the image or read its packages, which takes longer than all others together: asked where a row
# names them, and of the good image.
SLOW = {
    "test_agent_imports", "test_packages_are_whole", "test_sshd_takes_its_settings", "test_sudo_lets_the_agent_in",
    "test_sudoers_are_sound", "test_docker_takes_its_settings",
}  # fmt: skip


@dataclasses.dataclass
class Stand:
    """One mutant, ready to be looked at: a file and a disk, or why there is none."""

    mutant: Mutant
    file: ImageFile | ImagecheckError
    disk: Disk | ImagecheckError


@dataclasses.dataclass
class Verdict:
    """What the checks said: name of the check -> its sentence; seconds from opening the image to the last check."""

    mutant: Mutant
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    passed: int = 0
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Rejected by the check that the table names, in words that name what was broken."""
        return bool(re.search(self.mutant.says, self.failed.get(self.mutant.check, ""), re.S)) and self.rejected

    @property
    def rejected(self) -> bool:
        return bool(self.failed)


class Session:
    """pytest's side: gives the checks a mutant where they would get an image, and notes what they say."""

    def __init__(self, good: ImageFile, like: Definition, mutants: list[Mutant]) -> None:
        self.good, self.like, self.mutants = good, like, mutants
        self.verdicts = {mutant.name: Verdict(mutant) for mutant in mutants}
        self._began = 0.0

    # ---- hooks

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "stage(name): how far an image has to get for this check")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        slow = metafunc.function.__name__ in SLOW
        asked = [one for one in self.mutants if not slow or one.check == metafunc.function.__name__ or one is GOOD]
        metafunc.parametrize("mutant", asked, indirect=True, scope="session", ids=[one.name for one in asked])

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = [mutant.name for mutant in self.mutants]
        items.sort(key=lambda item: order.index(item.callspec.params["mutant"].name))  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        mutant: Mutant = item.callspec.params["mutant"]  # type: ignore[attr-defined]
        verdict = self.verdicts[mutant.name]
        if report.failed:
            told = getattr(getattr(report.longrepr, "reprcrash", None), "message", "") or str(report.longrepr)
            # The sentence of the check; what pytest adds below it is no part of what a person is told.
            verdict.failed[item.originalname] = told.partition("\n")[0].removeprefix("AssertionError: ")  # type: ignore[attr-defined]
        elif report.when == "call" and report.passed:
            verdict.passed += 1
        verdict.seconds = time.monotonic() - self._began
        return report

    # ---- fixtures

    @pytest.fixture(scope="session")
    def mutant(self, request: pytest.FixtureRequest) -> Iterator[Stand]:
        with stood(self.good, self.like, request.param, self) as stand:
            yield stand

    @pytest.fixture
    def definition(self, mutant: Stand) -> Definition:
        return self.like

    @pytest.fixture
    def image_file(self, mutant: Stand) -> ImageFile:
        return self._reach(mutant, "image file", mutant.file)

    @pytest.fixture
    def disk(self, mutant: Stand) -> Disk:
        self._reach(mutant, "image file", mutant.file)
        return self._reach(mutant, "look inside", mutant.disk)

    def _reach(self, stand: Stand, step: str, found: Any) -> Any:
        """As the road does: a step that broke is told once, then its checks are not reached."""
        if not isinstance(found, ImagecheckError):
            return found
        self.verdicts[stand.mutant.name].failed[step] = str(found)
        pytest.skip(f"not reached: {step}")

    def clock_starts(self) -> None:
        self._began = time.monotonic()


@contextlib.contextmanager
def stood(good: ImageFile, like: Definition, mutant: Mutant, session: Session) -> Iterator[Stand]:
    """Make the mutant, look at it as the harness looks at an image, and leave nothing behind."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutant-")))
        file = work / "overlay.qcow2"
        overlay.create(good.path, file, mutant.size)
        if mutant.kind == "file":
            mutant.edit(Files(file, good.path))
            session.clock_starts()
            image = _try(lambda: imagefile.inspect(file))
        else:
            raw = stack.enter_context(overlay.exported(good.path, file, work))
            if mutant.kind == "disk":
                mutant.edit(raw)
            elif mutant is not GOOD:
                with overlay.mounted(raw, work) as root:
                    mutant.edit(overlay.Root(root, like.agent.unit, like.injected_owner, like.datastore.container))
            session.clock_starts()
            size = raw.stat().st_size
            image = good if mutant is GOOD else ImageFile(raw, "raw", size, size, "")
        if isinstance(image, ImagecheckError):
            yield Stand(mutant, image, image)
            return
        yield Stand(mutant, image, _try(lambda: stack.enter_context(disk.opened(image))))


def _try(step: object) -> object:
    try:
        return step()  # type: ignore[operator]
    except ImagecheckError as error:
        return error


def run(good: ImageFile, like: Definition, mutants: list[Mutant]) -> list[Verdict]:
    """One pytest session over the real checks, all mutants one after the other."""
    session = Session(good, like, mutants)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(
            ["-q", "--tb=short", "-p", "no:imagecheck", "-p", "no:imagecheck.plugin", "-p", "no:cacheprovider",
             "--rootdir", str(ROOT), *map(str, CHECKS)],
            plugins=[session],
        )  # fmt: skip
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"pytest itself failed ({code}):\n{said.getvalue()}")
    return list(session.verdicts.values())


def make(good: ImageFile, like: Definition, mutant: Mutant, to: Path) -> None:
    """One mutant as an image file of its own, for what only a boot can tell."""
    session = Session(good, like, [mutant])
    with stood(good, like, mutant, session) as stand, tempfile.TemporaryDirectory(prefix="mutant-") as work:
        if isinstance(stand.file, ImagecheckError):
            raise stand.file
        made = Path(work) / "whole.qcow2"
        subprocess.run(
            ["qemu-img", "convert", "-f", stand.file.format, "-O", "qcow2", stand.file.path, made], check=True
        )
        shutil.move(made, to)


def stamp() -> str:
    """When a row was run, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def disk_stage(good: ImageFile, like: Definition, mutants: list[Mutant], gathered: dict[str, Any]) -> bool:
    """Show the disk's mutants to the checks; True: all are rejected with the right cause, the good image passes."""
    began, when = time.monotonic(), stamp()
    clean, *rest = run(good, like, [GOOD, *mutants])
    seconds = time.monotonic() - began
    for one in rest:
        words = results.plain(one.failed.get(one.mutant.check, "not rejected"), good.path.parent)
        gathered["disk"][one.mutant.name] = {
            "run": when, "rejected": one.rejected, "right": one.right, "words": words, "seconds": round(one.seconds, 1),
        }  # fmt: skip
        print(f"{'right' if one.right else 'WRONG CAUSE' if one.rejected else 'ACCEPTED':12}{one.mutant.name:34}"
              f"{one.seconds:5.1f} s  {results.cell(words)[:100]}")  # fmt: skip
        for check, said in {} if one.right else one.failed.items():
            print(f"    {check}: {said[:600]}")
    for check, said in clean.failed.items():
        print(f"FALSE ALARM on the good image: {check}: {said[:600]}")
    gathered["good"] = f"{clean.passed} checks passed, {len(clean.failed)} failed ({when})"
    slowest = max(one.seconds for one in rest)
    print(f"mutants: {results.score([gathered['disk'][one.mutant.name] for one in rest])}, {seconds:.0f} s "
          f"(slowest verdict {slowest:.1f} s); the good image: {gathered['good']}")  # fmt: skip
    return all(one.right for one in rest) and not clean.failed and bool(clean.passed)


def boot_stage(
    good: ImageFile, like: Definition, mutants: list[BootMutant], gathered: dict[str, Any], keep: Callable[[], None]
) -> bool:
    """Send the mutants the real road, one after the other; ``keep`` is called after each."""
    served = f"{like.datastore.name}:{like.datastore.version}"
    for mutant in mutants:
        when = stamp()
        with tempfile.TemporaryDirectory(prefix="mutant-") as work:
            file = Path(work) / f"{mutant.name}.qcow2"
            make(good, like, mutant, file)
            walked = walk.walk(str(file), ["--datastore", served], "boot")
        row = gathered["boot"][mutant.name] = walk.judged(mutant, walked, when)
        verdict = "right" if row["right"] else "WRONG CAUSE" if row["rejected"] else "ACCEPTED"
        print(f"{verdict:12}{mutant.name:24}{row['verdict']} s after power-on, {row['after']} s after the first sign, "
              f"{row['seconds']} s in all: {row['told']}: {results.cell(row['words'])}")  # fmt: skip
        if not row["right"]:
            print(f"    wanted {mutant.check} ({mutant.says}); disk {row['disk']}; see {walked.folder}")
        sys.stdout.flush()
        keep()
    rows = [gathered["boot"][one.name] for one in mutants]
    print(f"boot mutants: {results.score(rows)}")
    return all(row["right"] for row in rows)


def good_runs(image: str, count: int, stage: str, gathered: dict[str, Any], keep: Callable[[], None]) -> bool:
    """Send the good image the same road ``count`` times; every run is counted, whatever came of it."""
    failed = 0
    for number in range(1, count + 1):
        when = stamp()
        walked = walk.walk(image, [], stage)
        # A step that had to be tried twice is no clean run, though pytest lets it pass.
        passed = walked.code == 0 and walked.report.get("verdict") == "passed"
        failed += not passed
        verdict = f"verdict {walked.report.get('verdict', 'none')}"
        words = walked.told or "; ".join(walked.failed()) or f"pytest ended with code {walked.code}, {verdict}"
        gathered["clean"].append(
            {"run": when, "stage": stage, "image": image, "passed": passed, "checks": walked.passed(),
             "seconds": round(walked.seconds), "words": "" if passed else results.plain(words, ROOT)}
        )  # fmt: skip
        print(f"clean {number} of {count} to the {stage} stage: {'passed' if passed else 'FAILED'}, "
              f"{walked.passed()} checks, {walked.seconds:.0f} s {'' if passed else words}")  # fmt: skip
        sys.stdout.flush()
        keep()
    return not failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="mariadb-debian", help="definition of the good image (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="the good image's file, when not the built one")
    parser.add_argument("--boot", action="store_true", help="the mutants that only a boot can tell, on the sandbox")
    parser.add_argument("--all", action="store_true", help="those of the disk, then those of a boot")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="only mutants with such a name; repeatable")
    parser.add_argument("--clean", type=int, default=0, metavar="N", help="the good image N times, each run counted")
    parser.add_argument("--stage", choices=("boot", "service"), default="boot", help="how far --clean goes")
    parser.add_argument("--write", action="store_true", help="keep the results and write docs/mutants.md")
    parser.add_argument(
        "--make", type=Path, metavar="FILE", help="write the one mutant of --only as an image, no checks"
    )
    option = parser.parse_args()
    like = definition.load(option.image)

    def chosen(table: Sequence[Any]) -> list[Any]:
        return [one for one in table if any(fnmatch.fnmatch(one.name, only) for only in option.only or "*")]

    gathered = results.load()

    def keep() -> None:
        results.save(gathered)
        results.PAGE.write_text(results.page(gathered, MUTANTS, BOOTS), encoding="utf-8")

    try:
        if option.clean:  # without --write too: a run that is left out would be one that was chosen
            return 0 if good_runs(option.image, option.clean, option.stage, gathered, keep) else 1
        good = imagefile.inspect(option.file) if option.file else build.build(like)
        with disk.opened(good) as opened:
            if container.stored(opened.tree, like.datastore.container) is None:
                sys.exit(f"{option.image} carries no container: mutants need an image that preloads one")
        if option.make:
            named = chosen([*MUTANTS, *BOOTS])
            if len(named) != 1:
                sys.exit(f"--make takes one mutant, --only {option.only} names {len(named)}")
            make(good, like, named[0], option.make)
            return 0
        right = True
        if not option.boot and (mutants := chosen(MUTANTS)):
            right = disk_stage(good, like, mutants, gathered)
        if option.write:
            keep()
        if (option.boot or option.all) and (boots := chosen(BOOTS)):
            right &= boot_stage(good, like, boots, gathered, keep if option.write else lambda: None)
    except ImagecheckError as error:
        sys.exit(str(error))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
