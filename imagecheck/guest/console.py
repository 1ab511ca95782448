"""The serial console: what a guest says before, and when, nothing else of it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Pattern -> what it means. Only what a console shows by itself; sources are the programs that print it.
ALARMS: tuple[tuple[str, str], ...] = (
    (r"Kernel panic - not syncing", "the kernel panicked (kernel/panic.c)"),
    (r"end Kernel panic", "the kernel panicked (kernel/panic.c)"),
    (r"(?:You are in|Entering) (?:emergency|rescue) mode", "systemd dropped to an emergency or rescue shell"),
    (r"\(initramfs\)\s*$", "the initramfs could not find the root file system"),
    (r"^grub(?: rescue)?>", "GRUB found no configuration"),
    (r"No bootable device|Boot failed: not a bootable disk", "the firmware found nothing to boot (SeaBIOS)"),
    (r"Out of memory: Killed process", "the kernel ran out of memory (mm/oom_kill.c)"),
    (r"Traceback \(most recent call last\)", "a Python program of the guest died"),
    (r"Dependency failed for .*(?:File System|Local File Systems)", "a file system could not be mounted"),
)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Alarm:
    """A line of a console that should not be there."""

    meaning: str
    line: str
    number: int


def clean(text: str) -> str:
    """Without the terminal's control sequences: text that is safe to show and to search."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def alarms(text: str) -> list[Alarm]:
    """Every line that says that something broke, in order."""
    found = []
    for number, line in enumerate(clean(text).splitlines(), 1):
        for pattern, meaning in ALARMS:
            if re.search(pattern, line):
                found.append(Alarm(meaning, line.strip()[:200], number))
                break
    return found


def reached_userspace(text: str) -> bool:
    """True when an init or a login prompt has spoken: the serial console is wired through to the end."""
    return bool(re.search(r"(?m)systemd\[1\]:|^\S* ?login: ?$|login:|Welcome to |cloud-init\[", clean(text)))
