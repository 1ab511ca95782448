"""What of a cloud may be removed as left behind, and why the rest may not. Pure: no cloud, no clock, no file.

Everything is kept unless it is proven ours by what it carries (`run_of`), its run is dead, and its time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from imagecheck.cloud import marks

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Found:
    """One thing as a cloud lists it. ``created`` in epoch seconds by the cloud's clock, 0.0 where it does not tell."""

    kind: str
    id: str
    name: str
    created: float = 0.0
    carried: Mapping[str, str] = field(default_factory=lambda: _NONE)  # metadata of servers, properties of images
    tags: frozenset[str] = frozenset()
    said: str = ""  # its description

    @property
    def until(self) -> float:
        """When its time is over by what it carries (epoch seconds); 0.0 where it carries nothing."""
        told = [value for key, _, value in (tag.partition("=") for tag in self.tags) if key == marks.UNTIL]
        return max((marks.moment(one) for one in [*told, self.carried.get(marks.UNTIL, "")]), default=0.0)


@dataclass(frozen=True)
class Known:
    """What this host's ledger says of a run. ``kept``: until then its things stay on purpose (epoch seconds)."""

    run: str
    alive: bool
    kept: float = 0.0
    by: str = ""  # who is alive, for people


@dataclass(frozen=True)
class Verdict:
    """Remove it, or why not. ``run`` is "" for what is not ours."""

    found: Found
    run: str
    remove: bool
    reason: str


def run_of(found: Found, instances: Mapping[str, str] = _NONE) -> str:
    """The run that made ``found``, proven by what it carries; "" where anything is missing or speaks against it.

    ``instances``: Trove instance -> run, for what Trove makes of its own for an instance.
    """
    proof = PROOFS.get(found.kind)
    run = proof(found, instances) if proof else ""
    # Whatever else it carries must not name another run.
    carried = [found.carried[key] for key in (marks.TAG, marks.RUN) if key in found.carried]
    named = carried + [tag for tag in found.tags if marks.run_of_name(tag)]
    others = {marks.run_of_name(value) or value for value in named}
    return run if run and marks.began(run) and others <= {run} else ""


def _by_name(found: Found, _: Mapping[str, str]) -> str:
    return marks.run_of_name(found.name)


def _by_metadata(found: Found, _: Mapping[str, str]) -> str:
    if INSTANCE in found.carried:  # Trove's own: it names its server as its owner named the instance
        return _by_name(found, _NONE) if marks.TAG not in found.carried else ""
    run = marks.run_in(found.name)
    return run if marks.run_of_name(found.carried.get(marks.TAG, "")) == run else ""


def _by_property(found: Found, _: Mapping[str, str]) -> str:
    run = marks.run_in(found.name)
    return run if marks.run_of_name(found.carried.get(marks.RUN, "")) == run else ""


def _by_description(found: Found, instances: Mapping[str, str]) -> str:
    if found.name.startswith(GROUP):
        return instances.get(found.name.removeprefix(GROUP), "")
    return _by_name(found, _NONE) if found.said.startswith(f"{marks.TAG} {found.name}:") else ""


def _by_instance(found: Found, instances: Mapping[str, str]) -> str:
    return instances.get(found.name.removeprefix(BELONGING), "") if found.name.startswith(BELONGING) else ""


INSTANCE = "trove_instance_id"  # metadata of Trove's servers (trove/taskmanager/models.py, _create_server)
BELONGING = "trove-"  # its ports and volumes: trove-ID (ibid., _create_port and _create_volume)
GROUP = "trove_sg-"  # its security group (trove/common/cfg.py, trove_security_group_name_prefix)
# Kind -> how a run is read off it. What has no row is never found by what it carries: a datastore's name is nobody's.
PROOFS: Mapping[str, Callable[[Found, Mapping[str, str]], str]] = {
    "instance": _by_name,
    "server": _by_metadata,
    "datastore_version": _by_name,
    "image": _by_property,
    "keypair": _by_name,
    "security_group": _by_description,
    "port": _by_instance,
    "volume": _by_instance,
}


def instances_of(found: Iterable[Found]) -> dict[str, str]:
    """Trove instance -> run, by the instances themselves, and by servers whose instance Trove knows no more."""
    told: dict[str, str] = {}
    for one in found:
        if one.kind in ("instance", "server") and (run := run_of(one)):
            told[one.id if one.kind == "instance" else one.carried.get(INSTANCE, "")] = run
    told.pop("", None)
    return told


def judge(
    found: Sequence[Found],
    known: Mapping[str, Known],
    now: float,
    *,
    instances: Mapping[str, str] = _NONE,
    older_than: float = 0.0,
    only: str = "",
) -> list[Verdict]:
    """A verdict for each of ``found``, in their order.

    ``known``: runs with a ledger here. ``instances``: see `run_of`, from ledgers. ``older_than``: nothing younger
    goes, in seconds. ``only``: nothing of other runs goes, and of this one also what its time still protects; a
    living run's things stay all the same.
    """
    ids = {**instances_of(found), **instances}
    runs = [run_of(one, ids) for one in found]
    # A run that goes on making things protects with the newest of them what it made first.
    ends: dict[str, float] = {}
    for one, run in zip(found, runs, strict=True):
        ends[run] = max(ends.get(run, marks.began(run) + marks.TTL), one.until)
    return [
        Verdict(one, run, not (why := _kept(one, run, ends[run], known, now, older_than, only)), why or f"of {run}")
        for one, run in zip(found, runs, strict=True)
    ]


def _kept(
    one: Found, run: str, end: float, known: Mapping[str, Known], now: float, older_than: float, only: str
) -> str:
    """Why it stays; "" when it goes."""
    if not run:
        return "nothing proves it imagecheck's"
    here = known.get(run)
    if why := spared(here or Known(run, alive=False), now, only):
        return why
    if here is None and not only and now < end:
        return f"no ledger here tells of {run}: its time ends {marks.stamp(end)}"
    # Of both, the later: a clock that is wrong must make nothing older.
    age = now - max(one.created, marks.began(run))
    return f"younger than {older_than:.0f} s" if age < older_than else ""


def spared(known: Known, now: float, only: str = "") -> str:
    """Why all things of a run stay that has a ledger here; "" when they may go."""
    if only and known.run != only:
        return f"of {known.run}, not of {only}"
    if known.alive:
        return f"{known.run} is at work{f' ({known.by})' if known.by else ''}"
    if now < known.kept and not only:
        return f"{known.run} keeps it until {marks.stamp(known.kept)}"
    return ""
