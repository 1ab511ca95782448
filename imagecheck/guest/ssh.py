"""A running guest over OpenSSH: one kept connection, so that a command costs a round trip and not a handshake."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagecheck import held, hostcmd, waits
from imagecheck.errors import ImagecheckError, StepFailed
from imagecheck.hostcmd import Completed
from imagecheck.redact import learn

STEP = "guest"
CONNECT_TIMEOUT = 5  # seconds
SSH_FAILED = 255  # ssh's own exit code when the connection, not the command, failed (ssh(1))
_CONFIG = """\
Host guest
  HostName {address}
  User {login}
  IdentityFile "{key}"
  IdentitiesOnly yes
  PreferredAuthentications publickey
  BatchMode yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile "{folder}/known_hosts"
  GlobalKnownHostsFile /dev/null
  HostKeyAlias {alias}
  ConnectTimeout {timeout}
  ServerAliveInterval 5
  ServerAliveCountMax 6
  ControlMaster auto
  ControlPath "{folder}/m"
  ControlPersist 60
  LogLevel ERROR
  ForwardAgent no
  # Before the post-quantum ones, whose keys an emulated guest works on for long while its agent wants the CPU.
  KexAlgorithms ^curve25519-sha256
  {jump}
"""


class NoAnswer(ImagecheckError):
    """ssh itself failed: no connection, no login. Worth asking again while a guest boots."""


@dataclass
class Guest:
    """One guest. ``alias`` is the server's id: addresses are reused within a run, host keys are not."""

    address: str
    login: str
    key: Path
    alias: str
    jump: str = ""
    folder: Path = field(init=False)
    _open: contextlib.ExitStack = field(init=False, repr=False, compare=False, default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        # A control socket's path may have 104 bytes or so: it cannot live under report/.
        self.folder = self._open.enter_context(held.folder("imagecheck-ssh-"))
        (self.folder / "config").write_text(
            _CONFIG.format(
                address=self.address,
                login=self.login,
                key=self.key,
                alias=self.alias,
                folder=self.folder,
                timeout=CONNECT_TIMEOUT,
                jump=f"ProxyJump {self.jump}" if self.jump else "",
            ),
            encoding="utf-8",
        )

    def run(
        self, command: str, *, sudo: bool = True, timeout: float = 60, input: str | None = None, check: bool = False
    ) -> Completed:
        """Run a shell command in the guest, as root unless ``sudo`` is False; ``timeout`` in seconds.

        Raises NoAnswer when there is no connection, StepFailed when ``check`` and the command fails, or on time-out.
        """
        wrapped = f"sudo -n sh -c {shlex.quote(command)}" if sudo else command
        done = hostcmd.run(
            self.argv(wrapped),
            check=False,
            timeout=timeout,
            input=input,
            step=STEP,
        )
        if done.rc == SSH_FAILED:
            raise NoAnswer(f"no SSH to {self.login}@{self.address}: {_last(done.stderr) or 'connection lost'}")
        if check and done.rc != 0:
            said = _last(done.stderr) or _last(done.stdout)
            raise StepFailed(
                STEP, f"`{command.splitlines()[0][:120]}` in the guest ended with code {done.rc}", seen=said
            )
        return done

    def argv(self, command: str) -> list[str]:
        """The command line that runs ``command`` in the guest, for the few callers that talk with it."""
        return ["ssh", "-F", str(self.folder / "config"), "guest", "--", command]

    def read(self, path: str) -> str:
        """The text of a file in the guest; raises StepFailed when it is not there."""
        return self.run(f"cat -- {shlex.quote(path)}", check=True).stdout

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id", sudo=False, check=True).stdout.strip()

    def wait(
        self,
        *,
        deadline: float,
        not_boot: str = "",
        meanwhile: Callable[[], None] = lambda: None,
        guard: waits.Guard | None = None,
    ) -> waits.Seen[str]:
        """Wait for a login; returns the boot id. ``not_boot``: until that boot is over.

        ``meanwhile`` is called before each try; what ``guard`` raises ends the wait.
        """

        def answers() -> waits.Ready[str] | waits.NotYet:
            boot = self.boot_id()
            if boot == not_boot:
                return waits.NotYet("the guest has not rebooted yet")
            return waits.Ready(boot)

        def probe() -> waits.Ready[str] | waits.NotYet:
            meanwhile()
            try:
                return waits.beside(answers, guard, step=STEP)
            except (NoAnswer, StepFailed) as error:
                if isinstance(error, StepFailed) and error.cause:
                    raise  # the guard's
                self.close()  # a master of the boot before would keep us waiting
                return waits.NotYet(str(error).splitlines()[0])

        return waits.until(
            probe,
            reason=f"SSH to {self.login}@{self.address}",
            deadline=deadline,
            interval=2,
            step=STEP,
            remedy="check the management network's security group (tcp/22), the key and the login user",
            guard=guard,
        )

    @property
    def host(self) -> Any:
        """A testinfra host over the same connection, with sudo."""
        import testinfra

        return testinfra.get_host("ssh://guest", ssh_config=str(self.folder / "config"), controlpersist=0, sudo=True)

    def close(self) -> None:
        """End the kept connection; the next command makes a new one."""
        if (self.folder / "m").exists():
            hostcmd.run(["ssh", "-F", self.folder / "config", "-O", "exit", "guest"], check=False, timeout=10)
            (self.folder / "m").unlink(missing_ok=True)

    def forget(self) -> None:
        """Close and remove the connection's files."""
        self.close()
        self._open.close()


@contextmanager
def understood(what: str) -> Iterator[None]:
    """A guest may answer anything: what does not have the shape that was asked for is a StepFailed, which says so."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise StepFailed(
            STEP, f"the guest's answer about {what} cannot be read", seen=f"{type(error).__name__}: {error}"[:200]
        ) from error


def keypair(folder: Path) -> tuple[Path, str]:
    """A new ed25519 key in ``folder``: the private file and the public line."""
    hostcmd.require("ssh", "ssh-keygen")
    path = folder / "id_ed25519"
    hostcmd.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "imagecheck", "-f", path], timeout=30)
    learn(path.read_text(encoding="ascii"))
    return path, path.with_suffix(".pub").read_text(encoding="ascii").strip()


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
