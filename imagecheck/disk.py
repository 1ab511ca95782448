"""An image opened read-only, without booting or converting it: its root file system as a folder.

qemu-storage-daemon shows the image as a raw file (FUSE), a loop device takes the partition out of it, the kernel
mounts it: 0.15 s, whatever the image's size.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra

from imagecheck import held, hostcmd, waits
from imagecheck.errors import StepFailed, UsageError
from imagecheck.imagefile import ImageFile, probe
from imagecheck.tree import Tree

STEP = "look inside the image"
_SECTOR = 512
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_PARTITIONS = 16  # the largest ones are tried; a table may name 128, or with links between them any number
# File system -> options that keep the kernel from writing, a journal included (mount(8)).
READ_ONLY = {
    "ext2": "ro",
    "ext3": "ro,noload",
    "ext4": "ro,noload",
    "xfs": "ro,norecovery,nouuid",
    "btrfs": "ro",
}
_DEADLINE = 30.0  # seconds for the FUSE file to be there


@dataclass(frozen=True)
class Disk:
    """An opened image. ``host`` is testinfra's: its commands run the image's own programs, in a chroot, as root;
    ``tree`` runs nothing. ``volumes`` are the names of its partitions and file systems as fstab(5) writes them
    ("LABEL=root", "UUID=..."), and "EFI" where there is a partition for UEFI's loader."""

    host: Any
    root: Path
    volumes: frozenset[str] = frozenset()
    boot_sector: bytes = b""

    @cached_property
    def tree(self) -> Tree:
        """The same files, read from outside."""
        return Tree(self.root)


def require() -> None:
    """UsageError where this process may not, or this host cannot, look inside an image."""
    if os.geteuid() != 0:
        raise UsageError(
            "looking inside an image needs root (loop device, mount): run as root, or leave the disk stage out"
        )
    if not Path("/dev/fuse").exists():
        raise UsageError("looking inside an image needs /dev/fuse: load the kernel module fuse, or pass the device in")
    hostcmd.require("qemu-storage-daemon", "losetup", "partx", "blkid", "mount", "umount")


@contextmanager
def opened(image: ImageFile) -> Iterator[Disk]:
    """Mount the image's root file system for a while; everything is undone also when the body raises.

    Raises UsageError where this process may not mount, StepFailed where the image has no file system that this
    kernel knows or no operating system in it.
    """
    require()
    probe(image.path)  # the file may have changed since it was inspected; qemu must not follow a new header
    with ExitStack() as stack:
        work = stack.enter_context(held.folder("imagecheck-disk-"))
        raw = stack.enter_context(_raw(image, work))
        root = stack.enter_context(_mounted(raw, work))
        with raw.open("rb") as stream:
            sector = stream.read(_SECTOR)
        yield Disk(testinfra.get_host(str(root), connection="chroot"), root, _volumes(raw), sector)


@contextmanager
def _raw(image: ImageFile, work: Path) -> Iterator[Path]:
    """The image as a raw file that cannot be written."""
    shown = work / "raw"
    shown.touch()
    # JSON, because a path may hold commas; auto-read-only is not needed, nothing may open it for writing.
    layers = {
        "driver": image.format,
        "node-name": "disk",
        "read-only": True,
        "file": {"driver": "file", "filename": str(image.path), "read-only": True, "locking": "off"},
    }
    export = {
        "type": "fuse",
        "id": "export",
        "node-name": "disk",
        "mountpoint": str(shown),
        "writable": False,
        "allow-other": "off",
    }
    log = work / "daemon.log"
    program = hostcmd.which("qemu-storage-daemon") or "qemu-storage-daemon"
    with log.open("wb") as said:
        daemon = subprocess.Popen(
            [program, "--blockdev", json.dumps(layers), "--export", json.dumps(export)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C must not take it away before the file system is unmounted
        )

    def there() -> waits.Ready[None] | waits.NotYet:
        if daemon.poll() is not None:
            raise StepFailed(
                STEP, f"{image.path}: qemu-storage-daemon ended", seen=log.read_text(errors="replace").strip()
            )
        return waits.Ready(None) if shown.stat().st_size > 0 else waits.NotYet("an empty file")

    try:
        waits.until(there, reason="the image as a raw file", deadline=_DEADLINE, interval=0.02, step=STEP)
        yield shown
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(timeout=10)
        if os.path.ismount(shown):
            hostcmd.run(["umount", "--lazy", shown], check=False, timeout=60)


@contextmanager
def _mounted(raw: Path, work: Path) -> Iterator[Path]:
    """The file system with the operating system in it, largest partition first."""
    root = work / "root"
    root.mkdir()
    seen = []
    for offset, size in _partitions(raw):
        kind = _file_system(raw, offset)
        if kind not in READ_ONLY:
            seen.append(f"{kind or 'nothing known'} at byte {offset}")
            continue
        with ExitStack() as stack:
            device = hostcmd.run(
                ["losetup", "--find", "--show", "--read-only", "--offset", str(offset), "--sizelimit", str(size), raw],
                timeout=60,
                step=STEP,
            ).stdout.strip()
            stack.callback(hostcmd.run, ["losetup", "--detach", device], check=False, timeout=60)
            # nosuid, nodev: the image's own programs may be run by testinfra, as root.
            options = f"{READ_ONLY[kind]},nosuid,nodev"
            mounted = hostcmd.run(["mount", "-t", kind, "-o", options, device, root], check=False, timeout=60)
            if mounted.rc != 0:
                seen.append(f"{kind} at byte {offset} does not mount: {mounted.stderr.strip()}")
                continue
            stack.callback(_unmount, root)
            if not (root / "etc").is_dir() or not (root / "usr").is_dir():
                seen.append(f"{kind} at byte {offset} holds no operating system")
                continue
            yield root
            return
    raise StepFailed(
        STEP,
        "no partition of the image holds an operating system that can be read here",
        seen="; ".join(seen) or "no partitions",
        remedy="build the image again; LVM, encrypted and foreign file systems cannot be looked into",
    )


def _unmount(root: Path) -> None:
    done = hostcmd.run(["umount", root], check=False, timeout=60)
    if done.rc != 0:  # something still reads there; it goes when that ends
        hostcmd.run(["umount", "--lazy", root], check=False, timeout=60)


def _partitions(raw: Path) -> list[tuple[int, int]]:
    """(offset, size) in bytes, largest first; the whole disk where there is no partition table."""
    whole = [(0, raw.stat().st_size)]
    # partx counts in sectors of 512 bytes, whatever the disk's own (util-linux, disk-utils/partx.8).
    told = hostcmd.run(
        ["partx", "--raw", "--noheadings", "--bytes", "--output", "START,SIZE", raw], check=False, timeout=60
    )
    rows = [line.split() for line in told.stdout.splitlines()]
    found = [(int(row[0]) * _SECTOR, int(row[1])) for row in rows if len(row) == 2 and all(map(_NUMBER.fullmatch, row))]
    return sorted(found, key=lambda place: -place[1])[:_PARTITIONS] or whole


# The type of the partition with UEFI's loader: in MBR tables, in GPT (UEFI specification, 5.2.2 and 5.3.3).
_ESP = ("0xef", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b")


def _volumes(raw: Path) -> frozenset[str]:
    """Every name by which a partition or its file system can be mounted."""
    found = set()
    told = hostcmd.run(["partx", "--pairs", "--output", "UUID,NAME,TYPE", raw], check=False, timeout=60)
    for kind, value in re.findall(r'(UUID|NAME|TYPE)="([^"]+)"', told.stdout):
        if kind != "TYPE":
            found.add(f"{'PARTUUID' if kind == 'UUID' else 'PARTLABEL'}={value}")
        elif value.lower() in _ESP:
            found.add("EFI")
    for offset, _ in _partitions(raw):
        told = hostcmd.run(
            ["blkid", "--probe", "--offset", str(offset), "--output", "export", raw], check=False, timeout=60
        )
        found |= {line.replace("\\ ", " ") for line in told.stdout.splitlines() if line.startswith(("LABEL=", "UUID="))}
    return frozenset(found)


def _file_system(raw: Path, offset: int) -> str:
    told = hostcmd.run(
        ["blkid", "--probe", "--offset", str(offset), "--output", "value", "--match-tag", "TYPE", raw],
        check=False,
        timeout=60,
    )
    return told.stdout.strip()
