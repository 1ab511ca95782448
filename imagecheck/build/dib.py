"""Run disk-image-create: its environment, its output as progress, its failure as one sentence."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagecheck import hostcmd, mirror, progress
from imagecheck.build import causes, elements, host
from imagecheck.build.layers import Layer
from imagecheck.build.output import PHASES, Progress, evidence
from imagecheck.definition import Definition
from imagecheck.errors import StepFailed
from imagecheck.redact import redact

STEP = "image build"
DEADLINE = 3600.0  # seconds; the slowest build seen took 200
TMPFS_NEEDS = 6144  # MiB of free memory; a build was seen to fill 2.6 GiB of them
SHIMS = Path(__file__).parent / "shims"


@dataclass(frozen=True)
class Built:
    """What came out: the image (or the layer's tar), and the seconds of each phase and hook."""

    image: Path
    phases: Mapping[str, float]
    hooks: Mapping[str, float]


def environment(definition: Definition, layer: Layer, work: Path, cache: Path, base: Path | None) -> dict[str, str]:
    """Everything that decides the build, as diskimage-builder reads it; the definition has the last word.

    ``base`` is the kept guest's tar, for the layer that is laid on top of it.
    """
    archive = mirror.archive(definition.os)
    path = os.environ.get("PATH", os.defpath)
    made = {
        "DIB_NO_TIMESTAMP": "1",
        "DIB_PYTHON_EXEC": sys.executable,
        "DIB_LOCKFILES": str(cache / "locks"),
        "DIB_APT_SOURCES_CONF": f"default:deb {archive} {definition.release} {mirror.components(definition.os)}",
        "DIB_APT_MINIMAL_CREATE_INTERFACES": "0",
        "DIB_BOOTLOADER_SERIAL_CONSOLE": "ttyS0,115200",
        "DIB_BOOTLOADER_VIRTUAL_TERMINAL": "",
        "DIB_JOURNAL_SIZE": "16",  # MiB; 64 by default, all of it written, uploaded and copied
        # DIB asks how much memory there is; what matters is how much is free.
        "DIB_NO_TMPFS": "0" if host.memory_available() >= TMPFS_NEEDS else "1",
        "DIB_MIN_TMPFS": "1",
        **layer.environment,
        "DIB_DISTRIBUTION_MIRROR": archive,
        "DIB_IMAGE_CACHE": str(cache),
        "DIB_RELEASE": definition.release,
        "ELEMENTS_PATH": os.pathsep.join(str(folder) for folder in layer.search if folder != elements.dib_elements()),
        "HOME": str(work),  # root's own ~/.cache stays as it is
        "PATH": os.pathsep.join([str(work / "bin"), str(Path(sys.executable).parent), path]),
        "PYTHONPATH": str(SHIMS / "python"),
        "TMPDIR": "",  # mktemp -t would take it before TMP_DIR; and the chroot has no such folder
        "TMP_DIR": str(work / "tmp"),
    }
    if base is not None:
        made["DIB_GUEST_LAYER"] = str(base)
    if layer.kind != "tar":
        made["DIB_CONTAINER_OUT"] = str(work / "container")
    return made


def command(layer: Layer, out: Path) -> list[str]:
    """The disk-image-create call: no 'base' element, uncompressed, ``out`` without suffix."""
    beside = Path(sys.executable).parent / "disk-image-create"
    program = str(beside) if beside.exists() else "disk-image-create"
    return [program, "-n", "-u", "-a", "amd64", "-t", layer.kind, "-o", str(out), *layer.names]


def run(definition: Definition, layer: Layer, work: Path, cache: Path, log: Path, base: Path | None = None) -> Built:
    """Build one layer in ``work`` (an empty folder); the whole output is added to ``log``, redacted.

    Raises StepFailed naming the phase, the hook and its last lines.
    """
    with start(definition, layer, work, cache, base) as call:
        return call.finish(log)


class Call:
    """A disk-image-create under way in ``work``, with or without somebody who looks."""

    def __init__(self, layer: Layer, work: Path, under_way: hostcmd.Started) -> None:
        self._layer, self._work, self._under_way = layer, work, under_way

    def finish(self, log: Path) -> Built:
        """See it to its end, with progress. What it did before somebody looked counts for no phase."""
        seen = Progress(clock=lambda: self._under_way.at, counts_from=time.monotonic())
        with contextlib.ExitStack() as stack, log.open("a", encoding="utf-8") as full:
            shown = stack.enter_context(contextlib.ExitStack())
            under_way = shown.enter_context(progress.phase(seen.title))

            def line(text: str) -> None:
                nonlocal under_way
                full.write(redact(text) + "\n")
                before = seen.phase
                if not seen.line(text):
                    return
                if seen.phase != before:
                    shown.close()
                    under_way = shown.enter_context(progress.phase(seen.title))
                under_way.update(seen.hook)

            try:
                self._under_way.follow(line, timeout=DEADLINE)
            except StepFailed as failed:
                raise _explain(seen, log, failed) from failed
        seen.end()
        image = self._work / f"image.{self._layer.kind}"
        if not image.is_file():
            raise StepFailed(STEP, f"disk-image-create ended well but left no {image.name}", remedy=f"read {log}")
        known = {phase: seen.phases[phase] for phase in PHASES if phase in seen.phases}
        return Built(image, known | seen.phases, seen.hooks)


@contextlib.contextmanager
def start(definition: Definition, layer: Layer, work: Path, cache: Path, base: Path | None) -> Iterator[Call]:
    """Start building one layer in ``work`` (an empty folder); it is ended when the body ends before it has.

    ``base`` may be a named pipe that brings the guest's name once there is one: `hand_over`.
    """
    (work / "tmp").mkdir()
    (work / "container").mkdir()
    _private_programs(work / "bin")
    cache.mkdir(parents=True, exist_ok=True)
    with hostcmd.start(
        command(layer, work / "image"),
        step=STEP,
        env=environment(definition, layer, work, cache, base),
        cwd=work,
    ) as under_way:
        yield Call(layer, work, under_way)


def _explain(seen: Progress, log: Path, failed: StepFailed) -> StepFailed:
    lines = seen.lines or failed.seen.splitlines()
    cause = causes.explain(seen.phase, seen.hook, lines)
    tail = evidence(lines, cause.line if cause else "") or [failed.seen]
    late = " (it did not end in time)" if "did not end within" in failed.sentence else ""
    why = f": {cause.sentence}" if cause else ""
    return StepFailed(
        STEP,
        f"diskimage-builder failed in {seen.place}{late}{why}",
        seen=redact("\n        ".join(tail)),
        remedy=f"{cause.remedy}; the whole log is {log}" if cause else f"the whole log is {log}",
    )


def _private_programs(folder: Path) -> None:
    """Programs found before the host's own; copied, because a wheel does not keep executable bits."""
    folder.mkdir()
    names = ["sudo"] if host.has_device_mapper() else ["sudo", "kpartx", "dmsetup"]
    for name in names:
        shutil.copyfile(SHIMS / name, folder / name)
        (folder / name).chmod(0o755)
