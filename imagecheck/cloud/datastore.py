"""Trove's datastores and their versions: an image, registered under the number that its container's tag has."""

from __future__ import annotations

from dataclasses import dataclass

from imagecheck.cloud.connection import Cloud, Missing, asking
from imagecheck.cloud.ledger import Ledger, everyone
from imagecheck.cloud.retry import once
from imagecheck.errors import StepFailed

STEP = "datastore version"


@dataclass(frozen=True)
class Version:
    """A registered datastore version; ``number`` is the tag of the database's container image."""

    id: str
    datastore: str
    name: str
    number: str


def register(
    cloud: Cloud, ledger: Ledger, *, datastore: str, name: str, number: str, manager: str, image: str
) -> Version:
    """Register ``image`` as a version of ``datastore`` (made too when it is missing). Raises StepFailed."""
    if datastore not in datastores(cloud) or _of_another_run(ledger, datastore):
        # Trove makes the datastore as a side effect (trove/extensions/mgmt/datastores/service.py, create).
        ledger.intend("datastore", datastore)
    entry = ledger.intend("datastore_version", name, datastore=datastore)

    def make() -> list[Version]:
        with asking(STEP, "register a datastore version"):
            cloud.trove_admin.mgmt_ds_versions.create(name, datastore, manager, image, active="true", version=number)
        return find_versions(cloud, name)

    found = once(cloud.tally, "trove", make, lambda: find_versions(cloud, name) or None)
    if not found:
        raise StepFailed(STEP, f"Trove accepted the version {name!r} of {datastore} and does not list it")
    ledger.made(entry, found[0].id)
    return found[0]


def _of_another_run(ledger: Ledger, datastore: str) -> bool:
    """Whether a run that has not ended made it: it cannot remove what has our version, so the last of both does."""
    return any(
        entry.kind == "datastore" and entry.name == datastore
        for other in everyone(ledger.path.parent)[0]
        if (other.owner.cloud, other.owner.clouds_file) == (ledger.owner.cloud, ledger.owner.clouds_file)
        for entry in other.open
    )


def find_versions(cloud: Cloud, name: str) -> list[Version]:
    """All registered versions of that name."""
    with asking(STEP, "list datastore versions"):
        listed = cloud.trove_admin.mgmt_ds_versions.list()
    return [
        Version(str(v.id), str(v.datastore_name), str(v.name), str(getattr(v, "version", "") or v.name))
        for v in listed
        if v.name == name
    ]


def delete_version(cloud: Cloud, version_id: str) -> None:
    """Remove a version; Trove refuses while an instance that is not deleted uses it. Missing when it is gone."""
    try:
        with asking(STEP, "remove the datastore version"):
            cloud.trove_admin.mgmt_ds_versions.delete(version_id)
    except StepFailed as refused:
        # Trove says 400 for one that is gone (trove/common/wsgi.py maps NotFound to 404, and not what derives from it).
        with asking(STEP, "list datastore versions"):
            there = {str(one.id) for one in cloud.trove_admin.mgmt_ds_versions.list()}
        if version_id not in there:
            raise Missing(str(refused)) from refused
        raise


def datastores(cloud: Cloud) -> list[str]:
    """Names of all datastores."""
    with asking(STEP, "list datastores"):
        return [str(one.name) for one in cloud.trove_admin.datastores.list()]


def delete_datastore(cloud: Cloud, name: str) -> None:
    """Remove a datastore that has no versions left; Missing when it is gone."""
    with asking(STEP, "remove the datastore"):
        cloud.trove_admin.datastores.delete(name)
