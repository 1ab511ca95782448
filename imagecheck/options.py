"""The plugin's options as data, and which checks of an image are known to fail. Knows no pytest."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterable
from typing import Any, Final

from imagecheck.definition import KnownFailure

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
        "default": KEEP[0],
        "help": "leave server or instance at the end, to look into them: ways to log in and to clean up are told",
    },
    "--keep-for": {"default": "2h", "metavar": "TIME", "help": "how long `imagecheck gc` leaves them (default: 2h)"},
    "--yes": {"action": "store_true", "help": "the sandbox may install the packages that it names"},
}


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
