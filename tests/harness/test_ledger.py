"""The ledger: on disk before the request, readable after kill -9, and never somebody else's."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.cloud import ledger as ledgers
from imagecheck.cloud import marks
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import StepFailed, UsageError
from imagecheck.site import Site

SITE = Site(cloud="admin", tenant_cloud="tenant", sandbox=True)


def test_what_is_intended_is_on_disk_before_it_is_asked_for(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    ledger.intend("server", "run-1")
    assert [(one.kind, one.name, one.id) for one in ledgers.read(ledger.path).open] == [("server", "run-1", "")]


def test_every_line_is_fsynced(tmp_path, monkeypatch):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    entry = ledger.intend("server", "a")
    ledger.made(entry, "id-1")
    ledger.removed(entry)
    assert len(synced) == 3
    assert synced == sorted(synced)


def test_open_entries_are_the_newest_first_and_lose_what_was_removed(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    first, second, third = (ledger.intend("server", name) for name in "abc")
    ledger.made(second, "id-b")
    ledger.removed(third)
    read = ledgers.read(ledger.path)
    assert [(one.name, one.id) for one in read.open] == [("b", "id-b"), ("a", "")]
    assert first in read.open


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    ledger.intend("server", "a")
    with ledger.path.open("a") as file:
        file.write('{"intend": 2, "kind": "ser')
    assert [one.name for one in ledgers.read(ledger.path).open] == ["a"]


def test_a_foreign_file_is_told_by_name(tmp_path):
    (tmp_path / "x.jsonl").write_text("not ours\n")
    with pytest.raises(UsageError, match=r"x\.jsonl: is not a ledger"):
        ledgers.read(tmp_path / "x.jsonl")


def test_a_ledger_is_private_and_holds_no_secret(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    assert ledger.path.stat().st_mode & 0o077 == 0
    assert "password" not in ledger.path.read_text()


def test_retire_keeps_the_file_while_something_is_open(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    entry = ledger.intend("server", "a")
    ledger.retire()
    assert ledger.path.exists()
    ledger.removed(entry)
    ledger.retire()
    assert not ledger.path.exists()


def test_the_living_are_not_abandoned(tmp_path):
    Ledger.new("run-1", SITE, tmp_path)
    assert ledgers.abandoned(tmp_path) == []


def test_another_hosts_ledger_counts_as_alive(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    head, *rest = ledger.path.read_text().splitlines()
    table = json.loads(head)
    table["owner"] |= {"host": "elsewhere", "pid": 1, "started": "0"}
    ledger.path.write_text("\n".join([json.dumps(table), *rest]) + "\n")
    assert ledgers.abandoned(tmp_path) == []


def test_a_reused_pid_is_not_its_owner(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    table = json.loads(ledger.path.read_text().splitlines()[0])
    table["owner"]["started"] = "1"  # our pid, another process's birth
    ledger.path.write_text(json.dumps(table) + "\n")
    assert [one.owner.run for one in ledgers.abandoned(tmp_path)] == ["run-1"]


def test_kill_minus_9_loses_nothing_that_was_written_down(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from imagecheck.cloud.ledger import Ledger\n"
        "from imagecheck.site import Site\n"
        "l = Ledger.new('killed', Site(cloud='a', tenant_cloud='b'), Path(sys.argv[1]))\n"
        "l.made(l.intend('server', 's'), 'id-s'); l.intend('image', 'i')\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    root = Path(ledgers.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script, tmp_path, root], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        assert ledgers.abandoned(tmp_path) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
    (left,) = ledgers.abandoned(tmp_path)
    assert [(one.kind, one.id) for one in left.open] == [("image", ""), ("server", "id-s")]
    assert left.owner.site.cloud == "a"


# ---- a crash at any byte


def a_whole_run(folder):
    """A ledger with every kind of line, and what it says after each of them, by its length in bytes."""
    ledger = Ledger.new("run-1", SITE, folder)
    states = {}

    def now():
        states[ledger.path.stat().st_size] = (ledger.entries, ledger.kept)

    now()
    server = ledger.intend("server", 'é\n"x', network="tenant")
    now()
    server = ledger.made(server, "id-1")
    now()
    ledger.intend("port", "trove-id-1", of=server)
    now()
    ledger.intend("image", "i")
    now()
    ledger.keep(1_900_000_000.5)
    now()
    ledger.removed(server)
    now()
    return ledger, states


def test_cut_off_at_any_byte_it_says_what_its_whole_lines_say(tmp_path):
    ledger, states = a_whole_run(tmp_path)
    data = ledger.path.read_bytes()
    first = min(states)
    copy = tmp_path / "cut" / ledger.path.name
    copy.parent.mkdir()
    for length in range(len(data) + 1):
        copy.write_bytes(data[:length])
        if length < first - 1:  # nothing had been asked for
            assert ledgers.everyone(copy.parent) == ([], [])
            continue
        (read,), strange = ledgers.everyone(copy.parent)
        assert strange == []
        # The newline alone may be what is missing: then the line is whole all the same.
        whole = max(size for size in states if size <= length + 1)
        entries, kept = states[whole]
        assert [(one.number, one.kind, one.name, one.of) for one in read.entries] == [
            (one.number, one.kind, one.name, one.of) for one in entries
        ]
        assert read.kept == kept


@given(st.integers(0, 400))
def test_what_is_written_after_a_crash_is_not_glued_to_the_line_that_was_cut_off(lost):
    with tempfile.TemporaryDirectory() as folder:
        ledger, states = a_whole_run(Path(folder))
        text = ledger.path.read_bytes()
        ledger.path.write_bytes(text[: max(min(states), len(text) - lost)])
        read = ledgers.read(ledger.path)
        for entry in read.open:
            read.removed(entry)
        assert ledgers.read(ledger.path).open == []
        assert read.intend("server", "more").number == len(ledgers.read(ledger.path).entries)


@given(st.binary(max_size=200))
def test_whatever_lies_in_the_folder_the_others_are_read(junk):
    with tempfile.TemporaryDirectory() as folder:
        a_whole_run(Path(folder))
        (Path(folder) / "junk.jsonl").write_bytes(junk)
        found, strange = ledgers.everyone(Path(folder))
        assert [one.owner.run for one in found] == ["run-1"]
        assert len(strange) == (b"\n" in junk)


def test_nothing_is_asked_for_that_cannot_be_written_down(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    entry = ledger.made(ledger.intend("server", "a"), "id-1")
    ledger.path = Path("/dev/full")  # a disk without room
    with pytest.raises(StepFailed, match="cannot be written .No space left"):
        ledger.intend("server", "b")
    assert [one.name for one in ledger.entries] == ["a"]
    ledger.removed(entry)  # what has happened is told all the same
    assert ledger.open == []


def no_room(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_ledger_that_cannot_be_begun_is_a_sentence_and_leaves_no_file(tmp_path, monkeypatch):
    """A real file system without room is a row of tests/faults (full-ledger)."""
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StepFailed, match="cannot be written .No space left on device.: nothing is asked for"):
        Ledger.new("run-1", SITE, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StepFailed, match="cannot be written"):
        Ledger.new("run-1", SITE, tmp_path / "file")


def test_what_goes_with_a_thing_is_closed_with_it(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    instance = ledger.intend("instance", "a")
    ledger.intend("port", "p", of=instance)
    ledger.intend("image", "i")
    ledger.removed(instance)
    assert [one.name for one in ledgers.read(ledger.path).open] == ["i"]


def test_marks_say_whose_it_is_and_never_less_than_what_was_promised(tmp_path):
    ledger = Ledger.new("run-1", SITE, tmp_path)
    assert ledger.marks()[marks.OWNER].endswith(f":{os.getpid()}")
    assert marks.moment(ledger.marks()[marks.UNTIL]) > time.time() + marks.TTL - 5
    ledger.keep(time.time() + 10 * marks.TTL)
    assert marks.moment(ledger.marks()[marks.UNTIL]) > time.time() + 9 * marks.TTL
