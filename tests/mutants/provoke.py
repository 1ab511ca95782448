"""Provoke causes in real guests under QEMU alone, without a cloud, and keep what they print as fixtures.

    python tests/mutants/provoke.py consoles [--only ROW]   one boot per row: firmware, GRUB, kernel, systemd
    python tests/mutants/provoke.py guest [--only ROW]      one boot for all: agent, docker, database, cloud-init
    python tests/mutants/provoke.py cloud [--only ROW]      requests to the sandbox's Nova and Trove, no guest
    python tests/mutants/provoke.py launch [--only ROW]     one boot by the sandbox's Nova, one launch by its Trove

Each row of imagecheck/causes that is told so is written to tests/harness/fixtures/causes/broken/ROW.PLACE.txt. Needs
root, QEMU and the built image; no network card is given to a guest.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fnmatch
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import overlay  # noqa: E402
import provoked_cloud  # noqa: E402
import provoked_cloudinit  # noqa: E402
import provoked_launch  # noqa: E402
from provoked_consoles import CONSOLES, Console  # noqa: E402
from provoked_guest import SCENES as GUEST  # noqa: E402
from provoked_guest import script  # noqa: E402

from imagecheck import build, choice, definition, imagefile, sandbox  # noqa: E402
from imagecheck.causes import TABLE, Evidence, Watch, verdict  # noqa: E402
from imagecheck.causes.row import Place  # noqa: E402
from imagecheck.guest import console  # noqa: E402
from imagecheck.report import Folder  # noqa: E402
from imagecheck.run import Road  # noqa: E402

KEPT = ROOT / "tests" / "harness" / "fixtures" / "causes" / "broken"
SCENES = (*GUEST, *provoked_cloudinit.SCENES)
LINES = 40  # kept before the line that tells
LONG = 2000  # characters of a line that are kept, from both its ends: Nova repeats all of a user-data that it refuses
GUEST_DEADLINE = 3600.0  # seconds for all scenes; each takes 10 to 60 under emulation


@contextlib.contextmanager
def machine(disk: Path, work: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running QEMU whose serial console is written to ``work``/console; ended when the block is left."""
    with (work / "qemu").open("wb") as said:
        process = subprocess.Popen(
            ["qemu-system-x86_64", "-machine", "q35,accel=tcg,graphics=off", "-cpu", "max", "-smp", "2", "-m", "2048",
             "-display", "none", "-nodefaults", "-no-reboot", "-serial", f"file:{work / 'console'}", "-nic", "none",
             "-drive", f"file={disk},format=qcow2,if=virtio,cache=unsafe", *options],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def printed(work: Path) -> str:
    """What the console has, as Nova would give it."""
    file = work / "console"
    return console.clean(file.read_text(encoding="utf-8", errors="replace")) if file.exists() else ""


def one_console(good: Path, like: definition.Definition, row: Console) -> str:
    """Boot what ``row`` makes of the good image until its console is given that cause; "" when it never is."""
    with tempfile.TemporaryDirectory(prefix="provoke-") as name:
        work = Path(name)
        disk = work / "overlay.qcow2"
        overlay.create(good, disk)
        with overlay.exported(good, disk, work) as raw:
            if row.root:
                with overlay.mounted(raw, work) as root:
                    row.root(overlay.Root(root, like.agent.unit, like.injected_owner, like.datastore.container))
            if row.disk:
                row.disk(raw)
        deadline = time.monotonic() + row.deadline
        with machine(disk, work, *(word.replace("@work@", name) for word in row.options)) as process:
            while time.monotonic() < deadline:
                text = printed(work)
                if verdict(Evidence({"console": (text,)})).id == row.id:
                    time.sleep(1)  # the rest of what it has to say of it
                    return excerpt(printed(work), row.id, "console")
                if process.poll() is not None:
                    break
                if row.poke:
                    row.poke(process, time.monotonic() - deadline + row.deadline)
                time.sleep(0.5)
        text = printed(work)
        print(
            f"  {verdict(Evidence({'console': (text,)})).id}; last lines:\n    " + "\n    ".join(text.splitlines()[-8:])
        )
        return ""


def excerpt(text: str, row: str, place: Place) -> str:
    """The shortest beginning of ``text`` that ends a wait with the cause, or, of a row that ends none, is given it;
    of that the last lines."""
    lines = text.splitlines(keepends=True)
    fatal = next(one.fatal for one in TABLE if one.id == row)

    def tells(some: list[str]) -> bool:
        if verdict(Evidence({place: ("".join(some),)})).id != row:
            return False
        watch, now = Watch([dataclasses.replace(one, proven=True) for one in TABLE]), 0.0
        for line in some:
            watch.feed(place, line, now)
            now += 10.0
        found = watch.verdict(now + 100.0)
        return not fatal or (found is not None and found.id == row)

    last = next((count for count in range(1, len(lines) + 1) if tells(lines[:count])), len(lines))
    few = lines[max(0, last - LINES) : last + 3]
    return "".join(few) if tells(few) else "".join(lines[: last + 3])


def keep(row: str, place: str, text: str) -> None:
    """Write the fixture; of very long lines both ends."""
    short = "".join(
        line if len(line) <= LONG else f"{line[: LONG // 2]} … {line[-LONG // 2 :]}"
        for line in text.splitlines(keepends=True)
    )
    (KEPT / f"{row}.{place}.txt").write_text(short, encoding="utf-8")


def guest(good: Path, like: definition.Definition, wanted: list[str], raw: Path | None) -> int:
    """All scenes in one boot; what each printed is read from the disk afterwards. Returns how many did not tell."""
    scenes = [scene for scene in SCENES if scene.id in wanted]
    with tempfile.TemporaryDirectory(prefix="provoke-") as name:
        work = Path(name)
        disk, data = work / "overlay.qcow2", work / "data.qcow2"
        overlay.create(good, disk)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", data, "1G"], check=True)
        with overlay.exported(good, disk, work) as file, overlay.mounted(file, work) as root:
            script(overlay.Root(root, like.agent.unit, like.injected_owner, like.datastore.container), scenes)
        deadline = time.monotonic() + GUEST_DEADLINE
        with machine(disk, work, "-drive", f"file={data},format=qcow2,if=virtio,cache=unsafe") as process:
            said = 0
            while process.poll() is None and time.monotonic() < deadline:
                text = printed(work)
                if len(text) > said:
                    print(text[said:], end="", flush=True)
                    said = len(text)
                time.sleep(2)
        with overlay.exported(good, disk, work) as file, overlay.mounted(file, work) as root:
            if raw:
                shutil.copytree(root / "var/provoked", raw, dirs_exist_ok=True)
            return sum(not _told(root / "var/provoked", scene.id, scene.place) for scene in scenes)


@contextlib.contextmanager
def on_sandbox(like: definition.Definition) -> Iterator[tuple[Road, Path]]:
    """A road on the sandbox, and a folder; what is made there is removed."""
    with tempfile.TemporaryDirectory(prefix="provoke-") as name:
        road = Road(choice.image(like.name, ""), lambda: sandbox.up(yes=True), Folder(Path(name) / "report"))
        try:
            yield road, Path(name)
        finally:
            for line in road.close():
                print(line)


def cloud(like: definition.Definition, wanted: list[str]) -> int:
    """Each scene on the sandbox; how many did not tell."""
    missed = 0
    with on_sandbox(like) as (road, work):
        stage = provoked_cloud.Stage(road.cloud(), "", contextlib.ExitStack(), work)
        stage.image = stage.uploaded("empty", "1M")
        for scene in provoked_cloud.SCENES:
            if scene.id in wanted:
                missed += not _kept(work, scene.id, scene.place, provoked_cloud.play(stage, scene))
    return missed


def launch(like: definition.Definition, wanted: list[str]) -> int:
    """The same with guests."""
    missed = 0
    with on_sandbox(like) as (road, work):
        if rows := [row for row in wanted if row in provoked_launch.BOOTED]:
            for row, place, text in provoked_launch.booted(road, rows):
                missed += not _kept(work, row, place, text)
    if any(row in provoked_launch.LAUNCHED for row in wanted):
        with on_sandbox(like) as (road, work):
            for row, place, text in provoked_launch.launched(road):
                missed += not _kept(work, row, place, text)
    return missed


def _kept(work: Path, row: str, place: Place, text: str) -> bool:
    (work / row).write_text(text, encoding="utf-8")
    return _told(work, row, place)


def _told(folder: Path, row: str, place: Place) -> bool:
    file = folder / row
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    found = verdict(Evidence({place: (text,)}))
    print(f"{'told' if found.id == row else 'NOT TOLD':9}{row} ({place}): {found.id}: {found.seen[:140]}")
    if found.id == row:
        keep(row, place, excerpt(text, row, place))
    else:
        print("    " + "\n    ".join(line[:220] for line in text.splitlines()[-12:]))
    return found.id == row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("consoles", "guest", "cloud", "launch"))
    parser.add_argument("--only", action="append", metavar="PATTERN", help="only such rows; repeatable")
    parser.add_argument("--image", default="mariadb-debian", help="definition of the good image (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="the good image's file, when not the built one")
    parser.add_argument("--raw", type=Path, metavar="FOLDER", help="keep all that the scenes printed there")
    option = parser.parse_args()
    like = definition.load(option.image)
    table = {"consoles": CONSOLES, "guest": SCENES, "cloud": provoked_cloud.SCENES}.get(option.what, ())
    ids = [row.id for row in table] or provoked_launch.IDS
    wanted = [row for row in ids if any(fnmatch.fnmatch(row, one) for one in option.only or "*")]
    if option.what in ("cloud", "launch"):
        return 1 if {"cloud": cloud, "launch": launch}[option.what](like, wanted) else 0
    good = (imagefile.inspect(option.file) if option.file else build.build(like)).path
    if option.what == "guest":
        return 1 if guest(good, like, wanted, option.raw) else 0
    missed = 0
    for row in CONSOLES:
        if row.id in wanted:
            began = time.monotonic()
            text = one_console(good, like, row)
            print(f"{'told' if text else 'NOT TOLD':9}{row.id}: {time.monotonic() - began:.0f} s", flush=True)
            missed += not text
            if text:
                keep(row.id, "console", text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
