"""Every way out of this process passes redact: log records, warnings, tracebacks, streams, the reports of tests."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO, TypeVar, cast

from imagecheck.redact import Filter, clean, redact

T = TypeVar("T")
_DEEPEST = 40  # levels of a structure that are looked into; a report has about ten
_filter = Filter()


class _Record(logging.LogRecord):
    """Redacted when it is made: whoever handles it (pytest's capture, a file, a library's own handler) gets no more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A library's wrong arguments are logging's to complain of, not ours to raise.
        with contextlib.suppress(TypeError, ValueError, KeyError):
            _filter.filter(self)


@contextmanager
def guarded() -> Iterator[None]:
    """While it is open, all that is logged, warned of, or ends a thread or the process is redacted."""
    made, worded = logging.getLogRecordFactory(), warnings.formatwarning
    hooks = sys.excepthook, threading.excepthook

    def warned(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return clean(worded(message, category, filename, lineno, line))

    def died(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(clean("".join(traceback.format_exception(kind, error, trace))))

    def thread_died(args: Any) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            died(args.exc_type, args.exc_value, args.exc_traceback)

    logging.setLogRecordFactory(_Record)
    warnings.formatwarning = warned
    sys.excepthook = died
    if threading.excepthook is threading.__excepthook__:  # pytest has its own, which makes a warning of it
        threading.excepthook = thread_died
    try:
        yield
    finally:
        logging.setLogRecordFactory(made)
        warnings.formatwarning = worded
        sys.excepthook, threading.excepthook = hooks


class _Stream:
    """A text stream that redacts what is written to it; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def streams() -> Iterator[None]:
    """While it is open, standard output and error redact what is printed (also documents for programs)."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast("TextIO", _Stream(out)), cast("TextIO", _Stream(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def everything(value: T, depth: int = _DEEPEST) -> T:
    """``value`` with all text in it cleaned (`redact.clean`): strings, lists, tuples, tables and the fields of
    dataclasses, which are changed in place (what pytest makes of a traceback is one of those)."""
    return cast("T", _cleaned(value, depth))


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if depth <= 0 or value is None or isinstance(value, int | float | bytes | type):
        return value
    if isinstance(value, list):
        value[:] = [_cleaned(one, depth - 1) for one in value]
    elif isinstance(value, tuple) and type(value) is tuple:
        return tuple(_cleaned(one, depth - 1) for one in value)
    elif isinstance(value, Mapping):
        return {_cleaned(key, depth - 1): _cleaned(one, depth - 1) for key, one in value.items()}
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            with contextlib.suppress(AttributeError):
                object.__setattr__(value, field.name, _cleaned(getattr(value, field.name), depth - 1))
    return value


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
