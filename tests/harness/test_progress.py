"""progress.py: one line in place on a terminal, few plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from imagecheck import progress
from imagecheck.progress import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_finished_phase_leaves_one_line_with_its_seconds(clock):
    stream = io.StringIO()
    console = Console(stream, clock)
    phase = console.begin("build mariadb-debian", quiet=False)
    clock.now += 12.34
    console.end(phase, failed=False)
    assert lines(stream) == ["build mariadb-debian … 12.3 s"]


def test_a_failed_phase_says_so(clock):
    stream = io.StringIO()
    console = Console(stream, clock)
    console.end(console.begin("boot", quiet=False), failed=True)
    assert lines(stream) == ["boot … failed after 0.0 s"]


def test_nested_phases_stand_below_their_own_title(clock):
    stream = io.StringIO()
    console = Console(stream, clock)
    outer = console.begin("launch", quiet=False)
    console.end(console.begin("upload", quiet=False), failed=False)
    inner = console.begin("boot", quiet=False)
    console.note("server 5f0c is ACTIVE")
    console.end(inner, failed=False)
    console.end(outer, failed=False)
    assert lines(stream) == [
        "launch …",
        "  upload … 0.0 s",
        "  boot …",
        "    server 5f0c is ACTIVE",
        "  boot … 0.0 s",
        "launch … 0.0 s",
    ]


def test_a_quiet_wait_leaves_no_line_of_its_own(clock):
    stream = io.StringIO()
    console = Console(stream, clock)
    outer = console.begin("boot", quiet=False)
    console.end(console.begin("the agent", quiet=True), failed=False)
    console.end(outer, failed=False)
    assert lines(stream) == ["boot … 0.0 s"]


def test_without_a_terminal_a_long_phase_speaks_every_15_seconds_at_most(clock):
    stream = io.StringIO()
    console = Console(stream, clock)
    phase = console.begin("boot", quiet=False)
    for second in range(1, 61):
        clock.now += 1
        phase.update(f"try {second}")
    spoken = [line for line in lines(stream) if "try" in line]
    assert spoken == [
        "  … boot  15 s  try 15",
        "  … boot  30 s  try 30",
        "  … boot  45 s  try 45",
        "  … boot  60 s  try 60",
    ]
    console.end(phase, failed=False)


def test_a_terminal_sees_one_line_rewritten_in_place(clock, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    console = Console(stream, clock)
    phase = console.begin("boot", quiet=False)
    for _ in range(5):
        clock.now += 1
        phase.update("waiting for the agent " * 9)
    assert "\n" not in stream.getvalue()
    assert all(len(part) <= 40 for part in stream.getvalue().split("\r"))
    console.end(phase, failed=False)
    assert stream.getvalue().endswith("\rboot … 5.0 s\n")


def test_an_update_for_every_line_of_output_is_not_drawn_every_time(clock, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    console = Console(stream, clock)
    phase = console.begin("build", quiet=False)
    for number in range(1000):
        phase.update(str(number))
    console.end(phase, failed=False)
    assert stream.getvalue().count("\r") < 5


def test_secrets_do_not_pass_through_progress(clock):
    stream = io.StringIO()
    console = Console(stream, clock)
    phase = console.begin("connect rabbit://trove:hunter22@h/", quiet=False)
    clock.now += 16
    phase.update("password=hunter22")
    console.note("X-Auth-Token: hunter22")
    console.end(phase, failed=False)
    assert "hunter22" not in stream.getvalue()


def test_a_stream_without_unicode_gets_ascii(clock):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(stream, clock)
    console.note("agent → broker")
    console.end(console.begin("boot", quiet=False), failed=False)
    assert raw.getvalue() == b"agent ? broker\nboot ... 0.0 s\n"


def test_a_closed_stream_does_not_break_the_run(clock):
    stream = io.StringIO()
    stream.close()
    console = Console(stream, clock)
    console.end(console.begin("boot", quiet=False), failed=False)


def test_progress_can_be_led_elsewhere_and_back():
    first, second = io.StringIO(), io.StringIO()
    with progress.to(first):
        with progress.to(second), progress.phase("inner"):
            pass
        progress.note("outer")
    assert "inner" in second.getvalue()
    assert lines(first) == ["outer"]


def test_an_exception_passes_through_a_phase():
    stream = io.StringIO()
    with progress.to(stream), pytest.raises(ValueError, match="x"), progress.phase("boot"):
        raise ValueError("x")
    assert "failed after" in stream.getvalue()


def test_work_beside_others_makes_no_lines_of_its_own_and_tells_what_it_does():
    stream, told = io.StringIO(), []
    with progress.to(stream), progress.phase("the whole"):
        with progress.aside(told.append), progress.phase("one of many") as inner:
            inner.update("BUILD")
        with progress.phase("after it"):
            pass
    assert told == ["one of many", "BUILD"]
    assert "one of many" not in stream.getvalue()
    assert "after it" in stream.getvalue()
