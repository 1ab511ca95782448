"""Causes that lie on the host where imagecheck itself runs. Data only."""

from __future__ import annotations

from imagecheck.causes.row import Row

ROWS = (
    Row("host-full", "boot", "harness", 90, "this host has no room: {what}", "make room there, or set IMAGECHECK_HOME, "
        "TMPDIR or --report to a folder with room", "write(2), ENOSPC and EDQUOT", ("trove",), ("cannot be written (",),
        r"cannot be written \((?P<what>No space left on device|Disk quota exceeded)\)", confidence="certain",
        proven=True),
)  # fmt: skip
