"""The runs that are disturbed: real ones, and short where the fault does not need a guest that works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagecheck import build, definition, hostcmd

REAL = "mariadb-debian"
# "cli; hlt; jmp -3": a disk whose boot sector stops the processor. Nova calls its server ACTIVE; it costs no CPU.
_HALT = bytes((0xFA, 0xF4, 0xEB, 0xFD))


@dataclass(frozen=True)
class Road:
    """``arguments`` after the program; ``image`` makes the image file in a folder, or names one."""

    program: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    image: Callable[[Path], Path] | None = None


def halts(size: int) -> Callable[[Path], Path]:
    """An image of that many MiB, which boots into nothing."""

    def make(folder: Path) -> Path:
        raw = folder / "halts.raw"
        with raw.open("wb") as file:
            file.write(_HALT.ljust(510, b"\0") + b"\x55\xaa")
            file.truncate(size << 20)
        if size > 16:
            return raw
        made = raw.with_suffix(".qcow2")
        hostcmd.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, made])
        raw.unlink()
        return made

    return make


def real(_: Path) -> Path:
    """The built image of the main job."""
    return build.build(definition.load(REAL)).path


_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=line", "--color=no")
ROADS: Mapping[str, Road] = {
    "boot": Road(_PYTEST, ("--stage", "boot", "-k", "test_nova_boots_the_image"), halts(1)),
    "upload": Road(_PYTEST, ("--stage", "boot", "-k", "test_nova_boots_the_image"), halts(1024)),
    "register": Road(_PYTEST, ("--stage", "service", "-k", "test_datastore_version_is_registered"), halts(1)),
    "create": Road(_PYTEST, ("--stage", "service", "-k", "test_instance_is_healthy"), real),
    # A check before it reaches the instance: what is named after a step is then that step alone.
    "stop": Road(_PYTEST, ("--stage", "service", "-k", "test_database_answers or test_stop_shows"), real),
    "start": Road(
        _PYTEST, ("--stage", "service", "-k", "test_database_answers or test_stop_shows or test_start_brings"), real
    ),
    "delete": Road(_PYTEST, ("--stage", "service", "-k", "test_instance_is_healthy or test_delete_removes"), real),
    "build": Road((sys.executable, "-m", "imagecheck.cli"), ("build", REAL)),
}


def command(road: Road, work: Path, report: Path, site: Path) -> list[str]:
    """The whole command line; no secret is in it."""
    if road.image is None:
        return [*road.program, *road.arguments]
    served = definition.load(REAL).datastore
    return [*road.program, "--image", str(road.image(work)), "--datastore", f"{served.name}:{served.version}",
            "--site", str(site), "--report", str(report), "--junit-xml", str(report / "junit.xml"),
            *road.arguments]  # fmt: skip
