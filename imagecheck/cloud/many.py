"""Many Nova servers at once: asked for with little, watched by one list for all of them, removed.

One list a second whatever their number, of those that are ACTIVE or in ERROR: a poll for each server, or a list with
all that is known of them, would be what a series of hundreds measures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from imagecheck import waits
from imagecheck.cloud import nova
from imagecheck.cloud.connection import Cloud, Hiccup, Missing, asking
from imagecheck.cloud.ledger import Entry, Ledger
from imagecheck.cloud.marks import TAG
from imagecheck.errors import StepFailed

EVERY = 1.0  # seconds between two lists
LOOK = 0.25  # seconds between two looks at the latest list
CLOSER = 20.0  # seconds after which a server that is in no list is asked for by itself: it may have vanished
DEADLINE = 300.0  # seconds until a server has to be ACTIVE, and again until it has to be gone


@dataclass(frozen=True)
class Asked:
    """A server that Nova has accepted; times are seconds since the epoch, harness."""

    entry: Entry
    id: str
    began: float
    accepted: float


@dataclass
class _Watched:
    last_no: float
    first_yes: float = 0.0
    listed: bool = False
    looks: int = 0


def ask(
    cloud: Cloud, ledger: Ledger, *, name: str, run: str, image: str, flavor: str, network: str, host: str = ""
) -> Asked:
    """Ask for a server on one network, with no key and no data. ``host``: "ZONE:HOST", for administrators."""
    entry = ledger.intend("server", name)
    more: Mapping[str, str] = {"availability_zone": host} if host else {}
    began = time.time()
    with asking(nova.STEP, "create a server"):
        made = cloud.admin.compute.create_server(
            name=name, image_id=image, flavor_id=flavor, networks=[{"uuid": network}], config_drive=True,
            metadata={TAG: run} | ledger.marks(), **more,
        )  # fmt: skip
    accepted = time.time()
    return Asked(ledger.made(entry, str(made.id)), str(made.id), began, accepted)


class Listing:
    """The servers of one run, whose names all begin with ``prefix``. May be used from several threads.

    No thread of its own: whoever finds the latest list too old fetches the next one, for all.
    """

    def __init__(self, cloud: Cloud, prefix: str) -> None:
        self._cloud, self._prefix = cloud, prefix
        self._fetching, self._lock = threading.Lock(), threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._next = 0.0

    def wait_active(self, asked: Asked) -> waits.Seen[nova.Server]:
        """Wait for ACTIVE: seen between the last list that did not say so and the first that did.

        Raises StepFailed with Nova's fault, or when the server vanishes.
        """
        mine = self._watched.setdefault(asked.id, _Watched(asked.accepted))
        looked, seen = time.monotonic(), "not listed yet"

        def active() -> waits.Ready[nova.Server] | waits.NotYet:
            nonlocal looked, seen
            self._fetch()
            if not mine.first_yes and time.monotonic() - looked < CLOSER:
                return waits.NotYet(seen)
            looked = time.monotonic()
            try:
                server = nova.show(self._cloud, asked.id)
            except Missing:
                raise StepFailed(nova.STEP, "the server has vanished from Nova", seen=f"server {asked.id}") from None
            nova.raise_fault(server)
            if mine.first_yes and server.status == "ACTIVE":
                return waits.Ready(server)
            seen = f"{server.status} ({server.raw.get('task_state') or 'no task'})"
            return waits.NotYet(seen)

        found = waits.until(
            active, reason="Nova to call the server ACTIVE", deadline=DEADLINE, interval=LOOK, transient=(Hiccup,),
            step=nova.STEP,
        )  # fmt: skip
        return waits.Seen(found.value, min(mine.last_no, mine.first_yes), mine.first_yes)

    def remove(self, ledger: Ledger, entry: Entry) -> None:
        """Delete the server, whatever its state, and wait until Nova does not know it any more. Raises TimedOut."""
        mine = self._watched.setdefault(entry.id, _Watched(0.0))
        try:
            self._delete(entry.id)
            mine.listed, mine.looks = True, 0  # a list from before the request counts for nothing

            def gone() -> waits.Ready[None] | waits.NotYet:
                self._fetch()
                if not mine.looks or mine.listed:
                    return waits.NotYet("deleting")
                # The list leaves it out before it is gone: deleted, and still cleaned up (nova/compute/manager.py,
                # _complete_deletion); one that never came so far is in no list at all.
                nova.show(self._cloud, entry.id)
                return waits.NotYet("deleting")

            waits.until(
                gone, reason="Nova to remove the server", deadline=DEADLINE, interval=LOOK, transient=(Hiccup,),
                step=nova.STEP,
            )  # fmt: skip
        except Missing:
            pass
        finally:
            with self._lock:
                self._watched.pop(entry.id, None)
        ledger.removed(entry)

    def _delete(self, id: str) -> None:
        def ask() -> waits.Ready[None]:
            with asking(nova.STEP, "delete the server"):
                self._cloud.admin.compute.delete_server(id, ignore_missing=False)
            return waits.Ready(None)

        waits.until(
            ask, reason="Nova to take the deletion", deadline=60, interval=1, transient=(Hiccup,), step=nova.STEP
        )

    def _fetch(self) -> None:
        """Fetch a list if the latest one is too old and nobody else is fetching."""
        if time.monotonic() < self._next or not self._fetching.acquire(blocking=False):
            return
        try:
            with self._lock:
                about = dict(self._watched)  # what is asked for meanwhile may be missing in the answer
            before = time.time()
            listed = nova.decided(self._cloud, self._prefix)
            answered = time.time()
            for id, one in about.items():
                one.listed, one.looks = id in listed, one.looks + 1
                if not one.listed:
                    one.last_no = max(one.last_no, before)
                elif not one.first_yes:
                    one.first_yes = answered
        finally:
            self._next = time.monotonic() + EVERY
            self._fetching.release()
