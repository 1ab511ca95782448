"""Ctrl-C, SIGTERM and SIGHUP in two steps, sent to a real pytest. Its cloud is a stand-in that removes only when it is
told to: a real one does not wait for a test to send the second signal.

Each pytest is a process of its own, forked from one interpreter that has loaded all it needs: loading takes seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagecheck import interrupts
from imagecheck.cloud import ledger as ledgers
from imagecheck.interrupts import TwoSteps

ROOT = Path(interrupts.__file__).parents[1]
CONFTEST = """
import pathlib, time
from types import SimpleNamespace
from imagecheck.cloud import cleanup
from imagecheck.cloud.ledger import Ledger
from imagecheck.run import Road
from imagecheck.site import Site

def cloud(road):
    site = Site(cloud="prod", tenant_cloud="prod")
    return road.step("cloud", lambda: SimpleNamespace(cloud=None, run=road.run, ledger=Ledger.new(road.run, site)))

def remove(_cloud, entry, ids):
    pathlib.Path("removing").touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return ""

Road.cloud, cleanup.remove = cloud, remove
"""
CHECK = """
import pathlib, time
def test_it(imagecheck_road):
    ledger = imagecheck_road.cloud().ledger
    ledger.made(ledger.intend("server", "a-server"), "id-1")
    pathlib.Path("working").touch()
    time.sleep({seconds})
"""


NURSERY = """
import json, os, signal, sys
import pytest, imagecheck.session
from imagecheck.cloud import cleanup

def begin(folder, deaf_to, arguments):
    pid = os.fork()
    if pid:
        return pid
    os.chdir(folder)
    out = os.open("out.txt", os.O_WRONLY | os.O_CREAT)
    for number in 1, 2:
        os.dup2(out, number)
    # as a terminal starts it, whatever these tests were started by (nohup)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number in deaf_to:
        signal.signal(number, signal.SIG_IGN)
    os.environ["IMAGECHECK_HOME"] = os.path.join(folder, "home")
    sys.exit(pytest.main(arguments))

def code(pid):
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None

for line in sys.stdin:
    verb, *what = json.loads(line)
    print(json.dumps({"begin": begin, "code": code}[verb](*what)), flush=True)
"""


class Nursery:
    """An interpreter in which everything is loaded, from which pytests are forked."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def asks(self, *what):
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def ends(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def nursery():
    one = Nursery()
    yield one
    one.ends()


class Toy:
    """A pytest under way in ``folder``."""

    def __init__(self, nursery, folder, seconds=60, deaf_to=()):
        self.folder = folder
        self.nursery = nursery
        self.code = None
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_toy.py").write_text(CHECK.format(seconds=seconds))
        (folder / "small.raw").write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
        arguments = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--image", "./small.raw", "--datastore",
                     "mariadb:11.8", "test_toy.py"]  # fmt: skip
        self.pid = nursery.asks("begin", str(folder), list(deaf_to), arguments)

    @property
    def said(self):
        return (self.folder / "out.txt").read_text()

    def reaches(self, file):
        deadline = time.monotonic() + 120
        while not (self.folder / file).exists():
            assert self.goes_on, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return self

    @property
    def goes_on(self):
        if self.code is None:
            self.code = self.nursery.asks("code", self.pid)
        return self.code is None

    def sends(self, number):
        assert self.goes_on, self.said
        os.kill(self.pid, number)
        return self

    def may_remove(self):
        (self.folder / "go").touch()
        return self

    def ends(self):
        deadline = time.monotonic() + 120
        while self.goes_on:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return self.code

    def open(self):
        return [str(one) for ledger in ledgers.everyone(self.folder / "home/ledger")[0] for one in ledger.open]


@pytest.fixture
def toy(nursery, tmp_path):
    started = []

    def start(**more):
        started.append(Toy(nursery, tmp_path, **more))
        return started[-1]

    yield start
    for one in started:
        if one.goes_on:
            one.sends(signal.SIGKILL).ends()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_tears_down_visibly(toy, number):
    one = toy().reaches("working").sends(number).reaches("removing")
    name = signal.Signals(number).name
    assert f"interrupted ({name}): removing server a-server id-1; once more ends at once" in one.said
    assert one.may_remove().ends() == pytest.ExitCode.INTERRUPTED
    assert "made 1, removed 1, left 0" in one.said
    assert one.open() == []


def test_the_second_says_what_is_left_and_ends_at_once(toy):
    first, second = signal.SIGTERM, signal.SIGHUP
    one = toy().reaches("working").sends(first).reaches("removing").sends(second)
    assert one.ends() == 128 + second
    assert f"interrupted again ({signal.Signals(second).name}): not removed, 1:\n" in one.said
    assert "  server a-server id-1\n" in one.said
    assert "imagecheck gc" in one.said
    assert one.open() == ["server a-server id-1"]


def test_one_that_comes_while_all_is_removed_anyway_does_not_break_that_off(toy):
    one = toy(seconds=0).reaches("removing").sends(signal.SIGINT)
    while "interrupted (SIGINT)" not in one.said:
        assert one.goes_on, one.said
        time.sleep(0.02)
    assert one.may_remove().ends() == pytest.ExitCode.OK
    assert "made 1, removed 1, left 0" in one.said
    assert one.open() == []


def test_nohup_keeps_its_promise(toy):
    one = toy(seconds=1, deaf_to=[signal.SIGHUP])
    one.reaches("working").sends(signal.SIGHUP).may_remove()
    assert one.ends() == pytest.ExitCode.OK
    assert "interrupted" not in one.said


# ---- the steps alone


def test_the_first_interrupts_and_the_second_ends(capsys):
    steps = TwoSteps(lambda: ["server a", "image b"])
    with pytest.raises(KeyboardInterrupt):
        steps.take("SIGTERM")
    assert steps.take("SIGINT")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "interrupted (SIGTERM): removing server a, image b; once more ends at once",
        "interrupted again (SIGINT): not removed, 2:",
        "  server a",
        "  image b",
        "remove it with: imagecheck gc",
    ]


def test_while_it_is_removed_the_first_changes_nothing_and_the_second_ends():
    steps = TwoSteps(lambda: ["server a"])
    with steps.removing():
        assert not steps.take("SIGINT")
        assert steps.take("SIGINT")


def test_after_an_interrupt_the_next_ends_whatever_goes_on():
    steps = TwoSteps(list)
    with pytest.raises(KeyboardInterrupt):
        steps.take("SIGINT")
    with steps.removing():
        assert steps.take("SIGINT")


def test_many_things_are_counted(capsys):
    steps = TwoSteps(lambda: [f"image {number}" for number in range(9)])
    with steps.removing():
        steps.take("SIGINT")
    assert "image 5 and 3 more; once more" in capsys.readouterr().err


def test_a_signal_in_the_middle_of_a_write_is_told_all_the_same(monkeypatch, capfd):
    def reentrant(_):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    monkeypatch.setattr(interrupts.progress, "note", reentrant)
    with pytest.raises(KeyboardInterrupt):
        TwoSteps(list).take("SIGINT")
    assert "interrupted (SIGINT): ending" in capfd.readouterr().err


def test_the_handlers_that_were_there_come_back():
    before = [signal.getsignal(one) for one in interrupts.SIGNALS]
    with interrupts.handled(TwoSteps(list)):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(one) for one in interrupts.SIGNALS] == before
