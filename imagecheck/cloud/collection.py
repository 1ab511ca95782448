"""`imagecheck gc`: find what earlier runs left, by their ledgers, by what it carries in a cloud, and on this host.

What may go is garbage.py's to say; this asks, removes and counts.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from imagecheck import paths, progress
from imagecheck.build import cleanup as host
from imagecheck.cloud import cleanup, garbage, inventory, ledger
from imagecheck.cloud.connection import Cloud, connect
from imagecheck.cloud.garbage import Known
from imagecheck.cloud.ledger import Entry, Ledger
from imagecheck.errors import ImagecheckError


@dataclass
class Collected:
    """How many went; what could not (in a dry run: would); and what stays, and why, a line each."""

    gone: int = 0
    left: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def collect_garbage(
    folder: Path | None = None,
    *,
    dry_run: bool = False,
    older_than: float = 0.0,
    run: str = "",
    cloud: Cloud | None = None,
) -> Collected:
    """Remove what dead processes left: in clouds, by their ledgers and in ``cloud`` by what it carries; on this host.

    ``folder``: only by the ledgers there. ``older_than`` in seconds; ``run``: of this run alone, also before its time.
    """
    done = Collected()
    ledgers, strange = ledger.everyone(folder)
    done.kept += strange
    now = time.time()
    known = _known(ledgers, now)
    for one in ledgers:
        _by_ledger(one, known[one.owner.run], done, now, dry_run=dry_run, older_than=older_than, run=run)
    if cloud:
        _by_marks(cloud, ledgers, known, done, dry_run=dry_run, older_than=older_than, run=run)
    if folder is None and not run:
        removed, more = host.collect(paths.home(), dry_run=dry_run, older_than=older_than)
        for thing in removed:
            progress.note(f"removed the {thing}")
        done.gone += len(removed)
        done.left += more
    return done


def _known(ledgers: list[Ledger], now: float) -> dict[str, Known]:
    known = {}
    for one in ledgers:
        owner = one.owner
        # A home may be shared by hosts: what has been over for long is dead, though we cannot see its process.
        over = owner.host != socket.gethostname() and 0 < max(owner.until, one.kept) < now
        by = f"process {owner.pid} on {owner.host}"
        known[owner.run] = Known(owner.run, one.owner_alive() and not over, one.kept, by)
    return known


def _by_ledger(
    one: Ledger, known: Known, done: Collected, now: float, *, dry_run: bool, older_than: float, run: str
) -> None:
    things = one.open
    lines = [f"{thing} (run {one.owner.run})" for thing in things]
    if why := garbage.spared(known, now, run):
        done.kept += [f"{line}: {why}" for line in lines]
    elif now - one.owner.time < older_than:
        done.kept += [f"{line}: younger than {older_than:.0f} s" for line in lines]
    elif dry_run:
        done.left += lines
    else:
        done.left += _cleaned(one)
        done.gone += len(things) - len(one.open)
        one.retire()


def _cleaned(one: Ledger) -> list[str]:
    """Remove what is open. Returns what is left, a line each."""
    here = [entry for entry in one.open if entry.kind in cleanup.HERE]
    if len(here) == len(one.open):  # no cloud has to be asked
        return cleanup.clean_here(one)
    try:
        cloud = connect(one.owner.site)
    except ImagecheckError as error:
        left = cleanup.clean_here(one)
        if not one.owner.sandbox:
            return left + [f"{entry}: {error}" for entry in one.open if entry.kind not in cleanup.HERE]
        # The sandbox is a throw-away overlay: what was made in it went with it.
        progress.note(f"run {one.owner.run}: its sandbox is gone, and everything in it")
        for entry in one.open:
            if entry.kind not in cleanup.HERE:
                one.removed(entry)
        return left
    return cleanup.clean(cloud, one)


def _by_marks(
    cloud: Cloud,
    ledgers: list[Ledger],
    known: dict[str, Known],
    done: Collected,
    *,
    dry_run: bool,
    older_than: float,
    run: str,
) -> None:
    """What no ledger here names any more."""
    found, unseen = inventory.look(cloud)
    done.kept += unseen
    told = {(entry.kind, entry.id) for one in ledgers for entry in one.open if entry.id}
    instances = {
        entry.id: one.owner.run for one in ledgers for entry in one.entries if entry.kind == "instance" and entry.id
    }
    verdicts = garbage.judge(found, known, time.time(), instances=instances, older_than=older_than, only=run)
    strangers = 0
    order = list(cleanup.KINDS)
    for verdict in sorted(verdicts, key=lambda one: order.index(one.found.kind)):
        thing = verdict.found
        entry = Entry(0, thing.kind, thing.name, thing.id)
        if (thing.kind, thing.id) in told:
            continue
        if not verdict.run:
            strangers += 1
        elif not verdict.remove:
            done.kept.append(f"{entry}: {verdict.reason}")
        elif dry_run:
            done.left.append(f"{entry} (run {verdict.run}, by what it carries)")
        elif problem := cleanup.remove(cloud, entry, lambda id=thing.id: [id]):  # type: ignore[misc]
            by_hand = cleanup.command(thing.kind, thing.id, cloud.site.cloud)
            done.left.append(f"{entry}: {problem}; by hand: {by_hand}")
        else:
            done.gone += 1
    if strangers:
        done.kept.append(f"{strangers} more with such a name: nothing proves them imagecheck's")
