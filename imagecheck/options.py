"""The plugin's options as data, and which checks of an image are known to fail. Knows no pytest."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from imagecheck.definition import KnownFailure
from imagecheck.errors import UsageError
from imagecheck.launch.sample import Kind

STAGES: Final = ("disk", "boot", "service")
KEEP: Final = ("never", "on-failure", "always")

# Flag -> what argparse makes of it; the order is that of `pytest --help`.
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "--image": {
        "action": "append",
        "default": [],
        "metavar": "NAME|FILE|URL|glance:NAME",
        "help": "check this image: a definition (see `imagecheck images`), a qcow2/raw file, its http(s) address, or "
        "an image in Glance by name, id or tag (glance:tag:NAME); repeatable",
    },
    "--datastore": {
        "default": "",
        "metavar": "NAME:VERSION",
        "help": "what an image file serves; VERSION is the tag of the database's container image",
    },
    "--cloud": {
        "default": "",
        "metavar": "ENTRY",
        "help": "entry of clouds.yaml with admin rights (default: $OS_CLOUD, else the sandbox)",
    },
    "--site": {
        "default": "",
        "metavar": "FILE",
        "help": "what the cloud's APIs do not tell: networks, keys (default: imagecheck.toml)",
    },
    "--release": {"default": "", "metavar": "NAME", "help": "release of the sandbox (default: epoxy)"},
    "--stage": {"choices": STAGES, "default": STAGES[-1], "help": "stop after this stage"},
    "--sha256": {"default": "", "metavar": "HEX", "help": "what the image's digest has to be; an address needs it"},
    "--qualify": {"action": "store_true", "help": "also the checks that only a release needs"},
    "--report": {
        "default": "report",
        "metavar": "DIR",
        "help": "where reports and evidence go (default: report)",
    },
    "--keep": {
        "choices": KEEP,
        "default": "",  # never, and with --attach: as it is
        "help": "leave server or instance at the end, to look into them: ways to log in and to clean up are told "
        "(default: never; with --attach, never removes what was attached)",
    },
    "--keep-for": {"default": "2h", "metavar": "TIME", "help": "how long `imagecheck gc` leaves them (default: 2h)"},
    "--attach": {
        "default": "",
        "metavar": "RUN",
        "help": "use what an earlier run kept (--keep) instead of making new things: the run's name, or the id of its "
        "server or instance",
    },
    "--launches": {
        "type": int,
        "metavar": "N",
        "help": "also a series: N fresh launches of the image, each one a sample",
    },
    "--against": {
        "metavar": "OTHER",
        "help": "a second image (as for --image), launched in turns with the first and compared with it",
    },
    "--concurrency": {"type": int, "metavar": "K", "help": "launches of the series that go at once (default: 1)"},
    "--cache": {
        "choices": ("warm", "cold"),
        "help": "the image on the compute hosts: there before the series (default), or new to them for every launch",
    },
    "--kind": {
        "choices": ("launch", "boot", "server"),
        "help": "what a launch of the series is: by Trove to the first query (default), a boot without Trove until "
        "the agent is at its broker, a Nova server until ACTIVE",
    },
    "--record": {"metavar": "FILE", "help": "add the samples to this file too (JSON lines)"},
    "--baseline": {"metavar": "FILE", "help": "compare the series with this baseline"},
    "--yes": {"action": "store_true", "help": "the sandbox may install the packages that it names"},
}


@dataclass(frozen=True)
class Launches:
    """What is asked of a series: ``count`` starts of each image."""

    count: int
    against: str = ""
    concurrency: int = 1
    cache: Literal["warm", "cold"] = "warm"
    kind: Kind = "launch"
    record: Path | None = None
    baseline: Path | None = None


def attach(given: Mapping[str, Any]) -> str:
    """What --attach names, "" where it was not given. Raises UsageError for what does not go with it."""
    named = str(given.get("attach") or "")
    if named and len(given.get("image") or ()) != 1:
        raise UsageError(f"--attach {named}: goes on with the run of one image: name that one with --image")
    if named and given.get("launches") is not None:
        raise UsageError(f"--attach {named}: a series makes fresh launches: leave --launches out")
    return named


_OF_A_SERIES = ("against", "concurrency", "cache", "kind", "record", "baseline")


def launches(given: Mapping[str, Any]) -> Launches | None:
    """The series from the options as they were given (name -> value, None where not); None without --launches.

    Raises UsageError for what makes no series.
    """
    count = given.get("launches")
    if count is None:
        for name in _OF_A_SERIES:
            if given.get(name) is not None:
                raise UsageError(f"--{name} says how a series is made: give --launches N with it, or leave it out")
        return None
    if not given.get("image"):
        raise UsageError("--launches makes a series of an image: name one with --image")
    if count < 1:
        raise UsageError(f"--launches {count}: a series has at least one launch: give a number from 1")
    if given.get("stage", STAGES[-1]) != STAGES[-1]:
        raise UsageError(f"--stage {given['stage']} stops before the series of --launches: leave one of them out")
    concurrency = 1 if given.get("concurrency") is None else int(given["concurrency"])
    total = count * (2 if given.get("against") else 1)
    if not 1 <= concurrency <= total:
        raise UsageError(
            f"--concurrency {concurrency}: the series has {total} launches: give a number from 1 to {total}"
        )
    files = {name: Path(given[name]) if given.get(name) else None for name in ("record", "baseline")}
    for name, file in files.items():
        if file is not None and file.is_dir():
            raise UsageError(f"--{name} {file}: is a folder: name a file in it")
    if (baseline := files["baseline"]) is not None and not baseline.is_file():
        raise UsageError(f"--baseline {baseline}: there is no such file: give one, or leave the option out")
    return Launches(
        count,
        str(given.get("against") or ""),
        concurrency,
        cast("Any", given.get("cache") or "warm"),
        cast("Any", given.get("kind") or "launch"),
        **files,
    )


def known_failure(failures: Iterable[KnownFailure], check: str, today: datetime.date) -> KnownFailure | None:
    """The failure that ``check`` (the name of its function) is known for and that has not expired on ``today``."""
    return next((one for one in failures if fnmatch.fnmatch(check, one.check) and today <= one.expires), None)


def expired(failures: Iterable[KnownFailure], today: datetime.date) -> list[str]:
    """One line for each failure that was known once: it counts as a failure again."""
    return [
        f"{one.check}: known failure expired on {one.expires} ({one.reason}; {one.tracker}): "
        "mend it, or give it a new date in the definition"
        for one in failures
        if today > one.expires
    ]
