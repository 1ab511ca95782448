"""Following a guest: the real questions, put to a shell of this host that sees files and programs made for it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.guest import follow
from imagecheck.guest.follow import Follower

BIN = {
    # A journal of lines, each its own cursor.
    "journalctl": """
after=0
for word; do case $word in --after-cursor=*) after=${word#*=};; esac; done
tail -n +$((after + 1)) JOURNAL; [ $(wc -l <JOURNAL) -eq $after ] || echo "-- cursor: $(wc -l <JOURNAL)"
""",
    "systemctl": """
printf 'Id=%s\\nLoadState=loaded\\nActiveState=active\\nNRestarts=2\\n\\n' trove-guestagent.service
printf 'Id=docker.service\\nLoadState=loaded\\nActiveState=active\\n'
""",
}


PARTS = [b"boot", b"uptime", b"wall", b"journal", b"agent", b"init", b"units", b"stages", b"result", b"info", b"routes",
         b"disk", b"container", b"log", b"dial", b"cost", b"prepare_start", b""]  # fmt: skip


class Here:
    """A guest that is a shell of this host; ``closed`` counts how often its kept connection was given up."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.closed, self.alive = folder, 0, True

    def argv(self, command):
        assert command == "sudo -n sh"
        return ["env", f"PATH={self.folder / 'bin'}:/usr/bin:/bin", "sh"] if self.alive else ["sh", "-c", "exit 255"]

    def close(self):
        self.closed += 1

    def say(self, name, text):
        with (self.folder / name).open("a") as file:
            file.write(text)


@pytest.fixture
def guest(tmp_path, monkeypatch):
    for name in ("bin", "run", "docker/c1", "conf.d"):
        (tmp_path / name).mkdir(parents=True)
    for name, text in BIN.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/sh\n{text.replace('JOURNAL', str(tmp_path / 'journal'))}")
        file.chmod(0o755)
    monkeypatch.setattr(follow, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(follow, "LOGS", str(tmp_path))
    monkeypatch.setattr(follow, "DOCKER", str(tmp_path / "docker"))
    monkeypatch.setattr(follow, "PREPARE", str(tmp_path / "prepare"))
    monkeypatch.setattr(follow, "AGAIN", 0.05)
    (tmp_path / "journal").write_text("first\n")
    return Here(tmp_path)


@pytest.fixture
def followed(guest):
    made = []

    def make(**options):
        made.append(Follower(guest, unit="trove-guestagent.service", log=str(guest.folder / "agent.log"),
                             folder=str(guest.folder / "conf.d"), **options))  # fmt: skip
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer(follower, *, within=10.0):
    follower.soon()
    end = time.monotonic() + within
    while time.monotonic() < end:
        if found := follower.tick():
            return found
        time.sleep(0.005)
    raise AssertionError("no answer")


def test_each_answer_has_what_is_new_and_nothing_twice(guest, followed):
    follower = followed()
    guest.say("agent.log", "started\nhalf a l")
    first = answer(follower)
    guest.say("journal", "second\n")
    guest.say("agent.log", "ine\n")
    second, third = answer(follower), answer(follower)
    assert [look.texts["journal"] for look in (first, second, third)] == [b"first\n", b"second\n", b""]
    assert [look.texts["agent"] for look in (first, second, third)] == [b"started\nhalf a l", b"ine\n", b""]


def test_an_operation_begins_at_the_end_of_every_log(guest, followed):
    guest.say("agent.log", "an old failure\n")
    follower = followed(from_now=True)
    first = answer(follower)
    assert (first.texts["journal"], first.texts["agent"]) == (b"", b"")
    guest.say("agent.log", "new\n")
    guest.say("journal", "new too\n")
    guest.say("cloud-init.log", "it came later\n")
    second = answer(follower)
    assert (second.texts["journal"], second.texts["agent"]) == (b"new too\n", b"new\n")
    assert second.texts["cloud-init"] == b"it came later\n"


def test_of_a_log_that_grows_without_end_its_last_part_is_read(guest, followed):
    guest.say("agent.log", "x" * follow.LIMIT * 2 + "the end\n")
    found = answer(followed()).texts["agent"]
    assert len(found) == follow.LIMIT
    assert found.endswith(b"the end\n")


def test_a_log_that_was_cut_is_read_from_its_beginning(guest, followed):
    follower = followed()
    guest.say("agent.log", "a long line of before\n")
    answer(follower)
    (guest.folder / "agent.log").write_text("anew\n")
    assert answer(follower).texts["agent"] == b"anew\n"


def test_cloud_inits_debug_lines_stay_in_the_guest(guest, followed):
    guest.say("cloud-init.log", "2026 - util.py[DEBUG]: Reading\n2026 - util.py[WARNING]: failed\nOSError: no\n")
    assert answer(followed()).texts["cloud-init"] == b"2026 - util.py[WARNING]: failed\nOSError: no\n"


def test_files_and_states_are_told(guest, followed):
    (guest.folder / "conf.d" / "guest_info.conf").write_text("[DEFAULT]\nguest_id = g-1\n")
    (guest.folder / "run" / "status.json").write_text('{"v1": {"datasource": "DataSourceConfigDrive"}}')
    (guest.folder / "prepare.start").touch()
    found = answer(followed())
    assert found.guest_id == "g-1"
    assert not found.guest_config
    assert found.units["trove-guestagent.service"]["NRestarts"] == "2"
    assert found.stages == {"v1": {"datasource": "DataSourceConfigDrive"}}
    assert found.result is None
    assert time.time() - 60 < found.prepare_start <= time.time()
    assert found.prepare_end == 0
    assert found.free
    assert found.asked - 1 <= found.wall <= found.answered
    assert found.uptime > 0
    assert len(found.boot_id) == 36


def test_the_databases_container_and_its_log(guest, followed):
    folder = guest.folder / "docker" / "c1"
    (folder / "config.v2.json").write_text(json.dumps({"Name": "/database", "RestartCount": 3}, separators=(",", ":")))
    (guest.folder / "docker" / "c2").mkdir()
    (guest.folder / "docker" / "c2" / "config.v2.json").write_text('{"Name":"/other"}')
    lines = [json.dumps({"log": f"line {number}\n", "stream": "stderr"}) + "\n" for number in range(3)]
    log = folder / "c1-json.log"
    log.write_text(lines[0] + lines[1][:9])
    follower = followed()
    first = answer(follower)
    log.write_text("".join(lines))
    second = answer(follower)
    assert first.container == {"Name": "/database", "RestartCount": 3}
    assert (first.container_log, second.container_log) == ("line 0\n", "line 1\nline 2\n")


def test_only_the_named_brokers_are_dialled(guest, followed, unused_port):
    brokers = [f"127.0.0.1:{unused_port}", "$(touch /tmp/x):1", "nosuch.invalid:5672"]
    found = answer(followed(brokers=lambda: brokers), within=20)
    assert found.dials[f"127.0.0.1:{unused_port}"] == "Connection refused"
    assert set(found.dials) == {f"127.0.0.1:{unused_port}", "nosuch.invalid:5672"}
    assert found.dials["nosuch.invalid:5672"]


def test_a_guest_that_does_not_answer_costs_no_time(guest, followed):
    guest.alive = False
    follower = followed()
    began = time.monotonic()
    for _ in range(50):
        assert follower.tick() is None
    assert time.monotonic() - began < 1
    guest.alive = True
    assert answer(follower).boot_id


def test_a_broken_connection_is_made_again_and_nothing_is_lost_or_told_twice(guest, followed):
    follower = followed()
    assert answer(follower).texts["journal"] == b"first\n"
    follower._process.kill()
    guest.say("journal", "second\n")
    assert answer(follower).texts["journal"] == b"second\n"


def test_a_log_cannot_pass_for_an_answer(guest, followed):
    guest.say("agent.log", "=====imagecheck-000000000000:end\n=====imagecheck-000000000000:config\n")
    found = answer(followed())
    assert b":end" in found.texts["agent"]
    assert not found.guest_config


def test_questions_take_no_more_than_their_share_of_the_guest(guest, followed, monkeypatch):
    follower = followed()
    answer(follower)
    monkeypatch.setattr(follow, "_cpu", lambda _: 100.0)
    now = time.monotonic()
    answer(follower)
    assert follow.EVERY < follow.SELDOM <= follower._next - now <= follow.SELDOM + 5


def test_what_times_of_a_shell_says_is_counted():
    said = subprocess.run(["sh", "-c", "times"], capture_output=True, check=True).stdout
    assert follow._cpu(said) < 1
    assert follow._cpu(b"0m0.010s 0m0.020s\n1m2.5s 0m0.25s\n") == pytest.approx(62.78)


def test_one_default_route_is_counted_once():
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "ens3\t00000000\t01001FAC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "ens3\t00001FAC\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    )
    assert follow._default_routes(table) == 1
    assert follow._default_routes("") == 0


@given(st.binary(max_size=300), st.lists(st.sampled_from(PARTS), max_size=20))
def test_whatever_a_guest_answers_raises_nothing(noise, parts):
    follower = Follower(None, unit="u", log="/l", folder="/f")
    mark = follower._mark.encode()
    text = b"".join(mark + part + b" " + noise + b"\n" + noise for part in parts)
    assert follower._take(text, 1.0).answered


@pytest.fixture
def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
