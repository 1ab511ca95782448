"""The only place that sleeps or retries: every wait has a reason, a deadline and what it saw last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tenacity import RetryCallState, Retrying

from imagecheck import progress
from imagecheck.errors import StepFailed
from imagecheck.redact import redact

T = TypeVar("T")
_left: ContextVar[Callable[[], float] | None] = ContextVar("left", default=None)


@dataclass(frozen=True)
class Ready(Generic[T]):
    """The probe found what was waited for."""

    value: T


@dataclass(frozen=True)
class NotYet:
    """The probe saw something else; ``seen`` says what, for the status line and for the time-out."""

    seen: str


@dataclass(frozen=True)
class Seen(Generic[T]):
    """The answer and when it became true: after ``last_no``, by ``first_yes`` (seconds since the epoch, harness)."""

    value: T
    last_no: float
    first_yes: float


class TimedOut(StepFailed):
    """The deadline passed: the sentence names the reason, the seconds waited and what was seen last."""


class Guard(Protocol):
    """What looks on while something is waited for (imagecheck/watchdog.py is the one there is)."""

    def look(self, step: str) -> None:
        """Called before each probe; raises StepFailed of ``step`` to end the wait."""

    def ended(self, error: StepFailed) -> StepFailed:
        """What to raise in place of a fault or time-out that ends the wait: it may know why."""


def until(
    probe: Callable[[], Ready[T] | NotYet],
    *,
    reason: str,
    deadline: float,
    interval: float,
    transient: tuple[type[BaseException], ...] = (),
    step: str = "",
    since: float | None = None,
    remedy: str = "",
    guard: Guard | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Seen[T]:
    """Ask ``probe`` every ``interval`` seconds until it is Ready; TimedOut after ``deadline`` seconds.

    The probe is always asked once more at the deadline. It may raise StepFailed to end the wait at once (a fault
    is evidence, not patience); exceptions of the types in ``transient`` count as NotYet, all others pass through.
    ``guard`` looks on, may end the wait, and says why it ended.
    When the first answer is yes already, ``last_no`` is ``since`` (epoch seconds; the request's time, say) or
    else the start of the wait. ``monotonic``, ``wall`` and ``sleep`` are for tests.
    """
    began = monotonic()
    epoch = wall() - began  # one reading: a clock that is set meanwhile cannot make the interval negative
    last_no = since if since is not None else epoch + began
    asked = began
    seen = "nothing yet"

    def ask() -> Ready[T] | NotYet:
        nonlocal asked, last_no, seen
        asked = monotonic()
        try:
            if guard:
                guard.look(step)
            answer = probe()
        except StepFailed:
            raise
        except transient as error:
            answer = NotYet(str(error) or type(error).__name__)
        if isinstance(answer, NotYet):
            last_no = epoch + asked  # the state was looked at after this moment
            seen = redact(answer.seen)
            waiting.update(seen)
        return answer

    def timed_out() -> TimedOut:
        waited = monotonic() - began
        return TimedOut(step, f"waited {waited:.0f} s for {reason}; seen last: {seen}", remedy=remedy)

    def again(state: RetryCallState) -> bool:
        return state.outcome is not None and not state.outcome.failed and isinstance(state.outcome.result(), NotYet)

    def too_late(_: RetryCallState) -> bool:
        # Less than a millisecond is no time left: a rest that short may not move a float clock at all.
        return deadline - (monotonic() - began) < 0.001

    def rest(_: RetryCallState) -> float:
        now = monotonic()
        # A steady beat from question to question, but never a probe without a rest.
        left = max(interval - (now - asked), interval / 10)
        return max(0.0, min(left, deadline - (now - began)))

    def give_up(_: RetryCallState) -> Ready[T] | NotYet:
        raise timed_out()

    outer = _left.get()
    mine = _left.set(lambda: min(deadline - (monotonic() - began), outer() if outer else deadline))
    # quiet: the step that waits has its own line.
    try:
        with progress.phase(reason, quiet=True) as waiting:
            answer = Retrying(
                retry=again, stop=too_late, wait=rest, sleep=sleep, retry_error_callback=give_up, reraise=True
            )(ask)
            first_yes = epoch + monotonic()
            if isinstance(answer, NotYet):
                raise timed_out()
    except StepFailed as error:
        if guard is None or (told := guard.ended(error)) is error:
            raise
        raise told from error
    finally:
        _left.reset(mine)
    return Seen(answer.value, min(last_no, first_yes), first_yes)


def beside(slow: Callable[[], T], guard: Guard | None, *, step: str, every: float = 1.0) -> T:
    """What ``slow`` gives, while ``guard`` looks on every ``every`` seconds: a question that hangs blinds nobody.

    What the guard raises ends the wait at once; the question is left to its own time-out then.
    """
    if guard is None:
        return slow()
    future: Future[T] = Future()
    context = copy_context()

    def ask() -> None:
        try:
            future.set_result(context.run(slow))
        except BaseException as error:  # noqa: BLE001 it is raised where the answer is waited for
            future.set_exception(error)

    threading.Thread(target=ask, name=f"imagecheck-{step}", daemon=True).start()
    while True:
        try:
            return future.result(timeout=every)
        except TimeoutError:
            if future.done():
                raise  # the question's own
            guard.look(step)


def left() -> float | None:
    """Seconds until the wait under way gives up (also below 0); None outside of any."""
    ends = _left.get()
    return None if ends is None else ends()


def pause(seconds: float, *, reason: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """Rest for ``seconds``, visibly: for the few cases where there is nothing to ask."""
    with progress.phase(reason, quiet=True):
        sleep(seconds)
