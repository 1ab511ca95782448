"""How mutants are made: edits that more than one row needs, or that take more than a line."""

from __future__ import annotations

import gzip
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overlay import Root


@dataclass(frozen=True)
class Files:
    """The overlay's qcow2 file and the good image that it lies on."""

    overlay: Path
    good: Path

    def head(self, size: int) -> bytearray:
        """The first bytes of the good image."""
        with self.good.open("rb") as stream:
            return bytearray(stream.read(size))


ENABLED = "/etc/systemd/system/multi-user.target.wants"
INIT = "/etc/cloud/cloud.cfg.d/90-guest.cfg"
GRUB = "/boot/grub/grub.cfg"
# One that ended in 2020; its key is nobody's.
EXPIRED = """-----BEGIN CERTIFICATE-----
MIIBDzCBtaADAgECAgEBMAoGCCqGSM49BAMCMBExDzANBgNVBAMMBm9sZCBDQTAe
Fw0xOTAxMDEwMDAwMDBaFw0yMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBm9sZCBD
QTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABE3qnd+nyz86SfVheU5oLz+4goRy
hlPgGtrIotpRVdE4TOSsCL9CZ4vGUPITyd7wmqm+CxR6yp958P2HFFRwDqYwCgYI
KoZIzj0EAwIDSQAwRgIhAOsPI6mIcW+twETKrfxQIl2E9gC68Zx29BRoY1g8ZfD0
AiEAz7ApwbjtnsAcnloyiMxVhkTNIiNzaNfTETrOd5TW0h4=
-----END CERTIFICATE-----
"""
KEY = "-----BEGIN OPENSSH PRIVATE" + " KEY-----\nbm90IGEga2V5\n-----END OPENSSH PRIVATE" + " KEY-----\n"


def dropin(text: str) -> Callable[[Root], None]:
    """A drop-in of the agent's unit."""
    return lambda root: root.write(f"/etc/systemd/system/{root.agent}.d/50-mutant.conf", text)


def each(*edits: Callable[[Root], Any]) -> Callable[[Root], None]:
    def all_of(root: Root) -> None:
        for edit in edits:
            edit(root)

    return all_of


def agent_program(root: Root) -> str:
    """The program of the agent's unit."""
    lines = root.read(f"/etc/systemd/system/{root.agent}").splitlines()
    return next(line for line in lines if line.startswith("ExecStart=")).partition("=")[2].split()[0]


def python_of(root: Root, name: str) -> str:
    return root.one(f"/usr/lib/python3*/dist-packages/{name}")


def without_line(root: Root, file: str, start: str) -> None:
    lines = root.read(file).splitlines(keepends=True)
    left = [line for line in lines if not line.startswith(start)]
    if len(left) == len(lines):
        raise ValueError(f"{file} has no line that begins with {start!r}")
    root.write(file, "".join(left))


def cut_before(root: Root, file: str, words: str) -> None:
    """Keep what a file says before ``words``."""
    root.replace(file, words + root.read(file).partition(words)[2], "\n")


def change_file(change: Callable[[bytearray], Any], size: int) -> Callable[[Files], None]:
    """The head of the good image, changed, in place of the whole."""

    def edit(files: Files) -> None:
        head = files.head(size)
        change(head)
        files.overlay.write_bytes(head)

    return edit


def with_data_file(files: Files) -> None:
    """The header says that the data is elsewhere (incompatible feature bit 2)."""
    head = files.head(1 << 20)
    head[72:80] = struct.pack(">Q", struct.unpack(">Q", head[72:80])[0] | 4)
    files.overlay.write_bytes(head)


def lost_clusters(files: Files) -> None:
    """The table of reference counts is empty: every cluster in use is nobody's."""
    raw = files.overlay.with_suffix(".raw")
    raw.write_bytes(files.head(1 << 20))
    files.overlay.unlink()
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, files.overlay], check=True)
    raw.unlink()
    with files.overlay.open("r+b") as stream:
        head = stream.read(112)
        (table,) = struct.unpack(">Q", head[48:56])
        stream.seek(table)
        (block,) = struct.unpack(">Q", stream.read(8))
        stream.seek(block)
        stream.write(bytes(512))


def blank(offset: int, size: int) -> Callable[[Path], None]:
    """Zeros over a part of the disk."""

    def edit(raw: Path) -> None:
        with raw.open("r+b") as stream:
            stream.seek(offset)
            stream.write(bytes(size))

    return edit


def without_superblocks(raw: Path) -> None:
    """The first MiB of every partition is gone, its superblock with it."""
    with raw.open("r+b") as stream:
        table = stream.read(512)
        for row in range(4):
            (start,) = struct.unpack_from("<I", table, 446 + 16 * row + 8)
            if start:
                stream.seek(start * 512)
                stream.write(bytes(1 << 20))


def compressed(files: Files) -> None:
    files.overlay.write_bytes(gzip.compress(bytes(files.head(1 << 20))))
