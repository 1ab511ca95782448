"""Once per run, a step that a fault of the cloud broke is made a second time, visibly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from imagecheck import progress
from imagecheck.errors import StepFailed
from imagecheck.report import Retry

T = TypeVar("T")

BOOT = ("boot", ("server", "queue"))
LAUNCH = ("launch", ("instance",))
# Step -> what has to be removed before it can be tried again: its edges, and kinds of the ledger.
UNDONE = {"Nova server": BOOT, "guest": BOOT, "guest agent": BOOT, "Trove instance": LAUNCH}


class Again:
    """``retries`` has what was tried again, and whether that helped."""

    def __init__(self) -> None:
        self.retries: list[Retry] = []

    def tried(self, step: str, make: Callable[[], T], undo: Callable[[StepFailed], None]) -> T:
        """What ``make`` gives, at the second try where the first met a fault of the cloud that may pass by itself.

        ``undo`` removes what the first one left.
        """
        try:
            return make()
        except StepFailed as error:
            if self.retries or step not in UNDONE or error.cause is None or not error.cause.retryable:
                raise
            progress.note(f"{step}: {error.sentence}: a fault of the cloud that may pass, once more")
            self.retries.append(Retry(step, error.sentence, error.cause.id, passed=False))
            undo(error)
        made = make()
        self.retries = [dataclasses.replace(one, passed=True) for one in self.retries]
        return made
