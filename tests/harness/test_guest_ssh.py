"""A guest over SSH. `ssh` is a stand-in that runs the command here: a real sshd is met on the sandbox, and a
connection that breaks to order is not to be had from one."""

import os
import stat
import time

import pytest

from imagecheck.errors import StepFailed
from imagecheck.guest import agent, clock, evidence, facts
from imagecheck.guest.ssh import Guest, NoAnswer, keypair
from imagecheck.launch import EVENTS
from imagecheck.launch.collect import of_guest
from imagecheck.waits import TimedOut

SSH = """#!/bin/sh
# ssh -F CONFIG guest -- COMMAND
[ -e "$STAND_IN/down" ] && { echo "ssh: connect to host 192.0.2.7 port 22: No route to host" >&2; exit 255; }
[ "$3" = -O ] && exit 0
shift 4
exec sh -c "$*"
"""
SUDO = '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n'


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("ssh", SSH), ("sudo", SUDO)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    return tmp_path


@pytest.fixture
def guest(stand_in):
    one = Guest("192.0.2.7", "debian", stand_in / "key", "server-id", jump="bastion.example")
    yield one
    one.forget()


def test_the_configuration_is_complete_and_the_socket_short(guest):
    text = (guest.folder / "config").read_text()
    for line in (
        "HostName 192.0.2.7",
        "User debian",
        "HostKeyAlias server-id",
        "ProxyJump bastion.example",
        "BatchMode yes",
    ):
        assert line in text
    assert len(str(guest.folder / "m")) < 80  # sun_path has 108 bytes, and ssh adds 17 while it connects
    assert stat.S_IMODE(guest.folder.stat().st_mode) == 0o700


def test_a_command_with_quotes_arrives_whole(guest):
    assert guest.run("""printf '%s' "it's \\"$((1+1))\\"" """).stdout == 'it\'s "2"'


def test_a_failing_command_is_told_only_when_asked(guest):
    assert guest.run("exit 3").rc == 3
    with pytest.raises(StepFailed, match="ended with code 3") as told:
        guest.run("echo oh no >&2; exit 3", check=True)
    assert told.value.seen == "oh no"


def test_a_lost_connection_is_not_a_failed_command(guest, stand_in):
    (stand_in / "down").touch()
    with pytest.raises(NoAnswer, match=r"no SSH to debian@192\.0\.2\.7: .*No route to host"):
        guest.run("true")


def test_waiting_ends_with_what_was_seen_last(guest, stand_in):
    (stand_in / "down").touch()
    with pytest.raises(TimedOut, match="No route to host"):
        guest.wait(deadline=0.2)


def test_waiting_for_another_boot(guest):
    now = guest.wait(deadline=5).value
    assert now == guest.boot_id()
    with pytest.raises(TimedOut, match="not rebooted yet"):
        guest.wait(deadline=0.2, not_boot=now)


def test_what_meanwhile_raises_ends_the_wait(guest, stand_in):
    (stand_in / "down").touch()

    def panic():
        raise StepFailed("guest", "the kernel panicked")

    with pytest.raises(StepFailed, match="panicked"):
        guest.wait(deadline=30, meanwhile=panic)


def test_forget_leaves_no_file(guest):
    guest.forget()
    assert not guest.folder.exists()


def test_a_keypair_is_private(tmp_path):
    path, public = keypair(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public.startswith("ssh-ed25519 ")


def test_facts_of_a_guest_without_anything(guest):
    """This host has no database container, no prepare and perhaps no systemd: nothing of it is an error."""
    found = facts.facts(guest, units=["none.service"], log="/nonexistent", guest_info="/nonexistent")
    assert found.boot_id == guest.boot_id()
    assert abs(found.wall - time.time()) < 30
    assert (found.prepare_start, found.prepare_end, found.container) == (0.0, 0.0, {})
    assert (found.log, found.mounted, found.injected, found.ready) == ({}, 0.0, 0.0, ())
    assert {event.name for event in of_guest(found, agent_unit="none.service")} <= set(EVENTS)


def test_the_clock_of_the_same_machine_agrees(guest):
    offset = clock.offset(guest)
    assert offset.clock == "guest"
    assert abs(offset.seconds) <= offset.uncertainty + 0.01


def test_a_dial_tells_both_ends(guest):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        reached = agent.dial(guest, "127.0.0.1", server.getsockname()[1])
    assert (reached.reached, reached.local) == (True, "127.0.0.1")
    refused = agent.dial(guest, "127.0.0.1", 1)
    assert not refused.reached
    assert "refused" in refused.said


def test_evidence_comes_in_pieces(guest):
    pieces, why = evidence.collect(guest, unit="none.service", log="/nonexistent.log")
    assert list(pieces) == [piece.name for piece in evidence.PIECES]
    assert "No such file" in pieces["agent.log"]
    assert why == ""


def test_evidence_of_a_dead_guest_says_so(guest, stand_in):
    (stand_in / "down").touch()
    pieces, why = evidence.collect(guest, unit="x", log="y")
    assert pieces == {}
    assert "No route to host" in why


def test_evidence_that_had_come_when_the_time_was_up_is_kept(guest, monkeypatch):
    commands = {"a": """echo "it's $((1+1))\"""", "b": "sleep 30", "c": "echo never"}
    pieces_ = tuple(evidence.Source(name, "", command) for name, command in commands.items())
    monkeypatch.setattr(evidence, "PIECES", pieces_)
    pieces, why = evidence.collect(guest, unit="x", log="y", seconds=1)
    assert pieces == {"a": "it's 2\n", "b": "[imagecheck: cut off here, 1 s were over]\n"}
    assert why == "1 s were over"


def test_a_container_log_reads_as_docker_shows_it():
    text = '== /x\n{"log":"ready\\n","stream":"stderr","time":"t"}\n{"log":"half a line\n[1, 2]\n'
    assert evidence.plain(text) == '== /x\nready\n{"log":"half a line\n[1, 2]\n'
