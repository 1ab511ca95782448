"""Large files over HTTP: resumed, verified before use, and cached by digest with a record that saves rehashing.

Used for URLs (fetch.py) and for Glance (cloud/glance.py), which differ only in how the request is made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests  # see fetch.py

from imagecheck import imagefile, progress, waits
from imagecheck.errors import ImagecheckError, StepFailed, UsageError
from imagecheck.imagefile import ImageFile

STEP = "image fetch"
PATIENCE = 60.0  # seconds without a new byte after which the source counts as dead
INTERVAL = 2.0  # seconds between two tries
DEADLINE = 4 * 3600.0  # seconds for one whole image, and for another process that fetches the same
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces
_PIECE = 1 << 16  # bytes; what urllib3 loses when a connection breaks is less than one
_RETRIED = (408, 425, 429)  # RFC 9110, 8470, 6585: the same request may succeed later; so may any 5xx

Ask = Callable[[Mapping[str, str]], requests.Response]


class Transient(ImagecheckError):
    """Worth another try: the connection broke, or the server asked for patience."""


@dataclass(frozen=True)
class Wanted:
    """One image to download: its name for people, the digest that it must have, and how to ask for its bytes."""

    shown: str
    algorithm: str
    digest: str
    ask: Ask


def held_to(image: ImageFile, sha256: str, shown: str) -> ImageFile:
    """``image`` if it has ``sha256`` (or none is given); else UsageError with both sums."""
    if sha256 and image.sha256 != sha256:
        raise _differs(shown, "sha256", image.sha256, sha256)
    return image


def take(wanted: Wanted, cache: Path, deadline: float | None = None) -> ImageFile:
    """Download ``wanted`` once: afterwards it is found below ``cache``/by-digest without a request or a rehash.

    Two at once, in this process or another: the second waits and takes what the first got. Errors as `fetch`.
    ``deadline`` in seconds, `DEADLINE` unless given.
    """
    if not re.fullmatch(r"[0-9a-f]{32,128}", wanted.digest):  # it becomes a folder's name
        raise UsageError(f"{wanted.shown}: {wanted.digest[:140]!r} is not a digest: give its hexadecimal digits")
    folder = cache.absolute() / "by-digest" / wanted.digest
    if found := _cached(folder):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with progress.phase(f"fetch {wanted.shown}"), _alone(folder):
            return (
                _cached(folder) or _known_again(folder, wanted) or _Download(wanted, folder, deadline or DEADLINE).run()
            )
    except OSError as error:
        raise StepFailed(
            STEP, f"{wanted.shown} cannot be kept in {folder} ({error.strerror or error})",
            remedy="free room there and check its permissions, or set IMAGECHECK_HOME",
        ) from error  # fmt: skip


# ---- the cache: one folder per digest, with lock, part, part.json, image.FORMAT and image.json in it


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return told if isinstance(told, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(file)


def _cached(folder: Path) -> ImageFile | None:
    """The image that was verified here, if its file was not touched since (size and time of change)."""
    told = _read(folder / "image.json")
    try:
        path = folder / f"image.{told['format']}"
        seen = path.stat()
        if (seen.st_size, seen.st_mtime_ns) != (told["size"], told["mtime_ns"]):
            return None
        return ImageFile(path, told["format"], told["virtual_size"], told["size"], told["sha256"])
    except (OSError, LookupError, ValueError, TypeError):
        return None


def _known_again(folder: Path, wanted: Wanted) -> ImageFile | None:
    """An image here whose record is gone or does not fit: kept if it still has the digest, removed otherwise."""
    for file in (folder / "image.qcow2", folder / "image.raw"):
        if file.is_file():
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, wanted.algorithm).hexdigest()
            if digest == wanted.digest:
                return _keep(file, folder, wanted)
            file.unlink()
    return None


def _keep(file: Path, folder: Path, wanted: Wanted) -> ImageFile:
    """Put the verified ``file`` in its place; one that is no image of ours is removed and told by its source."""
    try:
        image = imagefile.inspect(file)
    except UsageError as error:
        file.unlink(missing_ok=True)
        raise _named(error, file, wanted) from error
    with file.open("rb") as stream:
        os.fsync(stream.fileno())  # the record must not survive a power cut that the data did not
    path = folder / f"image.{image.format}"
    file.replace(path)
    told = {key: getattr(image, key) for key in ("format", "virtual_size", "size", "sha256")}
    _write(folder / "image.json", {**told, "mtime_ns": path.stat().st_mtime_ns, "from": wanted.shown})
    return dataclasses.replace(image, path=path.absolute())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One download of a digest at a time; the kernel frees the lock of a process that died."""
    with (folder / "lock").open("w") as lock:

        def locked() -> waits.Ready[bool] | waits.NotYet:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return waits.NotYet("it is still under way")
            return waits.Ready(True)

        waits.until(
            locked, reason="another process that fetches the same image", deadline=DEADLINE, interval=0.5, step=STEP
        )
        yield


# ---- one download


class _Download:
    """Bytes into ``folder``/part, over as many connections as it takes, hashed on the way."""

    def __init__(self, wanted: Wanted, folder: Path, deadline: float) -> None:
        self.wanted, self.folder, self.deadline = wanted, folder, deadline
        self.part, self.state = folder / "part", folder / "part.json"
        self.resumed = False  # bytes of more than one answer
        self.most = self.have()  # bytes: the furthest that it came
        self.hash, self.hashed = hashlib.new(wanted.algorithm), 0
        self.end = time.monotonic() + deadline

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> ImageFile:
        self._all()
        if self._sum() != self.wanted.digest and self.resumed:
            progress.note("what was put together does not have the digest: once more, from the start")
            self._forget()
            self._all()
        if (got := self._sum()) != self.wanted.digest:
            self._forget()
            raise _differs(self.wanted.shown, self.wanted.algorithm, got, self.wanted.digest)
        self.state.unlink(missing_ok=True)
        return _keep(self.part, self.folder, self.wanted)

    def _all(self) -> None:
        while True:
            before = self.most
            try:
                waits.until(
                    self._try, reason=f"{self.wanted.shown} to come", deadline=PATIENCE, interval=INTERVAL,
                    transient=(Transient,), step=STEP,
                    remedy="check the address and the network; another run goes on where this one stopped",
                )  # fmt: skip
                return
            except waits.TimedOut:
                if self.most <= before:
                    raise

    def _try(self) -> waits.Ready[bool]:
        known, have = _read(self.state), self.have()
        if have and have == known.get("size"):
            self.resumed = self.resumed or self.hashed != have
            return waits.Ready(True)
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if known.get("validator"):
                headers["If-Range"] = known["validator"]
        with contextlib.closing(self._ask(headers)) as response:
            total = self._judge(response, have, known)
            self._stream(response, total)
        return waits.Ready(True)

    def _ask(self, headers: Mapping[str, str]) -> requests.Response:
        try:
            return self.wanted.ask(headers)
        except requests.exceptions.SSLError as error:
            raise UsageError(
                f"{self.wanted.shown}: its certificate or TLS cannot be trusted ({_why(error)}): check the address "
                "and this host's certificates"
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise Transient(_why(error)) from error
        except (requests.RequestException, ValueError) as error:
            raise UsageError(f"{self.wanted.shown}: cannot be asked for ({_why(error)}): check the address") from error

    def _judge(self, response: requests.Response, have: int, known: Mapping[str, Any]) -> int | None:
        """Is this the rest (206), or all of it (200)? Returns the whole size in bytes where it is announced."""
        status, validator = response.status_code, _validator(response)
        # 400: Glance, when the store behind it cannot give a part.
        if status == 416 or (status == 400 and have) or (status == 206 and not have):
            self._forget()
            raise Transient(f"the server answered {status} to a request for bytes {have} onwards")
        if status == 206:
            match = re.fullmatch(
                r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", response.headers.get("Content-Range", "").strip()
            )
            total = int(match[2]) if match and match[2] != "*" else known.get("size")
            old = known.get("validator")
            if not match or int(match[1]) != have or total != known.get("size", total) or (old and validator != old):
                self._forget()
                raise Transient("the image changed on the server: from the start")
            self.resumed = True
        elif status == 200:
            self._forget()
            length = response.headers.get("Content-Length", "")
            total = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        else:
            raise _refusal(self.wanted.shown, status)
        coding = response.headers.get("Content-Encoding", "identity")
        if coding != "identity":
            raise UsageError(f"{self.wanted.shown}: the server sends it {coding[:40]}-encoded: give it as a plain file")
        _write(self.state, {"size": total, "validator": validator} if total else {"validator": validator})
        return total

    def _stream(self, response: requests.Response, total: int | None) -> None:
        have = began_with = self.have()
        free = shutil.disk_usage(self.folder).free
        if total is not None and total - have > free:
            raise StepFailed(
                STEP, f"{self.wanted.shown} needs {_mib(total - have)} and {self.folder} has {_mib(free)} free",
                remedy="free room there, or set IMAGECHECK_HOME to a folder on a larger disk",
            )  # fmt: skip
        self._catch_up(have)
        began, probed = time.monotonic(), False
        with progress.phase("download", quiet=True) as shown, self.part.open("ab") as out:
            try:
                for piece in response.iter_content(_PIECE):
                    out.write(piece)
                    self.hash.update(piece)
                    have += len(piece)
                    self.hashed, self.most = have, max(self.most, have)
                    if have > imagefile.LARGEST:
                        self._forget()
                        raise UsageError(f"{self.wanted.shown}: does not end: check the address")
                    now = time.monotonic()
                    rate = (have - began_with) / max(now - began, 0.001)
                    shown.update(f"{_mib(have)}{f' of {_mib(total)}' if total else ''}, {_mib(rate)}/s")
                    if not probed and have >= _PIECE:  # an archive is refused now, not after its gigabytes
                        out.flush()
                        self._probe()
                        probed = True
                    if now > self.end:
                        raise StepFailed(STEP, f"{self.wanted.shown} did not come within {self.deadline:.0f} s")
            except requests.RequestException as error:  # first: it is an OSError
                raise Transient(f"the connection broke after {_mib(have)} ({_why(error)})") from error
        if total is not None and have != total:
            if have > total:
                self._forget()
            raise Transient(f"{have} bytes came of the {total} that were announced")

    def _probe(self) -> None:
        try:
            imagefile.probe(self.part)
        except UsageError as error:
            self._forget()
            raise _named(error, self.part, self.wanted) from error

    def _catch_up(self, have: int) -> None:
        """Hash what lies there from an earlier run."""
        if self.hashed == have:
            return
        self.hash, self.hashed = hashlib.new(self.wanted.algorithm), have
        with self.part.open("rb") as stream:
            while piece := stream.read(1 << 20):
                self.hash.update(piece)

    def _sum(self) -> str:
        self._catch_up(self.have())
        return self.hash.hexdigest()

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        self.resumed = False
        self.hash, self.hashed = hashlib.new(self.wanted.algorithm), 0


def _validator(response: requests.Response) -> str:
    """What If-Range may carry: a strong ETag, else the date of the last change (RFC 9110 §13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _refusal(shown: str, status: int) -> ImagecheckError:
    said = f"the server answered {status}"
    with contextlib.suppress(ValueError):
        said += f" {HTTPStatus(status).phrase}"
    if status in _RETRIED or status >= 500:
        return Transient(said)
    return UsageError(f"{shown}: {said}: check the address and that you may read it")


def _differs(shown: str, algorithm: str, got: str, wanted: str) -> UsageError:
    return UsageError(f"{shown}: has the {algorithm} {got}, not {wanted}: correct the digest, or get the right image")


def _named(error: UsageError, file: Path, wanted: Wanted) -> UsageError:
    return UsageError(str(error).replace(str(file), wanted.shown))


def _why(error: BaseException) -> str:
    """The innermost reason: requests wraps it in one that repeats the URL, signed query and all."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    text = " ".join(str(inner or error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
