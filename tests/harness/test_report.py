"""report/: the same facts on the terminal, in JUnit and in JSON; secrets in none of them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import report
from imagecheck.errors import UNKNOWN, Cause, StepFailed, UsageError
from imagecheck.launch import BOOT_CUTS, LAUNCH_CUTS, Event, Offset, Phase, Timeline, timeline
from imagecheck.report import Check, Fault, Folder, Measured, Run, fault_lines, properties, terminal, timeline_lines
from imagecheck.report.files import private, slug
from imagecheck.report.terminal import clean

T0 = 1_700_000_000.0
RUN = Run(
    image="mariadb-debian", image_sha256="ab" * 32, release="epoxy", acceleration="tcg", datastore="mariadb 11.8",
    cloud="imagecheck", sandbox=True, version="0.1.0", started=T0, steps={"build": 100.5, "Trove launch": 96.0},
)  # fmt: skip
EVENTS = tuple(Event.at(cut.event, "harness", T0 + 5.0 * number) for number, cut in enumerate(LAUNCH_CUTS))
OFFSETS = (Offset("guest", 0.5, 0.02),)
LAUNCH = Measured("launch", timeline(EVENTS, OFFSETS, LAUNCH_CUTS), EVENTS, OFFSETS)
SECRET = "rabbit://trove:hunter22@10.0.0.1/"


def phases(*seconds: float) -> Measured:
    reached, made = 0.0, []
    for number, length in enumerate(seconds):
        made.append(Phase(f"phase {number}", reached, length, 0.0))
        reached += length
    return Measured("boot", Timeline(tuple(made), {}, T0))


def test_each_phase_has_its_line_with_seconds_and_a_bar_where_it_lies():
    lines = timeline_lines(phases(10, 30, 10), width=71, circumstances="tcg")
    assert lines[0] == "bare boot  50.0 s ± 0.0 s  (tcg)"
    bars = [line[line.rindex(" s  ") + 4 :] for line in lines[1:]]
    assert [line.split()[2] for line in lines[1:]] == ["10.0", "30.0", "10.0"]
    assert [bar.count("█") for bar in bars] == [10, 30, 10]
    assert [len(bar) - len(bar.lstrip()) for bar in bars] == [0, 10, 40]


def test_ascii_terminals_get_ascii():
    lines = timeline_lines(LAUNCH, width=80, unicode=False) + fault_lines(FAULT, unicode=False)
    assert all(line.isascii() for line in lines)
    assert any("#" in line for line in lines)


def test_what_was_not_seen_is_listed_with_its_reason():
    gone = timeline(EVENTS[:3], (), BOOT_CUTS, {"agent_started": "systemctl gave nothing"})
    text = "\n".join(timeline_lines(Measured("boot", gone), width=120))
    assert "not seen: agent_started, systemctl gave nothing" in text


def test_a_long_launch_is_drawn_in_few_lines_that_still_add_up():
    lines = timeline_lines(LAUNCH, width=100)
    drawn = [line for line in lines if re.search(r"\d s  ", line) and "±" not in line]
    assert len(lines) <= 18 + 2, "a head, and what waited"
    assert len(drawn) == 18
    told = [float(re.findall(r"([\d.]+) s  ", line)[0]) for line in drawn]
    assert sum(told) == pytest.approx(LAUNCH.timeline.seconds)


@given(st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=40))
def test_few_lines_never_lose_a_phase_or_a_second(raw):
    reached, made = 0.0, []
    for number, (seconds, waits) in enumerate(raw):
        made.append(Phase(f"p{number}", reached, seconds, 0.1, waiting="x" if waits else ""))
        reached += seconds
    rows = terminal._rows(made)
    assert len(rows) <= 18
    assert " + ".join(row.name for row in rows) == " + ".join(phase.name for phase in made)
    assert sum(row.seconds for row in rows) == pytest.approx(reached)
    assert all(one.start + one.seconds == pytest.approx(two.start) for one, two in itertools.pairwise(rows))


def test_what_waits_has_a_bar_of_its_own():
    made = (Phase("work", 0, 30, 0), Phase("taskmanager's polls", 30, 10, 0, "", "its next look"))
    for unicode, block in ((True, "░"), (False, ".")):
        lines = timeline_lines(Measured("launch", Timeline(made, {}, T0)), width=80, unicode=unicode)
        assert lines[2].count(block) > 5
        assert lines[1].endswith(("█", "#"))
        assert lines[3] == f"  {block} waiting for Trove's own polls, 10.0 s"


def test_nothing_measured_is_said_and_not_drawn():
    empty = Measured("launch", timeline([], [], LAUNCH_CUTS))
    assert timeline_lines(empty)[0] == "Trove launch  not measured"


@given(
    st.lists(
        st.builds(
            Phase, st.text(max_size=60), st.just(0.0), st.floats(0, 1e4), st.floats(0, 100), st.text(max_size=50)
        ),
        max_size=8,
    ),
    st.integers(1, 200),
    st.booleans(),
)
def test_any_timeline_fits_any_width_or_the_least_that_numbers_need(raw, width, unicode):
    reached, made = 0.0, []
    for phase in raw:
        made.append(Phase(phase.name, reached, phase.seconds, phase.uncertainty, phase.note))
        reached += phase.seconds
    for line in timeline_lines(Measured("boot", Timeline(tuple(made), {}, T0)), width=width, unicode=unicode):
        assert "\n" not in line
        assert len(line) <= max(width, 60 + 8), "only a word that cannot be broken may stand out"


FAULT = Fault(
    step="agent → broker",
    sentence="the guest agent cannot reach 10.20.0.2:5672 from the management port (connection refused, 12 tries)",
    seen="guest journal trove-guestagent 17:31:22…17:32:10\nRabbitMQ: 0 consumers on guestagent.5f0c…",
    remedy="check transport_url in trove-guestagent.conf and the management security group",
    evidence="report/mariadb-debian/launch-1/",
)


def test_a_fault_reads_as_a_sentence_with_where_what_and_evidence():
    assert fault_lines(FAULT, width=140) == [
        "FAILED  agent → broker   the guest agent cannot reach 10.20.0.2:5672 from the management port "
        "(connection refused, 12 tries)",
        "        seen in  guest journal trove-guestagent 17:31:22…17:32:10",
        "                 RabbitMQ: 0 consumers on guestagent.5f0c…",
        "        try      check transport_url in trove-guestagent.conf and the management security group",
        "        evidence report/mariadb-debian/launch-1/",
    ]


def test_what_is_not_known_of_a_fault_takes_no_line():
    assert fault_lines(Fault.of(ValueError("plain"))) == ["FAILED  plain"]
    fault = Fault.of(StepFailed("boot", "it broke", seen="panic"), "report/x/")
    assert (fault.step, fault.seen, fault.evidence) == ("boot", "panic", "report/x/")


def test_a_guests_escape_sequences_do_not_reach_the_terminal():
    assert clean("\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\x9b1m\x00 ok\r\n") == "red1m ok\n"


@given(st.text())
def test_no_control_character_survives(text):
    assert not any((ord(char) < 32 and char not in "\t\n") or 127 <= ord(char) < 160 for char in clean(text))


def test_junit_has_every_phase_with_its_uncertainty():
    pairs = dict(properties(RUN, [LAUNCH]))
    assert pairs["launch.seconds"] == f"{5 * (len(LAUNCH_CUTS) - 1)}.000"
    assert pairs["launch.container_start.seconds"] == "5.000"
    assert pairs["launch.container_start.uncertainty"] == "0.000"
    assert pairs["step.trove_launch.seconds"] == "96.000"
    assert pairs["image.sha256"] == "ab" * 32
    assert pairs["acceleration"] == "tcg"
    assert len([name for name in pairs if name.endswith(".uncertainty")]) == len(LAUNCH_CUTS) - 1


def test_timings_have_every_event_and_phase_with_the_circumstances():
    table = report.timings_table(RUN, [LAUNCH])
    assert table["schema"] == 1
    assert table["image"] == {"name": "mariadb-debian", "sha256": "ab" * 32}
    assert (table["release"], table["acceleration"]) == ("epoxy", "tcg")
    start = table["starts"]["launch"]
    assert [event["name"] for event in start["events"]] == [event.name for event in EVENTS]
    assert sum(phase["seconds"] for phase in start["phases"]) == pytest.approx(start["seconds"])
    assert all("uncertainty" in phase for phase in start["phases"])
    assert start["offsets"] == [{"clock": "guest", "seconds": 0.5, "uncertainty": 0.02}]
    json.dumps(table, allow_nan=False)


def test_numbers_that_json_does_not_know_become_null():
    event = Event.at("healthy", "harness", math.nan)
    table = report.timings_table(RUN, [Measured("launch", timeline([event], [], LAUNCH_CUTS), (event,))])
    assert table["starts"]["launch"]["events"][0]["earliest"] is None


def checks(*outcomes: str) -> list[Check]:
    return [Check(f"t::{n}", "It boots.", "boot", outcome, 1.0) for n, outcome in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("outcomes", "fault", "verdict"),
    [
        (["passed", "skipped"], None, "passed"),
        (["passed", "failed"], None, "failed"),
        (["passed", "error"], None, "failed"),
        (["passed"], FAULT, "failed"),
        (["skipped"], None, "nothing checked"),
        ([], None, "nothing checked"),
    ],
)
def test_the_verdict_is_never_better_than_the_checks(outcomes, fault, verdict):
    table = report.report_table(RUN, checks(*outcomes), [], fault)
    assert table["verdict"] == verdict
    assert [check["sentence"] for check in table["checks"]] == ["It boots."] * len(outcomes)


def test_evidence_is_named_from_the_reports_own_folder(tmp_path):
    """A report is moved, sent and unpacked elsewhere: a path of the machine that wrote it leads nowhere there."""
    folder = Folder(tmp_path / "somewhere" / "report" / "x")
    saved = folder.node("test_boot.py::test_it[x]")
    fault = Fault.of(StepFailed("guest", "no answer"), str(saved))
    wrote = folder.write_report(report.report_table(RUN, [], [], fault))
    told = json.loads(wrote.read_text())["fault"]["evidence"]
    assert wrote.parent / told == saved
    assert "somewhere" not in wrote.read_text()
    assert f"evidence {saved}" in "\n".join(fault_lines(fault)), "the terminal says where it lies on this machine"


def test_no_secret_is_in_any_of_the_outputs(tmp_path):
    bad = Check("x", "y", "boot", "failed", 1.0, cause=f"cannot reach {SECRET}")
    fault = Fault("broker", f"cannot reach {SECRET}", seen="password = hunter22", remedy=SECRET, evidence=SECRET)
    events = (Event("healthy", SECRET, "harness", math.nan, math.nan),)
    measured = Measured("launch", timeline(events, [], LAUNCH_CUTS, {"first_query": SECRET}), events)
    folder = Folder.under(tmp_path, "x")
    outputs = [
        folder.write_timings(report.timings_table(RUN, [measured])).read_text(),
        folder.write_report(report.report_table(RUN, [bad], [measured], fault)).read_text(),
        str(properties(RUN, [measured])),
        "\n".join(timeline_lines(measured) + fault_lines(fault)),
    ]
    for output in outputs:
        assert "hunter22" not in output


def test_reports_lie_in_a_folder_named_after_the_image(tmp_path):
    folder = Folder.under(tmp_path, "./guests/My Guest.qcow2")
    assert folder.timings == tmp_path / "report" / "guests-My-Guest.qcow2" / "timings.json"
    saved = private(folder.node("launch 1") / "console", "text")
    assert saved == tmp_path / "report" / "guests-My-Guest.qcow2" / "launch-1" / "console"
    assert [file.name for file in saved.parent.iterdir()] == ["console"], "no half-written file is left"
    assert folder.node("launch/1").name == "launch-1-2", "two names with one slug have two folders"


@given(st.text())
def test_no_name_leads_out_of_the_report_folder(name):
    safe = slug(name)
    assert safe
    assert not safe.startswith(".")
    assert "/" not in safe
    assert "\0" not in safe
    assert len(safe) <= 80


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "report").write_text("a file in the way")
    with pytest.raises(UsageError, match=r"timings\.json: cannot be written"):
        Folder.under(tmp_path, "x").write_timings({})


# ---- causes


LOGIN = Cause(
    "broker-login", "boot", "cloud", "certain", "the broker refused the agent's login", "compare transport_url",
    "RabbitMQ", "ACCESS_REFUSED", "agent, line 7", also=("agent-storm",),
)  # fmt: skip
NO_CAUSE = Cause(UNKNOWN, "", "", "none", "the cause is not known", seen="error: x", where="journal, line 3")
TOLD = Fault.of(StepFailed("guest agent", LOGIN.sentence, seen=LOGIN.evidence, remedy=LOGIN.remedy, cause=LOGIN), "r/x")


def test_a_person_reads_stage_class_cause_place_line_and_remedy():
    assert fault_lines(TOLD, width=140) == [
        "FAILED  guest agent   the broker refused the agent's login",
        "        kind     boot stage, fault of the cloud, certain (broker-login)",
        "        seen in  agent, line 7: ACCESS_REFUSED",
        "        try      compare transport_url",
        "        evidence r/x",
    ]


def test_a_machine_reads_the_same():
    fault = report.report_table(RUN, [], [], TOLD)["fault"]
    assert fault["known"] == {
        "id": "broker-login", "stage": "boot", "class": "cloud", "confidence": "certain",
        "sentence": "the broker refused the agent's login", "where": "agent, line 7", "seen": "ACCESS_REFUSED",
        "remedy": "compare transport_url", "source": "RabbitMQ", "also": ["agent-storm"],
    }  # fmt: skip
    pairs = dict(properties(RUN, [], [FAULT, TOLD]))
    assert pairs["fault.2.cause"] == "broker-login"
    assert (pairs["fault.2.stage"], pairs["fault.2.class"], pairs["fault.2.confidence"]) == ("boot", "cloud", "certain")
    assert pairs["fault.1.step"] == FAULT.step
    assert "fault.1.cause" not in pairs


def test_what_a_watchdog_told_is_not_told_otherwise_by_what_was_saved():
    assert TOLD.explained(dataclasses.replace(LOGIN, id="agent-storm")) == TOLD


def test_saved_evidence_explains_what_no_watchdog_could():
    late = Fault.of(StepFailed("guest", "waited 9 s; the cause is unknown", cause=NO_CAUSE))
    assert late.kind == "no known cause fits"
    explained = late.explained(LOGIN)
    assert explained.kind.endswith("certain (broker-login)")
    assert explained.cause.startswith("the broker refused the agent's login. agent, line 7: ACCESS_REFUSED. Try: ")
    assert explained.sentence == late.sentence
    assert late.explained(NO_CAUSE) == late


def test_a_run_that_passed_at_the_second_try_is_flaky_and_says_so():
    again = dataclasses.replace(RUN, retries=(report.Retry("Nova server", "no host", "no-valid-host", passed=True),))
    table = report.report_table(again, checks("passed"))
    assert table["verdict"] == "flaky"
    assert table["retried"] == [
        {"step": "Nova server", "sentence": "no host", "cause": "no-valid-host", "passed": True}
    ]  # fmt: skip
    assert dict(properties(again))["retried"] == "1"
    assert report.report_table(again, checks("failed"))["verdict"] == "failed"


def test_the_page_names_every_key_of_the_report():
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    table = report.report_table(RUN, checks("passed"), [LAUNCH], TOLD)
    keys = {*table, *table["checks"][0], *table["fault"], *table["fault"]["known"]}
    assert {key for key in keys if f"`{key}`" not in page} == set()
    assert f"schema {report.SCHEMA}" in page
