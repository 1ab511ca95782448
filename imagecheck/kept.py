"""The end of a road: what it made is removed and counted, or kept for a while with the ways to log in and clean up.

What is kept has its keys in a folder of its own (``paths.home()/kept/RUN``, 0700), which is in the ledger too.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imagecheck import progress
from imagecheck.cloud import cleanup, glance, marks, nova, trove
from imagecheck.errors import ImagecheckError
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


@dataclass(frozen=True)
class End:
    """How a road ended. ``left``: what could not be removed, a line each; ``lines`` tell of what was kept."""

    accounting: str
    left: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def end(name: str, ground: Ground, keep: Keep, *, failed: bool) -> End:
    """Keep or remove what the road of the image ``name`` made. Raises nothing of a cloud's."""
    ledger = ground.ledger
    if keep.holds(failed) and any(one.kind in ("server", "instance") for one in ledger.open):
        try:
            return _keep(ground, keep)
        except (OSError, ImagecheckError) as error:
            progress.note(f"nothing is kept ({str(error).splitlines()[0]}): it is removed")
    left: list[str] = []
    if ledger.open:
        with progress.phase(f"{name}: remove what this run made"):
            left = cleanup.clean(ground.cloud, ledger)
    ledger.retire()
    return End(f"{ledger.account}" + (f": `imagecheck gc --run {ground.run}` tries again" if left else ""), left)


def _keep(ground: Ground, keep: Keep) -> End:
    until = time.time() + keep.seconds
    folder = cleanup.kept_folder() / ground.run
    ground.ledger.intend("folder", str(folder))
    folder.mkdir(parents=True, mode=0o700)
    for key in (ground.key, ground.cloud.site.guest_key):
        if key and key.exists():
            _write(folder / ("key" if key == ground.key else "trove_key"), key.read_bytes())
    things = [one for one in ground.ledger.open if one.kind in ("server", "instance") and one.id]
    if keep.seconds > marks.TTL:
        _protect(ground, until)
    ground.ledger.keep(until)
    lines = [f"kept      {one} until {marks.stamp(until)}" for one in things]
    for one in things:
        lines += [f"log in    {line}" for line in _ways_in(ground, one.kind, one.id, folder)]
    lines.append(f"clean up  imagecheck gc --run {ground.run}")
    return End(f"{ground.ledger.account} (kept)", lines=lines)


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
    key = folder / ("key" if kind == "server" else "trove_key")
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
