"""Long work says its phase, the time so far and what it waits for.

On a terminal one status line is rewritten in place, once a second; elsewhere (CI) plain lines are written, and
at most one every 15 s while a phase goes on. A finished phase leaves one line with its seconds.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from imagecheck.redact import clean

TERMINAL_EVERY = 1.0  # seconds
PLAIN_EVERY = 15.0  # seconds
INDENT = "  "


class Phase:
    """One piece of work under way; ``update`` says what it is doing or waiting for right now."""

    def __init__(self, title: str, console: Console, *, quiet: bool) -> None:
        self.title = title
        self.quiet = quiet
        self.text = ""
        self.announced = False  # plain lines only: the opening line is written when something follows it
        self._console = console
        self.started = self.last_line = console.clock()

    @property
    def seconds(self) -> float:
        """Seconds since the phase began."""
        return self._console.clock() - self.started

    def update(self, text: str) -> None:
        """Say what is happening now; cheap, may be called for every line of a command's output."""
        self.text = text
        self._console.refresh()


class Console:
    """The state behind the module's functions: a stream and the phases under way, outermost first."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self.clock = clock
        self._lock = threading.RLock()
        self._phases: list[Phase] = []
        self._ticker: threading.Thread | None = None
        self._wake = threading.Event()
        self._shown = ""
        self._drawn = 0.0

    # sys.stderr is looked up at each use: pytest and others replace it.
    @property
    def stream(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stderr

    def swap(self, stream: TextIO | None) -> TextIO | None:
        with self._lock:
            self._erase()
            before, self._stream = self._stream, stream
            return before

    def _terminal(self) -> bool:
        try:
            return self.stream.isatty() and os.environ.get("TERM", "") != "dumb" and "CI" not in os.environ
        except ValueError:  # a closed stream
            return False

    def _write(self, text: str) -> None:
        try:
            encoding = getattr(self.stream, "encoding", None) or "utf-8"
            self.stream.write(text.encode(encoding, "replace").decode(encoding))
            self.stream.flush()
        except (OSError, ValueError):
            pass  # progress must never be the reason why a run fails

    def dots(self) -> str:
        """An ellipsis that the stream can show."""
        try:
            "…".encode(getattr(self.stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return "..."
        return "…"

    # ---- lines that stay

    def note(self, line: str) -> None:
        with self._lock:
            self._announce(self._phases)
            self._line(INDENT * sum(not phase.quiet for phase in self._phases) + line)

    def _line(self, line: str) -> None:
        self._erase()
        self._write(clean(line).rstrip() + "\n")
        self._draw()

    def _announce(self, phases: list[Phase]) -> None:
        """Write the opening lines that are still owed, so that what follows stands below its phase."""
        for depth, phase in enumerate(p for p in phases if not p.quiet):
            if not phase.announced:
                phase.announced = True
                self._line(f"{INDENT * depth}{phase.title} {self.dots()}")

    # ---- phases

    def begin(self, title: str, quiet: bool) -> Phase:
        phase = Phase(title, self, quiet=quiet)
        with self._lock:
            self._phases.append(phase)
            self._draw()
            if self._ticker is None:
                self._wake.clear()
                self._ticker = threading.Thread(target=self._tick, name="imagecheck-progress", daemon=True)
                self._ticker.start()
        return phase

    def end(self, phase: Phase, failed: bool) -> None:
        with self._lock:
            outer = self._phases[: self._phases.index(phase)]
            self._phases.remove(phase)
            if not self._phases:
                self._ticker = None
                self._wake.set()
            if phase.quiet:
                self._erase()
                self._draw()
                return
            self._announce(outer)
            depth = sum(not p.quiet for p in outer)
            outcome = f"failed after {phase.seconds:.1f} s" if failed else f"{phase.seconds:.1f} s"
            self._line(f"{INDENT * depth}{phase.title} {self.dots()} {outcome}")
            for p in outer:
                p.last_line = self.clock()

    def refresh(self) -> None:
        """Show the present state if it is time to."""
        with self._lock:
            if not self._phases:
                return
            now = self.clock()
            if self._terminal():
                if now - self._drawn >= TERMINAL_EVERY / 4:
                    self._draw()
                return
            phase = self._phases[-1]
            latest = max(p.last_line for p in self._phases)
            if now - latest >= PLAIN_EVERY:
                self._announce(self._phases)
                depth = sum(not p.quiet for p in self._phases)
                self._line(f"{INDENT * depth}{self.dots()} {self._status([phase])}")
                phase.last_line = now

    def _tick(self) -> None:
        mine = threading.current_thread()
        while not self._wake.wait(TERMINAL_EVERY) and self._ticker is mine:
            self.refresh()

    # ---- the status line of a terminal

    def _status(self, phases: list[Phase]) -> str:
        titles = " > ".join(phase.title for phase in phases)
        text = phases[-1].text
        return f"{titles}  {phases[-1].seconds:.0f} s" + (f"  {text}" if text else "")

    def _draw(self) -> None:
        if not self._phases or not self._terminal():
            return
        width = max(20, shutil.get_terminal_size().columns - 1)
        line = " ".join(clean(self._status(self._phases)).split())
        if len(line) > width:
            line = line[: width - len(self.dots())] + self.dots()
        self._write("\r" + line + " " * max(0, len(self._shown) - len(line)))
        self._shown = line
        self._drawn = self.clock()

    def _erase(self) -> None:
        if self._shown:
            self._write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""


class _Told(Phase):
    """A phase of a thread that works beside others: it has no lines of its own, ``tell`` gets what it is doing."""

    def __init__(self, title: str, tell: Callable[[str], None]) -> None:
        super().__init__(title, _console, quiet=True)
        self._tell = tell

    def update(self, text: str) -> None:
        """Tell it on."""
        self.text = text
        self._tell(text)


_console = Console()
_aside = threading.local()


@contextmanager
def aside(tell: Callable[[str], None]) -> Iterator[None]:
    """Phases of this thread make no lines: ``tell`` gets their titles and texts. For work that runs several at once,
    whose phases are not each other's parts."""
    _aside.tell = tell
    try:
        yield
    finally:
        _aside.tell = None


@contextmanager
def phase(title: str, *, quiet: bool = False) -> Iterator[Phase]:
    """Show ``title`` and the time so far while the body runs; a line with its seconds stays.

    A ``quiet`` phase (a wait inside a named step) leaves no line of its own.
    """
    if tell := getattr(_aside, "tell", None):
        tell(title)
        yield _Told(title, tell)
        return
    under_way = _console.begin(title, quiet)
    failed = True
    try:
        yield under_way
        failed = False
    finally:
        _console.end(under_way, failed)


def note(line: str) -> None:
    """One line that stays, redacted, below the phase under way."""
    _console.note(line)


@contextmanager
def to(stream: TextIO) -> Iterator[None]:
    """Send progress to ``stream`` for a while (the plugin leads it past pytest's capture)."""
    before = _console.swap(stream)
    try:
        yield
    finally:
        _console.swap(before)
