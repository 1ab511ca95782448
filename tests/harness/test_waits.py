"""waits.py: a wait has an end, says what it saw, and knows when the answer changed."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import waits
from imagecheck.errors import StepFailed
from imagecheck.waits import NotYet, Ready, TimedOut, until


class Clock:
    """A clock that moves only when someone sleeps, or when a probe takes its time."""

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        self.now = 50.0
        self.epoch = epoch
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.epoch + self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def wait(clock, probe, **kwargs):
    given_ = {"reason": "the agent", "deadline": 60.0, "interval": 2.0, **kwargs}
    return until(probe, monotonic=clock.monotonic, wall=clock.wall, sleep=clock.sleep, **given_)


def answers(*items):
    left = list(items)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_the_answer_lies_between_the_last_no_and_the_first_yes():
    clock = Clock()
    seen = wait(clock, answers(NotYet("0"), NotYet("1"), Ready("here")))
    assert seen.value == "here"
    assert seen.last_no == clock.epoch + 52
    assert seen.first_yes == clock.epoch + 54


def test_the_last_no_is_when_the_probe_began_and_the_first_yes_when_it_ended():
    clock = Clock()

    def slow():
        clock.now += 1.0
        return Ready(1) if clock.now > 52 else NotYet("0")

    seen = wait(clock, slow)
    assert seen.last_no == clock.epoch + 50
    assert seen.first_yes == clock.epoch + 53


def test_an_immediate_yes_goes_back_to_the_request():
    clock = Clock()
    assert wait(clock, lambda: Ready(1)).last_no == clock.epoch + 50
    assert wait(clock, lambda: Ready(1), since=clock.epoch + 20).last_no == clock.epoch + 20
    assert clock.slept == []


def test_a_clock_set_back_during_the_wait_does_not_turn_the_interval_around():
    clock = Clock()

    def probe():
        clock.epoch -= 3600
        return Ready(1) if clock.slept else NotYet("0")

    seen = wait(clock, probe)
    assert 0 <= seen.first_yes - seen.last_no <= 3


def test_a_time_out_names_reason_deadline_and_what_was_seen_last():
    clock = Clock()
    with pytest.raises(TimedOut) as caught:
        wait(clock, answers(NotYet("BUILD"), NotYet("still BUILD")), deadline=300, step="boot", remedy="look at Nova")
    assert caught.value.sentence == "waited 300 s for the agent; seen last: still BUILD"
    assert (caught.value.step, caught.value.remedy) == ("boot", "look at Nova")


def test_a_fault_ends_the_wait_at_once():
    clock = Clock()

    def probe():
        raise StepFailed("boot", "No valid host was found")

    with pytest.raises(StepFailed, match="No valid host"):
        wait(clock, probe, transient=(Exception,))
    assert clock.slept == []


def test_transient_errors_are_waited_out_and_others_are_not():
    clock = Clock()
    with pytest.raises(TimedOut, match="seen last: connection refused"):
        wait(clock, lambda: (_ for _ in ()).throw(ConnectionError("connection refused")), transient=(OSError,))
    with pytest.raises(KeyError):
        wait(clock, lambda: {}["x"], transient=(OSError,))


def test_ctrl_c_is_never_taken_for_a_transient_error():
    clock = Clock()
    with pytest.raises(KeyboardInterrupt):
        wait(clock, lambda: (_ for _ in ()).throw(KeyboardInterrupt()), transient=(Exception,))


def test_what_was_seen_is_redacted():
    clock = Clock()
    with pytest.raises(TimedOut) as caught:
        wait(clock, lambda: NotYet("rabbit://trove:hunter22@10.0.0.1 refused"), deadline=1)
    assert "hunter22" not in str(caught.value)


@given(
    deadline=st.floats(0, 100),
    interval=st.floats(0.5, 100),
    cost=st.floats(0, 50),
)
def test_a_wait_never_outlives_its_deadline_by_more_than_one_probe(deadline, interval, cost):
    clock = Clock()
    asked = []

    def probe():
        asked.append(clock.now)
        clock.now += cost
        return NotYet("no")

    with pytest.raises(TimedOut):
        wait(clock, probe, deadline=deadline, interval=interval)
    assert clock.now - 50 <= deadline + cost + 1e-6
    # Less than a millisecond before it counts as no time left (waits.until, too_late).
    assert asked[-1] - 50 >= deadline - max(cost, interval) - 1.1e-3, "the state near the deadline was looked at"
    assert all(seconds >= 0 for seconds in clock.slept)


class Watching:
    """A guard that ends the wait at its ``at``-th look, and knows why any wait ended."""

    def __init__(self, at=0):
        self.looks, self.at, self.steps = 0, at, set()

    def look(self, step):
        self.looks += 1
        self.steps.add(step)
        if self.looks == self.at:
            raise StepFailed(step, "the kernel panicked")

    def ended(self, error):
        return StepFailed(error.step, f"why: {error.sentence}") if "no valid host" in error.sentence else error


def test_a_guard_looks_before_each_question_and_may_end_the_wait():
    clock, guard, asked = Clock(), Watching(at=3), []

    def probe():
        asked.append(clock.now)
        return NotYet("no")

    with pytest.raises(StepFailed, match="guest: the kernel panicked"):
        wait(clock, probe, guard=guard, step="guest")
    assert len(asked) == 2
    assert guard.steps == {"guest"}


def test_a_guard_says_why_a_fault_or_a_time_out_ended_the_wait():
    def fault():
        raise StepFailed("Nova server", "no valid host")

    with pytest.raises(StepFailed, match=": why: no valid host"):
        wait(Clock(), fault, guard=Watching())
    guard = Watching()
    guard.ended = lambda error: StepFailed(error.step, "why: it never came")
    with pytest.raises(StepFailed, match="why: it never came"):
        wait(Clock(), answers(NotYet("no")), guard=guard)


def test_without_a_guard_a_fault_stays_as_it_is():
    broken = StepFailed("a", "b")

    def fault():
        raise broken

    with pytest.raises(StepFailed) as told:
        wait(Clock(), fault)
    assert told.value is broken


# ---- a question that hangs


class Impatient:
    """A guard that knows the cause after some looks."""

    def __init__(self, after):
        self.after, self.looks = after, 0

    def look(self, step):
        self.looks += 1
        if self.looks > self.after:
            raise StepFailed(step, "the guest switched itself off")

    def ended(self, error):
        return error


def test_a_question_that_hangs_does_not_blind_the_guard():
    over = threading.Event()
    guard = Impatient(2)
    try:
        with pytest.raises(StepFailed, match="switched itself off"):
            waits.beside(lambda: over.wait(30), guard, step="guest", every=0.01)
    finally:
        over.set()
    assert guard.looks == 3


@pytest.mark.parametrize("guard", [None, Impatient(0)])
def test_a_quick_question_is_answered_and_its_errors_are_its_own(guard):
    assert waits.beside(lambda: "yes", guard, step="guest") == "yes"
    for error in (TimeoutError("its own"), ValueError("no")):
        with pytest.raises(type(error), match=str(error)):
            waits.beside(lambda error=error: (_ for _ in ()).throw(error), guard, step="guest")


def test_a_question_beside_knows_when_its_wait_gives_up():
    def probe():
        return waits.Ready(waits.beside(waits.left, Impatient(100), step="guest"))

    assert 0 < waits.until(probe, reason="it", deadline=5, interval=1).value <= 5
