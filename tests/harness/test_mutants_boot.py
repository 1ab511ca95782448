"""Mutants that only a boot can tell: what counts as right, how soon it was told, and that no run is forgotten."""

import ast
import json
import re
import time
from pathlib import Path

import pytest

from imagecheck.causes import TABLE

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs a checkout")


def boot_checks():
    file = ROOT / "tests" / "image" / "test_boot.py"
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_a_boot_mutant_names_a_cause_or_a_check_that_there_is(load):
    boots = load("boots").BOOTS
    assert len(boots) >= 12
    for one in boots:
        assert one.check in {row.id for row in TABLE} | boot_checks(), one.name
        assert one.stage == "boot"
        re.compile(one.says)
        re.compile(one.shows)


FAULT = {"step": "guest", "sentence": "the kernel panicked: no init", "seen": "", "cause": "", "known": {"id": "panic"}}


def walked(load, tmp_path, *, fault=None, failed=(), verdict_at=None):
    consoles = load("consoles").Consoles(tmp_path)
    consoles.power_on = 100.0
    consoles._lines = [(104.0, "[  3.0] Linux version 6"), (110.0, "[  9.0] Kernel panic")]
    checks = [{"id": check, "stage": stage, "outcome": "failed"} for stage, check in failed]
    place = tmp_path / "evidence"
    place.mkdir(exist_ok=True)
    found = {**FAULT, **fault, "evidence": str(place)} if fault is not None else {}
    return load("walk").Walked(
        {"checks": checks, "counts": {"passed": 9}}, tmp_path, consoles, 1, 60.0, found,
        (found.get("known") or {}).get("id", "unknown") if found else "", verdict_at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "failed", "rejected", "right"),
    [
        ({}, [], True, True),
        (None, [], False, False),
        ({"known": {"id": "panic-init"}}, [], True, False),
        ({"known": None}, [], True, False),
        ({"sentence": "something else"}, [], True, False),
        ({}, [("disk", "test_kernel")], True, False),  # the disk should have known nothing of it
        (None, [("boot", "test_agent_runs")], True, False),
    ],
)
def test_a_boot_counts_only_when_the_right_cause_is_told_and_the_disk_knew_nothing(
    load, tmp_path, fault, failed, rejected, right
):
    mutant = load("mutant").BootMutant("m", "what", lambda root: None, "panic", "kernel panicked", shows="panic")
    row = load("walk").judged(mutant, walked(load, tmp_path, fault=fault, failed=failed, verdict_at=117.5), "today")
    assert (row["rejected"], row["right"]) == (rejected, right)
    assert (row["verdict"], row["after"]) == (17.5, 7.5)


def test_a_boot_that_a_check_rejects_is_right_when_that_check_is_the_one(load, tmp_path):
    mutant = load("mutant").BootMutant("m", "what", lambda root: None, "test_clock", "off")
    fault = {"step": "test_clock", "sentence": "does not hold", "seen": "3600 s off", "known": {"id": "unknown"}}
    for first, right in (("test_clock", True), ("test_other", False)):
        found = walked(load, tmp_path, fault=fault, failed=[("boot", first), ("boot", "test_clock")])
        assert load("walk").judged(mutant, found, "today")["right"] is right


def test_the_first_sign_is_the_earliest_of_console_and_saved_logs(load, tmp_path):
    walk = load("walk")
    found = walked(load, tmp_path, fault={})
    assert walk.first_sign(found, "Kernel panic") == 110.0
    assert walk.first_sign(found, "nothing such") is None
    (tmp_path / "evidence" / "journal.txt").write_text("1970-01-01T00:01:45.500000+00:00 g kernel: Kernel panic\nx\n")
    assert walk.first_sign(found, "Kernel panic") == 105.5


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("2026-11-23T14:15:40.123456+00:00 g x[1]: y", 1795443340.123456),
        ("2026-11-23 14:15:40.123 7 ERROR trove", 1795443340.123),
        ("2026-11-23 14:15:40,123 - util.py[WARNING]", 1795443340.123),
        ("[    2.1] Kernel panic", None),
        ("no time at all", None),
    ],
)
def test_a_lines_own_time_is_read(load, line, at):
    assert load("walk").stamp(line) == pytest.approx(at) if at else load("walk").stamp(line) is None


def test_a_journals_short_stamp_is_of_this_year(load):
    at = time.gmtime(load("walk").stamp("Nov  3 14:15:40.123456 g x[1]: y"))
    assert (at.tm_year, at.tm_mon, at.tm_mday, at.tm_hour) == (time.gmtime().tm_year, 11, 3, 14)


def test_a_console_is_read_while_it_grows_and_an_old_one_is_left_out(load, tmp_path, monkeypatch):
    module = load("consoles")
    old, new = tmp_path / "old" / "console.log", tmp_path / "new" / "console.log"
    old.parent.mkdir()
    old.write_text("Kernel panic of before\n")
    monkeypatch.setattr(module.Consoles, "_files", lambda self: sorted(tmp_path.glob("*/console.log")))
    monkeypatch.setattr(module, "EVERY", 0.005)
    with module.Consoles(tmp_path) as consoles:
        new.parent.mkdir()
        began = time.time()
        new.write_text("\x1b[0mKernel pa")
        with new.open("a") as stream:
            stream.write("nic\nthen\n")
        deadline = time.monotonic() + 5
        while consoles.first("then") is None and time.monotonic() < deadline:
            time.sleep(0.005)
    assert consoles.first("of before") is None
    assert began - 0.1 <= consoles.first("^Kernel panic$") <= time.time()
    assert consoles.power_on == pytest.approx(began, abs=1)


def test_elsewhere_than_on_the_sandbox_no_console_is_seen(load, tmp_path):
    (tmp_path / "sandbox" / "epoxy").mkdir(parents=True)
    (tmp_path / "sandbox" / "epoxy" / "running.json").write_text(json.dumps({"leader": [999999999, "1"]}))
    with load("consoles").Consoles(tmp_path) as consoles:
        pass
    assert (consoles.first("."), consoles.power_on) == (None, None)


# ---- what is kept


def test_every_run_of_the_good_image_is_counted_whatever_came_of_it(load, monkeypatch):
    run, walks = load("run"), iter([("passed", 0), ("failed", 1), ("flaky", 0)])

    def walk(named, options, stage):
        verdict, code = next(walks)
        return load("walk").Walked({"verdict": verdict, "counts": {"passed": 70}}, ROOT, None, code, 200.0)

    monkeypatch.setattr(run.walk, "walk", walk)
    gathered, kept = {"clean": []}, []
    assert not run.good_runs("mariadb-debian", 3, "boot", gathered, lambda: kept.append(len(gathered["clean"])))
    assert [one["passed"] for one in gathered["clean"]] == [True, False, False]
    assert kept == [1, 2, 3], "kept after each run, not at the end"
    table = load("results").page({"disk": {}, "boot": {}, **gathered}, [], [])
    assert re.search(r"\| boot \| `mariadb-debian` \| 3 \| 2 \|", table)


def test_a_row_that_was_never_run_is_not_on_the_page(load):
    boots = load("boots").BOOTS
    row = {"run": "2026-11-23 17:40", "rejected": True, "right": True, "disk": [], "told": "panic", "step": "guest",
           "words": "the kernel | panicked <here>", "cause": "", "verdict": 20.5, "after": None}  # fmt: skip
    text = load("results").page({"disk": {}, "boot": {boots[0].name: row}, "clean": []}, [], boots)
    assert f"| `{boots[0].name}` |" in text
    assert "the kernel \\| panicked &lt;here> | 20.5 | - | 2026-11-23 17:40 |" in text
    assert boots[1].name not in text
    assert "1 of 1 rejected with the right cause, 0 accepted" in text


def test_words_hold_no_folder_of_this_machine(load):
    plain = load("results").plain
    assert plain(f"{ROOT}/report/x: /tmp/mutant-1/overlay.qcow2\nis  cut", ROOT) == "report/x: overlay.qcow2 is cut"
