"""Runs of this host that are on one cloud at the same time take turns: together they take no more than there is.

Each writes down what it will take at one time (``paths.home()/turns/RUN.json``) before it makes anything, and gives it
back at its end. One for which there is no room beside the others waits until one of them has ended. The runs of one
process come one after the other, so that they take no more than the largest of them. Other hosts are not seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from imagecheck import paths, process, progress, waits
from imagecheck.cloud import marks
from imagecheck.cloud.connection import Cloud, Hiccup
from imagecheck.cloud.preflight import Surroundings, conclude
from imagecheck.cloud.room import SUBJECTS, Other, Plan
from imagecheck.errors import StepFailed
from imagecheck.finding import Finding, stops
from imagecheck.process import Process

EVERY = 10.0  # seconds between two looks: each asks thirty questions
SOON = 3  # looks one after the other, where others come or go meanwhile
DEADLINE = 2 * 3600.0  # seconds; a road takes minutes, but several may be waiting
Look = Callable[[Sequence[Other]], tuple[list[Finding], Surroundings | None]]


@dataclass(frozen=True)
class Place:
    """A cloud, whatever its entry is called, by its Keystone and region; and the projects whose quotas are used."""

    cloud: str
    projects: tuple[str, ...] = ()


def place(cloud: Cloud) -> Place:
    """Where that is."""
    url = urlsplit(str(cloud.admin.config.auth.get("auth_url") or ""))
    name = f"{url.netloc.rpartition('@')[2]} {cloud.admin.config.region_name or ''}".strip()
    return Place(name, (str(cloud.admin.current_project_id), cloud.tenant_project))


def take(where: Place, run: str, look: Look, *, times: int = 1) -> Surroundings:
    """Wait for room, and claim it for ``run``; ``look`` finds what there is beside others. ``times``: starts at once.

    Raises UsageError for what waiting does not change, TimedOut.
    """
    began = time.monotonic()
    waited = False

    def ask() -> waits.Ready[Surroundings] | waits.NotYet:
        for _ in range(SOON):  # who has just come has claimed something: whether there is still room is known at once
            found = look_once()
            if found is not None:
                return found
        return waits.NotYet("other runs come and go")

    def look_once() -> waits.Ready[Surroundings] | waits.NotYet | None:
        nonlocal waited
        there = others(where)
        findings, surroundings = look(there)
        told = stops(findings)
        if there and told and all(one.subject in SUBJECTS for one in told):
            seen = f"{told[0].sentence}; at work: {', '.join(one.who for one in there)}"
            if not waited:
                progress.note(f"{run} waits for its turn on the cloud {where.cloud}: {seen}")
            waited = True
            return waits.NotYet(seen)
        if surroundings is None or told:
            return waits.Ready(conclude(findings, surroundings))  # it raises
        with _locked() as folder:
            if others(where) != there:
                return None
            plan = {**asdict(surroundings.plan), "times": times}
            _write(folder / f"{run}.json", {"place": asdict(where), "run": run, "plan": plan, "time": time.time()})
        return waits.Ready(conclude(findings, surroundings))

    found = waits.until(
        ask, reason=f"a turn on the cloud {where.cloud}", deadline=DEADLINE, interval=EVERY, transient=(Hiccup,),
        step="cloud", remedy="free room, raise the quota, or run fewer at once (-n)",
    ).value  # fmt: skip
    if waited:
        progress.note(f"{run}: its turn on the cloud {where.cloud} came after {time.monotonic() - began:.0f} s")
    return found


def give_back(run: str) -> None:
    """What ``run`` has claimed is free."""
    (_folder() / f"{run}.json").unlink(missing_ok=True)


def look_ahead(where: Place, look: Look) -> None:
    """UsageError for what would stop a run there; not for room that another one will have left by then."""
    there = others(where)
    findings, surroundings = look(())
    conclude(findings, surroundings, makes=not there)


def others(where: Place) -> list[Other]:
    """The living processes besides this one that have claims on that cloud, in the order of their first ones."""
    mine, claims = process.mine(), dict[Process, list[_Claim]]()
    for file in sorted(_folder().glob("*.json")):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            table = json.loads(file.read_text(encoding="utf-8"))
            owner = Process(**table["process"])
            over = owner.host != socket.gethostname() and table["time"] + marks.TTL < time.time()
            if over or not owner.alive():
                file.unlink(missing_ok=True)
            elif table["place"]["cloud"] == where.cloud and owner != mine:
                projects = tuple(map(str, table["place"]["projects"]))
                claims.setdefault(owner, []).append(_Claim(str(table["run"]), Plan(**table["plan"]), projects))
    return [_together(owner, many) for owner, many in claims.items()]


@dataclass(frozen=True)
class _Claim:
    run: str
    plan: Plan
    projects: tuple[str, ...]


def _together(owner: Process, claims: Sequence[_Claim]) -> Other:
    largest = Plan(*(max(getattr(one.plan, name.name) for one in claims) for name in fields(Plan)))
    projects = {project: None for one in claims for project in one.projects}
    runs = tuple(one.run for one in claims)
    return Other(f"{runs[-1]} (process {owner.pid})", runs, largest, tuple(projects))


def _folder() -> Path:
    return paths.home() / "turns"


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    """Nobody else claims anything meanwhile."""
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    except OSError as error:
        raise StepFailed(
            "cloud", f"{folder} cannot be written ({error.strerror}): other runs would not see this one",
            remedy=f"make room there, or set {paths.VARIABLE} to a folder with room",
        ) from error  # fmt: skip


def _write(file: Path, claim: dict[str, object]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(claim | {"process": vars(process.mine())}), encoding="utf-8")
    new.replace(file)
