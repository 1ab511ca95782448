"""Remove what a ledger names, in the order of dependency: at the end of a run, after Ctrl-C, and by `imagecheck gc`.

What cannot be removed is named with the command that removes it.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from imagecheck import broker, paths, progress
from imagecheck.cloud import datastore, glance, network, nova, trove, volume
from imagecheck.cloud.connection import Cloud, Hiccup, Missing
from imagecheck.cloud.ledger import Entry, Ledger
from imagecheck.errors import ImagecheckError, StepFailed

TRIES = 3  # a hiccup of the cloud must not leave a server behind


@dataclass(frozen=True)
class Kind:
    """How things of one kind are found by name (when the cloud's answer was lost) and removed by id.

    ``command`` does the same for a person: python-openstackclient's, with python-troveclient's plugin.
    """

    find: Callable[[Cloud, Entry], list[str]]
    remove: Callable[[Cloud, str, Entry], None]
    command: str


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
        datastore.delete_datastore(cloud, name)
    except StepFailed:
        # Somebody else has registered a version of it meanwhile: then it is theirs now.
        progress.note(f"the datastore {name!r} stays: it has other versions")


def _delete_folder(path: str) -> None:
    folder = Path(path)
    if folder.parent != kept_folder():
        raise StepFailed("folder", f"{folder} is none that imagecheck keeps")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise StepFailed("folder", f"{folder} cannot be removed by this user")


def kept_folder() -> Path:
    """Where the keys of runs lie whose servers were kept, a folder each."""
    return paths.home() / "kept"


# In the order of removal: users of a thing before the thing.
KINDS: dict[str, Kind] = {
    "instance": Kind(
        lambda cloud, entry: trove.find(cloud, entry.name),
        lambda cloud, id, entry: trove.delete(cloud, id, name=entry.name),
        "openstack database instance delete {id}",
    ),
    "server": Kind(
        lambda cloud, entry: [server.id for server in nova.find(cloud, entry.name)],
        lambda cloud, id, _entry: nova.delete(cloud, id),
        "openstack server delete {id}",
    ),
    "queue": Kind(
        lambda _cloud, entry: [entry.name],
        lambda cloud, id, _entry: _forget_queue(cloud, id),
        "rabbitmqctl delete_queue guestagent.{id}",
    ),
    "port": Kind(
        lambda cloud, entry: [str(port["id"]) for port in network.ports(cloud, name=entry.name)],
        lambda cloud, id, _entry: network.delete_port(cloud, id),
        "openstack port delete {id}",
    ),
    "volume": Kind(
        lambda cloud, entry: volume.find(cloud, entry.name),
        lambda cloud, id, _entry: volume.delete(cloud, id),
        "openstack volume delete {id}",
    ),
    "datastore_version": Kind(
        lambda cloud, entry: [version.id for version in datastore.find_versions(cloud, entry.name)],
        lambda cloud, id, _entry: datastore.delete_version(cloud, id),
        "openstack datastore version delete {id}",
    ),
    "datastore": Kind(
        lambda _cloud, entry: [entry.name],
        lambda cloud, id, _entry: _delete_datastore(cloud, id),
        "openstack datastore delete {id}",
    ),
    "image": Kind(
        lambda cloud, entry: glance.find(cloud, entry.name),
        lambda cloud, id, _entry: glance.delete(cloud, id),
        "openstack image delete {id}",
    ),
    "keypair": Kind(
        lambda _cloud, entry: [entry.name],
        lambda cloud, id, _entry: nova.delete_keypair(cloud, id),
        "openstack keypair delete {id}",
    ),
    "security_group": Kind(
        lambda cloud, entry: network.groups(cloud, entry.name),
        lambda cloud, id, _entry: network.delete_group(cloud, id),
        "openstack security group delete {id}",
    ),
    "folder": Kind(
        lambda _cloud, entry: [entry.name],
        lambda _cloud, id, _entry: _delete_folder(id),
        "rm -r {id}",
    ),
}
HERE = ("folder",)  # kinds that are on this host, whatever has become of the cloud


def command(kind: str, id: str, entry_of_clouds: str) -> str:
    """What a person types to remove the thing."""
    return (
        KINDS[kind]
        .command.format(id=shlex.quote(id))
        .replace("openstack ", f"openstack --os-cloud {shlex.quote(entry_of_clouds)} ", 1)
    )


def clean(cloud: Cloud, ledger: Ledger, *, only: Iterable[str] = (), since: int = 0) -> list[str]:
    """Remove everything that is open in ``ledger`` (``only``: of these kinds; ``since``: after the entry with that
    number). Returns what is left, a line each.

    Names carry the run id, so what is found by name is ours. What comes and goes with something else goes with it.
    """
    kinds = [kind for kind in KINDS if not only or kind in set(only)]
    left = []
    for kind in kinds:
        for entry in [one for one in ledger.open if one.kind == kind and not one.of and one.number > since]:
            if problem := _remove(cloud, ledger, entry):
                by_hand = command(kind, entry.id or entry.name, ledger.owner.cloud)
                left.append(f"{entry}: {problem}; by hand: {by_hand}")
    return left


def clean_here(ledger: Ledger) -> list[str]:
    """The same for what is on this host: no cloud is needed for it."""
    left = []
    for entry in [one for one in ledger.open if one.kind in HERE]:
        try:
            _delete_folder(entry.name)
            ledger.removed(entry)
        except StepFailed as error:
            left.append(f"{entry}: {error.sentence}; by hand: {command(entry.kind, entry.name, '')}")
    return left


def _remove(cloud: Cloud, ledger: Ledger, entry: Entry) -> str:
    """ "" when it is gone."""
    there: list[str] = []

    def ids() -> list[str]:
        there[:] = [entry.id] if entry.id else KINDS[entry.kind].find(cloud, entry)
        return there

    problem = remove(cloud, entry, ids)
    if not problem:
        if there and not entry.id:
            ledger.made(entry, there[0])  # it was, although the answer was lost
        ledger.removed(entry)
    return problem


def remove(cloud: Cloud, entry: Entry, ids: Callable[[], list[str]]) -> str:
    """Remove all that ``ids`` gives, as ``entry`` says, trying again after a hiccup; "" when they are gone."""
    problem = ""
    for _ in range(TRIES):
        try:
            with progress.phase(f"remove {entry.kind.replace('_', ' ')} {entry.name}", quiet=True):
                for id in ids():
                    try:
                        KINDS[entry.kind].remove(cloud, id, entry)
                    except Missing:
                        continue
        except Hiccup as error:
            problem = str(error)
            continue
        except ImagecheckError as error:
            return str(error).splitlines()[0]
        except Exception as error:  # noqa: BLE001 - what nobody foresaw must not keep the rest from being removed
            return f"{type(error).__name__}: {error}"
        return ""
    return problem
