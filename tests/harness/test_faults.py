"""The table of faults is whole, its judge takes nothing for right that is not, and the page is what was measured."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs a checkout")
PROGRAM = "faults"
RUN = "imagecheck-260101-000000-abcdef"
OTHER = "imagecheck-260101-000000-123456"
KILLED_STEPS = ("build", "upload", "boot", "register", "create", "stop", "start", "delete")
SECONDS = ("build", "upload", "boot", "register")  # are reached in seconds, the others take a launch


@pytest.fixture(scope="module")
def rows(load):
    return load("table").ROWS


# ---- the table


def test_every_row_has_a_name_of_its_own_a_way_a_class_a_sentence_and_a_road(load, rows):
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    for row in rows:
        assert re.fullmatch(r"[a-z][a-z0-9-]+", row.name)
        assert row.ends in load("row").ENDS, row.name
        assert len(row.what.split()) > 3, row.name
        assert row.road in load("roads").ROADS, row.name
        assert row.times >= 1
        assert row.patience > 0
        assert row.way.at, row.name
        assert all(callable(getattr(row.way, step)) for step in ("begin", "strike", "end")), row.name
        assert isinstance(row.way.alone, bool)
        re.compile(row.says)


def test_a_row_that_must_pass_by_a_retry_says_which(rows):
    assert not [row.name for row in rows if row.ends not in ("passed", "killed") and not row.says]


def test_every_step_is_killed_often_enough(rows):
    by_name = {row.name: row for row in rows}
    for step in KILLED_STEPS:
        row = by_name[f"kill-{step}"]
        assert row.times >= (5 if step in SECONDS else 2), row.name
        assert row.ends == "killed"
        assert len({row.moment(number) for number in range(row.times)}) >= 2, "the same moment each time"


def test_every_moment_has_words_for_people(rows):
    for row in rows:
        for moment in row.way.at:
            assert str(moment)
            assert "\\" not in str(moment), f"{row.name}: {moment}"


def test_what_kills_a_service_says_that_it_disturbs_everybody(load, rows):
    ways = load("ways")
    for row in rows:
        assert row.way.alone == isinstance(row.way, ways.Service | ways.Power | ways.Quota), row.name


def test_every_fault_that_has_to_be_shown_has_a_row(load, rows):
    ways = load("ways")
    kinds = {row.way.fault.kind for row in rows if isinstance(row.way, ways.Through)}
    assert kinds == {"answer", "close", "cut", "slow", "expire", "lost"}
    units = {row.way.unit for row in rows if isinstance(row.way, ways.Service)}
    assert units == {"nova-compute", "rabbitmq-server", "trove-taskmanager", "mariadb"}
    assert {type(row.way) for row in rows} >= {ways.Power, ways.Quota, ways.Full, ways.Kill}


# ---- the judge


def good(load, row):
    words = "removed 3, left 0" if row.ends == "killed" else "retried 3 requests: nova 503 ×3"
    return load("row").Seen(ends=row.ends, words=words, struck=True, looked=10, gc="removed 3, left 0")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ends": "passed"}, "ended passed, not killed"),
        ({"ends": "hung"}, "ended hung"),
        ({"words": "removed 3, left 1"}, "does not say"),
        ({"struck": False}, "never struck"),
        ({"faults": 0}, "no request was spoiled"),
        ({"traceback": True}, "a traceback"),
        ({"left": ["server x"]}, "left: server x"),
        ({"gone": ["flavor y"]}, "not its own: flavor y"),
        ({"canaries": ["report.json: a as raw"]}, "canaries: report.json"),
        ({"looked": 0}, "nothing was searched"),
    ],
)
def test_one_thing_that_is_wrong_makes_a_run_wrong(load, rows, change, why):
    row = next(row for row in rows if row.name == "kill-boot")
    seen = good(load, row)
    assert load("run").wrong(row, seen) == []
    (told,) = load("run").wrong(row, dataclasses.replace(seen, **change))
    assert why in told


@pytest.mark.parametrize(
    ("code", "report", "ends"),
    [
        (-9, {}, "killed"),
        (0, {"verdict": "passed"}, "passed"),
        (0, {"verdict": "flaky"}, "again"),
        (4, {}, "refused"),
        (1, {"fault": {"sentence": "x", "known": {"class": "cloud"}}}, "cloud"),
        (1, {"fault": {"sentence": "x", "known": None}}, "no class"),
        (1, {"fault": {"sentence": "x", "known": {"class": ""}}}, "no class"),
        (1, {}, "failed"),
        (-15, {}, "exit code -15"),
    ],
)
def test_how_a_run_ended_is_read_off_its_exit_code_and_its_report(load, code, report, ends):
    assert load("run").ending(code, report) == ends


def test_what_a_terminal_overwrote_is_not_what_a_run_said(load):
    shown = "\r  build > guest  3 s\r                  \rlast line\r\nand \x1b[32mgreen\x1b[0m\r\n"
    assert load("run").plain(shown) == "last line\nand green"


# ---- before and after


def test_what_is_new_is_left_and_what_other_runs_made_is_not(load):
    things = load("things")
    make = things.Thing
    net = make("network", "n", "mgmt")
    mine = [make("server", "1", RUN), make("port", "2", "", "1"), make("port", "3", "nobody's")]
    others = [make("server", "4", OTHER), make("port", "5", "", "4"), make("flavor", "6", "imagecheck-fake-a1b2c3"),
              make("instance", "7", f"{OTHER}-w2"), make("security group", "8", "trove_sg-7", "7")]  # fmt: skip
    new, gone = things.difference(frozenset([net]), frozenset([*mine, *others]), [RUN])
    assert set(new) == set(mine)
    assert gone == [net]


def test_what_other_runs_removed_meanwhile_is_not_missing(load):
    things = load("things")
    theirs = frozenset([things.Thing("server", "4", OTHER), things.Thing("port", "5", "", "4")])
    assert things.difference(theirs, frozenset(), [RUN]) == ([], [])


def test_what_stays_on_this_host_is_found(load, tmp_path):
    things = load("things")
    for place in ("tmp/imagecheck-run-1", "home/ledger", "home/held", "home/images/.work-x", "home/images/cache"):
        (tmp_path / place).mkdir(parents=True)
    assert things.host(tmp_path, "nobody") == ["temporary imagecheck-run-1", "work folder .work-x"]
    (tmp_path / "home" / "ledger" / f"{RUN}.jsonl").touch()
    with subprocess.Popen(["sleep", "60"], env={**os.environ, things.MARK: tmp_path.name}) as sleeper:
        found = things.host(tmp_path, tmp_path.name)
        sleeper.kill()
    assert f"record {RUN}.jsonl" in found
    assert [one for one in found if one == f"process {sleeper.pid} sleep"]


# ---- the moment


def child(load, tmp_path, code, home):
    (tmp_path / "home" / "ledger").mkdir(parents=True, exist_ok=True)
    return load("child").Child(
        [sys.executable, "-u", "-c", code], {**os.environ, "PYTHONPATH": str(ROOT)}, home, tmp_path / "out",
        below=tmp_path,
    )  # fmt: skip


WRITES = """
import sys, time
from pathlib import Path
file = Path(sys.argv[0] or '.') if False else Path({file!r})
print('the step begins')
time.sleep(0.3)
file.write_text('{{"intend": 1, "kind": "server", "name": "x", "details": {{}}}}\\n')
time.sleep({after})
print('too late')
time.sleep(60)
"""


@pytest.mark.parametrize("source", ["ledger", "says"])
def test_a_run_is_struck_at_its_named_moment_and_its_whole_group_dies(load, tmp_path, source):
    moment = load("row").Moment(source, {"ledger": "intend server", "says": "step begins"}[source])
    file = tmp_path / "home" / "ledger" / f"{RUN}.jsonl"
    run = child(load, tmp_path, WRITES.format(file=str(file), after=5), tmp_path / "home")
    began = time.monotonic()
    assert run.follow(moment, run.kill, patience=50)
    assert time.monotonic() - began < 5
    assert run.process.returncode == -9
    assert run.struck
    assert "too late" not in (tmp_path / "out").read_text()
    assert run.seen == ({RUN} if source == "ledger" else set())


def test_a_run_that_takes_too_long_is_ended_and_counts_as_hung(load, tmp_path):
    run = child(load, tmp_path, "import time; time.sleep(60)", tmp_path / "home")
    assert not run.follow(load("row").Moment("says", "never"), run.kill, patience=0.5)
    assert run.process.returncode == -15


# ---- the page


def test_the_page_is_what_the_results_say(load, rows):
    results = load("results")
    page = results.page(results.load(), rows)
    assert (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8") == page, "tox -e faults -- --write"


def test_the_page_has_every_row_and_says_of_what_was_not_run_that_it_was_not(load, rows):
    page = load("results").page({}, rows)
    assert re.findall(r"^\| `([\w-]+)` \|.*\| not run \(×\d\) \|", page, re.M) == [row.name for row in rows]
    assert f"0 of {len(rows)} rows run" in page


def test_a_wrong_run_shows_in_its_row_and_in_the_score(load, rows):
    row = next(row for row in rows if row.name == "kill-boot")
    run = vars(good(load, row)) | {"run": "2026-01-01 00:00", "moment": "m", "wrong": []}
    bad = run | {"wrong": ["left: server x"], "left": ["server x"]}
    page = load("results").page({"kill-boot": [run, bad, run, run, run]}, rows)
    assert "| 4 of 5 | left: server x |" in page
    assert "4 of 5 runs right; left after gc: 1;" in page


def test_results_name_no_folder_of_a_machine(load):
    text = (ROOT / "tests" / "faults" / "results.json").read_text(encoding="utf-8")
    json.loads(text)
    assert not re.search(r"/tmp/|/root/|/home/\w", text)
