"""The three ways in which imagecheck says that something is wrong; each is one sentence to act on."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"  # id of the cause that is none


class ImagecheckError(Exception):
    """Base of everything that imagecheck raises on purpose; ``str()`` is shown as it is, without a traceback."""


class UsageError(ImagecheckError):
    """Bad input: names the file or option, the key and the remedy. Exit code 2 (pytest: 4)."""


@dataclass(frozen=True)
class Cause:
    """Why something failed, as imagecheck/causes tells it from evidence. Everything in it is redacted.

    ``stage`` is disk, boot or service, ``fault`` the class image, cloud, network or harness, ``confidence`` certain or
    likely. ``confidence`` "none" goes with the id "unknown": then ``seen`` is the best evidence, the others are "".
    """

    id: str
    stage: str
    fault: str
    confidence: str
    sentence: str
    remedy: str = ""
    source: str = ""
    seen: str = ""
    where: str = ""
    retryable: bool = False
    also: tuple[str, ...] = ()  # ids of what else shows, the deepest first

    @property
    def known(self) -> bool:
        """A row of the table fits."""
        return self.id != UNKNOWN

    @property
    def evidence(self) -> str:
        """Where it was seen, and what."""
        return f"{self.where}: {self.seen}" if self.where and self.seen else self.where or self.seen


class StepFailed(ImagecheckError):
    """The road from definition to database broke at ``step``.

    ``sentence`` says what is wrong and where, ``seen`` is the evidence seen last, ``remedy`` what to try; ``cause`` is
    what a watchdog knows of it, None where none watched.
    """

    def __init__(
        self, step: str, sentence: str, *, seen: str = "", remedy: str = "", cause: Cause | None = None
    ) -> None:
        super().__init__(sentence)
        self.step = step
        self.sentence = sentence
        self.seen = seen
        self.remedy = remedy
        self.cause = cause

    def __str__(self) -> str:
        lines = [f"{self.step}: {self.sentence}" if self.step else self.sentence]
        if self.seen:
            lines.append(f"  seen  {self.seen}")
        if self.remedy:
            lines.append(f"  try   {self.remedy}")
        return "\n".join(lines)


class NotReached(ImagecheckError):
    """An earlier check has told already why ``step`` broke."""

    def __init__(self, step: str, sentence: str) -> None:
        super().__init__(f"not reached: {step}: {sentence}")
