"""Where imagecheck keeps its own files on this machine, and where the shipped ones lie."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from imagecheck.errors import UsageError

VARIABLE = "IMAGECHECK_HOME"
Shipped = Literal["images", "elements", "suite"]

_PACKAGE = Path(__file__).resolve().parent
# In a checkout the suite is an ordinary test folder; a wheel carries all three as data.
_IN_CHECKOUT: dict[str, str] = {"images": "images", "elements": "elements", "suite": "tests/image"}

LARGEST = 1 << 20  # bytes of a definition, a site file, a key; they have a few thousand


def home() -> Path:
    """The folder for everything that may be made again: sandbox/, images/, ledger/.

    $IMAGECHECK_HOME, else $XDG_CACHE_HOME/imagecheck, else ~/.cache/imagecheck. Made when missing; raises
    UsageError where that cannot be.
    """
    named = os.environ.get(VARIABLE, "")
    if named:
        folder = Path(named).expanduser().absolute()
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache").absolute() / "imagecheck"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made ({error.strerror}): set {VARIABLE} to a folder that you may write"
        ) from error
    return folder


def shipped(name: Shipped) -> Path:
    """The folder of imagecheck's own definitions, elements or checks; raises UsageError when it is missing."""
    in_wheel = _PACKAGE / "_shipped" / name
    if in_wheel.is_dir():
        return in_wheel
    in_checkout = _PACKAGE.parent / _IN_CHECKOUT[name]
    if in_checkout.is_dir():
        return in_checkout
    raise UsageError(f"{in_checkout} is missing from this installation: install imagecheck again")


def small(file: Path) -> str:
    """The text (UTF-8) of a file that a person wrote: never waits for a FIFO, never reads a device for ever.

    Raises OSError, also for what is no file or has more than a megabyte, and UnicodeDecodeError.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"it has more than {LARGEST >> 20} MiB")
    return data.decode("utf-8")
