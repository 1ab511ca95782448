"""What there is in the cloud's projects and on this host, for a comparison before and after. Changes nothing.

Lists everything by openstacksdk and troveclient, apart from imagecheck/cloud/inventory.py on purpose: what that one
does not list is found here.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagecheck.cloud.connection import Cloud
from imagecheck.cloud.marks import run_in

# What the project's own tests make beside it on the same sandbox ("imagecheck-overlap-1a2b3c"); no run names so.
_TESTS = re.compile(r"imagecheck-[a-z]+-[0-9a-f]{6}")
SETTLE = 60.0  # seconds in which what was deleted has to disappear from lists
MARK = "IMAGECHECK_FAULT"  # in the environment of every process of a row


@dataclass(frozen=True)
class Thing:
    """``of``: the id of what it came with (a port's device, a security group's instance)."""

    kind: str
    id: str
    name: str = ""
    of: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name or self.id}"


def cloud(there: Cloud) -> frozenset[Thing]:
    """All of it, of all projects and users."""
    return frozenset(_cloud(there))


def _cloud(there: Cloud) -> Iterator[Thing]:
    admin = there.admin
    for one in admin.compute.servers(all_projects=True):
        yield Thing("server", one.id, one.name, str((one.metadata or {}).get("trove_instance_id", "")))
    for one in admin.network.ports():
        yield Thing("port", one.id, one.name or "", one.device_id or _instance(one.name))
    for one in admin.image.images():
        yield Thing("image", one.id, one.name or "")
    for user in admin.identity.users():
        for one in admin.compute.keypairs(user_id=user.id):
            yield Thing("keypair", f"{user.id}/{one.name}", one.name)
    for one in admin.network.security_groups():
        if one.name == "default":  # Neutron's own, made when somebody first looks at a project
            continue
        yield Thing("security group", one.id, one.name or "", _instance(one.name))
    for one in admin.compute.flavors(is_public=None):
        yield Thing("flavor", one.id, one.name)
    for one in admin.network.networks():
        yield Thing("network", one.id, one.name or "")
    for one in there.trove_admin.mgmt_ds_versions.list():
        yield Thing("datastore version", one.id, one.name)
    for one in _all(there.trove_admin.datastores):
        yield Thing("datastore", one.id, one.name)
    for one in there.trove_admin.mgmt_instances.list():
        yield Thing("instance", one.id, one.name)


def _all(manager: Any) -> Iterable[Any]:
    return list(manager.list())


def _instance(name: str | None) -> str:
    """The Trove instance in "trove-ID" and "trove_sg-ID"."""
    for prefix in ("trove-", "trove_sg-"):
        if (name or "").startswith(prefix):
            return (name or "").removeprefix(prefix)
    return ""


def foreign(things: Iterable[Thing], runs: Iterable[str]) -> frozenset[Thing]:
    """Those of ``things`` that runs other than ``runs`` made, by their name or by what they came with."""
    things, mine = list(things), set(runs)
    theirs = {one for one in things if _TESTS.fullmatch(one.name) or run_in(one.name) not in ("", *mine)}
    ids = {one.id for one in theirs}
    while more := {one for one in things if one.of and one.of in ids} - theirs:
        theirs |= more
        ids |= {one.id for one in more}
    return frozenset(theirs)


def difference(
    before: frozenset[Thing], after: frozenset[Thing], runs: Iterable[str]
) -> tuple[list[Thing], list[Thing]]:
    """(what is new, what is gone), without what other runs made or removed meanwhile. Pure."""
    others = foreign(before | after, runs)
    return (
        sorted(after - before - others, key=str),
        sorted(before - after - others, key=str),
    )


def settled(before: frozenset[Thing], there: Cloud, runs: Iterable[str]) -> tuple[list[Thing], list[Thing]]:
    """The difference that is still there after `SETTLE` seconds, or none."""
    ends = time.monotonic() + SETTLE
    while True:
        new, gone = difference(before, cloud(there), runs)
        if (not new and not gone) or time.monotonic() > ends:
            return new, gone
        time.sleep(2)


def counted(things: Iterable[Thing]) -> dict[str, int]:
    """Kind -> number."""
    return dict(sorted(Counter(one.kind for one in things).items()))


# ---- this host


def host(work: Path, name: str) -> list[str]:
    """What a row has left on this host: processes, mounts, loop devices, temporary files. ``work`` is its folder."""
    return [*_processes(name), *_mounts(work), *_loops(work), *_files(work)]


def _processes(name: str) -> Iterator[str]:
    wanted = f"{MARK}={name}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(place.name) != os.getpid() and wanted in (place / "environ").read_bytes().split(b"\0"):
                yield f"process {place.name} {(place / 'comm').read_text().strip()}"


def _mounts(work: Path) -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        if f"{work}/" in line and "imagecheck-faults" not in line:
            yield f"mount {line.split()[1]}"


def _loops(work: Path) -> Iterator[str]:
    for place in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if str(work) in (file := place.read_text().strip()):
                yield f"loop device {place.parts[3]} of {file}"


def _files(work: Path) -> Iterator[str]:
    """What is in the folder for temporary files, and in the home but for what is kept on purpose."""
    for one in sorted((work / "tmp").glob("*")):
        yield f"temporary {one.name}"
    home = work / "home"
    for one in [*sorted((home / "ledger").glob("*")), *sorted((home / "held").glob("*")), *sorted(home.glob("kept/*"))]:
        yield f"record {one.name}"
    for one in [*sorted((home / "images").glob(".work-*")), *sorted((home / "images").glob("cache/*.part*"))]:
        yield f"work folder {one.name}"
