"""The serial console: what a guest says before, and when, nothing else of it answers."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f\x7f]")
# Nova takes the escape characters out and leaves what followed them (api/openstack/compute/console_output.py):
# "[0;1;31mFAILED[0m]". These are what systemd and GRUB write.
_BARE = re.compile(r"\[\d{1,3}(?:[;:]\d{1,3})*m|\[\d{1,5}(?:;\d{1,5})?[HJKn]|\[\?\d{1,4}[hl]|\[!p|\]104(?=\[|$)")


def clean(text: str) -> str:
    """Without the terminal's control sequences: text that is safe to show and to search."""
    return _BARE.sub("", _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def reached_userspace(text: str) -> bool:
    """True when an init or a login prompt has spoken: the serial console is wired through to the end."""
    return bool(re.search(r"(?m)systemd\[1\]:|^\S* ?login: ?$|login:|Welcome to |cloud-init\[", clean(text)))
