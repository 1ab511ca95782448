"""What one boot under QEMU has to show on its console: a row of imagecheck/causes and how it is brought about."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boots import unit
from edits import GRUB, blank, each
from overlay import Root


@dataclass(frozen=True)
class Console:
    """``root`` edits the mounted root file system, ``disk`` the whole disk; ``options`` are QEMU's; ``poke`` is called
    with its process and the seconds since power-on. ``deadline`` in seconds."""

    id: str
    root: Callable[[Root], Any] | None = None
    disk: Callable[[Path], Any] | None = None
    options: tuple[str, ...] = ()
    poke: Callable[[subprocess.Popen[bytes], float], Any] | None = None
    deadline: float = 240.0


def boots_with(words: str) -> Callable[[Root], None]:
    """More on the kernel's command line; not quiet, as an image with a console worth reading is."""
    return lambda root: root.replace(GRUB, "console=ttyS0", f"{words} console=ttyS0")


def without_initrd(root: Root) -> None:
    lines = root.read(GRUB).splitlines(keepends=True)
    root.write(GRUB, "".join(line for line in lines if not line.strip().startswith("initrd")), 0o600)


def spoiled_initrd(root: Root) -> None:
    """Something behind its end that is no archive."""
    with root.path(root.one("/boot/initrd.img-*")).open("ab") as stream:
        stream.write(b"\1not an archive" * 64)


def lost_inode(raw: Path) -> None:
    """A directory names a file whose inode is gone."""
    _debugfs(raw, "clri /usr/share/misc/magic")


def _debugfs(raw: Path, *commands: str) -> None:
    """These commands in the file system on the largest partition."""
    told = subprocess.run(["partx", "-rgbo", "START,SIZE", raw], check=True, capture_output=True, text=True).stdout
    start = max(((int(size), int(start)) for start, size in map(str.split, told.splitlines())))[1] * 512
    for command in commands:
        subprocess.run(["debugfs", "-w", "-R", command, f"{raw}?offset={start}"], check=True, capture_output=True)


def shared_blocks(raw: Path) -> None:
    """Two files hold the same block, in a file system that was not left clean: nothing that a preen repairs."""
    _debugfs(raw, "set_inode_field /usr/share/misc/magic block[0] 1000", "set_super_value state 2")


def stopped_for(seconds: float, after: float) -> Callable[[subprocess.Popen[bytes], float], None]:
    """The hypervisor gives the guest no time."""
    state = {"stopped": 0.0}

    def poke(process: subprocess.Popen[bytes], now: float) -> None:
        if now > after and not state["stopped"]:
            state["stopped"] = now
            process.send_signal(signal.SIGSTOP)
        elif state["stopped"] and now > state["stopped"] + seconds:
            process.send_signal(signal.SIGCONT)

    return poke


FAILING = (
    "-blockdev", "driver=null-co,node-name=zeros,size=1073741824,read-zeroes=on",
    "-blockdev", '{"driver":"blkdebug","node-name":"failing","image":"zeros","inject-error":[{"event":"none","iotype":'
    '"read","errno":5,"sector":2048}]}',
    "-device", "virtio-blk-pci,drive=failing,werror=report,rerror=report",
)  # fmt: skip

CONSOLES = (
    Console("firmware-no-disk", disk=blank(510, 2)),
    Console("grub-file-missing", lambda root: root.remove(root.one("/boot/vmlinuz-*"))),
    Console("grub-shell", lambda root: root.remove(GRUB)),
    Console("grub-prompt", lambda root: root.write(root.one("/boot/grub/*-pc/normal.mod"), "no ELF file\n")),
    Console("initramfs-shell", each(boots_with("break=premount"))),
    Console("panic-root", each(without_initrd, boots_with("root=/dev/vda9"))),
    Console("panic-memory", boots_with("mem=88M")),
    Console("panic", unit("crash", '/bin/sh -c "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger"')),
    Console("initramfs-damaged", spoiled_initrd),
    Console("emergency", boots_with("systemd.unit=emergency.target")),
    Console("mount-missing",
            lambda root: root.append("/etc/fstab", "LABEL=data /srv ext4 x-systemd.device-timeout=5 0 2\n")),
    Console("powered-off", unit("licence-check", "/usr/bin/systemctl --no-block poweroff", "After=basic.target\n")),
    Console("file-system-damaged", unit("magic", "/usr/bin/cat /usr/share/misc/magic"), lost_inode),
    Console("fsck", disk=shared_blocks),
    Console("disk-errors", unit("data-check", "/usr/bin/dd if=/dev/vdb of=/dev/null bs=1M count=4"), options=FAILING),
    Console("stuck-cpu", boots_with("watchdog_thresh=5"), poke=stopped_for(40, 25), deadline=150),
    Console("unit-failed", lambda root: root.write("/etc/systemd/system/docker.service.d/50-policy.conf",
                                                   "[Service]\nExecStartPre=/bin/false\n")),
    Console("no-datasource", None, deadline=240),
    Console("stage-crashed", lambda root: root.append(root.one("/usr/lib/python3*/dist-packages/cloudinit/stages.py"),
                                                      "\n\ndel Init\n")),
)  # fmt: skip
