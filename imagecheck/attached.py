"""A road on what an earlier run kept (--attach): its server and its instance, with its keys, instead of new ones.

Nothing is made. What is not there is not reached, and what nobody saw is not told; what was found stays as long as it
is kept, unless `--keep never` was said.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagecheck import bare, build, kept, operations, progress, service
from imagecheck.bare import Ground
from imagecheck.choice import Choice
from imagecheck.cloud import cleanup, datastore, ledger, marks, nova, trove
from imagecheck.cloud.connection import Cloud, Missing
from imagecheck.cloud.datastore import Version
from imagecheck.cloud.glance import GlanceImage
from imagecheck.cloud.ledger import Entry, Ledger
from imagecheck.cloud.preflight import Surroundings, conclude
from imagecheck.errors import NotReached, UsageError
from imagecheck.kept import NEVER, End, Keep, Memory
from imagecheck.outcomes import BareBoot, Gone, Launch
from imagecheck.redact import learn
from imagecheck.report import Folder, Measured
from imagecheck.run import Road
from imagecheck.site import Site
from imagecheck.turns import Look

HEALTHY_DEADLINE = 120  # seconds: it was left running, so at most a heartbeat (90 s) is missing


@dataclass(frozen=True)
class Found:
    """A kept run: its ledger, the folder of its keys, and which of its servers and instances are meant."""

    ledger: Ledger
    folder: Path
    memory: Memory
    things: tuple[Entry, ...]

    @property
    def run(self) -> str:
        """Its name."""
        return self.ledger.owner.run

    def thing(self, kind: str) -> Entry | None:
        """The one of that kind."""
        return next((one for one in self.things if one.kind == kind), None)

    def fits(self, choice: Choice) -> None:
        """UsageError where it is known already that this is not the image of that run."""
        wanted = choice.definition
        if choice.file is not None:
            self.same(choice.name, choice.file.sha256)
        elif wanted.image_source:
            self.same(choice.name, wanted.sha256)
        elif (built := build.cached(wanted)) is not None:
            self.same(choice.name, built.sha256)
        else:
            self.same(choice.name, "none, for it is not built in its present form")
        store = f"{wanted.datastore.name}:{wanted.datastore.version}"
        if store != self.memory.datastore:
            raise UsageError(f"--attach {self.run}: serves {self.memory.datastore}, not {store}: {self._instead()}")

    def same(self, name: str, sha256: str) -> None:
        """UsageError where ``sha256`` ("": not known) is not that of the image."""
        if sha256 and self.memory.sha256 and sha256.lower() != self.memory.sha256:
            raise UsageError(
                f"--attach {self.run}: was kept with another image: of {self.memory.image!r}, SHA-256 "
                f"{self.memory.sha256}; that of {name!r} is {sha256}: {self._instead()}"
            )

    def at_hand(self, running: bool) -> None:
        """UsageError where no cloud was named and its is not the sandbox, or the sandbox is not ``running``."""
        owner = self.ledger.owner
        if not owner.sandbox:
            raise UsageError(f"--attach {self.run}: is on the cloud {owner.cloud!r}: {self._instead()}")
        if not running:
            raise UsageError(
                f"--attach {self.run}: its sandbox is not up, and its servers ended with it: "
                f"`imagecheck gc --run {self.run}` forgets them"
            )

    def on(self, site: Site) -> None:
        """UsageError where ``site`` is another cloud."""
        owner = self.ledger.owner
        there, here = (owner.cloud, owner.clouds_file), (site.cloud, str(site.clouds_file or ""))
        if there != here:
            names = [f"{cloud!r}{f' of {file}' if file else ''}" for cloud, file in (there, here)]
            raise UsageError(f"--attach {self.run}: is on the cloud {names[0]}, not {names[1]}: {self._instead()}")

    def there(self, cloud: Cloud) -> None:
        """UsageError where this is another region, or something of it is gone from the cloud."""
        regions = (self.ledger.owner.region, cloud.site.region)
        if regions[0] != regions[1]:
            raise UsageError(
                f"--attach {self.run}: is in the region {regions[0]!r}, not in {regions[1]!r}: "
                f"set OS_REGION_NAME={shlex.quote(regions[0])}"
            )
        for one in self.things:
            try:
                (nova if one.kind == "server" else trove).show(cloud, one.id)
            except Missing:
                raise UsageError(
                    f"--attach {self.run}: its {one.kind} {one.id} is gone from the cloud: "
                    f"`imagecheck gc --run {self.run}` removes the rest"
                ) from None

    def _instead(self) -> str:
        return f"say `{shlex.join(['pytest', *self.memory.words, '--attach', self.run])}`"


def find(named: str) -> Found:
    """The run that ``named`` names, or whose kept server or instance has that id. Raises UsageError; asks no cloud."""
    kept_runs = []
    for one in ledger.everyone()[0]:
        things = kept.things(one.open)
        chosen = things if one.owner.run == named else [thing for thing in things if thing.id == named]
        if one.owner.run == named or chosen:
            return _found(one, chosen, time.time())
        if one.kept and things:
            kept_runs.append(one.owner.run)
    there = f"there are: {', '.join(kept_runs)}" if kept_runs else "none is kept on this host"
    raise UsageError(f"--attach {named}: is no kept run, and no id of a kept server or instance ({there})")


def _found(one: Ledger, things: list[Entry], now: float) -> Found:
    run, folder = one.owner.run, cleanup.kept_folder() / one.owner.run
    if one.owner_alive():
        who = f"process {one.owner.pid} on {one.owner.host}"
        raise UsageError(f"--attach {run}: is at work ({who}): wait for its end")
    if not one.kept or not things:
        raise UsageError(f"--attach {run}: kept no server and no instance: `imagecheck gc` removes what it left")
    if one.kept <= now:
        raise UsageError(
            f"--attach {run}: was kept until {marks.stamp(one.kept)}, which is over: `imagecheck gc` removes it; "
            "--keep-for keeps the next one longer"
        )
    return Found(one, folder, kept.recall(folder), tuple(things))


class Attached(Road):
    """The road of one image on what was found. ``keep``: as it was given; None where nothing was said."""

    def __init__(
        self, found: Found, choice: Choice, site: Callable[[], Site], folder: Folder, *, keep: Keep | None,
        release: str = "", yes: bool = False, words: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._removes = keep is not None and keep.when == NEVER.when
        stays = NEVER if self._removes else Keep("always")
        super().__init__(choice, site, folder, release=release, yes=yes, keep=stays, words=words)
        self.run = found.run
        self.boxes.expendable = self._removes
        self._found, self._wish = found, keep
        self._since = self._there = 0  # the last entry of the ledger that was there before, and how many were open

    def _tried(self, step: str, make: Callable[[], Any]) -> Any:
        made = make()  # never twice: a second try would begin with a new server
        if step == "image file":
            self._found.same(self.choice.name, made.sha256)
        return made

    # ---- the cloud

    def _enter_cloud(self) -> Ground:
        self._found.on(self._find_site())
        return super()._enter_cloud()

    def _room(self, _cloud: Cloud, look: Look) -> Surroundings:
        return conclude(*look(()), makes=False)

    def _begin(self, cloud: Cloud) -> tuple[Path, Ledger]:
        found = self._found
        found.there(cloud)
        found.ledger.adopt()
        self._since, self._there = max(one.number for one in found.ledger.entries), len(found.ledger.open)
        learn(found.memory.password)
        self._password = found.memory.password
        key = self._private() / "key"  # beside it lies a copy of Trove's: nothing is added to what was kept
        there = found.folder / kept.KEYS["server"]
        if not there.is_file():
            raise UsageError(f"--attach {self.run}: its key {there} is gone: nobody can log in to its server any more")
        key.touch(mode=0o600)
        key.write_bytes(there.read_bytes())
        progress.note(f"attached to {', '.join(map(str, found.things))}")
        return key, found.ledger

    def _thing(self, step: str, kind: str) -> Entry:
        if found := self._found.thing(kind):
            return found
        raise NotReached(step, f"{self.run} has no {kind} that was kept, and nothing is made (--attach)")

    def _unseen(self, step: str, what: str) -> NotReached:
        return NotReached(step, f"{what} was not seen by this run (--attach)")

    # ---- the steps

    def image(self) -> GlanceImage:
        """Not to be had: what boots from it would be made."""
        raise NotReached("Glance image", "nothing is made (--attach)")

    def server(self) -> BareBoot:
        """The server that was kept, and what Nova says that it was given."""

        def take() -> BareBoot:
            return bare.booted(self.cloud(), self._thing("Nova server", "server").id)

        return self.step("Nova server", take)

    def boot_times(self) -> Measured:
        """Not to be had: nobody saw the boot."""
        raise self._unseen("boot timings", "the boot")

    def version(self) -> Version:
        """The version that the kept run registered."""

        def look() -> Version:
            found = datastore.find_versions(self.cloud().cloud, self.run)
            if not found:
                raise NotReached("datastore version", f"{self.run} has registered none, and nothing is made (--attach)")
            return found[0]

        return self.step("datastore version", look)

    def launch(self) -> Launch:
        """The instance that was kept, once it is ACTIVE and HEALTHY; nothing is done to bring it there."""

        def take() -> Launch:
            entry, ground = self._thing("Trove instance", "instance"), self.cloud()
            asked = service.Asked(entry.id, entry.name, self.version(), self._password, 0.0, 0.0)
            shown = operations.wait_healthy(ground, entry.id, deadline=HEALTHY_DEADLINE)
            made = service.look_around(ground, asked, shown, math.nan)
            self._open.callback(made.guest.forget)
            return made

        return self.step("Trove instance", take)

    def launch_times(self) -> Measured:
        """Not to be had: nobody saw the launch."""
        raise self._unseen("launch timings", "the launch")

    def deleted(self) -> Gone:
        """Only where everything is to be removed at the end anyway."""
        if not self._removes:
            raise NotReached("delete", "what was attached stays (--attach without --keep never)")
        return super().deleted()

    # ---- the end

    @property
    def open(self) -> list[Entry]:
        """What an interrupt would remove."""
        return [one for one in super().open if self._removes or one.number > self._since]

    def _finish(self, ground: Ground) -> End:
        """Remove what was made meanwhile; what was attached stays, for longer where that is wanted."""
        mine, there = ground.ledger, self._there
        left = cleanup.clean(ground.cloud, mine, since=0 if self._removes else self._since)
        made = mine.account_since(self._since)
        stay = [one for one in mine.open if one.number <= self._since]
        text = f"attached {there}, made {made.made}, removed {there - len(stay) + made.made - made.left}, "
        text += f"left {len(stay) + made.left}"
        if self._removes:
            mine.retire()
            return End(text + (f": `imagecheck gc --run {self.run}` tries again" if left else ""), left)
        if self._wish and self._wish.holds(bool(self.faults)):
            kept.hold(ground, max(mine.kept, time.time() + self._wish.seconds))
        lines = kept.told(ground, self.words)
        return End(f"{text} (kept until {marks.stamp(mine.kept)})", left, lines)
