"""Run a program of an opened image in a room of its own: no network, no process of ours, no file it could change."""

from __future__ import annotations

from pathlib import Path

from imagecheck import hostcmd
from imagecheck.errors import StepFailed
from imagecheck.hostcmd import Completed

STEP = "look inside the image"
_NO_ROOM = 97  # exit code of the script when the room could not be made
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# In a mount namespace of its own: what is mounted here is seen by nobody else and goes with the last process. The
# image was mounted nosuid and nodev; sudo needs its bit, and everybody needs /dev/null.
_ROOM = f"""\
root=$1 user=$2 groups=$3; shift 3
{{ mount -t tmpfs -o mode=755 tmpfs "$root/dev" &&
  mount -t tmpfs -o mode=755 tmpfs "$root/run" &&
  for device in null zero random urandom; do
    : >"$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device" || exit {_NO_ROOM}
  done &&
  mount -o remount,bind,ro,suid "$root"; }} || exit {_NO_ROOM}
mount -t proc proc "$root/proc" 2>/dev/null
exec env -i PATH={_PATH} LC_ALL=C chroot --userspec="$user" --groups="$groups" "$root" /bin/sh -c "$@"
"""


def run(root: Path, command: str, *words: str, user: str = "0:0", groups: str = "", timeout: float = 60) -> Completed:
    """Run a shell command of the image opened at ``root``; ``words`` are its "$0", "$1" and so on.

    ``user`` is "uid:gid", ``groups`` further gids with commas; ``timeout`` in seconds. Raises StepFailed where this
    host lets nobody make such a room, UsageError where it has no unshare.
    """
    hostcmd.require("unshare", "chroot", "mount")
    done = hostcmd.run(
        ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c", _ROOM, "room", root,
         user, groups, command, *words],
        check=False, timeout=timeout, step=STEP,
    )  # fmt: skip
    if done.rc == _NO_ROOM:
        raise StepFailed(
            STEP,
            "no room can be made to run the image's programs in",
            seen=done.stderr.strip()[:200],
            remedy="run as root outside of a container, or in one that may mount (CAP_SYS_ADMIN)",
        )
    return done
