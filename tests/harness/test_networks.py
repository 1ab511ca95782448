"""A guest's networks from inside: the program really runs, here, by a stand-in for ssh. The sandbox shows the rest."""

import os
import subprocess
import sys

import pytest

from imagecheck import networks, order, redact
from imagecheck.guest import network
from imagecheck.guest.ssh import Guest

SSH = '#!/bin/sh\n[ "$3" = -O ] && exit 0\nshift 4\nexec sh -c "$*"\n'
SUDO = '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n'
PASSWORD = "opensesame-9d2c"


@pytest.fixture
def agent(tmp_path):
    """A process that looks like an agent: its interpreter, and the folder of its configuration."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "trove-guestagent.conf").write_text(
        f"[DEFAULT]\ntransport_url = rabbit://one:{PASSWORD}@127.0.0.1:9,one:{PASSWORD}@[::1]:9/a%20host?ssl=0\n"
    )
    (folder / "broken.conf").write_text("no section\n")
    process = subprocess.Popen([sys.executable, "-c", "input()", f"--config-dir={folder}"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n", timeout=20)


@pytest.fixture
def guest(tmp_path, monkeypatch, agent):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("ssh", SSH), ("sudo", SUDO), ("systemctl", f"#!/bin/sh\necho {agent.pid}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    one = Guest("192.0.2.7", "debian", tmp_path / "key", "server-id")
    yield one
    one.forget()


def test_the_program_reads_the_agents_own_configuration_and_keeps_the_password(guest, monkeypatch, tmp_path):
    # No question leaves this host.
    (tmp_path / "resolv.conf").write_text("search nowhere\n")
    program = network._PROGRAM.replace("/etc/resolv.conf", str(tmp_path / "resolv.conf"))
    monkeypatch.setattr(network, "_PROGRAM", program.replace("getaddrinfo(ABSENT", "getaddrinfo('127.0.0.1'"))
    seen = []
    run = Guest.run

    def recording(self, command, **how):
        done = run(self, command, **how)
        seen.append((command, done.stdout + done.stderr))
        return done

    monkeypatch.setattr(Guest, "run", recording)
    found = network.look(guest, "an-agent.service", {"127.0.0.0/8": 65536})
    assert [login.shown for login in found.logins] == ["127.0.0.1:9", "::1:9"]
    assert all("ConnectionRefusedError" in login.said for login in found.logins)
    assert all(login.asked and not login.local for login in found.logins)
    assert found.logins[0].device == "lo"
    assert found.ports["127.0.0.1"] == network.Port("lo", found.logins[0].mtu)
    assert found.wanted_mtu == {"127.0.0.0/8": 65536}
    assert (found.resolvers, found.absent_said) == ((), "it has an address")
    ((command, said),) = seen
    assert PASSWORD not in command + said


def test_what_a_guest_tells_is_redacted():
    redact.learn(PASSWORD)
    told = {
        "brokers": [{
            "host": "b", "port": 5672, "local": "", "said": f"AccessRefused: {PASSWORD}", "seconds": 0.1,
            "asked": True, "device": "eth1", "source": "10.0.0.4", "mtu": 1500, "small": "yes", "full": "yes",
        }],
        "absent": 0.01, "absent_said": "", "resolvers": [["127.0.0.53", 0.01, ""]],
        "defaults": ["via 10.0.0.1 dev eth0"], "mtus": {"10.0.0.4": ["eth1", 1500]},
    }  # fmt: skip
    found = network.parse(told, {})
    assert PASSWORD not in found.logins[0].said
    assert found.resolvers == (network.Resolver("127.0.0.53", 0.01, ""),)


def test_a_port_that_nobody_listens_on_is_not_reached():
    tried = networks.dial("127.0.0.1", 9)
    assert not tried.reached
    assert "refused" in tried.said


# ---- the order of checks


@pytest.mark.parametrize(
    ("fixtures", "stage"),
    [(["disk"], 0), (["walked", "server"], 1), (["walked", "contents"], 1), (["walked", "reach"], 2), ([], 0)],
)
def test_a_check_belongs_to_the_stage_of_its_fixtures(fixtures, stage):
    assert order.stage(fixtures) == stage


def test_what_disturbs_the_bare_boot_comes_last_and_what_wants_its_memory_after_that():
    checks = [["walked", "carriers"], ["walked", "contents"], ["walked", "guest"]]
    assert sorted(checks, key=order.within) == [checks[2], checks[1], checks[0]]
    assert "carriers" not in order.BARE
