"""What the image's own programs say of their settings: sshd, sudo and dockerd judge better than any reader of files.

Each is run in a room of its own (jail). Only what a program is known to say of its settings counts: what the room
lacks, a network say, is held against nobody.
"""

from __future__ import annotations

import re

from imagecheck import inside, jail, runtime
from imagecheck.disk import Disk

# OpenSSH, servconf.c and sshd.c: every fault of a setting names its file. A key of the room's own stands in for those
# that the first boot makes.
_SSHD = 'mkdir -m 755 /run/sshd; ssh-keygen -q -t ed25519 -N "" -f /run/key && exec "$1" -t -h /run/key'
_SSHD_SAYS = re.compile(r".*/etc/ssh/.*")
# sudo 1.9: src/sudo.c, src/exec.c; plugins/sudoers: sudoers.c, logging.c, auth/sudo_auth.c, auth/pam.c.
_SUDO_SAYS = re.compile(
    r".*(?:password is required|a terminal is required|is not in the sudoers|is not allowed to"
    r"|account validation failure|Account or password is expired|Account expired|PAM account management"
    r"|PAM authentication|unable to initialize PAM|no valid sudoers|should be (?:owned|mode)|is owned by"
    r"|is (?:world|group) writable|setuid bit|error initializing|unable to load|unable to (?:open|stat) /etc/sudo"
    r"|error while loading shared libraries|error in /etc/sudo).*"
)
# moby, cmd/dockerd/daemon.go; spf13/pflag, errors.go. Without --validate (before Docker 23) nothing is known.
_DOCKERD_SAYS = re.compile(
    r".*(?:unable to configure the Docker daemon|unknown (?:shorthand )?flag(?!: --validate)|invalid argument"
    r"|conflicting options|configuration validation).*"
)


def sshd(disk: Disk) -> str:
    """What sshd says against its settings (sshd -t); empty: nothing, or there is no sshd."""
    program = runtime.program(disk.tree, "sshd")
    if not program:
        return ""
    done = jail.run(disk.root, _SSHD, "sh", program)
    return _said(done.stderr, _SSHD_SAYS) if done.rc else ""


def sudoers(disk: Disk) -> str:
    """What visudo says against /etc/sudoers and what it includes; empty: nothing, or there is no visudo."""
    if not runtime.program(disk.tree, "visudo"):
        return ""
    done = jail.run(disk.root, "exec visudo -c")
    return " ".join(line for line in done.stderr.splitlines() if line.strip())[:300] if done.rc else ""


def sudo(disk: Disk, user: str) -> str:
    """Why sudo refuses ``user`` (sudo -n true), PAM's accounts included; empty: it does not, or one is missing."""
    account = disk.tree.accounts().get(user)
    if account is None or account.uid == 0 or not runtime.program(disk.tree, "sudo"):
        return ""
    groups = ",".join(str(gid) for gid, members in runtime.group_ids(disk.tree) if user in members)
    done = jail.run(disk.root, "exec sudo -n true", user=f"{account.uid}:{account.gid}", groups=groups)
    return _said(done.stderr, _SUDO_SAYS) if done.rc else ""


def dockerd(disk: Disk) -> str:
    """What dockerd says against its options and daemon.json (--validate), started as its unit starts it."""
    unit = inside.unit(disk.tree, "docker.service")
    command = unit.last("Service.ExecStart").lstrip("@-:+!") if unit else ""
    if unit is None or "dockerd" not in command or "%" in command:
        return ""
    files = [file.lstrip("-") for file in unit.settings.get("Service.EnvironmentFile", [])]
    lines = [f'[ -r "${number}" ] && . "${number}"' for number in range(1, len(files) + 1)]
    done = jail.run(disk.root, "\n".join([*lines, f"exec {command} --validate"]), "sh", *files)
    return _said(done.stderr + done.stdout, _DOCKERD_SAYS) if done.rc else ""


def _said(text: str, known: re.Pattern[str]) -> str:
    found = [line.strip() for line in text.splitlines() if known.match(line)]
    return "; ".join(found[:3])[:300]
