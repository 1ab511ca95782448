"""When nobody answers inside: the guest's files from its disk, by what every cloud offers its users.

The server is stopped, Nova makes an image of its root disk, that is downloaded, opened read-only and removed again.
What a guest keeps in memory only (its journal, in images that have no /var/log/journal) ended with it.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from imagecheck import disk, held, hostcmd, waits
from imagecheck.bare import Ground
from imagecheck.blackbox.box import Box, Job
from imagecheck.cloud import glance, nova
from imagecheck.cloud.connection import Hiccup, Missing
from imagecheck.errors import StepFailed
from imagecheck.guest import console
from imagecheck.guest import evidence as inside
from imagecheck.tree import Tree

SECONDS = 90.0  # for stop, snapshot and download together
LARGEST = 8 * 2**30  # bytes of a snapshot: more is not worth the wait
LAST = 1_000_000  # bytes of each container's log
SOURCE = "its stopped disk"
STEP = "read the stopped disk"
# Pieces that a disk cannot hold, and why.
GONE: Mapping[str, str] = {
    "units.txt": "the state of units ends with the guest",
    "network.txt": "addresses and sockets end with the guest",
    "dmesg.txt": "the kernel's messages end with the guest; see console.log",
    "docker-journal.txt": "it is a part of journal.txt",
    "agent-journal.txt": "it is a part of journal.txt",
}
# Before anything of ours runs: kernel/panic.c, systemd's emergency.service, initramfs-tools' and GRUB's prompts.
_ENDED = re.compile(
    r"Kernel panic - not syncing|(?:You are in|Entering) (?:emergency|rescue) mode|^\(initramfs\)|^grub(?: rescue)?>",
    re.MULTILINE,
)


def worthless(shown: str) -> str:
    """Why the disk behind this console holds nothing that the console does not say; "" where it may."""
    if shown.strip() and not console.reached_userspace(shown):
        return "the console shows no sign of a running system: nothing was logged to the disk"
    if ended := _ENDED.search(console.clean(shown)):
        # It would take no notice of being stopped either: a minute for what the console says already.
        return f"the console shows how the boot ended: {ended[0].strip()}"
    return ""


def save(box: Box, ground: Ground, server: nova.Server, prefix: str, *, seconds: float = SECONDS) -> None:
    """Put the pieces that the disk of ``server`` holds into ``box``, and name the others. The server stays stopped.

    Raises StepFailed and UsageError when the disk cannot be had.
    """
    with _opened(ground, server, time.monotonic() + seconds) as tree:
        for piece in inside.PIECES:
            name, what = prefix + piece.name, piece.what
            if piece.name in GONE:
                box.lack(name, what, SOURCE, GONE[piece.name])
                continue
            box.read(Job(name, what, SOURCE, functools.partial(READERS[piece.name], tree, ground)))


@contextmanager
def _opened(ground: Ground, server: nova.Server, end: float) -> Iterator[Tree]:
    def left() -> float:
        return max(1.0, end - time.monotonic())

    disk.require()  # before anything is stopped
    if not (server.raw.get("image") or {}).get("id"):
        raise StepFailed(STEP, "the server's root disk is a volume: a snapshot of it would be one of Cinder's")
    if server.status != "SHUTOFF":
        nova.stop(ground.cloud, server.id, deadline=left())
    with _snapshot(ground, server, left) as image, held.folder("imagecheck-disk-") as work:
        size = int(image.get("size") or 0)
        free = shutil.disk_usage(work).free
        if size > min(LARGEST, free):
            raise StepFailed(STEP, f"the snapshot has {size / 2**30:.1f} GiB, {min(LARGEST, free) / 2**30:.1f} may be")
        file = glance.download(ground.cloud, glance.described(image), work, deadline=left())
        with disk.opened(file) as opened:
            yield opened.tree


@contextmanager
def _snapshot(ground: Ground, server: nova.Server, left: Callable[[], float]) -> Iterator[Mapping[str, Any]]:
    """An image of the root disk, active; removed when the body ends, or else by the ledger."""
    entry = nova.snapshot(ground.cloud, ground.ledger, server.id, name=f"{ground.run}-disk", run=ground.run)

    def active() -> waits.Ready[Mapping[str, Any]] | waits.NotYet:
        try:
            seen = glance.show(ground.cloud, entry.id)
        except Missing:
            raise StepFailed(STEP, "Nova gave up on the snapshot: its image is gone") from None
        if seen["status"] == "active":
            return waits.Ready(seen)
        if seen["status"] in ("killed", "deleted"):
            raise StepFailed(STEP, f"Nova gave up on the snapshot: its image is {seen['status']}")
        return waits.NotYet(f"image {seen['status']}")

    try:
        yield waits.until(
            active, reason="Nova to copy the server's disk", deadline=left(), interval=1, transient=(Hiccup,), step=STEP
        ).value
    finally:
        with contextlib.suppress(Hiccup, StepFailed):  # the end of the run tries again
            with contextlib.suppress(Missing):
                glance.delete(ground.cloud, entry.id)
            ground.ledger.removed(entry)


# ---- what is where on a disk


def _file(*places: str) -> Callable[[Tree, Ground], str]:
    def read(tree: Tree, _: Ground) -> str:
        texts = [(place, tree.text(place, last=inside.LIMIT)) for place in places]
        if not any(text for _, text in texts):
            there = any(tree.exists(place) for place in places)
            raise StepFailed("", f"{' and '.join(places)}: {'empty' if there else 'not on the disk'}")
        return "".join(f"== {place}\n{text}\n" if len(places) > 1 else text for place, text in texts if text)

    return read


def _agent(tree: Tree, ground: Ground) -> str:
    return _file(ground.definition.agent.log)(tree, ground)


def _journal(tree: Tree, ground: Ground) -> str:
    folder = tree.path("/var/log/journal")
    if folder is None or not any(tree.names(f"/var/log/journal/{name}") for name in tree.names("/var/log/journal")):
        if tree.exists("/var/log/syslog"):
            return _file("/var/log/syslog")(tree, ground)
        raise StepFailed("", "the image keeps its journal in memory (no /var/log/journal): it ended with the guest")
    return hostcmd.run(
        ["journalctl", "--directory", folder, "-b", "--no-pager", "-o", "short-precise"], timeout=20
    ).stdout[-inside.LIMIT :]


def _injected(tree: Tree, _: Ground) -> str:
    lines = []
    for folder in ("/etc/trove", "/etc/trove/conf.d"):
        lines.append(f"{folder}:" if tree.exists(folder) else f"{folder}: is missing")
        for name in tree.names(folder):
            if told := tree.stat(f"{folder}/{name}"):
                owner = f"{told.st_uid}:{told.st_gid}"
                lines.append(f"{stat.filemode(told.st_mode)} {owner:>11} {told.st_size:>8} {name}")
    return "\n".join(lines) + "\n\n" + tree.text("/etc/trove/conf.d/guest_info.conf")


def _disks(tree: Tree, _: Ground) -> str:
    told = shutil.disk_usage(tree.root)
    return (
        f"root file system: {told.total:,} bytes, {told.used:,} used, {told.free:,} free\n\n"
        f"== /etc/fstab\n{tree.text('/etc/fstab')}\n== /etc/resolv.conf\n{tree.text('/etc/resolv.conf')}"
    )


_CONTAINERS = "/var/lib/docker/containers"


def _containers(tree: Tree, _: Ground) -> str:
    lines = []
    for id in tree.names(_CONTAINERS):
        file = f"{_CONTAINERS}/{id}/{id}-json.log"
        lines.append(f"== {file}\n{inside.plain(tree.text(file, last=LAST))}")
    if not lines:
        raise StepFailed("", "docker has made no container")
    return "\n".join(lines)


def _docker(tree: Tree, _: Ground) -> str:
    names = tree.names(_CONTAINERS)
    if not names:
        raise StepFailed("", "docker has made no container")
    return "\n".join(f"== {id}\n{tree.text(f'{_CONTAINERS}/{id}/config.v2.json')}" for id in names)


READERS: Mapping[str, Callable[[Tree, Ground], str]] = {
    "agent.log": _agent,
    # /run/cloud-init has links to these (cloudinit/cmd/main.py, status_wrapper).
    "cloud-init.txt": _file("/var/lib/cloud/data/status.json", "/var/lib/cloud/data/result.json"),
    "cloud-init.log": _file("/var/log/cloud-init.log"),
    "cloud-init-output.log": _file("/var/log/cloud-init-output.log"),
    "injected.txt": _injected,
    "journal.txt": _journal,
    "disks.txt": _disks,
    inside.CONTAINER: _containers,
    "docker.txt": _docker,
}


def missing(box: Box, prefix: str, reason: str) -> None:
    """Name everything that a guest could have told, with the reason why it does not."""
    for piece in inside.PIECES:
        box.lack(prefix + piece.name, piece.what, "the guest", reason)
