"""Every command on this host: no shell, a deadline, a sentence when it fails, and no process left behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagecheck.errors import StepFailed, UsageError
from imagecheck.redact import redact

_TAIL = 8  # lines of output that a failure shows
_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
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
        try:
            out, err = process.communicate(input.encode() if input is not None else None, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            said = _text(late.stderr) or _text(late.stdout)
            raise _failed(argv, step, f"did not end within {timeout:g} s", said.splitlines()) from None
    done = Completed(_text(out), _text(err), process.returncode)
    if check and done.rc != 0:
        raise _failed(argv, step, _ending(done.rc), (done.stderr.strip() or done.stdout).splitlines())
    return done


def stream(
    argv: Sequence[str | os.PathLike[str]],
    on_line: Callable[[str], None],
    *,
    check: bool = True,
    timeout: float | None = None,
    step: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> int:
    """Run a long command and give each line of its output (stdout and stderr in order) to ``on_line``.

    Returns the exit code. ``on_line`` may raise to end the command at once. Otherwise as `run`.
    """
    tail: deque[str] = deque(maxlen=_TAIL)
    late = threading.Event()
    with _process(argv, step, env, cwd, stdin=False, merge=True) as process:

        def expire() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(timeout, expire) if timeout is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            for raw in process.stdout or ():
                line = _text(raw).rstrip("\r\n")
                tail.append(line)
                on_line(line)
            process.wait()
        finally:
            if timer:
                timer.cancel()
    if late.is_set():
        raise _failed(argv, step, f"did not end within {timeout:g} s", list(tail))
    if check and process.returncode != 0:
        raise _failed(argv, step, _ending(process.returncode), list(tail))
    return process.returncode


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
        for pipe in (process.stdin, process.stdout, process.stderr):
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
