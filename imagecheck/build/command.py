"""builder = "command": any command that writes a qcow2 or raw image, run and watched like diskimage-builder."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from imagecheck import hostcmd, imagefile, progress, waits
from imagecheck.build import causes
from imagecheck.errors import StepFailed, UsageError
from imagecheck.redact import redact

STEP = "image build"
DEADLINE = 3600.0  # seconds
SUFFIXES = (".qcow2", ".raw", ".img")
MARK = "IMAGECHECK_BUILD"  # in the environment of every process of a build, so that all of them can be found
_PATIENCE = 10.0  # seconds for killed processes to be gone
_TAIL = 8  # lines of output that a failure shows
_KEPT = 200  # lines in which the error is looked for
_NOISE = re.compile(r"^(\++ .*|[-=.#*\s]*)$")  # a shell's tracing, rules and bars
_ERROR = re.compile(r"(?i)\b(error|fatal|failed|failure|cannot|can't|denied|not found|no space|no such)\b|^E: ")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")


class Ordered(Protocol):
    """What is needed of a definition."""

    @property
    def name(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def source(self) -> Path | None: ...
    @property
    def command(self) -> tuple[str, ...]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...


def words(definition: Ordered, work: Path) -> list[str]:
    """The command's words with {output}, {work}, {name} and {release} put in; other braces stay. Pure.

    A program that is a relative path lies beside the definition. Raises UsageError where there is no command.
    """
    if not definition.command or not definition.command[0].strip():
        raise UsageError(f"{definition.source or definition.name}: 'command' is empty: list the program and its words")
    known = {
        "output": str(work / "image.qcow2"),
        "work": str(work),
        "name": definition.name,
        "release": definition.release,
    }
    made = [re.sub(r"\{(output|work|name|release)\}", lambda m: known[m[1]], word) for word in definition.command]
    if "/" in made[0] and definition.source:
        made[0] = str(definition.source.absolute().parent / made[0])
    return made


def run(definition: Ordered, work: Path, log: Path, deadline: float = DEADLINE) -> Path:
    """Run the definition's command in ``work`` (an empty folder) and return the image that it made there.

    The whole output goes to ``log``, redacted. ``deadline`` in seconds; no process outlives the call. Raises
    UsageError (no such program) and StepFailed (it failed, or left no image, several, or one that cannot be used).
    """
    argv = words(definition, work)
    tool = Path(argv[0]).name
    tail: deque[str] = deque(maxlen=_KEPT)
    with log.open("w", encoding="utf-8", buffering=1) as full, progress.phase(tool) as shown:
        full.write(redact(f"+ {shlex.join(argv)}") + "\n")

        def line(text: str) -> None:
            full.write(redact(text) + "\n")
            if said := _plain(text):
                tail.append(said)
                shown.update(said)

        mark = uuid.uuid4().hex
        try:
            with _nobody_left(mark):
                hostcmd.stream(
                    argv,
                    line,
                    timeout=deadline,
                    step=STEP,
                    env={**definition.environment, MARK: mark},
                    cwd=work,
                )
        except StepFailed as failed:
            raise _explained(tool, failed, list(tail), log) from failed
    return _image(tool, work, log)


# ---- the image


def _image(tool: str, work: Path, log: Path) -> Path:
    named = work / "image.qcow2"
    candidates = [named] if named.is_symlink() or named.exists() else _like_images(work)
    if len(candidates) != 1:
        seen = ", ".join(map(str, candidates)) or _largest(work)
        what = f"left {len(candidates)} images" if candidates else "ended well but left no image"
        raise StepFailed(
            STEP, f"{tool} {what}", seen=redact(seen.replace(f"{work}/", "")),
            remedy=f"let it write one qcow2 or raw image to {{output}}; the whole log is {log}",
        )  # fmt: skip
    found = candidates[0]
    if found.is_symlink():
        raise StepFailed(
            STEP, f"{tool} left a symbolic link to {found.readlink()} instead of an image",
            remedy="let it write, or copy, the image itself to {output}",
        )  # fmt: skip
    try:
        format_ = imagefile.probe(found)
    except UsageError as error:
        raise StepFailed(
            STEP, f"what {tool} left cannot be used: {str(error).replace(f'{work}/', '')}", remedy=f"the log is {log}"
        ) from error
    if format_ == "raw" and found.suffix == ".qcow2":  # {output} is called so before anybody knows
        return found.rename(found.with_suffix(".raw"))
    return found


def _like_images(work: Path) -> list[Path]:
    return sorted(
        file for file in work.rglob("*") if file.suffix in SUFFIXES and file.is_file() and not file.is_symlink()
    )


def _largest(work: Path) -> str:
    """What else is there, for people: the five largest files."""
    files = [(file.stat().st_size, file) for file in work.rglob("*") if file.is_file() and not file.is_symlink()]
    largest = sorted(files, key=lambda pair: (-pair[0], str(pair[1])))[:5]
    return ", ".join(f"{file} ({size / 2**20:.1f} MiB)" for size, file in largest) or "an empty work folder"


# ---- its output


def _plain(text: str) -> str:
    """A line as a terminal would show it in the end: no colours, and what a progress bar wrote last."""
    parts = [part.strip() for part in _COLOUR.sub("", text).split("\r")]
    return next((part for part in reversed(parts) if part), "")


def _matter(lines: Sequence[str]) -> list[str]:
    """The last lines that say something, and before them the last error if it came earlier. Pure."""
    telling = [line for line in lines if not _NOISE.match(line)]
    last = telling[-_TAIL:]
    earlier = [line for line in telling[:-_TAIL] if _ERROR.search(line)]
    if earlier and not any(_ERROR.search(line) for line in last):
        return [earlier[-1], "…", *last[2:]]
    return last


def _explained(tool: str, failed: StepFailed, lines: list[str], log: Path) -> StepFailed:
    cause = causes.explain("", "", lines)
    how = failed.sentence.rpartition("` ")[2]
    return StepFailed(
        STEP,
        f"{tool} {how}" + (f": {cause.sentence}" if cause else ""),
        seen=redact("\n        ".join(_matter(lines))),
        remedy=f"{cause.remedy}; the whole log is {log}" if cause else f"the whole log is {log}",
    )


# ---- its processes


@contextmanager
def _nobody_left(mark: str) -> Iterator[None]:
    """End every process that carries ``mark``, however the body ends; hostcmd ends those of its process group alone."""
    try:
        yield
    finally:
        end = time.monotonic() + _PATIENCE
        while _end(mark) and time.monotonic() < end:
            waits.pause(0.05, reason="killed processes of the build to be gone")


def _end(mark: str) -> bool:
    """Kill all with ``mark``; True when there were any. Those of other users are not seen unless we are root."""
    wanted, found = f"{MARK}={mark}".encode(), False
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
                    found = True
    return found
