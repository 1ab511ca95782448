"""What measuring costs: `./dev python tests/bench/probe_cost.py --kind boot --launches 3`.

Starts an image on the sandbox with everything that a run reads meanwhile (watchdog, console, SSH, logs), and bare: the
same request, then only one question a second from outside. Both of a round at once, as a machine without KVM changes
more from one minute to the next than what is looked for; who asks first is drawn. A start counts from power-on (Nova's
launched_at) to its end: the agent consumes (boot), the first query is answered (launch).

Samples are added to --samples FILE, so that several calls add up; --launches 0 only judges the file. Beside the seconds
stands the CPU that QEMU took until then: what the harness itself takes slows both of a round, what a guest is asked
only that one. Exit code 1 where the median of the rounds' ratios is above 1.03. Needs root and nothing else that
starts guests meanwhile.
"""

import argparse
import bisect
import dataclasses
import json
import secrets
import statistics
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path

from imagecheck import bare, choice, progress, sandbox, service, waits
from imagecheck.cloud import nova, trove
from imagecheck.cloud.connection import Hiccup
from imagecheck.errors import ImagecheckError
from imagecheck.launch import judge, sample
from imagecheck.launch.rounds import pairs, rounds
from imagecheck.launch.sample import Sample
from imagecheck.report import Folder
from imagecheck.run import Road
from imagecheck.starts import Started, Starter
from imagecheck.waits import NotYet, Ready

GOAL = 1.03
DEADLINE = 1200  # seconds
WORKERS = (1, 2)  # each with a ground of its own


def main():
    wanted = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    wanted.add_argument("--image", default="mariadb-debian")
    wanted.add_argument("--kind", choices=("boot", "launch"), default="boot")
    wanted.add_argument("--launches", type=int, default=3, help="of each")
    wanted.add_argument("--samples", type=Path, default=Path("report/probe-cost.jsonl"))
    wanted.add_argument("--release", default=sandbox.releases.DEFAULT)
    given = wanted.parse_args()
    if given.launches:
        measure(given)
    return told(given)


# ---- measured


def measure(given):
    """Rounds of one start of each side, every start a line of the file."""
    given.samples.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="imagecheck-bench-") as work:
        road = Road(choice.image(given.image), lambda: sandbox.up(given.release), Folder(Path(work) / "report"))
        starter, qemu = Starter(road, given.kind, cold=False), Qemu()
        qemu.start()
        try:
            starter.prepare()
            starter.warm("")
            order = rounds(["bare", "full"], given.launches, secrets.randbits(32))
            for first in range(1, len(order), 2):
                with progress.phase(f"round {first // 2 + 1} of {given.launches}"):
                    at_once(given, road, starter, {first: order[first - 1], first + 1: order[first]}, qemu)
        finally:
            qemu.ended.set()
            starter.close()
            for line in road.close():
                print(f"left: {line}")


def at_once(given, road, starter, both, qemu):
    """The two starts of a round, number -> label."""
    with futures.ThreadPoolExecutor(len(both)) as pool:
        asked = {number: pool.submit(start, starter, given.kind, number, label) for number, label in both.items()}
        made = {number: one.result() for number, one in asked.items()}
        for number, started in made.items():
            keep(given, road, both[number], number, started, qemu)
        for left in pool.map(starter.remove, WORKERS):
            if left:
                raise SystemExit(f"not removed: {left[0]}")


def start(starter, kind, number, label):
    """One start of a round, in a thread of its own."""
    with progress.aside(lambda doing: None):
        return (BARE[kind] if label == "bare" else Starter.start)(starter, WORKERS[number % 2], number)


def keep(given, road, label, number, started, qemu):
    """One start from power-on to its end, as a sample's line with the CPU that it took."""
    if started.error or started.server is None:
        raise SystemExit(f"a {label} start failed, so there is nothing to compare: {started.error}")
    on, end = nova.epoch(started.server.raw.get("launched_at")), started.began + started.seconds
    made = Sample(
        series=road.run, number=number, label=label, kind=given.kind, image=road.image_file().sha256, began=on,
        seconds=end - on, completed=True, uncertainty=started.uncertainty + 0.5,
    )  # fmt: skip
    line = {**json.loads(sample.line(made)), "cpu": round(qemu.at(started.server.id, end), 2)}
    with given.samples.open("a") as file:
        file.write(json.dumps(line) + "\n")
    progress.note(f"{label}: {made.seconds:.1f} s, {line['cpu']:.1f} s of CPU")


def bare_boot(starter, worker, number):
    """The request of `bare.boot`; then Nova and the broker are asked once a second."""
    ground, name = starter.ground(worker), f"{starter.road.run}-{number}"
    injected, where = bare.inject(ground), ground.where
    bare.access(ground, starter.road.public_key)
    ground.ledger.intend("queue", injected.guest_id)
    server, began, accepted = nova.boot(
        ground.cloud, ground.ledger, name=name, run=ground.run, image=starter.road.image().id, flavor=where.flavor.id,
        networks=[where.tenant.id, where.management.id], group=ground.run, keypair=ground.run,
        user_data=injected.user_data,
    )  # fmt: skip

    def consumes():
        shown = nova.show(ground.cloud, server.id)
        nova.raise_fault(shown)
        return Ready(shown) if bare.consumers(ground, injected.guest_id) else NotYet(shown.status)

    return _bare(began, accepted, consumes)


def bare_launch(starter, worker, number):
    """The request of a launch; once a second Trove is asked for its server, and from then on the database alone."""
    ground = dataclasses.replace(starter.ground(worker), run=f"{starter.road.run}-{number}")
    asked = service.ask(ground, starter.road.version(), ground.run)
    server = there = None

    def answers():
        nonlocal server, there
        if there is None:
            shown = trove.show(ground.cloud, asked.id)
            trove.raise_fault(ground.cloud, shown)
            server = nova.show(ground.cloud, shown.server_id) if shown.server_id else None
            address = server.address(ground.where.tenant.name) if server else ""
            if not address:
                return NotYet(shown.summary)
            there = dataclasses.replace(service._database(ground, address, asked.password), timeout=service.GLANCE)
        if there.port_open(timeout=service.KNOCK) and there.answers():
            return Ready(nova.show(ground.cloud, server.id))  # launched_at is known by now
        return NotYet("no answer from the database")

    return _bare(asked.began, asked.accepted, answers)


def _bare(began, accepted, probe):
    made = Started(began)
    try:
        seen = waits.until(
            probe, reason="the end of a bare start", deadline=DEADLINE, interval=1, transient=(Hiccup,), since=accepted
        )
    except ImagecheckError as error:
        made.error = error
        return made
    made.seconds = (seen.last_no + seen.first_yes) / 2 - began
    made.uncertainty, made.server = (seen.first_yes - seen.last_no) / 2, seen.value
    return made


BARE = {"boot": bare_boot, "launch": bare_launch}


class Qemu(threading.Thread):
    """CPU seconds of every QEMU of the sandbox, looked at twice a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self._told = {}  # server id -> [(epoch seconds, CPU seconds)]

    def run(self):
        while not self.ended.wait(0.5):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    if b"qemu-system" not in words[0] or b"-uuid" not in words:
                        continue
                    ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                except (OSError, ValueError):
                    continue  # it has ended
                id = words[words.index(b"-uuid") + 1].decode()
                self._told.setdefault(id, []).append((time.time(), sum(map(int, ticks)) / 100))

    def at(self, id, when):
        """What it had taken by then."""
        told = self._told.get(id) or [(0.0, 0.0)]
        return told[max(0, bisect.bisect(told, (when, 0.0)) - 1)][1]


# ---- judged


def told(given):
    """The table of the samples of that kind; 1 where the goal is missed."""
    samples = [one for one in sample.read(given.samples) if one.kind == given.kind]
    rows = map(json.loads, given.samples.read_text().splitlines())
    cpu = {(row["series"], row["number"]): row["cpu"] for row in rows if row["kind"] == given.kind}
    both = pairs(*([one for one in samples if one.label == label] for label in ("bare", "full")))
    if not both:
        print(f"{given.samples} has no rounds of both sides")
        return 1
    seconds = [(bare.seconds, full.seconds) for bare, full in both]
    spent = [tuple(cpu[one.series, one.number] for one in round) for round in both]
    end = {"boot": "the agent consumes", "launch": "first query"}[given.kind]
    print(f"\n| power-on to {end} | launches | median | QEMU's CPU |\n|---|---|---|---|")
    for side, name in enumerate(("asked once a second", "with all that is read")):
        middle = [statistics.median(round[side] for round in measured) for measured in (seconds, spent)]
        print(f"| {name} | {len(both)} | {middle[0]:.1f} s | {middle[1]:.1f} s |")
    for measured, what in ((seconds, "time"), (spent, "CPU")):
        each = sorted(full / bare for bare, full in measured)
        print(f"| {what} within a round, full : bare | | {', '.join(f'{one:.3f}' for one in each)} | |")
    share, cost = (statistics.median(full / bare for bare, full in measured) for measured in (seconds, spent))
    print(f"| ratio (goal: at most {GOAL}) | | {share:.3f} | {cost:.3f} |")
    print(judge.compare(*zip(*both, strict=True), effect=GOAL - 1).sentence)
    return 0 if share <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
