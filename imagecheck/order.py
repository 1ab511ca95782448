"""Where a check stands on its image's road, by the fixtures that it asks for. Pure; knows no pytest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BARE: Final = frozenset({
    "server", "guest", "console", "config_drive", "agent", "boot_times", "network", "contents",
})  # fmt: skip
SERVICE: Final = frozenset({
    "version", "instance", "database", "launch", "instance_network", "reach", "stopped", "started", "restarted",
    "rebooted", "nova_rebooted", "deleted", "series",
})  # fmt: skip
# The bare boot is not what it was after the first of these, and the second wants its memory: the last of their stage. A
# series wants the whole hypervisor.
LAST: Final = ("", "contents", "carriers", "series")


def stage(fixtures: Iterable[str]) -> int:
    """Index in options.STAGES of a check that is not marked."""
    asked = set(fixtures)
    return 2 if asked & SERVICE else 1 if "walked" in asked else 0


def within(fixtures: Iterable[str]) -> int:
    """The order within a stage: 0 for what leaves the road as it finds it."""
    asked = set(fixtures)
    return max((number for number, name in enumerate(LAST) if name in asked), default=0)
