"""The black box without a cloud: what it saves, what it names as missing, and what never gets out of it.

The cloud's and the guest's answers are stood in for; test_blackbox_real.py meets real ones.
"""

from __future__ import annotations

import html.parser
import stat
import threading

import pytest
from blackbox_fixtures import CANARY, NODE, broken, reasons

from imagecheck import causes, evidence
from imagecheck.blackbox import box as boxes
from imagecheck.blackbox import cloudside
from imagecheck.cloud import hypervisor, network, nova
from imagecheck.cloud.connection import Hiccup
from imagecheck.errors import StepFailed
from imagecheck.guest import evidence as inside
from imagecheck.report import Folder, Node, Piece, index_page, node_page

pytest_plugins = ["blackbox_fixtures"]
pytestmark = pytest.mark.usefixtures("canary")


# ---- nothing secret, nothing public


@pytest.mark.parametrize("way", ["talkative", "silent"])
def test_no_secret_of_any_source_is_in_any_file(way, request, ground, guest_files, folder):
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
