"""A run and its series for tests of report.html, made with the dataclasses that a real run uses."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagecheck.errors import Cause
from imagecheck.launch import Phase, Timeline
from imagecheck.launch.judgement import Difference, Interval, Judgement, PhaseDifference, Summary
from imagecheck.launch.sample import PhaseTime, Sample
from imagecheck.outcomes import Series
from imagecheck.report import Check, Fault, Measured, Retry, Run, report_table, series_table, timings_table

T0 = 1_795_464_600.0
RUN = Run(
    image="mariadb-debian", image_sha256="ab" * 32, release="epoxy", acceleration="tcg", datastore="mariadb 11.8",
    cloud="imagecheck-admin", sandbox=True, version="0.1.0", started=T0, ended=T0 + 535,
    steps={"cloud": 0.6, "image file": 0.1, "Glance image": 5.3, "Nova server": 19.5, "guest": 58.0, "reboot": 125.3},
    retries=(Retry("Nova server", "no host had room", "no-valid-host", passed=True),),
)  # fmt: skip

# Name, seconds, uncertainty, what is waited for: a launch as the README shows one.
PHASES = (
    ("API accepted", 0.2, 0.0, ""), ("Trove before Nova", 1.7, 0.5, ""), ("Nova building", 14.0, 0.8, ""),
    ("firmware and kernel", 18.3, 0.3, ""), ("userspace to cloud-init done", 24.9, 0.0, ""),
    ("agent started", 0.3, 0.0, ""), ("broker connected", 42.5, 0.5, ""), ("prepare received", 0.2, 0.6, ""),
    ("prepare, database container started", 17.5, 0.0, ""), ("prepare, database answers", 14.0, 0.0, ""),
    ("HEALTHY (Trove's polls)", 9.4, 1.0, "Trove polls every 5 s"), ("first query", 1.1, 0.1, ""),
)  # fmt: skip


def measured(kind: str = "launch", upto: int = len(PHASES), **missing: str) -> Measured:
    """A start; its timings.json gets the waits from `timings`."""
    phases, reached = [], 0.0
    for name, seconds, uncertainty, _ in PHASES[:upto]:
        note = "7.1 s before the phase above ended" if name == "agent started" else ""
        phases.append(Phase(name, reached, seconds, uncertainty, note))
        reached += seconds
    return Measured(kind, Timeline(tuple(phases), missing, T0, 0.1))  # type: ignore[arg-type]


def timings() -> dict[str, Any]:
    """timings.json of a bare boot, of which one event was not seen, and a Trove launch."""
    reason = "systemctl show: the unit was started again since"
    table = timings_table(RUN, [measured("boot", 7, agent_started=reason), measured()])
    waits = {name: waiting for name, _, _, waiting in PHASES}
    for start in table["starts"].values():
        for phase in start["phases"]:
            phase["waiting"] = waits[phase["name"]]
    return table


FAULT = Fault(
    "guest agent", "the broker refused the agent's login", "agent, line 7: ACCESS_REFUSED", "compare transport_url",
    "report/mariadb-debian/test-boot.py-test-agent-runs",
    known=Cause(
        "broker-login", "boot", "cloud", "certain", "the broker refused the agent's login", "compare transport_url",
        "RabbitMQ, access control", "ACCESS_REFUSED", "agent, line 7", also=("agent-storm",),
    ),
)  # fmt: skip


def checks(*, failed: bool) -> Iterator[Check]:
    """Two dozen of them."""
    for stage, count in (("disk", 12), ("boot", 8), ("service", 4)):
        for number in range(count):
            yield Check(
                f"test_{stage}_{number}[mariadb-debian]", f"The {stage} promise number {number} holds, said in full.",
                stage, "passed", 0.1 * number,
            )  # fmt: skip
    yield Check("test_hostnic[mariadb-debian]", "A container has a port.", "service", "skipped", 0.0, "no hostnic")
    if failed:
        folder = "test-boot.py-test-agent-runs"
        yield Check(
            "test_agent_runs[mariadb-debian]", "The guest agent's unit is active and running.", "boot", "error", 30.0,
            FAULT.sentence, folder,
        )  # fmt: skip
        yield Check("test_sql[mariadb-debian]", "SQL is answered.", "service", "skipped", 0.0, "not reached")


def report(*, failed: bool = False, **more: Any) -> dict[str, Any]:
    """report.json, of a run that passed or failed, through JSON and back."""
    table = report_table(
        RUN, checks(failed=failed), [measured()], FAULT if failed else None, accounting="made 8, removed 8, left 0"
    )
    found: dict[str, Any] = json.loads(json.dumps({**table, **more}))
    return found


def samples(count: int, label: str = "mariadb-debian", *, slower: float = 1.0, failing: int = 0) -> list[Sample]:
    """A series: every ``failing``-th start fails. ``slower`` stretches cloud-init and the agent's way to its broker."""
    chance = random.Random(f"{label}{count}")
    made = []
    for number in range(1, count + 1):
        fails = bool(failing) and number % failing == 0
        times = []
        for name, seconds, uncertainty, waiting in PHASES[: 7 if fails else None]:
            stretch = slower if name in ("userspace to cloud-init done", "broker connected") else 1.0
            times.append(PhaseTime(name, seconds * stretch * chance.lognormvariate(0, 0.06), uncertainty, waiting))
        whole = 600.0 if fails else sum(one.seconds for one in times)
        cause, sentence = ("agent-storm", "the agent starts again and again") if fails else ("", "")
        one = Sample("run-1", number, label, "launch", "ab" * 32, T0 + 200 * number, whole, not fails, 0.1)
        made.append(dataclasses.replace(one, phases=tuple(times), cause=cause, sentence=sentence))
    return made


def summary(label: str, series: list[Sample]) -> Summary:
    """Figures to be shown; they are the judge's matter, so these are only near the truth."""
    good = sorted(one.seconds for one in series if one.completed)
    failed = len(series) - len(good)
    n = len(good)
    low, high = good[n // 4], good[3 * n // 4]
    return Summary(
        label, len(series), failed, good[n // 2], Interval(low, high, 0.97), high - low, good[int(n * 0.95)],
        n < 59, good[0], good[-1], (("agent-storm", failed),) if failed else (),
    )  # fmt: skip


CHANGES = {
    "a": "mariadb-debian-stock 4d6d6d783ec5", "b": "mariadb-debian 87f627133f42",
    "changed": {
        "sizes": {"file": [1_310_000_000, 1_020_000_000], "used": [1_200_000_000, 980_000_000]},
        "kernel": {"command line": ["root=LABEL=r ro console=ttyS0", "root=LABEL=r ro quiet mitigations=off"]},
        "packages": {f"package-{number}": ["1.0-1", None if number % 3 else "1.0-2"] for number in range(40)},
        "enabled units": {"apt-daily.timer": ["", None], "man-db.timer": ["", None], "fstrim.timer": ["", None]},
    },
    "unknown": {"users": "A"},
}  # fmt: skip


def launches(a: list[Sample], b: list[Sample]) -> dict[str, Any]:
    """`launches` of report.json: B tuned against A."""
    of_a, of_b = summary("mariadb-debian-stock", a), summary("mariadb-debian", b)
    seconds = of_b.median - of_a.median
    phases = []
    for name, length, _, waiting in PHASES:
        slow = name in ("userspace to cloud-init done", "broker connected")
        before = length * 2 if slow else length
        share = (length - before) / seconds
        chance = 0.0004 if slow else 0.41
        phases.append(PhaseDifference(name, before, length, length - before, chance, share, waiting, slow))
    judgement = Judgement(
        "IMPROVED",
        f"mariadb-debian is {-seconds:.1f} s ({-100 * seconds / of_a.median:.0f} %) faster than mariadb-debian-stock "
        "(median of 10 and 10, p = 0.0002)",
        of_a, of_b, Difference(seconds, seconds / of_a.median, 0.0002, 1.0, Interval(seconds - 4, seconds + 4, 0.95)),
        tuple(phases), ("p is below 0.01", "the effect is above 5 % and above the resolution of 1.0 s"),
    )  # fmt: skip
    return series_table(
        Series((), 20, Path("launches.jsonl"), 1, summaries=(of_a, of_b), judgement=judgement, changes=CHANGES)
    )


INJECTION = [
    {"carrier": "config drive", "content": "good", "outcome": "starts", "how": "boot", "wrong": []},
    {"carrier": "config drive", "content": "owner", "outcome": "fails: owner-missing", "how": "guest", "wrong": []},
    {"carrier": "config drive", "content": "mode", "outcome": "starts", "how": "in the guest",
     "wrong": ["the agent consumes from its queue, with root's, mode 0600"]},
    {"carrier": "metadata service", "content": "*", "outcome": "no data (no such service)", "how": "boot", "wrong": []},
]  # fmt: skip
