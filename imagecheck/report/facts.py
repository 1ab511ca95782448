"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from imagecheck.errors import Cause, StepFailed
from imagecheck.launch import Event, Offset, Timeline

Outcome = Literal["passed", "failed", "skipped", "error", "known"]


@dataclass(frozen=True)
class Retry:
    """A step that was tried a second time, for a fault of the cloud that may pass; ``cause`` is the id of its row."""

    step: str
    sentence: str
    cause: str
    passed: bool  # the second time


@dataclass(frozen=True)
class Run:
    """The subject of a run and the circumstances without which its numbers mean nothing."""

    image: str  # the definition's name, or the file's
    image_sha256: str
    release: str  # OpenStack release: "epoxy"
    acceleration: str  # "kvm", "tcg", "" = unknown
    datastore: str = ""  # "mariadb 11.8"
    cloud: str = ""  # entry of clouds.yaml
    sandbox: bool = False
    version: str = ""  # imagecheck's own
    started: float = 0.0  # seconds since the epoch, harness
    ended: float = 0.0  # the same
    steps: Mapping[str, float] = field(default_factory=dict)  # step of the road -> seconds, in order
    retries: tuple[Retry, ...] = ()
    requests: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # asked again: service -> reason -> number


@dataclass(frozen=True)
class Measured:
    """One measured start: the bare boot, the Trove launch, or the news of it on its way to Trove's API."""

    kind: Literal["boot", "launch", "healthy"]
    timeline: Timeline
    events: tuple[Event, ...] = ()
    offsets: tuple[Offset, ...] = ()

    @property
    def title(self) -> str:
        """As it is called in reports."""
        return {"boot": "bare boot", "launch": "Trove launch", "healthy": "first query to HEALTHY"}[self.kind]


@dataclass(frozen=True)
class Check:
    """One check and what became of it; ``sentence`` is its docstring's first."""

    id: str
    sentence: str
    stage: str
    outcome: Outcome
    seconds: float
    cause: str = ""
    evidence: str = ""  # name of the folder beside report.json


@dataclass(frozen=True)
class Fault:
    """One sentence that a person can act on, with where it was seen, what to try and where the evidence lies."""

    step: str
    sentence: str
    seen: str = ""
    remedy: str = ""
    evidence: str = ""
    cause: str = ""  # what the evidence shows, where a known cause fits and the sentence is not it
    known: Cause | None = None  # by which row of imagecheck/causes; None: nobody looked

    @property
    def kind(self) -> str:
        """ "boot stage, a fault of the cloud, certain (broker-login)"; empty where nobody looked for a cause."""
        if self.known is None:
            return ""
        if not self.known.known:
            return "no known cause fits"
        return f"{self.known.stage} stage, fault of the {self.known.fault}, {self.known.confidence} ({self.known.id})"

    def explained(self, found: Cause) -> Fault:
        """With the cause that saved evidence shows, unless a watchdog has told one already."""
        if self.known is not None and (self.known.known or not found.known):
            return self
        if not found.known:
            return replace(self, known=found)
        return replace(self, known=found, cause=f"{found.sentence}. {found.evidence}. Try: {found.remedy}")

    @classmethod
    def of(cls, error: BaseException, evidence: str = "") -> Fault:
        """From any error; only StepFailed knows more than its sentence."""
        if isinstance(error, StepFailed):
            return cls(error.step, error.sentence, error.seen, error.remedy, evidence, known=error.cause)
        return cls("", str(error) or type(error).__name__, evidence=evidence)


@dataclass(frozen=True)
class Piece:
    """One piece of evidence: a file of a node's folder, or the reason why there is none.

    ``what`` it is and where it comes ``source``, in words; ``size`` of the file in bytes; ``note`` what was left out;
    ``missing`` the reason.
    """

    name: str
    what: str
    source: str
    size: int = 0
    note: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Node:
    """What was saved about one failure: of a check (its node id) or of a step outside of all checks."""

    id: str
    folder: Path
    sentence: str  # what failed
    verdict: Cause
    pieces: tuple[Piece, ...]
    at: float = 0.0  # seconds since the epoch, harness
    see: str = ""  # name of the folder whose evidence stands for this one's
    seconds: float = 0.0  # that saving it took
