"""Ctrl-C, SIGTERM and SIGHUP in two steps, sent to a real pytest. Its cloud is a stand-in that removes only when it is
told to: a real one does not wait for a test to send the second signal."""

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


class Toy:
    """A pytest under way in ``folder``."""

    def __init__(self, folder, seconds, **more):
        self.folder = folder
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_toy.py").write_text(CHECK.format(seconds=seconds))
        (folder / "small.raw").write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--image", "./small.raw", "--datastore",
                "mariadb:11.8", "test_toy.py"]  # fmt: skip
        environment = os.environ | {"IMAGECHECK_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
        self.out = (folder / "out.txt").open("w")
        self.process = subprocess.Popen(argv, stdout=self.out, stderr=self.out, cwd=folder, env=environment, **more)

    @property
    def said(self):
        return (self.folder / "out.txt").read_text()

    def reaches(self, file):
        deadline = time.monotonic() + 120
        while not (self.folder / file).exists():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return self

    def sends(self, number):
        self.process.send_signal(number)
        return self

    def may_remove(self):
        (self.folder / "go").touch()
        return self

    def ends(self):
        return self.process.wait(timeout=120)

    def open(self):
        return [str(one) for ledger in ledgers.everyone(self.folder / "home/ledger")[0] for one in ledger.open]


@pytest.fixture
def toy(tmp_path):
    started = []

    def start(seconds=60, **more):
        started.append(Toy(tmp_path, seconds, **more))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.out.close()


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
        assert one.process.poll() is None
        time.sleep(0.02)
    assert one.may_remove().ends() == pytest.ExitCode.OK
    assert "made 1, removed 1, left 0" in one.said
    assert one.open() == []


def test_nohup_keeps_its_promise(toy):
    one = toy(seconds=1, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
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
