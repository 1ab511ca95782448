"""The booted folder: systemd-nspawn in its own network, PID and mount namespaces, entered by nsenter.

The overlay is mounted in a mount namespace of its own, so that it goes away with the container, whatever kills it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from imagecheck import hostcmd, waits
from imagecheck.errors import StepFailed, UsageError
from imagecheck.sandbox.folder import Folder, write_private
from imagecheck.waits import NotYet, Ready

_STEP = "sandbox container"
_STARTED: list[subprocess.Popen[bytes]] = []  # the container outlives this process: nobody waits for it


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: str
    """Field 22 of /proc/PID/stat: clock ticks since the host's boot."""

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, _start_ticks(pid))

    def alive(self) -> bool:
        return bool(self.started) and _start_ticks(self.pid) == self.started


def start(folder: Folder, *, pristine: bool, target: str = "") -> Container:
    """Boot the folder; ``pristine`` puts a throw-away layer over it, else its root itself is written to.

    Raises StepFailed with the console's last lines when the container does not come up.
    """
    if pristine:
        shutil.rmtree(folder.layer, ignore_errors=True)
        for name in ("upper", "work", "merged"):
            (folder.layer / name).mkdir(parents=True)
    tree = folder.layer / "merged" if pristine else folder.root
    argv = _nspawn(folder, tree, target)
    if pristine:
        options = f"lowerdir={folder.root},upperdir={folder.layer / 'upper'},workdir={folder.layer / 'work'}"
        script = 'mount -t overlay imagecheck -o "$1" "$2" && shift 2 && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", script, "sh", options, str(tree), *argv]
    with folder.console.open("wb") as console:
        nspawn = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **dict(folder.release.nspawn_environment)},
        )
    _STARTED.append(nspawn)
    outer = Process.of(nspawn.pid)
    write_private(folder.running, json.dumps({"nspawn": [outer.pid, outer.started]}))

    def booted() -> Ready[int] | NotYet:
        if nspawn.poll() is not None:
            raise StepFailed(_STEP, "systemd-nspawn ended while it booted the sandbox", seen=_tail(folder.console))
        for child in _descendants(nspawn.pid):
            if _namespace_pid(child) == 1 and Path(f"/proc/{child}/root/run/systemd/private").exists():
                return Ready(child)
        return NotYet("no systemd in the container yet")

    leader = waits.until(booted, reason="systemd in the sandbox", deadline=60, interval=0.1, step=_STEP).value
    inner = Process.of(leader)
    write_private(
        folder.running, json.dumps({"nspawn": [outer.pid, outer.started], "leader": [inner.pid, inner.started]})
    )
    container = Container(folder, outer, inner)
    container.plug()
    return container


def running(folder: Folder) -> Container | None:
    """The container of this folder if it runs, whoever started it."""
    try:
        data = json.loads(folder.running.read_text())
        container = Container(folder, Process(*data["nspawn"]), Process(*data["leader"]))
    except (FileNotFoundError, KeyError, ValueError, TypeError):
        return None
    return container if container.leader.alive() else None


def discard(folder: Folder) -> None:
    """End whatever is left of a container of this folder, at once, and remove its throw-away layer."""
    processes = []
    if folder.running.exists():
        data = json.loads(folder.running.read_text() or "{}")
        processes = [Process(*data[name]) for name in ("leader", "nspawn") if name in data]
    for process in processes:
        if process.alive():
            # the leader is PID 1 of its namespace: the kernel kills everything in it
            os.kill(process.pid, signal.SIGKILL)

    def gone() -> Ready[None] | NotYet:
        left = [str(process.pid) for process in processes if process.alive()]
        if left:
            return NotYet(f"process {' '.join(left)} is still there")
        if processes and Path(f"/sys/class/net/{folder.veth}").exists():
            hostcmd.run(["ip", "link", "delete", folder.veth], check=False, timeout=10)
            return NotYet(f"{folder.veth} is still there")
        return Ready(None)

    waits.until(gone, reason="the sandbox's processes to end", deadline=20, interval=0.05, step=_STEP)
    if folder.plan.exists():
        for network in folder.load_plan()[0].networks():
            hostcmd.run(["ip", "route", "delete", *_dead_end(network)], check=False, timeout=10)
    shutil.rmtree(folder.layer, ignore_errors=True)
    folder.running.unlink(missing_ok=True)


@dataclass(frozen=True)
class Container:
    """A running sandbox."""

    folder: Folder
    nspawn: Process
    leader: Process

    def plug(self) -> None:
        """The host's end of the veth pair: its address, and the way to the networks behind the sandbox."""
        addresses, _ = self.folder.load_plan()
        veth = self.folder.veth
        for command in (
            ["ip", "address", "replace", f"{addresses.host}/30", "dev", veth],
            ["ip", "link", "set", veth, "up"],
            ["ip", "route", "replace", str(addresses.management), "via", str(addresses.sandbox), "dev", veth],
            ["ip", "route", "replace", str(addresses.tenant), "via", str(addresses.sandbox), "dev", veth],
            *(["ip", "route", "replace", *_dead_end(network)] for network in addresses.networks()),
        ):
            hostcmd.run(command, step=_STEP, timeout=10)

    def enter(self, *argv: str) -> list[str]:
        """The host command that runs ``argv`` as root inside."""
        return ["nsenter", f"--target={self.leader.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                f"TERM={os.environ.get('TERM', 'dumb')}", "LANG=C.UTF-8", *argv]  # fmt: skip

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "",
        check: bool = True,
        timeout: float = 60,
        step: str = _STEP,
        input: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> hostcmd.Completed:
        """Run a command inside, as ``user`` (root if empty). Secrets go in by ``environment``, never by argv."""
        prefix = ["runuser", "-u", user, "--"] if user else []
        if environment:
            # read from standard input: neither the host's nor the sandbox's process list shows it
            exports = "".join(f"export {key}='{value}'\n" for key, value in environment.items())
            input = exports + f"exec {' '.join(argv)}\n" + (input or "")
            argv = ["sh"]
        return hostcmd.run(self.enter(*prefix, *argv), check=check, timeout=timeout, step=step, input=input)

    def root(self) -> Path:
        """The container's root as the host sees it."""
        return Path(f"/proc/{self.leader.pid}/root")


def _nspawn(folder: Folder, tree: Path, target: str) -> list[str]:
    systemd_on_host = Path("/run/systemd/system").exists()
    argv = ["systemd-nspawn", "--quiet", "--register=no", f"--machine={folder.machine}", f"--directory={tree}",
            "--boot", "--network-veth", "--kill-signal=SIGRTMIN+3", "--console=pipe", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off", "--settings=no"]  # fmt: skip
    if not systemd_on_host:
        argv.append("--keep-unit")  # there is nobody who could make a scope
    if Path("/dev/kvm").exists():
        argv.append("--bind=/dev/kvm")
        if systemd_on_host:
            argv.append("--property=DeviceAllow=/dev/kvm rwm")
    return [*argv, "--", *([f"systemd.unit={target}"] if target else [])]


def _dead_end(network: IPv4Network) -> list[str]:
    """The route of last resort to a network of the sandbox: it is there when the container has died and its veth with
    it. Without it, whoever still asks (with a password, with a token) would ask the default gateway's side."""
    return ["unreachable", str(network), "metric", "4294967295"]


def require_free(folder: Folder) -> None:
    """UsageError when another sandbox of this host uses the addresses of this one."""
    if Path(f"/sys/class/net/{folder.veth}").exists():
        raise UsageError(
            f"the network device {folder.veth} is in use by another sandbox: stop that one first "
            "(IMAGECHECK_HOME=… imagecheck sandbox down), or make this one anew with 'imagecheck sandbox destroy'"
        )


def _start_ticks(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [deeper for child in children for deeper in _descendants(child)]


def _namespace_pid(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[-1]) for line in status.splitlines() if line.startswith("NSpid:"))


def _tail(path: Path, lines: int = 12) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
