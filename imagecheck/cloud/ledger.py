"""What this run makes in a cloud, written down before it is asked for, so that nothing is ever lost.

One JSON-lines file per run under ``paths.home()/ledger``. Every line is fsynced. The first says whose it is; then
an ``intend`` comes before each request, ``made`` gives its id, ``removed`` closes it. kill -9 loses at most the
answer to one request, and its name is on disk. ``kept`` says that what is open stays on purpose; whoever goes on
with that (``adopt``) is its owner from then on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imagecheck import paths, process, progress
from imagecheck.cloud import marks
from imagecheck.errors import StepFailed, UsageError
from imagecheck.process import Process
from imagecheck.site import Site


@dataclass(frozen=True)
class Entry:
    """One thing in a cloud: ``id`` is empty until the cloud has answered, ``details`` help to find it then.

    ``of`` is the number of another entry that this one comes and goes with; 0 for what stands alone.
    """

    number: int
    kind: str
    name: str
    id: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    removed: bool = False
    of: int = 0

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name}" + (f" {self.id}" if self.id not in ("", self.name) else "")


@dataclass(frozen=True)
class Account:
    """What became of what a run asked for; ``made`` leaves out what the cloud never gave."""

    made: int
    left: int

    def __str__(self) -> str:
        return f"made {self.made}, removed {self.made - self.left}, left {self.left}"


@dataclass(frozen=True)
class Owner:
    """The process and the cloud of a ledger; no secret is in it."""

    run: str
    pid: int
    started: str  # the process's start in clock ticks since boot: a pid alone is reused
    boot: str
    host: str
    time: float
    cloud: str
    tenant_cloud: str
    clouds_file: str
    guest_config: str
    sandbox: bool
    until: float = 0.0  # epoch seconds: no other host removes what carries this run's name before
    region: str = ""

    @property
    def process(self) -> Process:
        """The process that wrote it."""
        return Process(self.pid, self.started, self.boot, self.host)

    @property
    def site(self) -> Site:
        """Enough of the site to remove things there."""
        return Site(
            cloud=self.cloud,
            tenant_cloud=self.tenant_cloud,
            clouds_file=Path(self.clouds_file) if self.clouds_file else None,
            guest_config=Path(self.guest_config) if self.guest_config else None,
            sandbox=self.sandbox,
            region=self.region,
        )


class Ledger:
    """An append-only file; ``intend``, then ``made``, then ``removed``. May be used from several threads."""

    def __init__(self, path: Path, owner: Owner, entries: dict[int, Entry] | None = None) -> None:
        self.path = path
        self.owner = owner
        self.kept = 0.0  # epoch seconds until which what is open was left on purpose; 0.0: nothing was
        self._entries: dict[int, Entry] = entries or {}
        self._lock = threading.RLock()
        self._torn = False  # the last line was cut off by a crash

    @classmethod
    def new(cls, run: str, site: Site, folder: Path | None = None) -> Ledger:
        """Begin the ledger of ``run`` in ``folder`` (default: paths.home()/ledger).

        Raises StepFailed when it cannot be written: then nothing may be asked for.
        """
        folder = folder or paths.home() / "ledger"
        now = time.time()
        owner = Owner(
            **vars(process.mine()),
            run=run,
            time=now,
            cloud=site.cloud,
            tenant_cloud=site.tenant_cloud,
            clouds_file=str(site.clouds_file or ""),
            guest_config=str(site.guest_config or ""),
            sandbox=site.sandbox,
            until=now + marks.TTL,
            region=site.region,
        )
        ledger = cls(folder / f"{run}.jsonl", owner)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ledger._write({"owner": vars(owner)})
            process.sync(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                ledger.path.unlink()  # half a line of nothing
            raise ledger._unwritable(error, "nothing") from error
        return ledger

    def intend(self, kind: str, name: str, *, of: Entry | None = None, **details: str) -> Entry:
        """Write down what is about to be asked for; returns when it is on disk. ``of``: what it comes and goes with.

        Raises StepFailed when it cannot be written: then nothing may be asked for.
        """
        with self._lock:
            entry = Entry(len(self._entries) + 1, kind, name, details=details, of=of.number if of else 0)
            try:
                self._write(
                    {"intend": entry.number, "kind": kind, "name": name, "details": details}
                    | ({"of": entry.of} if entry.of else {})
                )
            except OSError as error:
                raise self._unwritable(error, f"no {kind}") from error
            self._entries[entry.number] = entry
            return entry

    def made(self, entry: Entry, id: str) -> Entry:
        """The cloud gave it ``id``."""
        with self._lock:
            self._entries[entry.number] = replace(self._entries[entry.number], id=id)
            self._tell({"made": entry.number, "id": id})
            return self._entries[entry.number]

    def removed(self, entry: Entry) -> None:
        """It is gone, or was never made; and with it all that came with it."""
        with self._lock:
            for one in [entry, *(one for one in self.open if one.of == entry.number)]:
                self._entries[one.number] = replace(self._entries[one.number], removed=True)
                self._tell({"removed": one.number})

    def adopt(self) -> None:
        """Make this process the owner: what a living run owns, `gc` leaves alone. Raises UsageError when it has one."""
        run = self.owner.run
        try:
            with self._lock, self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # of two that ask at once, the second finds the first
                there = read(self.path).owner
                if there.process.alive():
                    raise UsageError(f"{run} is at work (process {there.pid} on {there.host}): wait for its end")
                self.owner = replace(there, **vars(process.mine()), until=max(there.until, time.time() + marks.TTL))
                self._write({"owner": vars(self.owner)})
        except FileNotFoundError:
            raise UsageError(f"{run} is not there any more: it has just been removed") from None

    def keep(self, until: float) -> None:
        """What is open stays on purpose, until then (epoch seconds)."""
        with self._lock:
            self.kept = until
            self._write({"kept": until})

    def marks(self) -> dict[str, str]:
        """What everything made now carries besides the run, where it can: owner, and until when it is nobody else's."""
        return {
            marks.OWNER: f"{self.owner.host}:{self.owner.pid}",
            marks.UNTIL: marks.stamp(max(self.kept, time.time() + marks.TTL)),
        }

    @property
    def entries(self) -> list[Entry]:
        """Everything ever intended, in order."""
        with self._lock:
            return list(self._entries.values())

    @property
    def open(self) -> list[Entry]:
        """What may still exist, the newest first."""
        return [entry for entry in reversed(self.entries) if not entry.removed]

    @property
    def account(self) -> Account:
        """What was made and what is left, for the end of a run."""
        return self.account_since(0)

    def account_since(self, number: int) -> Account:
        """The same of the entries after ``number``."""
        mine = [one for one in self.entries if one.number > number]
        left = sum(1 for one in mine if not one.removed)
        return Account(left + sum(1 for one in mine if one.removed and one.id), left)

    def retire(self) -> None:
        """Delete the file once nothing is open."""
        if not self.open:
            self.path.unlink(missing_ok=True)

    def owner_alive(self) -> bool:
        """True while the process that wrote it may still run (other hosts count as alive: theirs is not ours)."""
        return self.owner.process.alive()

    def _unwritable(self, error: OSError, what: str) -> StepFailed:
        return StepFailed(
            "ledger",
            f"{self.path} cannot be written ({error.strerror}): {what} is asked for that could be lost",
            remedy="make room there, or set IMAGECHECK_HOME to a folder with room",
        )

    def _tell(self, record: Mapping[str, Any]) -> None:
        """Write down what has happened; what cannot be written is found again by its name."""
        try:
            self._write(record)
        except OSError as error:
            progress.note(f"{self.path} cannot be written ({error.strerror}): {json.dumps(record)}")

    def _write(self, record: Mapping[str, Any]) -> None:
        line = "\n" * self._torn + json.dumps(record, ensure_ascii=True) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            data = line.encode()
            while data:
                written = os.write(descriptor, data)
                self._torn, data = written < len(data), data[written:]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path) -> Ledger:
    """Read a ledger back; a last line that was cut off by a crash is passed over (its request was never sent).

    Raises UsageError when the file is not a ledger.
    """
    owner: Owner | None = None
    entries: dict[int, Entry] = {}
    kept = 0.0
    text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        try:
            record = json.loads(line)
            if "owner" in record:
                owner = Owner(**record["owner"])
            elif "intend" in record:
                number = int(record["intend"])
                about = {"details": record["details"], "of": int(record.get("of", 0))}
                entries[number] = Entry(number, record["kind"], record["name"], **about)
            elif "made" in record:
                entries[int(record["made"])] = replace(entries[int(record["made"])], id=str(record["id"]))
            elif "removed" in record:
                entries[int(record["removed"])] = replace(entries[int(record["removed"])], removed=True)
            elif "kept" in record:
                kept = float(record["kept"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    if owner is None:
        raise UsageError(f"{path}: is not a ledger of imagecheck: move it out of that folder")
    found = Ledger(path, owner, entries)
    found.kept, found._torn = kept, not text.endswith("\n")
    return found


def everyone(folder: Path | None = None) -> tuple[list[Ledger], list[str]]:
    """All ledgers here, the oldest first, and a sentence for each file that is none.

    One whose first line is not whole belongs to a run that died before it asked for anything: it is passed over.
    """
    folder = folder or paths.home() / "ledger"
    ledgers, strange = [], []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            ledgers.append(read(path))
        except FileNotFoundError:  # its run has ended meanwhile
            continue
        except UsageError as error:
            if b"\n" in path.read_bytes():
                strange.append(str(error))
    return sorted(ledgers, key=lambda one: one.owner.time), strange


def abandoned(folder: Path | None = None) -> list[Ledger]:
    """Ledgers whose process is dead, the oldest first."""
    return [one for one in everyone(folder)[0] if not one.owner_alive()]
