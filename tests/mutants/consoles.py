"""When a line first stood on a guest's console: the sandbox's own files are read five times a second, beside the run.

The harness under test asks Nova every few seconds; what it needs from the first sign to its verdict is measured
against this. Elsewhere than on the sandbox nothing is seen.
"""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from types import TracebackType

from imagecheck import paths
from imagecheck.causes.scan import Lines

EVERY = 0.2  # seconds
_INSTANCES = "var/lib/nova/instances"


class Consoles:
    """Reads while it is entered; consoles that were there before are left out."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home or paths.home()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._lines: list[tuple[float, str]] = []
        self._read_to: dict[Path, int] = {}
        self._cut: dict[Path, Lines] = {}
        self.power_on: float | None = None  # epoch seconds: the hypervisor made the console's file

    def __enter__(self) -> Consoles:
        for file in self._files():
            self._read_to[file] = -1
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def first(self, pattern: str) -> float | None:
        """Epoch seconds when a line with ``pattern`` was first seen; None: never."""
        return next((at for at, line in self._lines if re.search(pattern, line)), None)

    def _files(self) -> list[Path]:
        """The consoles of all servers, seen through the sandbox's first process: its root is nobody else's."""
        found: list[Path] = []
        for told in self._home.glob("sandbox/*/running.json"):
            try:
                leader = json.loads(told.read_text())["leader"][0]
                found += Path(f"/proc/{leader}/root", _INSTANCES).glob("*/console.log")
            except (OSError, ValueError, KeyError):
                continue  # it goes down, or comes up
        return found

    def _read(self) -> None:
        while not self._end.wait(EVERY):
            for file in self._files():
                self._more(file)

    def _more(self, file: Path) -> None:
        at = self._read_to.get(file, 0)
        if at < 0:
            return
        try:
            self.power_on = self.power_on or file.stat().st_ctime
            with file.open("rb") as stream:
                stream.seek(at)
                new = stream.read()
        except OSError:
            return  # its server is gone
        now = time.time()
        self._read_to[file] = at + len(new)
        cut = self._cut.setdefault(file, Lines())
        whole = cut.feed(new)
        self._lines += [(now, line.text) for line in whole]
        if new and (rest := cut.partial.text):
            self._lines.append((now, rest))
