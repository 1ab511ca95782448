"""A run as a child: in a process group of its own, on a terminal of its own, watched for its named moments.

On a terminal, because there a step is shown the moment that it begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from row import Moment

from imagecheck.build import cleanup

ROOT = Path(__file__).resolve().parents[2]
EVERY = 0.004  # seconds between two looks at ledger and output


class Child:
    """Begun at once. ``home`` is its IMAGECHECK_HOME, ``output`` the file that gets all that it shows."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], home: Path, output: Path, *, below: Path
    ) -> None:
        self.home, self.output, self._below = home, output, below
        self.text = ""
        self._terminal, theirs = pty.openpty()
        try:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(theirs)
        self.began = time.monotonic()

    @property
    def runs(self) -> list[str]:
        """The names of the runs that have a ledger in its home."""
        return sorted(file.stem for file in (self.home / "ledger").glob("*.jsonl"))

    def follow(self, moment: Moment, strike: Callable[[], None], patience: float) -> bool:
        """Until it has ended; ``strike`` is called at the moment. False: it was ended because it took too long."""
        self.seen: set[str] = set()
        reached, struck = (self.began if moment.source == "begin" else 0.0), moment.source == "begin"
        while self.process.poll() is None:
            self._read(EVERY)
            self.seen.update(self.runs)
            now = time.monotonic()
            if not reached and self._there(moment):
                reached = now
            if reached and not struck and now >= reached + moment.after:
                struck = True
                strike()
            if now - self.began > patience:
                self.kill(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(90)
                self.kill()
                self.close()
                return False
        self.close()
        self.struck = struck
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """The whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """Read what is left, and give the terminal back."""
        self.process.wait()
        self._read(0.05)
        os.close(self._terminal)
        self.output.write_text(self.text, encoding="utf-8")

    def _read(self, wait: float) -> None:
        while select.select([self._terminal], [], [], wait)[0]:
            wait = 0
            try:
                data = os.read(self._terminal, 1 << 16)
            except OSError:  # nobody has it open any more
                time.sleep(EVERY)
                return
            self.text += data.decode("utf-8", "replace")

    def _there(self, moment: Moment) -> bool:
        if moment.source == "ledger":
            return moment.what in events(self.home)
        if moment.source == "says":
            return bool(re.search(moment.what, self.text))
        if moment.source == "loop":
            return bool(cleanup.loops(self._below))
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        return any(re.search(moment.what or ".", line) for line in mounts.splitlines() if str(self._below) in line)


def events(home: Path) -> list[str]:
    """ "intend server", "made server", …: what the ledgers of ``home`` say, in their order."""
    told, kinds = [], {}
    for file in sorted((home / "ledger").glob("*.jsonl")):
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    record = json.loads(line)
                    word = next((one for one in ("intend", "made", "removed") if one in record), "")
                    if word == "intend":
                        kinds[file.stem, record["intend"]] = record["kind"]
                    if word:
                        told.append(f"{word} {kinds.get((file.stem, record[word]), '')}")
    return told
