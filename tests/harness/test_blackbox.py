"""The black box without a cloud: what it saves, what it names as missing, and what never gets out of it.

The cloud's and the guest's answers are stood in for; test_blackbox_real.py meets real ones.
"""

from __future__ import annotations

import contextlib
import html.parser
import json
import stat
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from imagecheck import causes, evidence, redact
from imagecheck.blackbox import box as boxes
from imagecheck.blackbox import cloudside, stopped
from imagecheck.cloud import glance, hypervisor, network, nova, trove
from imagecheck.cloud.connection import Hiccup
from imagecheck.cloud.ledger import Ledger
from imagecheck.definition import known, load
from imagecheck.errors import StepFailed, UsageError
from imagecheck.guest import evidence as inside
from imagecheck.guest import ssh
from imagecheck.report import Folder, Node, Piece, index_page, node_page
from imagecheck.site import Site
from imagecheck.tree import Tree

CANARY = "canary-in-the-mine-77"
LEAKS = f"{CANARY}\n\x1b[31mred\x1b[0m password = hunter2222\nrabbit://trove:hunter2222@10.0.0.1/\n"
TABLE = {"fault": LEAKS, "X-Auth-Token": "hunter2222", "image": {"id": "an-image"}, "instance_name": "i-1"}
SERVER = nova.Server("a-server", "n", "p", "ACTIVE", {"mgmt": ("192.0.2.1",)}, True, {}, raw=TABLE)
BOOTED = "Welcome to Debian\nguest login: "
NODE = "tests/image/test_boot.py::test_the_agent_connects[mariadb-debian]"


@pytest.fixture(autouse=True)
def canary():
    redact.learn(CANARY)


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """A run with a bare server and a Trove instance, whose cloud says its secrets in every answer."""
    site = Site("admin", "tenant")
    ledger = Ledger.new("a-run", site, tmp_path / "ledger")
    ledger.made(ledger.intend("server", "bare"), "a-server")
    ledger.intend("queue", "a-guest")
    ledger.made(ledger.intend("instance", "one"), "an-instance")
    instance = trove.Shown("an-instance", "BUILD", "", "troves-server", "", (), TABLE)
    answers = {
        nova: {"show": SERVER, "console": BOOTED + LEAKS, "actions": [nova.Step("create", LEAKS, 0, 0, "", LEAKS)]},
        hypervisor: {"diagnostics": TABLE, "record": TABLE},
        network: {"ports": [TABLE], "surroundings": TABLE},
        glance: {"show": TABLE},
        trove: {"show": instance, "show_as_tenant": instance},
    }  # fmt: skip
    for module, table in answers.items():
        for name, value in table.items():
            monkeypatch.setattr(module, name, lambda *_, _value=value, **__: _value)
    where = SimpleNamespace(management=SimpleNamespace(name="mgmt"))
    broker = SimpleNamespace(named=lambda name: None)
    key = tmp_path / "run" / "key"
    return SimpleNamespace(
        cloud=SimpleNamespace(site=site), ledger=ledger, where=where, definition=load(known()[0]), run="a-run",
        key=key, broker=broker, brokers=(),
    )  # fmt: skip


@pytest.fixture
def talkative(monkeypatch):
    """Every guest answers, with secrets in every piece."""

    @contextlib.contextmanager
    def login(*_):
        yield None

    monkeypatch.setattr(evidence, "_login", login)
    monkeypatch.setattr(inside, "collect", lambda *_, **__: ({piece.name: LEAKS for piece in inside.PIECES}, ""))


@pytest.fixture
def silent(monkeypatch):
    """No guest answers."""

    def login(*_):
        raise ssh.NoAnswer("no SSH to debian@192.0.2.1: Connection refused")

    monkeypatch.setattr(evidence, "_login", login)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """The files of a stopped guest."""
    root = tmp_path / "root"
    files = {
        "var/log/cloud-init.log": LEAKS, "var/log/cloud-init-output.log": LEAKS,
        "var/log/trove/trove-guestagent.log": LEAKS, "var/lib/cloud/data/status.json": LEAKS,
        "etc/trove/conf.d/guest_info.conf": LEAKS, "etc/fstab": LEAKS,
        "var/lib/docker/containers/abc/abc-json.log": json.dumps({"log": LEAKS}) + "\n",
        "var/lib/docker/containers/abc/config.v2.json": json.dumps({"Env": [f"MYSQL_ROOT_PASSWORD={CANARY}"]}),
    }  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    @contextlib.contextmanager
    def opened(*_):
        yield Tree(root)

    monkeypatch.setattr(stopped, "_opened", opened)
    return root


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "report" / "an-image")


def broken(folder, ground, error=None) -> Node:
    run = evidence.Boxes(folder, "an-image")
    run.node = NODE
    return run.broken("guest", error or StepFailed("guest", f"waited 420 s for SSH, seen {CANARY}"), ground)


def reasons(node: Node) -> dict[str, str]:
    return {piece.name: piece.missing for piece in node.pieces if piece.missing}


# ---- nothing secret, nothing public


@pytest.mark.parametrize("way", ["talkative", "silent"])
def test_no_secret_of_any_source_is_in_any_file(way, request, ground, disk, folder):
    request.getfixturevalue(way)
    node = broken(folder, ground)
    names = {piece.name for piece in node.pieces if not piece.missing}
    wanted = [job.name for job in cloudside.of_server(ground, "a-server", "") + cloudside.of_instance(ground, "x")]
    assert {*wanted, "broker.txt", "fault.txt", "agent.log", "trove-agent.log", "container.log", "docker.txt"} <= names
    files = [file for file in folder.path.rglob("*") if file.is_file()]
    assert len(files) == len(names) + 2, "each piece, its page, the page over all"
    for file in files:
        text = file.read_text()
        assert CANARY not in text, file
        assert "hunter2222" not in text, file
        assert "\x1b" not in text, file


def test_only_the_owner_may_read_evidence(ground, talkative, folder):
    node = broken(folder, ground)
    assert stat.S_IMODE(node.folder.stat().st_mode) == 0o700
    for file in [*node.folder.iterdir(), folder.index]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


# ---- one folder per node, a page, a page over all


def test_a_folder_is_named_after_the_check_and_two_never_share_one(folder):
    run = evidence.Boxes(folder, "an-image")
    run.node = NODE
    first = run.broken("guest", StepFailed("guest", "no"), None)
    run.node = NODE.replace("test_boot.py", "sub/../test_boot.py")
    second = run.broken("guest", StepFailed("guest", "no"), None)
    run.node = ""
    third = run.broken("cloud/../..", StepFailed("cloud", "no"), None)
    names = [one.folder.name for one in (first, second, third)]
    assert names == [f"test-boot.py-test-the-agent-connects-mariadb-debian{end}" for end in ("", "-2")] + ["cloud"]
    assert run.of(NODE) == str(first.folder)
    assert run.of("another") == ""
    index = folder.index.read_text()
    for name in names:
        assert f'href="{name}/index.html"' in index


def test_a_first_try_is_not_what_became_of_the_check(folder):
    run = evidence.Boxes(folder, "an-image")
    run.node = NODE
    saved = run.first_try("Nova server", StepFailed("Nova server", "no valid host"), None)
    assert (saved.id, saved.folder.name) == ("Nova server, first time", "Nova-server-first-time")
    assert (run.node, run.of(NODE)) == (NODE, "")


def test_the_cause_stands_on_top_of_the_page(folder, ground, talkative, monkeypatch):
    line = "RuntimeError: Manager class not registered for datastore manager None"
    monkeypatch.setattr(inside, "collect", lambda *_, **__: ({"agent-journal.txt": f"trove-guestagent[3]: {line}"}, ""))
    node = broken(folder, ground)
    assert node.verdict.known
    text = (node.folder / "index.html").read_text()
    assert text.index(page_text(node.verdict.sentence)) < text.index("What failed") < text.index('href="agent-journal')
    assert page_text(node.verdict.sentence) in folder.index.read_text()


def page_text(text: str) -> str:
    from html import escape

    return escape(text)


def test_failures_after_the_first_ones_are_shown_what_was_gathered_for_those(folder, ground, talkative):
    run = evidence.Boxes(folder, "an-image")
    nodes = []
    for number in range(evidence.FULL + 2):
        run.node = f"t.py::test_{number}"
        nodes.append(run.failed(f"test_{number}", StepFailed(f"test_{number}", "does not hold"), ground))
    assert [first for _, first in nodes] == [True] * evidence.FULL + [False] * 2
    assert [len(node.pieces) > 20 for node, _ in nodes] == [True] * evidence.FULL + [False] * 2
    last, before = nodes[-1][0], nodes[evidence.FULL - 1][0]
    assert last.verdict == before.verdict
    assert f'href="../{before.folder.name}/index.html"' in (last.folder / "index.html").read_text()


class Tags(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= set(attrs)


TAGS = {"html", "head", "meta", "title", "style", "body", "p", "a", "h1", "h2", "div", "strong", "dl", "dt", "dd",
        "pre", "ul", "li", "span", "br"}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "href"}
HOSTILE = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b]0;x\x07\u202egnp.exe"


def test_what_a_guest_says_is_text_on_the_page_and_nothing_else(tmp_path):
    verdict = causes.Verdict(HOSTILE, "boot", "image", "certain", *[HOSTILE] * 5, also=(HOSTILE,))
    pieces = (Piece(HOSTILE, HOSTILE, HOSTILE, 5, HOSTILE), Piece("b", HOSTILE, HOSTILE, missing=HOSTILE))
    node = Node(HOSTILE, tmp_path / "javascript:alert(1)", HOSTILE, verdict, pieces, see="javascript:alert(1)")
    for text in (node_page(HOSTILE, node), index_page(HOSTILE, [node])):
        seen = Tags(text)
        assert seen.tags <= TAGS
        assert {name for name, _ in seen.attributes} <= ATTRIBUTES
        for link in [value for name, value in seen.attributes if name == "href"]:
            assert not link.lower().startswith(("javascript:", "data:", "/", "http")), link
        assert any(value.startswith("default-src 'none'; style-src 'sha256-") for _, value in seen.attributes)
        assert not {"\x1b", "\u202e"} & set(text)


def test_a_page_needs_nothing_but_itself(tmp_path):
    verdict = causes.verdict(causes.evidence_from({}))
    text = node_page("x", Node("n", tmp_path / "n", "s", verdict, ()))
    assert "://" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


# ---- bounded, and each piece alone


def test_a_log_without_end_keeps_its_ends_and_says_what_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(boxes, "HEAD", 300)
    monkeypatch.setattr(boxes, "TAIL", 1700)
    text = "the first line\n" + "one of many lines\n" * 400 + "the last line\n"
    box = boxes.Box(tmp_path)
    box.put("journal.txt", "the journal", "the guest", text)
    box.put("word.txt", "one word", "the guest", "a" * 5000)
    long, word = box.pieces
    saved = (tmp_path / "journal.txt").read_text()
    assert saved.startswith("the first line\n")
    assert saved.endswith("the last line\n")
    assert 1800 < long.size == len(saved) < 2100
    assert "of 7,229 characters are left out in the middle" in long.note
    assert f"[imagecheck: {long.note}]\n" in saved
    assert word.size < 200, "a line is left out as a whole: a part of it might be a part of a secret"


def test_a_cloud_that_answers_nothing_costs_its_pieces_and_no_others(ground, talkative, folder, monkeypatch):
    def refuse(*_, **__):
        raise Hiccup(f"could not show: HTTP 500: {CANARY}")

    def bug(*_, **__):
        raise KeyError("status")

    monkeypatch.setattr(nova, "actions", refuse)
    monkeypatch.setattr(network, "ports", bug)
    missing = reasons(broken(folder, ground))
    assert missing["nova-actions.json"] == "could not show: HTTP 500: ***"
    assert missing["ports.json"] == "'status'"
    assert {name.removeprefix("trove-") for name in missing} == {"nova-actions.json", "ports.json", "networks.json"}


def test_an_answer_that_does_not_come_is_not_waited_for(ground, talkative, folder, monkeypatch):
    late = threading.Event()
    monkeypatch.setattr(hypervisor, "diagnostics", lambda *_: late.wait(30) and {})
    monkeypatch.setattr(evidence, "SECONDS", 0.5)
    node = broken(folder, ground)
    late.set()
    assert node.seconds < 10
    assert reasons(node) == dict.fromkeys(("diagnostics.json", "trove-diagnostics.json"), "no answer in time")


def test_a_folder_that_cannot_be_written_hides_no_failure(tmp_path, ground, talkative):
    (tmp_path / "report").write_text("in the way")
    node = broken(Folder(tmp_path / "report" / "x"), ground)
    assert "cannot be written" in reasons(node)["fault.txt"]


# ---- the stopped disk


def test_every_piece_of_a_guest_is_read_from_its_disk_or_has_a_reason():
    names = {piece.name for piece in inside.PIECES}
    assert set(stopped.READERS) | set(stopped.GONE) == names
    assert not set(stopped.READERS) & set(stopped.GONE)


def test_a_silent_guests_pieces_come_from_its_disk(ground, silent, disk, folder):
    node = broken(folder, ground)
    by_name = {piece.name: piece for piece in node.pieces}
    assert by_name["cloud-init.log"].source == stopped.SOURCE
    assert "\nred password" in "\n" + (node.folder / "container.log").read_text().replace("***\n", "")
    assert "keeps its journal in memory" in by_name["journal.txt"].missing
    assert "end with the guest" in by_name["network.txt"].missing
    assert by_name["cloud-init.txt"].missing == ""
    page = (node.folder / "index.html").read_text()
    assert "From its stopped disk" in page
    assert "keeps its journal in memory" in page


@pytest.mark.parametrize(
    ("console", "status", "expendable", "reason"),
    [
        ("GRUB loading\nerror: no such device\n", "ACTIVE", True, "no sign of a running system"),
        ("Welcome to Debian\nYou are in emergency mode. After\n", "ACTIVE", True, "You are in emergency mode"),
        (BOOTED, "ACTIVE", False, "still needed, so it was not stopped"),
        (BOOTED, "ERROR", True, "the server is ERROR: no guest runs"),
    ],
)
def test_a_server_is_not_stopped_in_vain(ground, silent, folder, monkeypatch, console, status, expendable, reason):
    monkeypatch.setattr(nova, "console", lambda *_: console)
    monkeypatch.setattr(nova, "show", lambda *_: replace(SERVER, status=status))
    monkeypatch.setattr(nova, "stop", lambda *_, **__: pytest.fail("it was stopped"))
    run = evidence.Boxes(folder, "an-image")
    error = StepFailed("guest", "no")
    node = run.broken("guest", error, ground) if expendable else run.failed("test_x", error, ground)[0]
    missing = reasons(node)
    for piece in inside.PIECES:
        assert reason in missing[piece.name]


def test_without_the_key_nobody_knows_that_a_guest_is_dead(ground, folder, monkeypatch):
    def login(*_):
        raise UsageError("the site names no 'guest_key'")

    monkeypatch.setattr(evidence, "_login", login)
    monkeypatch.setattr(nova, "stop", lambda *_, **__: pytest.fail("it was stopped"))
    assert reasons(broken(folder, ground))["journal.txt"] == "the site names no 'guest_key'"


@pytest.fixture
def snapshots(ground, monkeypatch):
    """Nova stops and takes snapshots; Glance has them. Returns what was asked for, in order."""
    asked = []
    monkeypatch.setattr(stopped.disk, "require", lambda: None)
    monkeypatch.setattr(nova, "stop", lambda *_, **__: asked.append("stop"))

    def snapshot(cloud, ledger, id, *, name, run):
        assert ledger.intend("image", name)
        asked.append("snapshot")
        return ledger.made(ledger.open[0], "a-snapshot")

    monkeypatch.setattr(nova, "snapshot", snapshot)
    monkeypatch.setattr(glance, "delete", lambda _, id: asked.append(f"delete {id}"))
    image = {"id": "a-snapshot", "status": "active", "disk_format": "qcow2", "size": 5, "checksum": "0" * 32}
    monkeypatch.setattr(glance, "show", lambda *_: image)
    return asked, image


def test_a_snapshot_is_removed_whatever_happens(ground, snapshots, monkeypatch):
    def download(*_, **__):
        raise StepFailed("image fetch", "it did not come within 60 s")

    monkeypatch.setattr(glance, "download", download)
    before = [entry.kind for entry in ground.ledger.open]
    with pytest.raises(StepFailed, match="did not come"):
        stopped.save(boxes.Box(Path()), ground, SERVER, "")
    assert snapshots[0] == ["stop", "snapshot", "delete a-snapshot"]
    assert [entry.kind for entry in ground.ledger.open] == before


def test_a_snapshot_that_cannot_be_removed_stays_in_the_ledger(ground, snapshots, monkeypatch):
    def busy(*_):
        raise Hiccup("HTTP 503")

    monkeypatch.setattr(glance, "delete", busy)
    snapshots[1]["size"] = stopped.LARGEST + 1
    with pytest.raises(StepFailed, match=r"8\.0 GiB"):
        stopped.save(boxes.Box(Path()), ground, SERVER, "")
    assert ground.ledger.open[0].kind == "image"


def test_a_server_on_a_volume_is_left_alone(ground, snapshots):
    with pytest.raises(StepFailed, match="root disk is a volume"):
        stopped.save(boxes.Box(Path()), ground, replace(SERVER, raw={"image": ""}), "")
    assert snapshots[0] == []


def test_who_may_not_mount_stops_nothing(ground, snapshots, monkeypatch):
    def require():
        raise UsageError("looking inside an image needs root")

    monkeypatch.setattr(stopped.disk, "require", require)
    with pytest.raises(UsageError, match="needs root"):
        stopped.save(boxes.Box(Path()), ground, SERVER, "")
    assert snapshots[0] == []
