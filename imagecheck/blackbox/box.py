"""The folder of one node: pieces of evidence, each cleaned, bounded, private, and failing alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagecheck import waits
from imagecheck.errors import ImagecheckError
from imagecheck.redact import redact
from imagecheck.report.facts import Piece
from imagecheck.report.files import private, slug
from imagecheck.report.terminal import clean

READ = 16_000_000  # characters of a text, half of its begin and half of its end, that are looked at all the same
HEAD, TAIL = 300_000, 1_700_000  # characters that are kept of a text: how it began, and how it ended


@dataclass(frozen=True)
class Job:
    """A piece and how it is got: ``how`` may take long and may raise."""

    name: str
    what: str
    source: str
    how: Callable[[], str]


class Box:
    """Takes pieces in, from several threads. Raises nothing: what cannot be had or written is named with its reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pieces: dict[str, Piece] = {}
        self._lock = threading.Lock()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What there is, and what is missing, in the order in which it came."""
        return tuple(self._pieces.values())

    def put(self, name: str, what: str, source: str, text: str) -> None:
        """Save a text under ``name`` unless that is taken."""
        text, note = bounded(text)
        name = slug(name)
        with self._lock:
            if name in self._pieces:
                return
            try:
                size = private(self.path / name, text).stat().st_size
                self._pieces[name] = Piece(name, what, source, size, note)
            except (ImagecheckError, OSError) as error:
                self._pieces[name] = Piece(name, what, source, missing=_reason(error))

    def lack(self, name: str, what: str, source: str, reason: str) -> None:
        """Name a piece that cannot be had, unless there is one of that name."""
        with self._lock:
            self._pieces.setdefault(slug(name), Piece(slug(name), what, source, missing=_one_line(reason)))

    def read(self, job: Job) -> None:
        """Save what ``job`` gives, or say why it gives nothing."""
        try:
            text = job.how()
        except Exception as error:  # noqa: BLE001 - a black box that breaks would hide what it is there to show
            self.lack(job.name, job.what, job.source, _reason(error))
        else:
            self.put(job.name, job.what, job.source, text)

    def start(self, jobs: Sequence[Job]) -> list[tuple[Job, threading.Thread]]:
        """Begin all jobs at the same time; `wait` for them afterwards."""
        # Daemons: an API that does not answer must not keep the process from ending.
        begun = [(job, threading.Thread(target=self.read, args=(job,), daemon=True)) for job in jobs]
        for _, thread in begun:
            thread.start()
        return begun

    def wait(self, begun: Sequence[tuple[Job, threading.Thread]], *, seconds: float) -> None:
        """Wait for jobs under way; those that have not answered after ``seconds`` are named as missing."""

        def answered() -> waits.Ready[None] | waits.NotYet:
            late = [job.name for job, thread in begun if thread.is_alive()]
            return waits.NotYet(", ".join(late)) if late else waits.Ready(None)

        try:
            waits.until(answered, reason="the cloud's answers", deadline=seconds, interval=0.1)
        except waits.TimedOut:
            for job, _ in begun:  # what comes after this finds its name taken
                self.lack(job.name, job.what, job.source, "no answer in time")


def bounded(text: str) -> tuple[str, str]:
    """``text`` without secrets and control sequences, its middle left out where it is too long; and a note of that."""
    raw = len(text)
    if raw > 2 * READ:  # a console of gigabytes; whole lines, because a secret must not be cut in two
        text = text[:READ].rpartition("\n")[0] + "\n" + text[-READ:].partition("\n")[2]
    cut = raw - len(text)
    # Redacted as a whole, for the same reason.
    text = clean(text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(text) <= HEAD + TAIL and not cut:
        return text, ""
    head, tail = text[:HEAD].rpartition("\n")[0], text[-TAIL:].partition("\n")[2]
    note = f"{len(text) + cut - len(head) - len(tail):,} of {len(text) + cut:,} characters are left out in the middle"
    return f"{head}\n[imagecheck: {note}]\n{tail}", note


def _reason(error: BaseException) -> str:
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    shown = " ".join(clean(redact(text)).split())
    return shown if len(shown) <= 400 else shown[:399] + "…"
