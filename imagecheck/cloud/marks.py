"""What imagecheck's things in a cloud carry, so that they are known without any ledger: run, owner, time to live. Pure.

The name begins with the run's id everywhere. Metadata (servers), properties (images) and tags (security groups) say
the rest; key pairs, datastore versions and instances have no place for it, and are found by their name alone.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from imagecheck.errors import UsageError

TAG = "imagecheck"  # metadata key and tag; its value is the run
RUN = f"{TAG}_run"
OWNER = f"{TAG}_owner"  # host:pid, for people
UNTIL = f"{TAG}_until"  # UTC; nobody but its run removes it before
# Seconds. Each thing that a run makes moves the end of all of it, so only a run that makes nothing for that long
# can be taken for dead by a host that does not see its process; the longest wait of the road has 1200 s.
TTL = 12 * 3600.0
_RUN = re.compile(r"imagecheck-(\d{6}-\d{6})-[0-9a-f]{6}", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 366 * 86400


def new_run(now: float) -> str:
    """A name for a run that begins ``now`` (epoch seconds); never given twice."""
    return f"{TAG}-{datetime.fromtimestamp(now, UTC):%y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def began(run: str) -> float:
    """When the run with that name began (epoch seconds); 0.0 where this is no run's name."""
    matched = _RUN.fullmatch(run)
    try:
        return datetime.strptime(matched[1], "%y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp() if matched else 0.0
    except ValueError:
        return 0.0


def run_in(name: str) -> str:
    """The run whose name is, or with a dash begins, ``name``; "" where there is none."""
    matched = _RUN.match(name)
    if not matched or name[matched.end() : matched.end() + 1] not in ("", "-") or not began(matched[0]):
        return ""
    return matched[0]


def run_of_name(name: str) -> str:
    """The run whose name is ``name``, or that of one start of its series (RUN-7, RUN-w2); "" where there is none."""
    run = run_in(name)
    return run if run and re.fullmatch(r"(?:-w?\d{1,6})?", name[len(run) :], re.ASCII) else ""


def stamp(moment: float) -> str:
    """Epoch seconds as they are written on things."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(text: object) -> float:
    """The reverse; 0.0 for anything else."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def duration(text: str, option: str) -> float:
    """Seconds in "90m", "2h", "1d" or "30s". Raises UsageError that names ``option``."""
    matched = re.fullmatch(r"(\d{1,9})([smhd])", text.strip(), re.ASCII)
    seconds = int(matched[1]) * _UNITS[matched[2]] if matched else 0
    if not 0 < seconds <= _LONGEST:
        raise UsageError(f"{option} {text}: is no length of time: give a number and s, m, h or d, for example 2h")
    return float(seconds)
