"""What this run makes in a cloud, written down before it is asked for, so that nothing is ever lost.

One JSON-lines file per run under ``paths.home()/ledger``. Every line is fsynced. The first says whose it is; then
an ``intend`` comes before each request, ``made`` gives its id, ``removed`` closes it. kill -9 loses at most the
answer to one request, and its name is on disk.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imagecheck import paths
from imagecheck.errors import UsageError
from imagecheck.site import Site

TAG = "imagecheck"  # on everything that can carry a tag or metadata, next to the run id


@dataclass(frozen=True)
class Entry:
    """One thing in a cloud: ``id`` is empty until the cloud has answered, ``details`` help to find it then."""

    number: int
    kind: str
    name: str
    id: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    removed: bool = False


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

    @property
    def site(self) -> Site:
        """Enough of the site to remove things there."""
        return Site(
            cloud=self.cloud,
            tenant_cloud=self.tenant_cloud,
            clouds_file=Path(self.clouds_file) if self.clouds_file else None,
            guest_config=Path(self.guest_config) if self.guest_config else None,
            sandbox=self.sandbox,
        )


class Ledger:
    """An append-only file; ``intend``, then ``made``, then ``removed``. May be used from several threads."""

    def __init__(self, path: Path, owner: Owner, entries: dict[int, Entry] | None = None) -> None:
        self.path = path
        self.owner = owner
        self._entries: dict[int, Entry] = entries or {}
        self._lock = threading.Lock()

    @classmethod
    def new(cls, run: str, site: Site, folder: Path | None = None) -> Ledger:
        """Begin the ledger of ``run`` in ``folder`` (default: paths.home()/ledger)."""
        folder = folder or paths.home() / "ledger"
        folder.mkdir(parents=True, exist_ok=True)
        owner = Owner(
            run=run,
            pid=os.getpid(),
            started=_process_start(os.getpid()),
            boot=_boot(),
            host=socket.gethostname(),
            time=time.time(),
            cloud=site.cloud,
            tenant_cloud=site.tenant_cloud,
            clouds_file=str(site.clouds_file or ""),
            guest_config=str(site.guest_config or ""),
            sandbox=site.sandbox,
        )
        ledger = cls(folder / f"{run}.jsonl", owner)
        ledger._write({"owner": vars(owner)})
        _sync_folder(folder)
        return ledger

    def intend(self, kind: str, name: str, **details: str) -> Entry:
        """Write down what is about to be asked for; returns when it is on disk."""
        with self._lock:
            entry = Entry(len(self._entries) + 1, kind, name, details=details)
            self._write({"intend": entry.number, "kind": kind, "name": name, "details": details})
            self._entries[entry.number] = entry
            return entry

    def made(self, entry: Entry, id: str) -> Entry:
        """The cloud gave it ``id``."""
        with self._lock:
            self._write({"made": entry.number, "id": id})
            self._entries[entry.number] = replace(self._entries[entry.number], id=id)
            return self._entries[entry.number]

    def removed(self, entry: Entry) -> None:
        """It is gone, or was never made."""
        with self._lock:
            self._write({"removed": entry.number})
            self._entries[entry.number] = replace(self._entries[entry.number], removed=True)

    @property
    def entries(self) -> list[Entry]:
        """Everything ever intended, in order."""
        with self._lock:
            return list(self._entries.values())

    @property
    def open(self) -> list[Entry]:
        """What may still exist, the newest first."""
        return [entry for entry in reversed(self.entries) if not entry.removed]

    def retire(self) -> None:
        """Delete the file once nothing is open."""
        if not self.open:
            self.path.unlink(missing_ok=True)

    def owner_alive(self) -> bool:
        """True while the process that wrote it may still run (other hosts count as alive: theirs is not ours)."""
        mine = self.owner
        if mine.host != socket.gethostname():
            return True
        return mine.boot == _boot() and mine.started == _process_start(mine.pid) != ""

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=True) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path) -> Ledger:
    """Read a ledger back; a last line that was cut off by a crash is passed over (its request was never sent).

    Raises UsageError when the file is not a ledger.
    """
    owner: Owner | None = None
    entries: dict[int, Entry] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            if "owner" in record:
                owner = Owner(**record["owner"])
            elif "intend" in record:
                number = int(record["intend"])
                entries[number] = Entry(number, record["kind"], record["name"], details=record["details"])
            elif "made" in record:
                entries[int(record["made"])] = replace(entries[int(record["made"])], id=str(record["id"]))
            elif "removed" in record:
                entries[int(record["removed"])] = replace(entries[int(record["removed"])], removed=True)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    if owner is None:
        raise UsageError(f"{path}: is not a ledger of imagecheck: move it out of that folder")
    return Ledger(path, owner, entries)


def abandoned(folder: Path | None = None) -> list[Ledger]:
    """Ledgers whose process is dead, the oldest first."""
    folder = folder or paths.home() / "ledger"
    if not folder.is_dir():
        return []
    ledgers = [read(path) for path in folder.glob("*.jsonl")]
    return sorted((one for one in ledgers if not one.owner_alive()), key=lambda one: one.owner.time)


def _process_start(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); "" when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
