"""Ctrl-C, SIGTERM and SIGHUP in two steps: the first tears down and says so, the second says what is left and ends.

A signal that comes while things are being removed already does not break that off; the next one does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from imagecheck import progress
from imagecheck.redact import redact

PATIENCE = 1.0  # seconds for a line to be written; then it goes past everything, to the error output
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


class TwoSteps:
    """What has been asked for so far. ``left`` gives a line for each thing that may still exist.

    ``told`` is "" until the first signal, then its name.
    """

    def __init__(self, left: Callable[[], Sequence[str]], *, clean_up: str = "imagecheck gc") -> None:
        self._left = left
        self._clean_up = clean_up
        self._removing = False
        self.told = ""

    @contextlib.contextmanager
    def removing(self) -> Iterator[None]:
        """While this lasts, the first signal changes nothing: what it asks for is being done."""
        before, self._removing = self._removing, True
        try:
            yield
        finally:
            self._removing = before

    def take(self, name: str) -> bool:
        """A signal came. True: end now; else KeyboardInterrupt is raised, or nothing is to be done."""
        if self.told:
            self._say(self._last_words(name))
            return True
        self.told = name
        left = self._left()
        what = f"removing {_listed(left)}" if left else "ending"
        self._say([f"interrupted ({name}): {what}; once more ends at once"])
        if not self._removing:
            raise KeyboardInterrupt(name)
        return False

    def _last_words(self, name: str) -> list[str]:
        left = self._left()
        if not left:
            return [f"interrupted again ({name}): ended at once; what is left on this host goes with: {self._clean_up}"]
        return [
            f"interrupted again ({name}): not removed, {len(left)}:",
            *(f"  {line}" for line in left),
            f"remove it with: {self._clean_up}",
        ]

    @staticmethod
    def _say(lines: Sequence[str]) -> None:
        """By a thread of its own: the signal may have come while this one holds the lock that a line needs."""
        said: list[bool] = []

        def say() -> None:
            with contextlib.suppress(RuntimeError):  # a stream that is in the middle of something
                for line in lines:
                    progress.note(line)
                said.append(True)

        speaker = threading.Thread(target=say, name="imagecheck-interrupt", daemon=True)
        speaker.start()
        speaker.join(PATIENCE)
        if not said:
            os.write(2, "".join(f"{redact(line)}\n" for line in lines).encode())


@contextlib.contextmanager
def handled(steps: TwoSteps) -> Iterator[None]:
    """Lead the signals to ``steps`` while the body runs; one that is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        if steps.take(signal.Signals(number).name):
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(128 + number)  # nothing may keep it any longer: no fixture, no thread, no connection

    before: dict[signal.Signals, Any] = {}
    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            before[one] = signal.signal(one, handle)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _listed(lines: Sequence[str], most: int = 6) -> str:
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return ", ".join(lines[:most]) + more
