"""Remove what a ledger names, in the order of dependency: at the end of a run, after Ctrl-C, and by `imagecheck gc`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from imagecheck import broker, paths, progress
from imagecheck.build import cleanup as host
from imagecheck.cloud import glance, network, nova, trove
from imagecheck.cloud.connection import Cloud, Hiccup, Missing, connect
from imagecheck.cloud.ledger import Entry, Ledger, abandoned
from imagecheck.errors import ImagecheckError, StepFailed

TRIES = 3  # a hiccup of the cloud must not leave a server behind


@dataclass(frozen=True)
class Kind:
    """How things of one kind are found by name (when the cloud's answer was lost) and removed by id."""

    find: Callable[[Cloud, Entry], list[str]]
    remove: Callable[[Cloud, str, Entry], None]


def _forget_queue(cloud: Cloud, guest_id: str) -> None:
    if cloud.site.guest_config:
        there = broker.Broker(broker.addresses(cloud.site.guest_config))
        try:
            there.forget(guest_id)
        except broker.BrokerUnreachable as error:
            raise Hiccup(str(error)) from error
        finally:
            there.close()


def _delete_datastore(cloud: Cloud, name: str) -> None:
    try:
        trove.delete_datastore(cloud, name)
    except StepFailed:
        # Somebody else has registered a version of it meanwhile: then it is theirs now.
        progress.note(f"the datastore {name!r} stays: it has other versions")


# In the order of removal: users of a thing before the thing.
KINDS: dict[str, Kind] = {
    "instance": Kind(
        lambda cloud, entry: trove.find(cloud, entry.name),
        lambda cloud, id, entry: trove.delete(cloud, id, name=entry.name),
    ),
    "server": Kind(
        lambda cloud, entry: [server.id for server in nova.find(cloud, entry.name)],
        lambda cloud, id, _entry: nova.delete(cloud, id),
    ),
    "queue": Kind(lambda _cloud, entry: [entry.name], lambda cloud, id, _entry: _forget_queue(cloud, id)),
    "datastore_version": Kind(
        lambda cloud, entry: [version.id for version in trove.find_versions(cloud, entry.name)],
        lambda cloud, id, _entry: trove.delete_version(cloud, id),
    ),
    "datastore": Kind(lambda _cloud, entry: [entry.name], lambda cloud, id, _entry: _delete_datastore(cloud, id)),
    "image": Kind(
        lambda cloud, entry: glance.find(cloud, entry.name),
        lambda cloud, id, _entry: glance.delete(cloud, id),
    ),
    "keypair": Kind(lambda _cloud, entry: [entry.name], lambda cloud, id, _entry: nova.delete_keypair(cloud, id)),
    "security_group": Kind(
        lambda cloud, entry: network.groups(cloud, entry.name),
        lambda cloud, id, _entry: network.delete_group(cloud, id),
    ),
}


def clean(cloud: Cloud, ledger: Ledger, *, only: Iterable[str] = ()) -> list[str]:
    """Remove everything that is open in ``ledger`` (``only``: of these kinds). Returns what is left, a line each.

    Names carry the run id, so what is found by name is ours.
    """
    kinds = [kind for kind in KINDS if not only or kind in set(only)]
    left = []
    for kind in kinds:
        for entry in [one for one in ledger.open if one.kind == kind]:
            if problem := _remove(cloud, ledger, entry):
                left.append(f"{entry.kind} {entry.name} {entry.id}: {problem}")
    return left


def _remove(cloud: Cloud, ledger: Ledger, entry: Entry) -> str:
    """ "" when it is gone."""
    kind = KINDS[entry.kind]
    problem = ""
    for _ in range(TRIES):
        try:
            with progress.phase(f"remove {entry.kind.replace('_', ' ')} {entry.name}", quiet=True):
                for id in [entry.id] if entry.id else kind.find(cloud, entry):
                    try:
                        kind.remove(cloud, id, entry)
                    except Missing:
                        continue
        except Hiccup as error:
            problem = str(error)
            continue
        except ImagecheckError as error:
            return str(error).splitlines()[0]
        ledger.removed(entry)
        return ""
    return problem


def collect_garbage(folder: Path | None = None, *, dry_run: bool = False) -> tuple[int, list[str]]:
    """Remove what dead processes left: in clouds, by their ledgers, then on this host.

    Returns how many things went, and what is left, a line each (with ``dry_run``, all that would go). ``folder``:
    only the ledgers there.
    """
    gone, left = _in_clouds(folder, dry_run)
    if folder is None:
        removed, more = host.collect(paths.home(), dry_run=dry_run)
        for one in removed:
            progress.note(f"removed the {one}")
        gone, left = gone + len(removed), left + more
    return gone, left


def _in_clouds(folder: Path | None, dry_run: bool) -> tuple[int, list[str]]:
    gone, left = 0, []
    for ledger in abandoned(folder):
        things = ledger.open
        if dry_run:
            left += [f"{one.kind} {one.name} {one.id} (run {ledger.owner.run})" for one in things]
            continue
        if things:
            try:
                cloud = connect(ledger.owner.site)
            except ImagecheckError as error:
                if ledger.owner.sandbox:
                    # The sandbox is a throw-away overlay: what was made in it went with it.
                    progress.note(f"run {ledger.owner.run}: its sandbox is gone, and everything in it")
                    for one in things:
                        ledger.removed(one)
                    gone += len(things)
                else:
                    left += [f"{one.kind} {one.name} {one.id}: {error}" for one in things]
                    continue
            else:
                left += clean(cloud, ledger)
                gone += len(things) - len(ledger.open)
        ledger.retire()
    return gone, left
