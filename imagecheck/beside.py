"""The stream that progress is written to while pytest runs; it is handed pytest's plugins and imports nothing of it."""

from __future__ import annotations

import os
from typing import Any


class Beside:
    """The real standard error, past pytest's capture; begins a new line when pytest has left one half written."""

    def __init__(self, plugins: Any) -> None:
        self._plugins = plugins
        self._stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self.encoding = "utf-8"

    def write(self, text: str) -> int:
        reporter, capture = (self._plugins.get_plugin(name) for name in ("terminalreporter", "capturemanager"))
        if reporter and capture and reporter.currentfspath:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.flush()
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
