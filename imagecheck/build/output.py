"""diskimage-builder's output, line by line: which phase and hook runs, how long each took, what failed. Pure."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence

# Phase (as in its folder's name) -> what it does, in the order of doc/source/developer/developing_elements.rst.
PHASES = {
    "root": "base system",
    "extra-data": "payloads from outside",
    "pre-install": "prepare packages",
    "install": "install",
    "post-install": "after the installation",
    "post-root": "after the root file system",
    "block-device": "disk, file system, copy",
    "pre-finalise": "before the last touches",
    "finalise": "last touches, boot loader",
    "cleanup": "clean up",
    "convert": "write the image",
}

_HOOK = re.compile(r"^dib-run-parts Running \S*/([a-z-]+)\.d/(\S+)$")
_DONE = re.compile(r"^dib-run-parts (\S+) completed$")
_PROFILE = re.compile(r"^dib-run-parts (-+ ?(END )?PROFILING|Target:|Script +Seconds|\S+ +[0-9.]+$|-+$|$)")
# Steps that are no hook, known by the line disk-image-create prints before them (lib/disk-image-create).
_STEPS = (
    (re.compile(r"^Calculating image size"), "block-device"),
    (re.compile(r"^Converting image using qemu-img convert"), "convert"),
)
# Lines of a failed build that say nothing about why: DIB's own cleaning up and tracing, and what apt got and unpacked.
_NOISE = re.compile(
    r"^(> )?(Unmount /|\+|INFO diskimage_builder|\[-\]|dib-run-parts (Sourcing|Running)|\s*$"
    r"|(Get|Hit|Ign):\d+ |Reading (package|state)|Building dependency|\(Reading database|Selecting previously"
    r"|Preparing to unpack|Unpacking |Processing triggers|INFO __main__ \[-\])|already cleaned"
)
TAIL = 8  # lines of a failed hook's output that are shown


class Progress:
    """Feed every line to ``line``; read ``phases`` and ``hooks`` (seconds) afterwards.

    ``counts_from``: the moment of ``clock`` before which no phase counts (a build that began beside another one).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, counts_from: float = 0.0) -> None:
        self._clock = clock
        self._counts_from = counts_from
        self.phase = "root"
        self.hook = ""
        self.phases: dict[str, float] = {}
        self.hooks: dict[str, float] = {}
        self._tail: deque[str] = deque(maxlen=200)
        self._since = self._hook_since = clock()

    def line(self, text: str) -> bool:
        """Take one line of output; True when the phase or the hook changed."""
        running = _HOOK.match(text)
        if running:
            return self._begin(running[1], running[2])
        done = _DONE.match(text)
        if done and done[1] == self.hook:
            self.hooks[f"{self.phase}.d/{self.hook}"] = round(self._clock() - self._hook_since, 2)
            self.hook = ""
            self._tail.clear()
            return False
        for pattern, phase in _STEPS:
            if pattern.match(text):
                return self._begin(phase, "")
        if not _PROFILE.match(text):
            self._tail.append(text.rstrip())
        return False

    def _begin(self, phase: str, hook: str) -> bool:
        if phase != self.phase:
            self.end()
            self.phase = phase
        self.hook = hook
        self._hook_since = self._clock()
        self._tail.clear()
        return True

    def end(self) -> None:
        """The phase under way is over."""
        now = self._clock()
        took = max(0.0, now - max(self._since, self._counts_from))
        self.phases[self.phase] = round(self.phases.get(self.phase, 0.0) + took, 2)
        self._since = now

    @property
    def title(self) -> str:
        """The phase under way, for people."""
        return PHASES.get(self.phase, self.phase)

    @property
    def place(self) -> str:
        """Where the build is: "install.d/01-package-installs", or the phase alone."""
        return f"{self.phase}.d/{self.hook}" if self.hook else self.phase

    @property
    def lines(self) -> list[str]:
        """What the hook under way said, without lines that never say why; all of it where nothing else is left."""
        return [line for line in self._tail if not _NOISE.search(line)] or [line for line in self._tail if line]

    @property
    def tail(self) -> list[str]:
        """The last lines that say something."""
        return evidence(self.lines)


def evidence(lines: Sequence[str], told_by: str = "") -> list[str]:
    """The last of ``lines``; and the one that names the cause, ``told_by``, where it is further up."""
    last = [line for line, before in zip(lines, ["", *lines], strict=False) if line != before][-TAIL:]
    if not told_by or any(told_by in line for line in last):
        return last
    return [told_by, "…", *last[2 - TAIL :]]
