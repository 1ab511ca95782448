"""A real headless Chromium for tests of pages: its DevTools protocol over two pipes, which needs no library.

The protocol is Chromium's own (--remote-debugging-pipe: JSON messages, each ended by a zero byte). What a page's policy
forbids to the page is still allowed here, so tests may ask it anything.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagecheck import hostpackages

PROGRAM = "chromium"
PACKAGE = hostpackages.HostPackage("chromium", PROGRAM, "opens pages")
# In CI it is installed instead (`browser`): there nothing may go untested without anybody noticing.
WHY_NOT = "chromium is not installed (chromium)" if hostpackages.missing([PACKAGE]) and "CI" not in os.environ else ""
_PATIENCE = 60.0  # seconds; two busy cores start a browser slowly


class Browser:
    """One page of one browser. ``complaints`` are what its console and its policy said."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest, self._number = to, back, b"", 0
        self._session = ""
        self._loaded = False
        self.complaints: list[str] = []

    def begin(self) -> None:
        """Open a page and listen to it."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{part}.enable")

    def look(self, width: int = 1280, height: int = 900, *, dark: bool = False, medium: str = "") -> None:
        """The size of the window, light or dark, and the medium ("print")."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )  # fmt: skip
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", media=medium, features=scheme)

    def open(self, file: Path) -> float:
        """Open a file; the seconds until it was loaded and laid out."""
        self._loaded = False
        began = time.monotonic()
        self.ask("Page.navigate", url=file.resolve().as_uri())
        while not self._loaded:
            self._take()
        self.run("document.body.getBoundingClientRect().height")
        return time.monotonic() - began

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """One key of the keyboard; ``code`` is its Windows virtual key code."""
        words = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **words)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **words)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        made = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(made["data"])

    def pdf(self) -> bytes:
        """The page as it is printed, on A4."""
        made = self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        return base64.b64decode(made["data"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One question of the protocol, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._take()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                found: dict[str, Any] = answer["result"]
                return found

    def _take(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], max(0.0, end - time.monotonic()))[0], "Chromium does not answer"
            read = os.read(self._back, 1 << 20)
            assert read, "Chromium has ended"
            self._rest += read
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        told = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Log.entryAdded":
                self.complaints.append(told["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(told))
            case "Network.requestWillBeSent" if not told["request"]["url"].startswith(("file:", "about:")):
                self.complaints.append(f"asks for {told['request']['url']}")
        return message


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in ``folder``; gone at the end. Installed first where it is missing in CI."""
    hostpackages.ensure([PACKAGE], what="a test of pages")
    its_in, to = os.pipe()
    back, its_out = os.pipe()
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 20) for number in (its_in, its_out)]

    def place() -> None:  # the protocol's own numbers
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    words = [
        PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
    ]  # fmt: skip
    process = subprocess.Popen(
        words, preexec_fn=place, pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for number in (its_in, its_out, *high):
        os.close(number)
    found = Browser(to, back)
    try:
        found.begin()
        yield found
        found._session = ""
        found.ask("Browser.close")
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(to)
        os.close(back)
