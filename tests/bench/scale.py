"""The whole road of a series, with hundreds of launches at once: `./dev python tests/bench/scale.py`.

Starts a compute host with Nova's fake driver in the running sandbox (fake_compute.py), walks a series of Nova servers
there, and holds launch, record, judge and report to what docs/performance.md promises: nothing lost, memory flat, no
launch slower for the ones before it, a report that is small and opens at once. Prints its table; exit code 1 where a
promise is broken. Needs root, a sandbox that is up, Chromium. The sandbox is afterwards as it was.
"""

import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests/harness")]

import chromium  # noqa: E402
import fake_compute  # noqa: E402

from imagecheck import interrupts, sandbox, waits  # noqa: E402
from imagecheck.launch import sample  # noqa: E402
from imagecheck.waits import NotYet, Ready  # noqa: E402

PARTS = 5  # a series is looked at in fifths
GROWTH = 1.05  # of memory, from the second fifth (all workers are there) to the last
SLOWER = 1.10  # of a launch, from the second fifth to the last; in the first one the queues of the cloud still fill
LARGEST = 5_000_000  # bytes of report.html
OPENS = 2.0  # seconds

Look = collections.namedtuple("Look", "at done rss threads files cpu")


def main():
    wanted = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    wanted.add_argument("--image", default="mariadb-debian")
    wanted.add_argument("--launches", type=int, default=500)
    wanted.add_argument("--concurrency", type=int, default=50)
    wanted.add_argument("--release", default=sandbox.releases.DEFAULT)
    wanted.add_argument("--report", type=Path, help="keep the report there (default: it is removed)")
    given = wanted.parse_args()
    if chromium.WHY_NOT:
        raise SystemExit(chromium.WHY_NOT)
    if given.launches < 4 * PARTS:
        raise SystemExit(f"--launches {given.launches}: give {4 * PARTS} or more, to look at fifths of them")
    if given.report and given.report.exists():
        raise SystemExit(f"--report {given.report}: is there already, and its samples would be counted: name a new one")
    signals = interrupts.handled(interrupts.TwoSteps(list, clean_up="this command: it sweeps before it begins"))
    with tempfile.TemporaryDirectory(prefix="imagecheck-scale-") as work, signals:
        report = given.report or Path(work) / "report"
        with fake_compute.fake_host(given.release, Path(work)) as host:
            looks = walk(given, host.site, report)
            left = host.left()
        rows = judge(given, report / given.image, looks, left)
        rows += page(report / given.image / "report.html", Path(work))
    print(f"\n{given.launches} launches of {given.image}, {given.concurrency} at once, {os.cpu_count()} cores")
    print("| promise | measured | |\n|---|---|---|")
    for promise, measured, holds in rows:
        print(f"| {promise} | {measured} | {'holds' if holds else 'BROKEN'} |")
    return 0 if all(holds for *_, holds in rows) else 1


def walk(given, site, report):
    """Run the series as a user would; look at its process twice a second."""
    command = [
        sys.executable, "-m", "pytest", "--image", given.image, "--launches", str(given.launches), "--kind", "server",
        "--concurrency", str(given.concurrency), "-k", "launches", "--site", str(site), "--report", str(report),
    ]  # fmt: skip
    print(" ".join(["$ pytest", *command[3:]]), flush=True)
    began, file, looks = time.monotonic(), report / given.image / "launches.jsonl", []
    with subprocess.Popen(command, cwd=ROOT) as process:

        def ended():
            looks.append(look(process.pid, time.monotonic() - began, file))
            return NotYet(f"{looks[-1].done} samples") if process.poll() is None else Ready(process.returncode)

        try:
            code = waits.until(ended, reason="the series to end", deadline=7200, interval=0.5).value
        except BaseException:
            process.terminate()  # it removes what it made
            raise
    if code:
        print(f"pytest ended with {code}")
    return [one for one in looks if one.rss]


def look(pid, at, file):
    """What the kernel says of the process: MiB, threads, open files, CPU seconds; and the samples it has kept."""
    try:
        told = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        clock = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a folder of links that may be gone at once
        rss = int(told.get("VmRSS", "0").split()[0]) / 1024  # a process that has ended has none
    except (FileNotFoundError, ProcessLookupError):
        return Look(at, 0, 0, 0, 0, 0.0)
    done = file.read_bytes().count(b"\n") if file.exists() else 0
    cpu = (int(clock[11]) + int(clock[12])) / os.sysconf("SC_CLK_TCK")
    return Look(at, done, rss, int(told["Threads"]), files, cpu)


def judge(given, folder, looks, left):
    """(promise, what was measured, whether it holds) of each."""
    samples = sorted(sample.read(folder / "launches.jsonl"), key=lambda one: one.number)
    told = json.loads((folder / "report.json").read_text())["launches"]["summaries"][0]["count"]
    numbers, good = [one.number for one in samples], [one for one in samples if one.completed]
    whole = numbers == list(range(1, given.launches + 1)) and good == samples
    return [
        ("every launch is a sample", f"{len(samples)} lines, {len(good)} of launches that completed", whole),
        ("the judge has them all", f"{told} launches", told == given.launches),
        ("nothing is left in the cloud", ", ".join(f"{count} {what}" for what, count in left.items()),
         not any(left.values())),
        memory(given, looks),
        *times(given, samples, looks),
    ]  # fmt: skip


def page(file, work):
    """Opened three times, and the best of them counts: what else keeps this machine busy is not the page's doing."""
    with chromium.browser(work / "profile") as browser:
        browser.look()
        took = [browser.open(file) for _ in range(3)]
        complaints = "".join(f"; {one}" for one in browser.complaints)
    size, best = file.stat().st_size, min(took)
    return [
        ("report.html is under 5 MB", f"{size / 1e6:.2f} MB", size < LARGEST),
        ("it opens in under 2 s in Chromium", f"{best:.2f} s (the first time {took[0]:.2f} s){complaints}",
         best < OPENS and not complaints),
    ]  # fmt: skip


def memory(given, looks):
    """Resident memory of the process in the second fifth and the last one."""
    parts = [[one.rss for one in looks if part * given.launches <= PARTS * one.done < (part + 1) * given.launches]
             for part in range(PARTS)]  # fmt: skip
    middle = [statistics.median(part) for part in parts if part]
    early, late = middle[1], middle[-1]
    per = 1024 * (late - early) / (given.launches * (len(middle) - 2) / PARTS)
    shown = (
        f"{' '.join(f'{one:.0f}' for one in middle)} MiB by fifths, {per:+.1f} KiB a launch; at most "
        f"{max(one.threads for one in looks)} threads, {max(one.files for one in looks)} open files"
    )
    return f"memory is flat (at most {100 * (GROWTH - 1):.0f} % more)", shown, late <= GROWTH * early


def times(given, samples, looks):
    """Median seconds by fifths of the series, and what the harness itself spent on them."""
    parts = [samples[part * given.launches // PARTS : (part + 1) * given.launches // PARTS] for part in range(PARTS)]
    middle = [statistics.median(one.seconds for one in part) for part in parts]
    grown = f"(at most {100 * (SLOWER - 1):.0f} % more)"
    yield (
        f"no launch is slower for the ones before it {grown}",
        f"medians {' '.join(f'{one:.1f}' for one in middle)} s by fifths", middle[-1] <= SLOWER * middle[1],
    )  # fmt: skip
    edges = [next(one for one in looks if one.done >= part * given.launches / PARTS) for part in range(1, PARTS + 1)]
    spent = [
        1000 * (late.cpu - early.cpu) / (late.done - early.done)
        for early, late in zip([next(one for one in looks if one.done), *edges], edges, strict=False)
    ]
    yield (
        f"nor costs it the harness more {grown}",
        f"{' '.join(f'{one:.0f}' for one in spent)} ms of CPU a launch by fifths", spent[-1] <= SLOWER * spent[1],
    )  # fmt: skip
    took = edges[-1].at - edges[0].at
    yield (
        "how long it took",
        f"{looks[-1].at:.0f} s in all, {60 * (edges[-1].done - edges[0].done) / took:.0f} launches a minute", True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
