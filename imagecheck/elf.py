"""What a program needs to be loaded, read from its file (elf(5)): its loader and the libraries it names."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from imagecheck.tree import content

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3  # p_type
_LARGEST = 256 << 20  # bytes of a program; mariadbd, the largest that is looked at, has 30 MB
_NAME = 4096  # bytes of a name; no path is longer
_TAGS = 4096  # entries of the dynamic section that are read
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29  # d_tag


@dataclass(frozen=True)
class Needs:
    """``libraries`` are names as the loader looks for them, ``folders`` those of RPATH and RUNPATH."""

    interpreter: str = ""
    libraries: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def needs(file: Path) -> Needs:
    """What ``file`` asks the loader for; nothing where it is no whole 64-bit little-endian ELF file."""
    data = content(file, _LARGEST)
    if data[:6] != b"\x7fELF\x02\x01":
        return Needs()
    try:
        return _needs(data)
    except (struct.error, ValueError, OverflowError):
        return Needs()


def _needs(data: bytes) -> Needs:
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    parts = []
    for number in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, table + number * size)
        parts.append((kind, offset, address, length))

    def text(at: int) -> str:
        return data[at : data.index(b"\0", at, at + _NAME)].decode("utf-8", "replace")

    interpreter = next((text(offset) for kind, offset, _, _ in parts if kind == _INTERPRETER), "")
    # There is one dynamic section; a file may claim thousands.
    begin, length = next(((offset, length) for kind, offset, _, length in parts if kind == _DYNAMIC), (0, 0))
    tags = [struct.unpack_from("<QQ", data, at) for at in range(begin, begin + min(length, 16 * _TAGS), 16)]
    strings = next((value for tag, value in tags if tag == _STRINGS), 0)
    start = next(
        (offset + strings - at for kind, offset, at, length in parts if kind == _LOAD and at <= strings < at + length),
        len(data),
    )
    folders = ":".join(text(start + value) for tag, value in tags if tag in (_RPATH, _RUNPATH))
    return Needs(
        interpreter,
        tuple(text(start + value) for tag, value in tags if tag == _NEEDED),
        tuple(folder for folder in folders.split(":") if folder),
    )
