"""Steps that are each made once: a broken one is told once, and each one's time is its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from imagecheck import progress
from imagecheck.errors import ImagecheckError, NotReached

T = TypeVar("T")


class Steps:
    """What a road is made of. ``seconds``: step -> its own time, without that of the steps it called for."""

    def __init__(self, name: str) -> None:
        self.seconds: dict[str, float] = {}
        self._name = name
        self._made: dict[str, Any] = {}
        self._broken: dict[str, ImagecheckError] = {}
        self._inner: list[float] = []

    def step(self, step: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once; NotReached when it broke before. For those below, and for looks."""
        if step in self._made:
            found: T = self._made[step]
            return found
        if step in self._broken:
            error = self._broken[step]
            raise NotReached(step, getattr(error, "sentence", "") or str(error))
        began = time.monotonic()
        self._inner.append(0.0)
        reached = True
        try:
            with progress.phase(f"{self._name}: {step}") as shown:
                try:
                    made = self._made[step] = self._tried(step, make)
                except NotReached:
                    reached, shown.quiet = False, True
                    raise
            return made
        except ImagecheckError as error:
            if reached and error not in self._broken.values():
                self._broken[step] = error
                self.seconds[step] = time.monotonic() - began - self._inner[-1]  # without saving the evidence
                self._broke(step, error)
            raise
        finally:
            took, inner = time.monotonic() - began, self._inner.pop()
            if reached:
                self.seconds.setdefault(step, took - inner)
            if self._inner:
                self._inner[-1] += took

    def _tried(self, step: str, make: Callable[[], T]) -> T:  # noqa: ARG002 - for those who try some steps twice
        return make()

    def _broke(self, step: str, error: ImagecheckError) -> None:
        """``step`` has broken just now."""
