"""mitmproxy as a forward proxy on loopback, in front of all real APIs at once: the run gets it by http_proxy.

In a virtual environment of its own: it pins a dozen packages to older versions than ours (h11, typing-extensions,
cryptography), and would drag constraints.txt down with it. 11.0.2 is its last release for Python 3.11.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagecheck import hostcmd, paths, progress, waits
from imagecheck.errors import StepFailed

PINNED = Path(__file__).with_name("proxy-requirements.txt")
ADDON = Path(__file__).with_name("faulty.py")


@dataclass(frozen=True)
class Fault:
    """What the proxy does; see faulty.py."""

    kind: str
    status: int = 0
    share: float = 1.0
    methods: tuple[str, ...] = ()
    path: str = ""  # searched for in "PORT/path?query"
    times: int = 0  # at most; 0: always
    after: float = 0.0  # seconds (slow), or uses of a token (expire)
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1


def program() -> Path:
    """mitmdump, installed once from the pinned list. Raises StepFailed."""
    place = paths.home() / "faults-proxy"
    made = place / "made-from"
    wanted = PINNED.read_text(encoding="utf-8")
    if not made.exists() or made.read_text(encoding="utf-8") != wanted:
        with progress.phase("install mitmproxy into an environment of its own (once)"):
            shutil.rmtree(place, ignore_errors=True)
            hostcmd.run([sys.executable, "-m", "venv", place], timeout=120, step="proxy")
            hostcmd.run(
                [place / "bin" / "pip", "--disable-pip-version-check", "install", "-q", "--require-hashes",
                 "--no-deps", "--only-binary", ":all:", "--no-binary", "pyperclip", "-r", PINNED],
                timeout=600, step="proxy",
            )  # fmt: skip
            made.write_text(wanted, encoding="utf-8")
    return place / "bin" / "mitmdump"


class Proxy:
    """One mitmdump with one fault; ``folder`` is private and gets its counts."""

    def __init__(self, fault: Fault, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        (folder / "fault.json").write_text(json.dumps(dataclasses.asdict(fault)), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program(), "--quiet", "--mode", "regular", "--listen-host", "127.0.0.1", "--listen-port",
                 str(self.port), "--set", f"confdir={folder}", "--set", "stream_large_bodies=1m",
                 "--set", "keep_host_header=true", "--scripts", str(ADDON)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
                | {"FAULTS": str(folder)},
            )  # fmt: skip

        def answers() -> waits.Ready[None] | waits.NotYet:
            if self._process.poll() is not None:
                raise StepFailed("proxy", "mitmdump ended", seen=(folder / "log").read_text()[-800:])
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", self.port)):
                    return waits.NotYet("nothing listens")
            return waits.Ready(None)

        waits.until(answers, reason="the proxy to listen", deadline=60, interval=0.1, step="proxy")

    @property
    def environment(self) -> dict[str, str]:
        """For a run whose requests are to go through it."""
        return {"http_proxy": f"http://127.0.0.1:{self.port}", "no_proxy": ""}

    @property
    def counts(self) -> dict[str, int]:
        """ "requests" that came, "spoiled" of them."""
        try:
            told: dict[str, int] = json.loads((self.folder / "counts.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return told

    @property
    def tokens(self) -> list[str]:
        """Every token that Keystone gave through it: a secret."""
        try:
            return sorted(set((self.folder / "tokens").read_text(encoding="utf-8").split()))
        except FileNotFoundError:
            return []

    def stop(self) -> None:
        """End it; its counts stay."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
