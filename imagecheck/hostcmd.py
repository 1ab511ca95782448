"""Every command on this host: no shell, a deadline, a sentence when it fails, and no process left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from imagecheck.errors import StepFailed, UsageError
from imagecheck.redact import redact

_TAIL = 8  # lines of output that a failure shows
_LOOK = 1.0  # seconds between two looks at whether a silent command still runs
_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
MOST = 64 << 20  # bytes that a command may say; a guest's `cat` can say more than this host has memory
_LONGEST = 1 << 20  # bytes of one line; a longer one is cut into several
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where an ordinary user's PATH does not look

# Program -> Debian package, where the names differ (packages.debian.org, bookworm and trixie).
PACKAGES = {
    "apt-get": "apt",
    "apparmor_parser": "apparmor",
    "chroot": "coreutils",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "dtc": "device-tree-compiler",
    "genisoimage": "genisoimage",
    "ip": "iproute2",
    "iptables": "iptables",
    "kpartx": "kpartx",
    "losetup": "mount",
    "machinectl": "systemd-container",
    "mkfs.ext4": "e2fsprogs",
    "mkosi": "mkosi",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ssh-keyscan": "openssh-client",
    "scp": "openssh-client",
    "sgdisk": "gdisk",
    "systemd-nspawn": "systemd-container",
    "systemd-run": "systemd",
    "unshare": "util-linux",
    "xz": "xz-utils",
}


@dataclass(frozen=True)
class Completed:
    """What a command said and its exit code (negative: ended by that signal)."""

    stdout: str
    stderr: str
    rc: int


def which(program: str) -> str | None:
    """The path of ``program``, also from the sbin folders that an ordinary user's PATH leaves out."""
    return shutil.which(program, path=_path(os.environ))


def require(*programs: str) -> None:
    """UsageError that names the Debian packages to install when any of ``programs`` is missing."""
    missing = [program for program in programs if which(program) is None]
    if missing:
        packages = sorted({PACKAGES.get(program, program) for program in missing})
        raise UsageError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed on this host: "
            f"apt-get install {' '.join(packages)}"
        )


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    check: bool = True,
    timeout: float | None = None,
    step: str = "",
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Completed:
    """Run ``argv`` to its end and return what it said.

    ``timeout`` in seconds; ``env`` is added to this process's environment. Raises StepFailed (when ``check``, with
    the last lines of output, redacted; always on time-out) and UsageError when the program is not installed.
    """
    with _process(argv, step, env, cwd, stdin=input is not None, merge=False) as process:
        how, (out, err) = _listened(process, input.encode() if input is not None else b"", timeout)
        if how:
            raise _failed(argv, step, how, (_text(err) or _text(out)).splitlines())
    done = Completed(_text(out), _text(err), process.returncode)
    if check and done.rc != 0:
        raise _failed(argv, step, _ending(done.rc), (done.stderr.strip() or done.stdout).splitlines())
    return done


def _listened(process: subprocess.Popen[bytes], input: bytes, timeout: float | None) -> tuple[str, tuple[bytes, bytes]]:
    """(why it was given up or "", (stdout, stderr)): as Popen.communicate, and never more than `MOST` in memory."""
    deadline = None if timeout is None else time.monotonic() + timeout
    said: dict[int, bytearray] = {}
    with selectors.DefaultSelector() as pipes:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ)
                said[pipe.fileno()] = bytearray()
        order = list(said)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            pipes.register(process.stdin, selectors.EVENT_WRITE)
        how = ""
        while pipes.get_map() and not how:
            if deadline is not None and time.monotonic() > deadline:
                how = f"did not end within {timeout:g} s"
            for key, _ in pipes.select(_LOOK if deadline is None else _left(deadline)):
                if key.fileobj is process.stdin:
                    try:
                        input = input[os.write(key.fd, input[: 1 << 16]) :]
                    except BlockingIOError:
                        continue
                    except OSError:  # it reads no more
                        input = b""
                    if not input:
                        pipes.unregister(key.fileobj)
                        with contextlib.suppress(OSError):
                            process.stdin.close()
                elif more := os.read(key.fd, 1 << 16):
                    said[key.fd] += more
                    if sum(map(len, said.values())) > MOST:
                        how = f"said more than {MOST >> 20} MiB"
                else:
                    pipes.unregister(key.fileobj)
    if not how:
        try:
            process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            how = f"did not end within {timeout:g} s"
    if how:
        _kill(process)
    out, err = (bytes(said[number][-MOST:]) for number in order)
    return how, (out, err)


def stream(
    argv: Sequence[str | os.PathLike[str]],
    on_line: Callable[[str], None],
    *,
    check: bool = True,
    timeout: float | None = None,
    step: str = "",
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> int:
    """Run a long command and give each line of its output (stdout and stderr in order) to ``on_line``.

    Returns the exit code. ``on_line`` may raise to end the command at once. ``input`` is short (it goes in before
    anything is read: 64 KiB, pipe(7)). Otherwise as `run`.
    """
    with start(argv, step=step, input=input, env=env, cwd=cwd) as under_way:
        return under_way.follow(on_line, check=check, timeout=timeout)


class Started:
    """A command that runs beside this process; what it says is kept until somebody follows it."""

    def __init__(self, argv: Sequence[str | os.PathLike[str]], step: str, process: subprocess.Popen[bytes]) -> None:
        self.at = time.monotonic()  # when the line that is being followed was said
        self._argv, self._step, self._process = argv, step, process
        self._said: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        threading.Thread(target=self._listen, name="imagecheck-listen", daemon=True).start()

    def _listen(self) -> None:
        # Closed here alone: to close what another thread reads would wait for that thread.
        if self._process.stdout is None:
            return
        with self._process.stdout as said:
            for raw in iter(lambda: said.readline(_LONGEST), b""):
                self._said.put((time.monotonic(), raw))
        self._said.put((time.monotonic(), b""))

    def follow(self, on_line: Callable[[str], None], *, check: bool = True, timeout: float | None = None) -> int:
        """Give each line to ``on_line`` until the command ends; its exit code. ``timeout`` counts from now."""
        tail: deque[str] = deque(maxlen=_TAIL)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if deadline is not None and time.monotonic() > deadline:
                _kill(self._process)
                raise _failed(self._argv, self._step, f"did not end within {timeout:g} s", list(tail))
            try:
                self.at, raw = self._said.get(timeout=_LOOK if deadline is None else _left(deadline))
            except Empty:
                if self._process.poll() is not None:
                    break  # a daemon that it left behind holds the output open
                continue
            if not raw:
                break
            line = _text(raw).rstrip("\r\n")
            tail.append(line)
            on_line(line)
        code = self._process.wait()
        if check and code != 0:
            raise _failed(self._argv, self._step, _ending(code), list(tail))
        return code


def _left(deadline: float) -> float:
    return min(_LOOK, max(0.0, deadline - time.monotonic()) + 0.001)


@contextmanager
def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    step: str = "",
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Iterator[Started]:
    """Start a command for `Started.follow`; it and its children are ended when the body ends before it has."""
    with _process(argv, step, env, cwd, stdin=input is not None, merge=True) as process:
        if input is not None and process.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(input.encode())
                process.stdin.close()
        yield Started(argv, step, process)


@contextmanager
def _process(
    argv: Sequence[str | os.PathLike[str]],
    step: str,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    *,
    stdin: bool,
    merge: bool,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own; whatever ends the body early (Ctrl-C too) ends its whole group."""
    # C.UTF-8: messages are matched and shown, so they must not depend on the user's language.
    merged = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    merged["PATH"] = _path(merged)
    program = os.fspath(argv[0])
    if "/" not in program and shutil.which(program, path=merged["PATH"]) is None:
        require(program)
    try:
        process = subprocess.Popen(
            [os.fspath(word) for word in argv],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            env=merged,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(argv, step, f"could not be started ({error.strerror})", []) from error
    try:
        yield process
    except BaseException:
        _kill(process)
        raise
    finally:
        for pipe in (process.stdin, None if merge else process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process group: ask first, insist after a few seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Gone already, or root's: then its own end of the pipe tells it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; members that ignored SIGTERM get SIGKILL all the same.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return


def _path(env: Mapping[str, str]) -> str:
    known = env.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*known, *(folder for folder in _SBIN if folder not in known)])


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _failed(argv: Sequence[str | os.PathLike[str]], step: str, how: str, said: Sequence[str]) -> StepFailed:
    words = shlex.join(os.fspath(word) for word in argv)
    if len(words) > 160:
        words = words[:157] + "..."
    tail = [line.rstrip() for line in said if line.strip()][-_TAIL:]
    return StepFailed(
        step or Path(os.fspath(argv[0])).name,
        redact(f"`{words}` {how}"),
        seen=redact("\n        ".join(tail)),
    )
