"""Canaries: values that stand for secrets, and a search that finds them in any form that a leak might take.

Written apart from imagecheck/redact.py, on purpose: it must not share that module's mistakes.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
import threading
import urllib.parse
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PLAIN = re.compile(rb"\s|\\n|\\r")
_CODED = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
EVERY = 0.2  # seconds between two looks at the process list


def forms(word: str) -> Iterator[tuple[str, bytes]]:
    """(encoding, bytes) of everything that ``word`` may look like in a file."""
    raw = word.encode()
    yield "raw", raw
    yield "url", urllib.parse.quote(word, safe="").encode()
    yield "url+", urllib.parse.quote_plus(word).encode()
    yield "json", json.dumps(word)[1:-1].encode()
    yield "html", html.escape(word).encode()
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    yield "reversed", raw[::-1]
    for shift in range(3):
        # What is in front is not known: only the letters that this word alone decides.
        coded = base64.b64encode(b"\0" * shift + raw)
        first = -(-shift * 4 // 3) if shift else 0
        last = (shift + len(raw)) * 8 // 6
        yield f"base64+{shift}", coded[first:last]
        yield f"base64url+{shift}", coded[first:last].translate(bytes.maketrans(b"+/", b"-_"))


def found(data: bytes, words: Mapping[str, str], depth: int = 3) -> set[str]:
    """ "NAME as ENCODING" for every canary in ``data``: as it stands, with line ends taken out, inside of base64 and of
    what is compressed in there."""
    seen = set()
    for where, text in (("", data), ("wrapped ", _PLAIN.sub(b"", data))):
        for name, word in words.items():
            seen |= {f"{name} as {where}{encoding}" for encoding, form in forms(word) if form in text}
        if depth:
            for match in _CODED.finditer(text):
                for begin in range(4):
                    piece = match[0][begin:].translate(bytes.maketrans(b"-_", b"+/"))
                    piece = piece[: len(piece) // 4 * 4]
                    inside = base64.b64decode(piece)
                    if inside[:2] == b"\x1f\x8b":
                        with contextlib.suppress(zlib.error):
                            inside = zlib.decompressobj(31).decompress(inside, 1 << 24)
                    if b"canary" in inside or _CODED.search(inside):
                        seen |= {f"{one} within base64" for one in found(inside, words, depth - 1)}
    return seen


def scan(folder: Path, words: Mapping[str, str]) -> dict[str, set[str]]:
    """File -> canaries in it, or in its name, for all files below ``folder``."""
    bad = {}
    for file in sorted(folder.rglob("*")):
        data = file.read_bytes() if file.is_file() and not file.is_symlink() else b""
        if here := found(data, words) | found(file.name.encode("utf-8", "replace"), words):
            bad[str(file)] = here
    return bad


def open_files(folder: Path) -> list[str]:
    """Files and folders below ``folder`` that others than their owner may read."""
    return [str(file) for file in sorted(folder.rglob("*")) if not file.is_symlink() and file.stat().st_mode & 0o077]


@dataclass
class Processes:
    """What was seen on command lines while `watched` was open."""

    seen: set[str] = field(default_factory=set)
    looks: int = 0
    lines: set[bytes] = field(default_factory=set)  # that were searched: most are there at every look

    def look(self, words: Mapping[str, str]) -> None:
        """One look at all processes of this host."""
        self.looks += 1
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (place / "cmdline").read_bytes()
                if line in self.lines:
                    continue
                self.lines.add(line)
                self.seen |= {f"{one}: {line[:40]!r}" for one in found(line, words)}


@contextmanager
def watched(words: Mapping[str, str]) -> Iterator[Processes]:
    """Look at the process list again and again in the background."""
    told, end = Processes(), threading.Event()

    def watch() -> None:
        while not end.wait(EVERY):
            told.look(words)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        end.set()
        thread.join()
