"""The watchdog: pieces do not matter, memory and time are bounded, a good boot is never an alarm."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.causes import PLACES, TABLE, Evidence, Facts, Watch, verdict
from imagecheck.causes.scan import Lines, Reader, compiled, stamp

GOOD = sorted((Path(__file__).parent / "fixtures" / "causes" / "good").iterdir())
BAD = sorted((Path(__file__).parent / "fixtures" / "causes" / "bad").glob("*.txt"))  # ROW--PLACE.txt
LATER = 1000.0  # seconds
PANIC = "[    2.104312] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
SHOWN = [
    PANIC, "No bootable device.\r\n", "grub rescue> ", "\x1b[0m(initramfs) ", "You are in emergency mode. After\n",
    "[ 5.1] systemd[1]: docker.service: Start request repeated too quickly.\n", "login: ", "\r", "\x1b[",
    "[ 99.0] Out of memory: Killed process 712 (mariadbd)\n", "Linux version 6.12\r\n", "all is well\r\n", "\xff\x00\n",
    "\x1b]104\x07",
]  # fmt: skip
WILD = st.lists(st.one_of(st.sampled_from(SHOWN), st.text(max_size=30)), max_size=30).map("".join)


def pieces(text, cuts):
    places = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


# ---- pieces


@given(WILD, st.lists(st.integers(min_value=0), max_size=12))
def test_how_a_console_is_cut_into_pieces_does_not_change_the_verdict(text, cuts):
    whole, cut = Watch(), Watch()
    whole.feed("console", text, 0.0)
    for piece in pieces(text, cuts):
        cut.feed("console", piece, 0.0)
    assert cut.verdict(0.0) == whole.verdict(0.0)
    assert cut.verdict(LATER) == whole.verdict(LATER)
    assert cut.so_far(LATER) == whole.so_far(LATER)


@given(st.binary(max_size=300), st.lists(st.integers(min_value=0), max_size=8))
def test_any_bytes_cut_anywhere_give_the_same_lines(raw, cuts):
    whole, cut = Lines(), Lines()
    expected = whole.feed(raw)
    found = [line for piece in pieces(raw, cuts) for line in cut.feed(piece)]
    assert found == expected
    assert cut.partial == whole.partial


@given(st.binary(max_size=400), st.sampled_from(["console", "agent", "journal", "container", "nova"]))
def test_wild_text_never_raises(raw, place):
    watch = Watch()
    watch.feed(place, raw, 0.0)
    watch.verdict(LATER)
    assert isinstance(watch.so_far(LATER).seen, str)
    verdict(Evidence({place: (raw.decode("utf-8", "surrogateescape"),)}))


@given(WILD, st.lists(st.integers(min_value=0), max_size=8))
def test_a_console_that_is_read_again_from_its_beginning_counts_once(text, cuts):
    once, again = Watch(), Watch()
    once.feed("console", text, 0.0)
    at = 0
    for piece in pieces(text, cuts):
        at += len(piece)
        again.console(text[:at], 0.0)
    assert again.so_far(LATER) == once.so_far(LATER)


def test_a_console_that_has_lost_its_beginning_is_joined_to_what_was_read():
    """Nova gives the last 100 kB of a console (nova/virt/libvirt/driver.py, MAX_CONSOLE_BYTES)."""
    lines = [f"[ {number:5}.000000] line {number} of a talkative guest\n" for number in range(6000)]
    lines[5500] = PANIC
    watch, alone = Watch(), Watch()
    found = None
    for end in range(1000, 6001, 250):
        found = watch.console("".join(lines[:end])[-100_000:], float(end)) or found
    alone.feed("console", "".join(lines), 0.0)
    assert found is not None
    assert found.id == "panic-root"
    assert found.where == "console, line 5501"
    assert watch.so_far(LATER) == alone.so_far(LATER)


# ---- prompts


@pytest.mark.parametrize(("prompt", "id"), [("grub rescue> ", "grub-prompt"), ("(initramfs) ", "initramfs-shell")])
def test_a_prompt_counts_when_it_stands_there(prompt, id):
    watch = Watch()
    assert watch.console(f"Booting ...\r\n{prompt}", 0.0) is None
    assert watch.console(f"Booting ...\r\n{prompt}", 3.0) is None
    found = watch.console(f"Booting ...\r\n{prompt}", 6.0)
    assert found is not None
    assert found.id == id


def test_a_prompt_that_goes_on_was_none():
    watch = Watch()
    assert watch.console("Booting ...\r\ngrub> ", 0.0) is None
    assert watch.console("Booting ...\r\ngrub> boot\r\nLinux version 6.12\r\n", 6.0) is None
    assert watch.verdict(LATER) is None


# ---- bounds


def test_memory_stays_bounded_whatever_a_console_says():
    line = "[ 99.0] I/O error, dev vda, sector 2048 error failed Traceback grub> \x1b[1m panic login:\n"
    watch = Watch()
    for _ in range(3):
        watch.feed("console", line * 1000 + "x" * 200_000, 0.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(60):
        watch.feed("console", (line * 1000 if number % 2 else "y" * 100_000), float(number))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000


def hostile(row):
    """A megabyte made to hurt this row: its keys again and again, in long lines and without line ends."""
    key = max(row.keys, key=len)
    short = min(row.keys, key=len)
    once = [key + " ", short, key + "'" * 40, key + ": " + "a" * 300, key + ' "', f"systemd[1]: {key} "]
    return [(one * 1000)[:900] + "\n" for one in once] + [one * 200 for one in once]


@pytest.mark.parametrize("row", [row for row in TABLE if row.pattern], ids=lambda row: row.id)
def test_no_pattern_takes_long_on_a_megabyte_made_to_hurt_it(row):
    pattern = compiled(row.pattern)
    for one in hostile(row):
        line = one[:1000]
        times = 1_000_000 // len(line)
        sample = max(1, times // 20)  # a twentieth is measured, so that all rows together take seconds
        took = min(_timed(pattern, line, sample) for _ in range(3)) * times / sample
        assert took < 0.05, f"{took * 1000:.0f} ms on {line[:60]!r}"


def _timed(pattern, line, times):
    began = time.process_time()
    for _ in range(times):
        pattern.search(line)
    return time.process_time() - began


def test_a_megabyte_of_console_is_read_in_well_under_a_second():
    text = "".join(
        f"[ {n:5}.000000] cloud-init[323]: an ordinary line of a console, number {n}\r\n" for n in range(14000)
    )
    reader = Reader("console", TABLE)
    began = time.process_time()
    reader.feed(text, 0.0)
    assert time.process_time() - began < 1.0


# ---- no false alarms


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
def test_a_good_boot_raises_no_alarm(file):
    text = file.read_text(encoding="utf-8")
    place = next(place for place in PLACES if file.name.startswith(place))
    watch = Watch()
    for piece in pieces(text, range(0, len(text), 700)):
        watch.feed(place, piece, 0.0)
    assert watch.verdict(LATER) is None
    assert not watch.so_far(LATER).known, watch.so_far(LATER)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.name)
def test_a_boot_that_really_went_wrong_ends_the_wait_with_its_cause(file):
    id, _, place = file.stem.partition("--")
    text = file.read_text(encoding="utf-8")
    watch = Watch()
    for piece in pieces(text, range(0, len(text), 700)):
        watch.feed(place, piece, 0.0)
    found = watch.verdict(0.0)
    assert found is not None
    assert found.id == id
    assert next(row for row in TABLE if row.id == id).proven


def test_the_facts_of_a_good_guest_raise_no_alarm():
    good = Facts(
        dials={"172.31.0.1:5672": ""}, logins={"172.31.0.1:5672": ""}, queue=True, consumers=1,
        exchanges=("trove", "trove"), agent_loaded=True, agent_enabled=True, agent_active="active",
        agent_result="success", agent_restarts=0, agent_up=200, agent_release="23.0.0", cloud_release="23.0.1",
        guest_info=True, guest_config=True, guest_id_fits=True, cloud_init="done",
        datasource="DataSourceConfigDrive", prepare_started=True, prepare_ended=True, clock_offset=0.2,
        default_routes=1, free=10**9, data_mounted=True, docker_active="active", container="running",
        container_exit=0, container_oom=False, images=("mariadb:11.8",), wanted_image="mariadb:11.8",
        server_status="ACTIVE", status="ACTIVE", operating_status="HEALTHY", told="healthy", heartbeat_age=12,
        console_bytes=4000, up=200,
    )  # fmt: skip
    watch = Watch()
    watch.look(good, 0.0)
    assert watch.look(good, LATER) is None
    assert not verdict(Evidence(facts=good)).known


def test_a_guest_that_is_still_booting_raises_no_alarm():
    booting = Facts(
        consumers=0, queue=True, agent_active="inactive", cloud_init="running", guest_info=False, guest_config=False,
        status="BUILD", told="new", server_status="ACTIVE", up=40, console_bytes=100,
    )  # fmt: skip
    watch = Watch()
    watch.look(booting, 0.0)
    assert watch.look(booting, LATER) is None


def test_a_fact_that_goes_away_in_time_ends_no_wait():
    watch = Watch()
    refused = Facts(dials={"b:5672": "[Errno 111] Connection refused"})
    watch.look(refused, 0.0)
    assert watch.look(refused, 7.0) is None
    watch.look(Facts(dials={"b:5672": ""}), 8.0)
    assert watch.look(refused, 10.0) is None
    assert watch.look(refused, 17.0) is None
    assert watch.look(refused, 18.0) is not None


def test_lines_bear_their_own_time():
    assert stamp("[   12.500000] x") == 12.5
    assert stamp("2026-11-23 14:15:40.500 7 ERROR x") == 14 * 3600 + 15 * 60 + 40.5
    assert stamp("Nov 23 00:00:01.250000 host x") == 1.25
    assert stamp("2026-11-23 14:15:40,500 - util.py") == 14 * 3600 + 15 * 60 + 40.5
    assert stamp("2026-11-23T14:15:40.500123+0000 guest dockerd[7]: x") == 14 * 3600 + 15 * 60 + 40.500123
    assert stamp("no time at all") is None
