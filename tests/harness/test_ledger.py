"""The ledger: on disk before the request, readable after kill -9, and never somebody else's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagecheck.cloud import ledger as ledgers
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import UsageError
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
