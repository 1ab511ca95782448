"""The table of causes: every row is shown by an excerpt, stays silent on what looks alike, and wins where it should."""

from __future__ import annotations

import re
from pathlib import Path

import causes_fixtures as fixtures
import pytest

from imagecheck import redact
from imagecheck.causes import PLACES, TABLE, Evidence, Facts, Row, Watch, evidence_from, place_of, verdict
from imagecheck.causes.scan import compiled

EXCERPTS = fixtures.excerpts()
FACTS = fixtures.FACTS
ROWS = {row.id: row for row in TABLE}
UNPROVEN = 53  # rows that no real boot has proven yet: lower this with every one that is
SOON = 100.0  # seconds: longer than any grace


def name(excerpt):
    return f"{excerpt.id}-{excerpt.place}"


def ends_by(facts: Facts, now: float = SOON):
    watch = Watch()
    watch.look(facts, 0.0)
    return watch.look(facts, now)


# ---- the table itself


def test_the_table_is_sound():
    assert len(ROWS) == len(TABLE), "an id is there twice"
    for row in TABLE:
        assert row.pattern or row.holds, f"{row.id} has no evidence"
        assert bool(row.pattern) == bool(row.places) == bool(row.keys), f"{row.id}: half a pattern"
        assert set(row.places) <= set(PLACES)
        assert all((row.sentence, row.remedy, row.source)), f"{row.id} does not say what, what to try and who says so"
        assert re.fullmatch(r"[a-z][a-z0-9-]+", row.id)
        groups = set(re.findall(r"\{(\w+)\}", row.sentence))
        assert groups - {"what"} <= set(compiled(row.pattern).groupindex), f"{row.id} tells what it does not find"
        assert "{" not in row.remedy


def test_only_faults_of_the_cloud_are_tried_again():
    assert {row.fault for row in TABLE if row.retry} == {"cloud"}


def test_all_twenty_known_launch_failures_have_a_cause():
    told = {number for row in TABLE for number in row.known}
    assert told | {13} == set(range(1, 21)), "13 is a failed image build, which build/causes.py explains"


def test_the_page_names_the_rows_of_every_known_failure():
    page = (Path(__file__).parents[2] / "docs" / "causes.md").read_text(encoding="utf-8")
    for number in range(1, 21):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {number} |")]
        told = set(re.findall(r"`([a-z0-9-]+)`", line))
        assert told == {row.id for row in TABLE if number in row.known}


def test_a_failed_image_build_is_explained_too():
    log = "ERROR: Package 'trove' requires a different Python: 3.10.12 not in '>=3.11'\n"
    found = verdict(Evidence({"build": (log,)}))
    assert (found.id, found.stage, found.fault) == ("build-Python-too-old", "disk", "image")


def test_the_number_of_rows_that_no_real_boot_has_proven_only_goes_down():
    unproven = [row.id for row in TABLE if not row.proven]
    assert len(unproven) == UNPROVEN, f"not proven by a real log: {', '.join(unproven)}"


# ---- every row against its excerpt


def test_every_row_has_an_excerpt_and_a_near_miss():
    shown = {excerpt.id for excerpt in EXCERPTS}
    assert {row.id for row in TABLE if row.pattern} == shown
    assert {row.id for row in TABLE if row.holds} == set(FACTS)
    for id in shown:
        assert any(excerpt.near for excerpt in EXCERPTS if excerpt.id == id), f"{id} has no near miss"


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=name)
def test_an_excerpt_is_given_its_cause(excerpt):
    found = verdict(Evidence({excerpt.place: (excerpt.text,)}))
    row = ROWS[excerpt.id]
    assert found.id == excerpt.id, f"{found.sentence} ({found.also})"
    assert (found.stage, found.fault) == (row.stage, row.fault)
    assert found.confidence == (row.confidence if row.proven else "likely")
    assert found.where.startswith(excerpt.place)
    assert found.seen
    assert "{" not in found.sentence
    assert "()" not in found.sentence
    assert not found.sentence.endswith(":")


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=name)
def test_a_watch_ends_the_wait_when_the_row_is_fatal_and_proven(excerpt):
    watch = Watch()
    watch.feed(excerpt.place, excerpt.text, 0.0)
    found = watch.verdict(SOON)
    row = ROWS[excerpt.id]
    if not row.fatal or not row.proven:
        assert found is None or found.id != excerpt.id
    elif row.times <= len(excerpt.shows):
        assert found is not None
        assert found.id == excerpt.id


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=name)
def test_what_looks_alike_raises_no_alarm(excerpt):
    for line in excerpt.near:
        text = f"{line}\n" * 6
        found = verdict(Evidence({excerpt.place: (text,)}))
        assert excerpt.id not in (found.id, *found.also), f"{line!r} is taken for it"


def test_excerpts_of_other_rows_are_not_taken_for_a_row():
    """Where another row shows too, it must be one that is less deep."""
    for excerpt in EXCERPTS:
        found = verdict(Evidence({excerpt.place: (excerpt.text,)}))
        for other in found.also:
            assert ROWS[other].rank <= ROWS[excerpt.id].rank


@pytest.mark.parametrize("id", sorted(FACTS))
def test_facts_are_given_their_cause(id):
    shows, near = FACTS[id]
    found = verdict(Evidence(facts=shows))
    assert found.id == id or (id in found.also and ROWS[found.id].rank > ROWS[id].rank)
    assert ROWS[id].holds(near) == ""


@pytest.mark.parametrize("id", sorted(FACTS))
def test_facts_end_a_wait_only_when_they_last(id):
    row, (shows, _) = ROWS[id], FACTS[id]
    watch = Watch()
    at_once = watch.look(shows, 0.0)
    if row.fatal and row.grace:
        assert at_once is None or at_once.id != id
    lasting = ends_by(shows)
    assert (lasting is not None) == row.fatal or (lasting is not None and lasting.id != id)


def test_no_facts_are_no_evidence():
    assert not verdict(Evidence()).known
    assert ends_by(Facts()) is None


# ---- which cause wins


def test_the_deepest_cause_is_told_and_the_others_are_named():
    found = verdict(
        Evidence(
            {
                "agent": (
                    "2026-11-23 14:15:40.1 7 ERROR trove [-] Failed to prepare datastore: Failed to start mysql\n"
                    'docker.errors.NotFound: 404 ("manifest for mariadb:11.9 not found: manifest unknown")\n',
                ),
                "trove": ("Service not active, status: failed to spawn\n",),
            }
        )
    )
    assert found.id == "pull-no-tag"
    assert found.also == ("prepare-failed", "agent-said-failed")
    assert "mariadb:11.9" in found.sentence


CHAINS = {  # what shows -> what it comes from
    "owner-missing": (
        "cloud-init.py[WARNING]: Running module write_files (<module 'x'>) failed\n"
        "OSError: Unknown user or group: \"getpwnam(): name not found: 'trove'\"\n",
        "Connection failed: [Errno 111] ECONNREFUSED (retrying in 1 s)\n" * 5,
    ),
    "no-datasource": (
        "[WARNING]: No instance datasource found! Likely bad things to come!\n",
        "Failed to read config file directory: /etc/trove/conf.d\n" * 5,
    ),
    "metadata-unreachable": (
        "Calling 'http://169.254.169.254/openstack' failed [1/120s]: timed out\nNo instance datasource found! "
        "Likely bad things to come!\n",
        "RuntimeError: Manager class not registered for datastore manager None\n" * 5,
    ),
    "user-data-yaml": (
        "util.py[WARNING]: Failed loading yaml blob. Invalid format\nConsuming user data failed!\n",
        "RuntimeError: Manager class not registered for datastore manager None\n" * 5,
    ),
    "disk-full": (
        "Running module write_files (<module 'x'>) failed\nOSError: [Errno 28] No space left on device\n",
        "",
    ),
}


@pytest.mark.parametrize("id", CHAINS)
def test_of_a_chain_of_failures_the_first_is_told(id):
    first, then = CHAINS[id]
    assert verdict(Evidence({"cloud-init": (first,), "agent": (then,)})).id == id


def test_an_agent_without_its_file_is_not_taken_for_a_broker_that_is_down():
    """At its start oslo.messaging does not say where it tries to connect: without the file, to the guest itself."""
    line = "2026-11-23 14:1{}:40.1 7 ERROR Connection failed: [Errno 111] ECONNREFUSED (retrying in 1 s)\n"
    text = "".join(line.format(minute) for minute in range(5))
    found = verdict(Evidence({"agent": (text,)}, Facts(cloud_init="done", guest_info=True, guest_config=False)))
    assert found.id == "guest-config-missing"
    assert "broker-refused" in found.also


def test_a_broker_that_was_slow_and_then_came_is_no_cause():
    refused = "2026-11-23 14:15:{:02}.1 7 ERROR oslo [-] Connection failed: [Errno 111] ECONNREFUSED (retrying)\n"
    came = "2026-11-23 14:16:30.1 7 INFO trove [-] Starting datastore prepare for 'mariadb:11.8'.\n"
    text = "".join(refused.format(second) for second in range(0, 60, 10))
    assert verdict(Evidence({"agent": (text,)})).id == "broker-refused"
    assert not verdict(Evidence({"agent": (text + came,)})).known
    assert not verdict(Evidence({"agent": (text,)}, Facts(consumers=1))).known


def test_an_agent_that_waited_for_its_files_is_no_cause():
    said = "Nov 23 14:{}.1 g trove-guestagent[7]: {}\n"
    early = "RuntimeError: Manager class not registered for datastore manager None"
    then = said.format("16:40", "2026 INFO trove.cmd.guest [-] Creating user and group for database service")
    watch = Watch()
    assert watch.feed("journal", said.format("15:01", early) + said.format("15:07", early), 1.0) is None
    assert watch.feed("journal", then, 2.0) is None
    assert not watch.so_far(100.0).known


def test_the_times_of_the_lines_count_when_a_log_is_read_late():
    """SSH comes minutes after the agent: what it tried since then need not be waited for again."""
    line = "2026-11-23 14:1{}:40.123 7 ERROR oslo [-] Connection failed: [Errno 111] ECONNREFUSED (retrying in 1 s)\n"
    text = "".join(line.format(minute) for minute in range(4))
    found = Watch().feed("agent", text, 500.0)
    assert found is not None
    assert found.id == "broker-refused"
    assert "4 times" in found.where
    assert found.retryable


def test_what_may_still_go_away_is_not_told_as_the_end_of_a_wait():
    watch = Watch()
    refused = "2026-11-23 14:15:40.1 7 ERROR x Connection failed: [Errno 111] ECONNREFUSED (retrying in 1 s)\n"
    ended = "Nov 23 14:15:41.1 g systemd[1]: docker.service: Start request repeated too quickly.\n"
    assert watch.feed("agent", refused, 0.0) is None
    found = watch.feed("journal", ended, 1.0)
    assert found is not None
    assert found.id == "docker-gave-up"
    assert watch.so_far(1.0).id == "broker-refused"


def test_one_broker_of_several_is_enough():
    dials = {"a:5672": "[Errno 111] Connection refused", "b:5672": ""}
    assert ends_by(Facts(dials=dials, logins={"a:5672": "login refused", "b:5672": ""})) is None


def test_one_refused_login_is_enough():
    line = (
        "2026-11-23 14:15:40.1 7 ERROR x AccessRefused: (0, 0): (403) ACCESS_REFUSED - Login was refused using PLAIN\n"
    )
    found = Watch().feed("agent", line, 0.0)
    assert found is not None
    assert (found.id, found.fault, found.retryable) == ("broker-login", "cloud", False)


def test_a_few_tries_are_not_enough_to_end_a_wait():
    line = "2026-11-23 14:15:4{}.123 7 ERROR oslo [-] Connection failed: [Errno 111] ECONNREFUSED (retrying in 1 s)\n"
    assert Watch().feed("agent", "".join(line.format(second) for second in range(5)), 0.0) is None


def test_without_a_row_the_best_evidence_is_shown_and_nothing_is_guessed():
    text = "all is well\nNov 23 14:15:40 g thing[1]: error: the frobnicator is upside down\nall is well again\n"
    found = verdict(Evidence({"console": (text,)}))
    assert (found.id, found.fault, found.confidence, found.retryable) == ("unknown", "", "none", False)
    assert "frobnicator" in found.seen
    assert found.where == "console, line 2"


def test_a_verdict_hides_secrets():
    redact.learn("s3cr3t-of-rabbit")
    try:
        text = "oslo_config.cfg.ConfigFileParseError: Failed to parse /etc/x: at /etc/x:1, 's3cr3t-of-rabbit'\n" * 3
        found = verdict(Evidence({"agent": (text, "error: rabbit://trove:another1@10.0.0.1/ failed\n")}))
        shown = f"{found} {found.failure('x')}"
        assert "s3cr3t" not in shown
        assert "another1" not in f"{verdict(Evidence({'agent': ('error: rabbit://t:another1@h/ failed',)}))}"
    finally:
        redact.forget()


def test_what_a_guest_prints_cannot_reach_into_a_sentence():
    text = "Nov 23 14:15:40 g x: Manager class not registered for datastore manager {what}{0.__class__}\n" * 3
    assert "{0.__class__}" in verdict(Evidence({"journal": (text,)})).sentence


def test_a_verdict_becomes_the_error_that_ends_a_step():
    found = verdict(
        Evidence({"console": ("[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on x\n",)})
    )
    text = str(found.failure("guest"))
    assert text.startswith("guest: the kernel panicked: it cannot mount the root file system")
    assert "console, line 1: [    2.1] Kernel panic" in text
    assert "update-initramfs" in text


# ---- saved evidence


def test_saved_files_are_read_as_what_they_are():
    assert place_of("trove-console.log") == "console"
    assert place_of("agent-journal.txt") == "journal"
    assert place_of("nova-server.json") == place_of("trove-nova-actions.json") == "nova"
    assert place_of("trove-instance.json") == "trove"
    assert place_of("network.txt") is None


def test_a_traceback_inside_json_is_read_line_by_line():
    text = '{"traceback": "' + "x" * 2000 + "\\nNo valid host was found. \\n" + '"}'
    assert verdict(evidence_from({"nova-actions.json": text})).id == "no-valid-host"


def rows_of(place) -> list[Row]:
    return [row for row in TABLE if place in row.places]


def test_every_place_is_looked_at():
    assert all(rows_of(place) for place in PLACES if place != "build")
