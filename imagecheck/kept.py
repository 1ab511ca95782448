"""The end of a road: what it made is removed and counted, or kept for a while with the ways to log in and clean up.

What is kept has its keys in a folder of its own (``paths.home()/kept/RUN``, 0700), which is in the ledger too; beside
them what a run has to know that goes on with it (attached.py).
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imagecheck import paths, progress
from imagecheck.cloud import cleanup, glance, marks, nova, trove
from imagecheck.cloud.ledger import Entry
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.options import KEEP

if TYPE_CHECKING:
    from imagecheck.bare import Ground


@dataclass(frozen=True)
class Keep:
    """Whether what a run made outlasts it, and for how many seconds."""

    when: str = KEEP[0]
    seconds: float = 2 * 3600

    def holds(self, failed: bool) -> bool:
        """True when it is to be kept."""
        return self.when == "always" or (self.when == "on-failure" and failed)


NEVER = Keep()
THINGS = ("server", "instance")  # what one logs in to
MEMORY = "run.json"
KEYS = {"server": "key", "instance": "trove_key"}


@dataclass(frozen=True)
class Memory:
    """What a run has to know of the kept one that it goes on with, and no cloud tells.

    ``words``: options of pytest that mean the same image on the same cloud.
    """

    image: str
    sha256: str
    datastore: str  # NAME:VERSION
    words: tuple[str, ...] = ()
    password: str = field(default="", repr=False)  # of the database's user; "" where no instance was asked for


@dataclass(frozen=True)
class End:
    """How a road ended. ``left``: what could not be removed, a line each; ``lines`` tell of what was kept."""

    accounting: str
    left: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def end(memory: Memory, ground: Ground, keep: Keep, *, failed: bool) -> End:
    """Keep or remove what the road of that image made. Raises nothing of a cloud's."""
    ledger, name = ground.ledger, memory.image
    if keep.holds(failed) and any(one.kind in THINGS for one in ledger.open):
        try:
            return _keep(ground, keep, memory)
        except (OSError, ImagecheckError) as error:
            progress.note(f"nothing is kept ({str(error).splitlines()[0]}): it is removed")
    left: list[str] = []
    if ledger.open:
        with progress.phase(f"{name}: remove what this run made"):
            left = cleanup.clean(ground.cloud, ledger)
    ledger.retire()
    return End(f"{ledger.account}" + (f": `imagecheck gc --run {ground.run}` tries again" if left else ""), left)


def _keep(ground: Ground, keep: Keep, memory: Memory) -> End:
    until = time.time() + keep.seconds
    folder = cleanup.kept_folder() / ground.run
    ground.ledger.intend("folder", str(folder))
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    for key in (ground.key, ground.cloud.site.guest_key):
        if key and key.exists():
            _write(folder / KEYS["server" if key == ground.key else "instance"], key.read_bytes())
    _write(folder / MEMORY, json.dumps(vars(memory), indent=1).encode())
    hold(ground, until)
    return End(f"{ground.ledger.account} (kept)", lines=told(ground, memory.words))


def hold(ground: Ground, until: float) -> None:
    """Everything that is open stays until then (epoch seconds)."""
    if until - time.time() > marks.TTL:
        _protect(ground, until)
    ground.ledger.keep(until)


def recall(folder: Path) -> Memory:
    """What `Memory` a kept run's folder has. Raises UsageError."""
    try:
        table = json.loads(paths.small(folder / MEMORY))
        return Memory(**table | {"words": tuple(map(str, table["words"]))})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder / MEMORY}: does not tell what was kept ({error}): nothing can be attached to that run, "
            f"`imagecheck gc --run {folder.name}` removes it"
        ) from error


def things(entries: Sequence[Entry]) -> list[Entry]:
    """The servers and instances among them."""
    return [one for one in entries if one.kind in THINGS and one.id]


def told(ground: Ground, words: Sequence[str]) -> list[str]:
    """Lines for a person: what is kept, and the commands to log in to it, to go on with it and to clean up."""
    folder, kept = cleanup.kept_folder() / ground.run, things(ground.ledger.open)
    lines = [f"kept      {one} until {marks.stamp(ground.ledger.kept)}" for one in kept]
    for one in kept:
        lines += [f"log in    {line}" for line in _ways_in(ground, one.kind, one.id, folder)]
    stage = [] if any(one.kind == "instance" for one in kept) else ["--stage", "boot"]
    lines.append(f"go on     {shlex.join(['pytest', *words, *stage, '--attach', ground.run])}")
    lines.append(f"clean up  imagecheck gc --run {ground.run}")
    return lines


def _write(file: Path, data: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(data)


def _protect(ground: Ground, until: float) -> None:
    """Say on the things themselves, for hosts that have not this ledger, how long they are wanted."""
    set_mark = {"server": nova.mark, "image": glance.mark}
    for one in ground.ledger.open:
        if one.id and one.kind in set_mark:
            set_mark[one.kind](ground.cloud, one.id, marks.UNTIL, marks.stamp(until))


def _ways_in(ground: Ground, kind: str, id: str, folder: Path) -> Iterator[str]:
    """The command that logs in, or why there is none."""
    key = folder / KEYS[kind]
    try:
        server = nova.show(ground.cloud, id if kind == "server" else trove.show(ground.cloud, id).server_id)
    except ImagecheckError as error:
        yield f"no way into the {kind} {id} is known: {str(error).splitlines()[0]}"
        return
    address = server.address(ground.where.management.name)
    if not address or not key.exists():
        yield f"no way into the {kind} {id} is known: it has no address, or the site names no 'guest_key'"
        return
    # Its host key was made minutes ago, and its address is somebody else's tomorrow.
    words = ["ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    words += ["-J", ground.cloud.site.jump] if ground.cloud.site.jump else []
    yield shlex.join([*words, f"{ground.definition.login}@{address}"])
