"""The watchdog: fed with what a guest says while something waits, it ends the wait as soon as the cause is plain.

Pure: time is passed in, nothing is asked. Memory is bounded, however much a console says.
"""

from __future__ import annotations

from collections.abc import Sequence

from imagecheck.causes import judge
from imagecheck.causes.judge import HELD, Finding, Verdict
from imagecheck.causes.row import Facts, Place, Row
from imagecheck.causes.scan import Hit, Reader
from imagecheck.causes.table import TABLE

_TAIL = 2000  # characters by which a console that is read again is joined to what was read before


class Watch:
    """One wait's watchdog. Every method that takes something in answers with the verdict that ends the wait, or None.

    ``now`` is seconds of any clock that does not go back (time.monotonic()).
    """

    def __init__(self, table: Sequence[Row] = TABLE) -> None:
        self._table = table
        self._readers: dict[Place, Reader] = {}
        self._facts = Facts()
        self._since: dict[str, float] = {}  # row -> since when its condition holds
        self._seen = 0  # length of the console when it was read last
        self._tail = ""

    def feed(self, place: Place, text: str | bytes, now: float) -> Verdict | None:
        """More text of ``place``: what has come since the last time."""
        self._reader(place).feed(text, now)
        return self.verdict(now)

    def console(self, text: str, now: float) -> Verdict | None:
        """The console as Nova gives it: always from its beginning, or its last part once it has grown long."""
        return self.feed("console", self._new(text), now)

    def join(self, text: str) -> None:
        """The console as it is before the wait begins: what it says so far counts for nothing."""
        self._new(text)

    def look(self, facts: Facts, now: float) -> Verdict | None:
        """What was found out by asking; replaces what was known before."""
        self._facts = facts
        holding = {row.id for row, _ in judge.holding(facts, self._table)}
        self._since = {id: self._since.get(id, now) for id in holding}
        return self.verdict(now)

    def verdict(self, now: float) -> Verdict | None:
        """The verdict when the evidence is enough to end the wait now: not its end only, but the deepest cause."""
        findings = self._findings(now)
        if not any(one.ends and not (one.row.unless and one.row.unless(self._facts)) for one in findings):
            return None
        # A fault that may still go away is not what ends this wait.
        return judge.best([one for one in findings if one.ends or not one.row.fatal], self._facts)

    def so_far(self, now: float) -> Verdict:
        """What is known when the wait ends for another reason, a time-out say; "unknown" with the best evidence."""
        return judge.best(self._findings(now), self._facts) or judge.unknown(list(self._readers.values()))

    def _reader(self, place: Place) -> Reader:
        if place not in self._readers:
            self._readers[place] = Reader(place, self._table)
        return self._readers[place]

    def _findings(self, now: float) -> list[Finding]:
        found = []
        for reader in self._readers.values():
            found += [judge.of_hit(hit, ends=_ends(hit, now)) for hit in reader.hits.values()]
            if now - reader.changed >= HELD:
                found += [judge.of_hit(hit, ends=_ends(hit, now)) for hit in reader.waiting(now)]
        for row, said in judge.holding(self._facts, self._table):
            ends = row.fatal and now - self._since.get(row.id, now) >= row.grace
            found.append(judge.of_fact(row, said, ends=ends))
        return found

    def _new(self, text: str) -> str:
        """What ``text`` has more than the last time; all of it when it does not join (the server was rebuilt)."""
        tail, seen = self._tail, self._seen
        self._tail, self._seen = text[-_TAIL:], len(text)
        if text[seen - len(tail) : seen] == tail:
            return text[seen:]
        # Its beginning was dropped: the tail now ends earlier than before, by as little as fits.
        at = text.rfind(tail, 0, seen)
        return text[at + len(tail) :] if at >= 0 else text


def _ends(hit: Hit, now: float) -> bool:
    row = hit.row
    span = now - hit.first if row.prompt else hit.span
    return row.fatal and row.proven and hit.count >= row.times and span >= row.grace
