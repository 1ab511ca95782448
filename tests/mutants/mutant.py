"""What a mutant is: a good image broken on purpose by one edit, and who must reject it in which words. Data types only.

An ``edit`` gets what the ``kind`` says: the mounted root file system (tree), the whole disk as a raw file that can be
written (disk), or the overlay's qcow2 file and the good one (file).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """``check`` is the check's name, or the step of the road that breaks before any check; ``says`` must be in what it
    says; ``size`` is the overlay's where it is not the good image's."""

    name: str
    what: str
    edit: Callable[[Any], None]
    check: str
    says: str
    kind: str = "tree"
    stage: str = "disk"
    size: str = ""


@dataclass(frozen=True)
class BootMutant(Mutant):
    """One that the disk stage lets pass. ``check`` is the id of the cause that must be told (imagecheck/causes), or the
    check that must fail; ``shows`` finds the first line of console, journal or log that gives it away."""

    stage: str = "boot"
    shows: str = ""


GOOD = Mutant("good", "nothing: the image as it was built", lambda root: None, "", "")
