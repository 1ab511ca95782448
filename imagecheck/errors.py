"""The three ways in which imagecheck says that something is wrong; each is one sentence to act on."""

from __future__ import annotations


class ImagecheckError(Exception):
    """Base of everything that imagecheck raises on purpose; ``str()`` is shown as it is, without a traceback."""


class UsageError(ImagecheckError):
    """Bad input: names the file or option, the key and the remedy. Exit code 2 (pytest: 4)."""


class StepFailed(ImagecheckError):
    """The road from definition to database broke at ``step``.

    ``sentence`` says what is wrong and where, ``seen`` is the evidence seen last, ``remedy`` what to try.
    """

    def __init__(self, step: str, sentence: str, *, seen: str = "", remedy: str = "") -> None:
        super().__init__(sentence)
        self.step = step
        self.sentence = sentence
        self.seen = seen
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [f"{self.step}: {self.sentence}" if self.step else self.sentence]
        if self.seen:
            lines.append(f"  seen  {self.seen}")
        if self.remedy:
            lines.append(f"  try   {self.remedy}")
        return "\n".join(lines)
