"""What a run would build, fetch and boot, and what that costs. Touches nothing: no image, no cloud, no cache."""

from __future__ import annotations

import shlex
import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagecheck import build, schema
from imagecheck.build import dib, elements
from imagecheck.build.layers import Layer, layers
from imagecheck.definition import Definition
from imagecheck.errors import UsageError
from imagecheck.launch.sample import Kind, read
from imagecheck.options import STAGES

# Seconds on two cores without KVM (README, docs/performance.md); a cloud with KVM takes about a tenth of the boots'.
TYPICAL = {"build": 130, "build on a kept guest": 45, "disk": 5, "boot": 95, "service": 340,
           "injection matrix": 620}  # fmt: skip
# One start of a series and its removal, seconds: README (a run's timings and its step "delete"), two cores without KVM.
TYPICAL_START: dict[Kind, float] = {"launch": 145, "boot": 95, "server": 20}
REMOVAL: dict[Kind, float] = {"launch": 35, "boot": 10, "server": 5}
_HIDDEN = {"PATH", "HOME", "TMPDIR", "TMP_DIR", "DIB_LOCKFILES", "DIB_PYTHON_EXEC", "DIB_IMAGE_CACHE"}  # of one host


@dataclass(frozen=True)
class Boot:
    """Servers that a stage boots, one after the other, and why."""

    stage: str
    servers: int
    why: str


BOOTS = (
    Boot("boot", 1, "by the harness through Nova, with a config drive"),
    Boot("service", 1, "by Trove, as a database instance"),
)
# Twelve contents by four carriers: the contents share the guest of the bare boot, each carrier wants its own.
QUALIFY = Boot("boot", 3, "for the injection matrix: Nova's files with a drive, metadata service alone, neither")


@dataclass(frozen=True)
class Call:
    """One disk-image-create call: ``words``, its environment, and what the elements come to (None: not known yet)."""

    title: str
    words: tuple[str, ...]
    environment: dict[str, str]
    elements: tuple[str, ...] | None
    packages: tuple[str, ...]
    kept: bool


@dataclass(frozen=True)
class Plan:
    """``obstacles``: why the image cannot be made here as things stand. ``seconds``: stage or "build" -> estimate."""

    definition: Definition
    how: str
    calls: tuple[Call, ...]
    obstacles: tuple[str, ...]
    fetched: tuple[str, ...]
    boots: tuple[Boot, ...]
    seconds: dict[str, float]

    @property
    def servers(self) -> int:
        """All that are booted; never two at once."""
        return sum(one.servers for one in self.boots)


def series(name: str, count: int, kind: Kind = "launch", *, known: Path | None = None) -> tuple[float, str]:
    """Seconds of ``count`` launches one after the other, with their removal, and where one launch's come from.

    ``known``: samples of an earlier run; their median where they have some of that image and kind.
    """
    samples = read(known) if known is not None and known.is_file() else []
    found = [one.seconds for one in samples if one.completed and one.label == name and one.kind == kind]
    one = statistics.median(found) if found else TYPICAL_START[kind]
    where = f"the median of {len(found)} in {known}" if found else "a typical one without KVM"
    return count * (one + REMOVAL[kind]), f"{one:.0f} s, {where}"


def plan(definition: Definition, *, stage: str = STAGES[-1], qualify: bool = False) -> Plan:
    """The plan of one image up to ``stage``. Raises UsageError for a definition that can never be walked."""
    wanted = STAGES[: STAGES.index(stage) + 1]
    boots = tuple(one for one in (*BOOTS, *([QUALIFY] if qualify else [])) if one.stage in wanted)
    seconds: dict[str, float] = {one: TYPICAL[one] for one in wanted}
    if QUALIFY in boots:
        seconds["injection matrix"] = TYPICAL["injection matrix"]
    obstacles = [why] if (why := build.obstacle(definition)) else []
    fetched = [entry for entry in definition.elements_path if entry.startswith("pypi:")]
    calls: tuple[Call, ...] = ()
    if definition.image_source:
        how = f"fetched from {definition.image_source}"
    elif definition.builder == "command":
        how = f"made by {shlex.join(definition.command)}"
        found = _recipe(definition, obstacles)
        if not (found and build.cached(definition, found)):
            seconds["build"] = TYPICAL["build"]
    else:
        found = _recipe(definition, obstacles)
        image = build.cached(definition, found) if found else None
        calls = tuple(
            _call(definition, layer, bool(found and build.kept(found, number)))
            for number, layer in enumerate(layers(definition, fetch=False))
        )
        how = f"in the cache: {image.path}" if image else f"built by diskimage-builder {elements.dib_version()}"
        if image is None:
            fetched += _archives(definition, found)
            seconds["build"] = TYPICAL["build on a kept guest" if any(one.kept for one in calls) else "build"]
    return Plan(definition, how, calls, tuple(obstacles), tuple(fetched), boots, seconds)


def _recipe(definition: Definition, obstacles: list[str]) -> build.Recipe | None:
    try:
        made = build.recipe(definition, fetch=False)
    except UsageError as missing:
        obstacles.append(f"cannot be made as things stand: {missing}")
        return None
    return made if all(layer.resolved for layer in made.layers) else None


def _archives(definition: Definition, found: build.Recipe | None) -> list[str]:
    told = [f"packages of {suite}" for suite in (found.archives if found else [definition.release])]
    if definition.datastore.carried == "registry":
        told.append(f"the container image {definition.datastore.reference}")
    return told


def _call(definition: Definition, layer: Layer, kept: bool) -> Call:
    work = Path("WORK")
    try:
        said = dib.environment(definition, layer, work, work, None)
    except UsageError:  # no archive is known here
        said = {**layer.environment, "DIB_RELEASE": definition.release}
    if layer.title != "guest" and definition.layered:
        said["DIB_GUEST_LAYER"] = "the guest's tar"
    mine = {name: text for name, text in said.items() if name not in _HIDDEN}
    mine["ELEMENTS_PATH"] = ":".join([*definition.elements_path, "elements"])
    resolved = layer.resolved
    about = {**said, "DISTRO_NAME": definition.os}
    packages = sorted({one for some in elements.packages(resolved, about).values() for one in some})
    words = ("disk-image-create", *dib.command(layer, Path("image"))[1:])
    return Call(layer.title, words, mine, tuple(resolved) or None, tuple(packages), kept)


def lines(made: Plan, width: int = 100) -> Iterator[str]:
    """The plan for a terminal."""
    one = made.definition

    def told(name: str, text: str) -> Iterator[str]:
        for number, line in enumerate(textwrap.wrap(text, width - 14, break_long_words=False, break_on_hyphens=False)):
            yield f"{name if number == 0 else '':<14}{line}"

    yield from told("image", f"{one.name}: {one.description}")
    yield from told("how", made.how)
    for why in made.obstacles:
        yield from told("but", why)
    store = one.datastore
    yield from told("database", f"{store.container}, {schema.CARRIED[store.carried]}; manager {store.manager}")
    yield from told("agent", f"Trove {one.agent.release}, installed from {one.agent.install}; {one.agent.unit}")
    for call in made.calls:
        yield ""
        yield from told("call", f"{call.title}{' (kept: not repeated)' if call.kept else ''}")
        yield from told("", " ".join(f"{name}={shlex.quote(text)}" for name, text in sorted(call.environment.items())))
        yield from told("", shlex.join(call.words))
        known = ", ".join(call.elements) if call.elements else "known when the trees below are fetched"
        yield from told("elements", known)
        if call.packages:
            yield from told("packages", ", ".join(call.packages))
    yield ""
    for number, entry in enumerate(made.fetched):
        yield from told("fetches" if number == 0 else "", entry)
    booted = "; ".join(f"{boot.servers} {boot.why}" for boot in made.boots) or "nothing"
    needs = one.needs
    yield from told("boots", booted)
    if made.boots:
        yield from told("flavor", f"at least {needs.vcpus} vCPU, {needs.ram_mib} MiB, {needs.disk_gib} GiB disk, "
                        f"{needs.ephemeral_gib} GiB ephemeral")  # fmt: skip
    cost = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in sorted(made.seconds.items()))
    total = sum(made.seconds.values()) / 60
    yield from told("costs", f"{made.servers} servers, one at a time; about {total:.0f} min without KVM ({cost})")
    for failure in one.known_failures:
        yield from told("known", f"{failure.check} fails until {failure.expires}: {failure.reason} ({failure.tracker})")
