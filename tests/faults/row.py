"""What a row of the table of faults is: a road, what is done to it and when, and how the run has to end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Group = Literal["api", "service", "kill"]
Ends = Literal["passed", "again", "cloud", "harness", "refused", "failed", "killed"]
# How a run may end, for people; run.ending() tells which it was.
ENDS: Mapping[Ends, str] = {
    "passed": "the fault is ridden out: exit code 0, every check passed, at the first try of every step",
    "again": "ridden out at the second try of one step, and the run says so",
    "cloud": "exit code 1, and report.json calls it a fault of the cloud",
    "harness": "exit code 1, and report.json calls it a fault of the harness's own host",
    "refused": "exit code 4 with one sentence, before anything was made",
    "failed": "exit code 1 with one sentence; there is no report to put it in",
    "killed": "dead by signal 9",
}
# What a run is that a row disturbs, and how far it goes. The arguments are in roads.py.
Road = Literal["boot", "upload", "register", "create", "stop", "start", "delete", "build"]


@dataclass(frozen=True)
class Moment:
    """A named moment of a run, and seconds after it.

    ``source``: "ledger" ("intend server", "made server", "removed server": a line of that kind was written), "says" (a
    pattern was found in what the run shows), "mount" or "loop" (one exists below the run's folders), "begin".
    ``name`` is for people.
    """

    source: Literal["ledger", "says", "mount", "loop", "begin"]
    what: str = ""
    after: float = 0.0
    name: str = ""

    def __str__(self) -> str:
        told = self.name or (self.what if self.source == "ledger" else {"begin": "from the beginning"}[self.source])
        return told + (f" + {self.after:g} s" if self.after else "")


BEGIN = Moment("begin")


class Way(Protocol):
    """What is done to a run. The methods are called in this order, ``end`` whatever happened."""

    @property
    def at(self) -> tuple[Moment, ...]:
        """The moments; repeats take them in turns."""

    @property
    def alone(self) -> bool:
        """It disturbs everybody who uses the sandbox."""

    def begin(self, stand: object) -> None:
        """Before the run starts."""

    def strike(self, stand: object) -> None:
        """At the moment."""

    def end(self, stand: object) -> None:
        """After the run has ended: all is well again, so that what is left can be removed."""


@dataclass(frozen=True)
class Row:
    """``says`` is a pattern that the run's words must show (of a killed run: those of `imagecheck gc`)."""

    name: str
    group: Group
    what: str  # what is done, one sentence
    road: Road
    way: Way
    ends: Ends
    says: str
    times: int = 1  # how often it has to be run
    patience: float = 420.0  # seconds after which the run counts as hung
    lost: bool = False  # the ledger is deleted before gc comes: it has to go by what things carry

    def moment(self, number: int) -> Moment:
        """When it is struck in the run with that number, from 0."""
        return self.way.at[number % len(self.way.at)]


@dataclass
class Seen:
    """What one run of a row showed; `right` judges it."""

    ends: str = ""
    words: str = ""  # of the run, or of gc for a killed one
    struck: bool = False
    traceback: bool = False
    faults: int | None = None  # requests that a proxy spoiled
    behind: dict[str, int] = dataclasses.field(default_factory=dict)  # kind -> number, when the run was over
    gc: str = ""  # its last line
    left: list[str] = dataclasses.field(default_factory=list)  # in the cloud and on this host, after gc
    gone: list[str] = dataclasses.field(default_factory=list)  # what was there before and is nobody's to remove
    canaries: list[str] = dataclasses.field(default_factory=list)
    looked: int = 0  # files and command lines that were searched for canaries
    seconds: float = 0.0
