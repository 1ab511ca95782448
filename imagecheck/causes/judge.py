"""From texts and facts to one verdict: the cause that lies deepest of those that show, or none. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imagecheck.build import causes as of_builds
from imagecheck.causes.row import PLACES, Facts, Place, Row
from imagecheck.causes.scan import Hit, Reader
from imagecheck.causes.table import TABLE
from imagecheck.errors import UNKNOWN, Cause, StepFailed
from imagecheck.redact import redact

SHOWN = 240  # characters of a line that are shown
HELD = 5.0  # seconds that a line without an end must stand unchanged before it counts
_BEST = 3  # lines shown when no cause is known
# Where to look first for what explains an unknown cause: the program's own words before the machine's.
_TELLING: tuple[Place, ...] = (
    "trove", "nova", "container", "agent", "docker", "cloud-init", "journal", "console", "build",
)  # fmt: skip
# File name of saved evidence -> place; units.txt, network.txt and the like are for people.
_FILES: tuple[tuple[str, Place], ...] = (
    ("console.log", "console"), ("agent-journal.txt", "journal"), ("docker-journal.txt", "docker"),
    ("journal.txt", "journal"), ("dmesg.txt", "console"), ("agent.log", "agent"),
    ("cloud-init-output.log", "cloud-init"), ("cloud-init.log", "cloud-init"), ("cloud-init.txt", "cloud-init"),
    ("container.log", "container"),
    ("docker.txt", "container"), ("nova-server.json", "nova"), ("nova-actions.json", "nova"), ("fault.txt", "trove"),
    ("trove-instance.json", "trove"), ("build.log", "build"),
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What was saved: texts by where they come from, and facts."""

    texts: Mapping[Place, Sequence[str]] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)


class Verdict(Cause):
    """What is wrong and where it was seen: a cause that can end a step."""

    def failure(self, step: str = "") -> StepFailed:
        """The same as the error that ends a step."""
        return StepFailed(step or self.stage, self.sentence, seen=self.evidence, remedy=self.remedy, cause=self)


@dataclass(frozen=True)
class Finding:
    """A row that fits, and by what."""

    row: Row
    what: Mapping[str, str]
    seen: str
    where: str
    line: int  # number of the line; 0 for facts
    ends: bool  # this alone ends a wait, now


def place_of(name: str) -> Place | None:
    """The place that a file of saved evidence comes from; None for files that only people read."""
    bare = name.removeprefix("trove-") if not name.startswith("trove-instance") else name
    return next((place for suffix, place in _FILES if bare == suffix), None)


def evidence_from(files: Mapping[str, str], facts: Facts | None = None) -> Evidence:
    """Evidence from saved files: name -> text."""
    texts: dict[Place, list[str]] = {}
    for name, text in files.items():
        if place := place_of(name):
            if name.endswith(".json"):  # a traceback in a string is many lines
                text = text.replace("\\n", "\n")
            texts.setdefault(place, []).append(text)
    return Evidence(texts, facts or Facts())


def verdict(evidence: Evidence, table: Sequence[Row] = TABLE) -> Verdict:
    """The deepest cause that ``evidence`` shows; "unknown" with the best evidence when no row fits."""
    hits: list[Hit] = []
    readers: list[Reader] = []
    for place in PLACES:
        for text in evidence.texts.get(place, ()):
            reader = Reader(place, table)
            reader.feed(text, 0.0)
            reader.finish(0.0)
            readers.append(reader)
            hits += reader.hits.values()
    findings = [of_hit(hit, ends=False) for hit in hits]
    findings += [of_fact(row, said, ends=False) for row, said in holding(evidence.facts, table)]
    found = best(findings, evidence.facts)
    if found:
        return found
    if built := _build(evidence.texts.get("build", ())):
        return built
    return unknown(readers)


def holding(facts: Facts, table: Sequence[Row]) -> list[tuple[Row, str]]:
    """The rows whose condition holds, with what it rests on."""
    return [(row, said) for row in table if row.holds and (said := row.holds(facts))]


def of_hit(hit: Hit, *, ends: bool) -> Finding:
    """A finding from lines."""
    times = f", {hit.count} times" if hit.count > 1 else ""
    return Finding(
        hit.row, hit.groups, hit.line.text.strip(), f"{hit.place}, line {hit.line.number}{times}", hit.line.number, ends
    )


def of_fact(row: Row, said: str, *, ends: bool) -> Finding:
    """A finding from facts."""
    return Finding(row, {"what": said}, said, "guest and cloud, asked", 0, ends)


def best(findings: Sequence[Finding], facts: Facts) -> Verdict | None:
    """The verdict of the finding that lies deepest; None without any."""
    fitting = sorted(
        (one for one in findings if not (one.row.unless and one.row.unless(facts))),
        key=lambda one: (-one.row.rank, one.row.confidence != "certain", one.line, one.row.id),
    )
    if not fitting:
        return None
    first, row = fitting[0], fitting[0].row
    return Verdict(
        id=row.id,
        stage=row.stage,
        fault=row.fault,
        confidence=row.confidence if row.proven or not first.line else "likely",
        sentence=_fill(row.sentence, first.what),
        remedy=_fill(row.remedy, {}),
        source=row.source,
        seen=_show(first.seen),
        where=first.where,
        retryable=row.retry and row.fault == "cloud",
        also=tuple(dict.fromkeys(one.row.id for one in fitting if one.row.id != row.id)),
    )


def unknown(readers: Sequence[Reader]) -> Verdict:
    """No row fits: the last lines that look like errors, and no guess."""
    for place in _TELLING:
        for reader in readers:
            if reader.place == place and reader.errors:
                last = list(reader.errors)[-_BEST:]
                return Verdict(
                    UNKNOWN, "", "", "none", "the cause is not known",
                    remedy="read the evidence; a line that names the cause belongs into imagecheck/causes",
                    seen=" | ".join(_show(line.text.strip()) for line in last),
                    where=f"{place}, line {last[0].number}{f' to {last[-1].number}' if len(last) > 1 else ''}",
                )  # fmt: skip
    return Verdict(UNKNOWN, "", "", "none", "the cause is not known, and no line of the evidence looks like an error")


def _build(texts: Sequence[str]) -> Verdict | None:
    for text in texts:
        cause = of_builds.explain("", "", text[-200_000:].splitlines())
        if cause:
            return Verdict(
                f"build-{cause.name.replace(' ', '-')}", "disk", "image", "likely", redact(cause.sentence),
                redact(cause.remedy), cause.source, _show(cause.line), "build log",
            )  # fmt: skip
    return None


def _fill(template: str, groups: Mapping[str, str]) -> str:
    # By hand: what a guest printed may hold braces, and format() would follow them.
    text = re.sub(r"\{(\w+)\}", lambda match: groups.get(match[1], ""), template)
    return _show(re.sub(r" ?\(\)|: ?$", "", text).strip())


def _show(text: str) -> str:
    shown = redact(text)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
