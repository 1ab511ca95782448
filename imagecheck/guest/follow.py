"""Follow a guest from inside: one shell over one kept connection that is asked again and again what is new.

Nothing here waits: `Follower.tick` sends a question when it is time and takes what has arrived. A question costs the
guest some small programs and no new login; it is asked so seldom that all of them together take `SHARE` of a CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagecheck.guest.ssh import SSH_FAILED, Guest

EVERY, SELDOM = 5.0, 10.0  # seconds between two questions: as often as the guest can bear, between these
SHARE = 0.03  # of a CPU of the guest
AGAIN = 5.0  # seconds before a connection that broke is tried again
REFUSED = 60.0  # the same when the guest took the login and gave no shell: a login costs it seconds
LATE = 20.0  # seconds without an answer after which what was known before counts for nothing
DIAL = 4  # seconds for the guest to open a connection to a broker
LINES = 2000  # of the journal per question
LIMIT = 300_000  # bytes of one log per question; of more, the end
MOST = 4 * LIMIT  # bytes of an answer; what says more is hung up on
RUN = "/run/cloud-init"  # cloud-init 25.1, cloudinit/cmd/status.py
LOGS = "/var/log"
# moby, daemon/config and container/container.go: what `docker inspect` shows, without starting docker's client,
# which takes a second of an emulated CPU.
DOCKER = "/var/lib/docker/containers"
PREPARE = "/opt/trove-guestagent/.guestagent.prepare"  # trove/guestagent/datastore/service.py
_UNIT = "Id,LoadState,UnitFileState,ActiveState,Result,NRestarts,ExecMainStartTimestampMonotonic"
# Asked with: cursor, boot id and sizes known so far (-1: begin at the end), container known so far, brokers to dial.
# [DEBUG] lines of cloud-init's log are most of it and say nothing that a warning or a traceback does not say too.
_SCRIPT = r"""
LC_ALL=C; export LC_ALL
part() { echo "@mark@$*"; }
news() { # name file known filter: what was written to a log since
 s=$(stat -c %s -- "$2") || return 0
 o=$3; [ "$o" -ge 0 ] || o=$s; [ "$s" -ge "$o" ] || o=0; [ $((s-o)) -le @limit@ ] || o=$((s-@limit@))
 part "$1" "$s"; [ "$s" -eq "$o" ] || tail -c +$((o+1)) -- "$2" | head -c $((s-o)) | $4; echo
}
plain() { cat; }
telling() { grep -v '\[DEBUG\]'; }
look() {
 read -r boot </proc/sys/kernel/random/boot_id; read -r up _ </proc/uptime
 cursor=$1; [ "$boot" = "$2" ] || cursor=
 part boot "$boot"; part uptime "$up"; part wall "$(date +%s)"
 part journal; journalctl -b -q --no-pager -o short-iso-precise --show-cursor -n @lines@ \
  ${cursor:+--after-cursor="$cursor"} | tail -c @limit@; echo
 news agent @log@ "$3" plain
 news init @logs@/cloud-init.log "$4" telling
 news output @logs@/cloud-init-output.log "$5" plain
 part units; systemctl show -p @properties@ @unit@ docker.service
 part stages; cat @run@/status.json
 part result; cat @run@/result.json
 [ ! -e @run@/disabled ] || part disabled
 [ ! -e @folder@/guest_info.conf ] || part info "$(sed -n 's/^guest_id *= *//p' @folder@/guest_info.conf)"
 [ ! -e @folder@/trove-guestagent.conf ] || part config
 for one in start end; do
  m=$(stat -c %Y @prepare@.$one) && part "prepare_$one" "$m"
 done
 part routes; cat /proc/net/route
 part disk "$(df -Pk / | tail -n 1)"
 f=$(grep -ls '"Name":"/@container@"' @docker@/*/config.v2.json | head -n 1)
 if [ -n "$f" ]; then
  id=${f%/config.v2.json}; id=${id##*/}; known=$7; [ "$id" = "$6" ] || [ "$7" -lt 0 ] || known=0
  part container "$id"; cat "$f"; echo; news log "@docker@/$id/$id-json.log" "$known" plain
 fi
 for one in $8; do
  said=$(timeout @dial@ bash -c ": </dev/tcp/${one%:*}/${one##*:}" 2>&1); part dial "$one $?"; echo "$said"
 done
 part cost; times
 echo @mark@end
} </dev/null 2>/dev/null
"""


@dataclass(frozen=True)
class Look:
    """What a guest said to one question. ``texts`` hold what is new since the one before, by log."""

    texts: Mapping[str, bytes] = field(repr=False, default_factory=dict)  # "journal", "agent", "cloud-init"
    container_log: str = field(repr=False, default="")
    boot_id: str = ""
    uptime: float = 0.0  # seconds
    wall: float = 0.0  # the guest's clock when it was asked, whole seconds since the epoch
    asked: float = 0.0  # ours, seconds since the epoch, when the question was sent
    answered: float = 0.0
    units: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stages: Mapping[str, Any] = field(default_factory=dict)  # cloud-init's status.json
    result: Mapping[str, Any] | None = None  # its result.json; None: it has not finished
    disabled: bool = False
    guest_id: str | None = None  # as guest_info.conf has it; None without the file
    guest_config: bool = False
    prepare_start: float = 0.0  # guest's clock; 0 = not yet
    prepare_end: float = 0.0
    default_routes: int = 0
    free: int | None = None  # bytes left on the root file system
    container: Mapping[str, Any] | None = None  # docker's config.v2.json; None: there is no such container
    dials: Mapping[str, str] = field(default_factory=dict)  # broker -> what was said instead of yes
    cost: float = 0.0  # seconds of CPU that all questions of this connection took


class Follower:
    """Follows one guest. ``brokers`` are asked for before each question: those that the guest shall dial then.

    ``from_now``: what the logs had before the first question counts for nothing.
    """

    def __init__(
        self,
        guest: Guest,
        *,
        unit: str,
        log: str,
        folder: str,
        container: str = "database",
        brokers: Callable[[], Sequence[str]] = tuple,
        from_now: bool = False,
    ) -> None:
        self._guest, self._brokers, self._from_now = guest, brokers, from_now
        self._mark = f"=====imagecheck-{secrets.token_hex(6)}:"  # a log cannot know it
        words = {
            "mark": self._mark, "limit": str(LIMIT), "lines": str(LINES), "log": shlex.quote(log), "run": RUN,
            "logs": LOGS, "properties": _UNIT, "unit": shlex.quote(unit), "folder": shlex.quote(folder),
            "container": container, "docker": DOCKER, "prepare": PREPARE, "dial": str(DIAL),
        }  # fmt: skip
        self._script = re.sub(r"@(\w+)@", lambda match: words[match[1]], _SCRIPT)
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._pending = 0.0  # since when an answer is waited for; 0: none is
        self._next = 0.0
        self._cost = 0.0
        self._answered = False  # on this connection
        self._known = {"agent": 0, "init": 0, "output": 0, "log": 0}
        if from_now:
            self._known = dict.fromkeys(self._known, -1)
        self._cursor = self._boot = self._container = ""
        self._rest = b""  # half a line of the container's log
        self._asked = 0.0
        self.fresh = 0.0  # time.monotonic() of the last answer; 0: none, or the connection is lost

    def tick(self) -> Look | None:
        """Ask when it is time, take what has come; an answer once it is whole. Never waits, raises nothing."""
        now = time.monotonic()
        if self._process is None and (now < self._next or not self._connect(now)):
            return None
        if not self._pending and now >= self._next:
            self._ask(now)
        found = self._read()
        if found is not None:
            return self._take(found, now)
        if self._process is not None and self._pending and now - self._pending > LATE:
            self.fresh = 0.0
            if now - self._pending > 3 * LATE:
                self._hang_up(now)
        return None

    def soon(self) -> None:
        """The next question need not wait for its time."""
        self._next = 0.0

    def close(self) -> None:
        """Hang up; the next `tick` would connect again and go on where this ended."""
        self._hang_up(0.0)

    # ---- the connection

    def _connect(self, now: float) -> bool:
        try:
            self._process = subprocess.Popen(
                self._guest.argv("sudo -n sh"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:
            self._next = now + AGAIN
            return False
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._said, self._pending, self._cost, self._answered = b"", 0.0, 0.0, False
        self._send(self._script)
        self._next = now
        return True

    def _hang_up(self, now: float) -> None:
        process, self._process = self._process, None
        self.fresh, self._pending, self._next = 0.0, 0.0, now + AGAIN if now else 0.0
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if now:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process.wait(1) == SSH_FAILED:
                    self._guest.close()  # a master of the boot before would keep us from getting in again
                elif not self._answered:
                    self._next = now + REFUSED
        process.kill()
        process.wait()

    def _send(self, text: str) -> None:
        # Everything fits into a pipe's buffer (64 KiB); what does not go through means that the connection is dead.
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._process.stdin.fileno(), text.encode())

    def _ask(self, now: float) -> None:
        dials = [one for one in self._brokers() if re.fullmatch(r"[\w.:-]+:\d{1,5}", one)]
        sizes = [str(self._known[name]) for name in ("agent", "init", "output", "log")]
        words = [self._cursor[:500], self._boot[:100], *sizes[:3], self._container[:100], sizes[3], " ".join(dials)]
        # The guest's own words come back to it: quoted, and never more than the pipe holds.
        self._send(f"look {' '.join(shlex.quote(word) for word in words)}\n")
        self._pending, self._asked = now, time.time()

    def _read(self) -> bytes | None:
        """A whole answer, or None."""
        process = self._process
        if process is None or process.stdout is None:
            return None
        end = f"{self._mark}end\n".encode()
        while end not in self._said:
            try:
                more = os.read(process.stdout.fileno(), 65536)
            except BlockingIOError:
                return None
            except OSError:
                more = b""
            self._said += more
            if not more or len(self._said) > MOST:
                self._hang_up(time.monotonic())
                return None
        answer, _, self._said = self._said.partition(end)
        return answer

    # ---- the answer

    def _take(self, answer: bytes, now: float) -> Look:
        parts: dict[str, tuple[str, bytes]] = {}
        dials: dict[str, str] = {}
        for piece in answer.split(self._mark.encode())[1:]:
            head, _, body = piece.partition(b"\n")
            name, _, said = head.decode("utf-8", "replace").partition(" ")
            if name == "dial":
                broker, _, code = said.partition(" ")
                if code not in ("126", "127"):  # no timeout or no bash in this guest
                    dials[broker] = _refusal(code, body)
            else:
                parts[name] = (said.strip(), body)
        first = not self._cursor
        journal = self._journal(parts.get("journal", ("", b""))[1])
        look = Look(
            texts={
                "journal": b"" if first and self._from_now else journal,
                "agent": self._log("agent", parts),
                "cloud-init": self._log("init", parts) + self._log("output", parts),
            },
            container_log=self._container_log(parts),
            boot_id=parts.get("boot", ("", b""))[0],
            uptime=_number(parts.get("uptime", ("", b""))[0]),
            wall=_number(parts.get("wall", ("", b""))[0]),
            asked=self._asked,
            answered=time.time(),
            units=_units(parts.get("units", ("", b""))[1].decode("utf-8", "replace")),
            stages=_json(parts.get("stages", ("", b""))[1]) or {},
            result=_json(parts.get("result", ("", b""))[1]),
            disabled="disabled" in parts,
            guest_id=parts["info"][0] if "info" in parts else None,
            guest_config="config" in parts,
            prepare_start=_number(parts.get("prepare_start", ("", b""))[0]),
            prepare_end=_number(parts.get("prepare_end", ("", b""))[0]),
            default_routes=_default_routes(parts.get("routes", ("", b""))[1].decode("ascii", "replace")),
            free=_free(parts.get("disk", ("", b""))[0]),
            container=_json(parts["container"][1]) if "container" in parts else None,
            dials=dials,
            cost=_cpu(parts.get("cost", ("", b""))[1]),
        )
        self._boot, self._answered = look.boot_id, True
        self._pending, self.fresh = 0.0, now
        took, self._cost = look.cost - self._cost, look.cost
        self._next = now + min(SELDOM, max(EVERY, took / SHARE))
        return look

    def _journal(self, body: bytes) -> bytes:
        lines, _, cursor = body.rstrip(b"\n").rpartition(b"-- cursor: ")
        if not cursor or b"\n" in cursor:
            return body if body.strip() else b""
        self._cursor = cursor.decode("ascii", "replace").strip()
        return lines

    def _log(self, name: str, parts: Mapping[str, tuple[str, bytes]]) -> bytes:
        if name not in parts:
            self._known[name] = 0  # a log that comes later is new from its beginning
            return b""
        size, body = parts[name]
        self._known[name] = int(_number(size))
        return body.removesuffix(b"\n")  # ours: it parts what is asked from the next mark

    def _container_log(self, parts: Mapping[str, tuple[str, bytes]]) -> str:
        """Its own lines out of docker's json-file (moby, daemon/logger/jsonfilelog); other drivers write elsewhere."""
        if "container" not in parts:
            self._known["log"] = 0
            return ""
        if parts["container"][0] != self._container:
            self._container, self._rest = parts["container"][0], b""
        *lines, self._rest = (self._rest + self._log("log", parts)).split(b"\n")
        self._rest = self._rest[-LIMIT:]
        return "".join(str((_json(line) or {}).get("log", "")) for line in lines)


def _units(text: str) -> dict[str, dict[str, str]]:
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n"))
    return {block["Id"]: block for block in blocks if "Id" in block}


def _json(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"[0-9]{1,15}(?:\.[0-9]{0,9})?", text) else 0.0


def _default_routes(text: str) -> int:
    """Rows of /proc/net/route with destination and mask 0 that are up (RTF_UP)."""
    rows = (line.split() for line in text.splitlines()[1:])
    return sum(len(row) > 7 and row[1] == row[7] == "00000000" and row[3][-1] in "13579BDF" for row in rows)


def _free(text: str) -> int | None:
    words = text.split()
    return int(words[3]) * 1024 if len(words) > 3 and re.fullmatch(r"[0-9]{1,15}", words[3]) else None


def _refusal(code: str, said: bytes) -> str:
    """What bash says of a connection that it did not get; "" when it got it."""
    if code == "0":
        return ""
    if code == "124":  # timeout(1)
        return "timed out"
    first = said.decode("utf-8", "replace").strip().partition("\n")[0]
    return first.rpartition(": ")[2] or f"code {code}"


def _cpu(said: bytes) -> float:
    """What `times` of the shell says: "0m0.01s 0m0.02s" of itself, the same of its children."""
    text = said.decode("ascii", "replace")
    return sum(int(minutes) * 60 + _number(rest) for minutes, rest in re.findall(r"([0-9]{1,9})m([0-9.]+)s", text))
