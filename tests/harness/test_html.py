"""report.html: everything that a run tells, on one page that no input can turn into anything else."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from typing import Any

import html_fixtures as given_
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagecheck import cli
from imagecheck.errors import UsageError
from imagecheck.launch import sample
from imagecheck.report import Folder, html
from imagecheck.report.document import link, text
from imagecheck.report.html.draw import Scale

VOID = {"meta", "br", "link", "input", "img"}
A = given_.samples(10, "mariadb-debian-stock", slower=2.0, failing=5)
B = given_.samples(10)
FULL = given_.report(failed=True, injection=given_.INJECTION, launches=given_.launches(A, B))


class Page(HTMLParser):
    """The elements of a page, each with its attributes; fails where a tag is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> and nothing is open"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


def full() -> Page:
    return Page(html.page(FULL, given_.timings(), [*A, *B]))


# ---- shape


def test_the_page_is_well_formed_and_its_ids_are_its_own():
    page = full()
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {str(one["href"])[1:] for one in page.all("a") if str(one["href"]).startswith("#")}
    assert anchors
    assert anchors <= set(ids), "each link of the navigation leads somewhere"
    labels = {str(one["aria-labelledby"]) for one in page.all("section") if "aria-labelledby" in one}
    assert labels
    assert labels <= set(ids)


def test_tables_have_headers_with_a_scope_and_drawings_words_or_none_at_all():
    page = full()
    assert len(page.all("th")) > len(page.all("table")) > 5
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    top = [one for one in page.all("svg") if "x" not in one]
    assert len(top) > 20
    assert all(one.get("aria-hidden") == "true" or (one.get("role") == "img" and one["aria-label"]) for one in top)


def test_nothing_is_fetched_and_nothing_runs():
    page = html.page(FULL, given_.timings(), [*A, *B])
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = [one["content"] for one in Page(page).all("meta") if "http-equiv" in one]
    assert policy == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert not Page(page).all("script", "link", "img", "iframe", "object", "form")
    assert "://" not in page
    assert "@import" not in page


def test_links_lead_into_the_folders_beside_the_page():
    links = {str(one["href"]) for one in full().all("a")}
    assert "test-boot.py-test-agent-runs/index.html" in links
    assert {"report.json", "timings.json", "launches.jsonl", "index.html"} <= links
    alone = {str(one["href"]) for one in Page(html.page(given_.report())).all("a")}
    assert "report.json" in alone
    assert not {"timings.json", "launches.jsonl", "index.html"} & alone, "no link to what is not there"


@pytest.mark.parametrize("name", ["..", ".", "", "../../etc", "javascript:alert(1)", "//host/x", "a\\b", "\ud800"])
def test_no_name_makes_a_link_that_leads_away(name):
    made = link(name, "index.html")
    assert re.fullmatch(r"[\w%.~-]+/index\.html", made)
    assert not made.startswith((".", "/"))


# ---- content


def test_verdict_and_cause_come_first():
    said = full().said
    order = ("✗ failed", "the broker refused the agent's login", "boot stage, fault of the cloud, certain",
             "compare transport_url", "sandbox (imagecheck-admin)", "8 min 55 s", "What failed", "Where the time went",
             "A against B", "All launches", "Checks", "Injection matrix", "Steps of this run")  # fmt: skip
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert "made 8, removed 8, left 0" in said
    assert "Tried again: Nova server, for no host had room (no-valid-host); the second time it passed." in said


def test_waiting_is_told_from_work_in_words_and_a_bound_from_a_number():
    page = Page(html.page(given_.report(), given_.timings()))
    assert "waiting: Trove polls every 5 s" in page.said
    assert "of it waiting 9.4 s" in page.said
    assert "< 0.8 s" in page.said
    assert "agent_started : systemctl show: the unit was started again since" in page.said
    assert any("9.4 s from 133.6 s on, waiting" in str(one.get("aria-label")) for one in page.all("svg"))


def test_timings_without_waits_are_shown_all_the_same():
    timings = given_.timings()
    for start in timings["starts"].values():
        for phase in start["phases"]:
            del phase["waiting"]
    assert "144.1 s ± 0.1 s" in Page(html.page(given_.report(), timings)).said


def test_seconds_of_an_emulated_guest_are_never_without_their_warning():
    warning = "not how long it takes on hardware"
    for pages in ((given_.report(), given_.timings()), (FULL, {}, [*A, *B])):
        assert warning in Page(html.page(*pages)).said
    real = {**given_.report(), "acceleration": "kvm"}
    assert warning not in Page(html.page(real, {**given_.timings(), "acceleration": "kvm"})).said


def test_a_against_b_says_the_verdict_the_phases_and_what_changed():
    said = full().said
    assert "↓ IMPROVED mariadb-debian is" in said
    assert "differs , p = 0.0004, 68 % of the whole difference" in said
    assert "Size (used): −18.3 %; first boot: −29.5 %." in said
    assert "1.22 GiB" in said
    assert "packages: 14 changed, 26 removed" in said
    assert "Not known, so not compared: users (of A)" in said
    assert "agent-storm × 2" in said


def test_median_slowest_and_failed_launches_are_in_full_and_all_in_strips():
    said = full().said
    for words in ("median Trove launch of mariadb-debian-stock", "slowest Trove launch of mariadb-debian-stock",
                  "failed Trove launch of mariadb-debian-stock: number 5, after 600.0 s, the agent starts again",
                  "all 10: Trove launch of mariadb-debian-stock", "> 600.0 s"):  # fmt: skip
        assert words in said


def test_each_launch_has_one_dot_and_each_failed_one_a_cross():
    page = Page(html.page(given_.report(launches=given_.launches(A, B)), {}, [*A, *B]))
    dots = [one for one in page.all("circle") if "%" in str(one["cx"]) and "cy" in one and "%" not in str(one["cy"])]
    assert len(dots) == 18
    assert sum(one.get("class") == "cross" for one in page.all("path")) == 2 + 1, "and the one of the legend"


def test_failed_checks_stand_first_and_their_stage_is_open():
    page = html.page(FULL)
    boot = page[page.index("<strong>boot</strong>") :]
    assert boot.index("✗ error") < boot.index("✓ passed")
    assert "<details open><summary><strong>boot</strong>" in page
    assert "<details><summary><strong>disk</strong>" in page


def test_a_report_with_nothing_in_it_is_a_page():
    assert "no checks" in Page(html.page({"schema": 1})).said


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(-1e13, 1e13))
def test_nothing_is_drawn_beyond_the_drawing(low, high, seconds):
    scale = Scale(low, high)
    assert 0 <= scale.at(seconds) <= 100
    assert len(scale.ticks()) < 20


# ---- hostile input

PAYLOADS = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='x", "</style><script>", "</details>",
    "<!--", "]]>", "javascript:alert(1)", "&lt;b&gt;", "\x1b[31mred\x07", "\u202egnp.exe", "\ud800", "${x}", "{0}",
    "../../../etc/passwd", "a\x00b", "<svg/onload=x>", "--></main>",
)  # fmt: skip
WILD = st.one_of(st.sampled_from(PAYLOADS), st.text(max_size=40))
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), WILD, st.just(10**400), st.just(-(10**400)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WILD, inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
HARMLESS = {
    "class", "id", "href", "role", "scope", "tabindex", "open", "lang", "charset", "http-equiv", "content", "name",
    "aria-label", "aria-labelledby", "aria-hidden", "width", "height", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy",
    "r", "d", "text-anchor", "patternunits", "patterntransform",
}  # fmt: skip


@functools.cache
def tags() -> set[str]:
    return {tag for tag, _ in full().elements}


@functools.cache
def classes() -> set[str]:
    """Those that the style knows."""
    (style,) = re.findall("<style>(.*?)</style>", html.page(FULL), re.DOTALL)
    return set(re.findall(r"\.([a-z][\w-]*)", style))


def share(value: str | None) -> float:
    """ "12.5%" as a number; 0 for a length in pixels."""
    return float(value[:-1]) if value and value.endswith("%") else 0.0


def check_harmless(page: str) -> None:
    parsed = Page(page)
    assert {tag for tag, _ in parsed.elements} <= tags()
    for _, attributes in parsed.elements:
        assert set(attributes) <= HARMLESS
        assert set((attributes.get("class") or "").split()) <= classes()
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
            assert 0 <= share(attributes.get(name)) <= 100, "nothing is drawn beyond the drawing"
        assert share(attributes.get("x")) + share(attributes.get("width")) < 100.01
        if "href" in attributes:
            assert re.fullmatch(r"#\w+|[\w%~-][\w%.~-]*(/index\.html)?", str(attributes["href"]))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


def replaced(value: Any, words: Any) -> Any:
    """Every text of a document but its numbers, each with its own wild one."""
    if isinstance(value, str):
        return words()
    if isinstance(value, dict):
        return {key: replaced(one, words) for key, one in value.items()}
    return [replaced(one, words) for one in value] if isinstance(value, list) else value


@settings(max_examples=25)
@given(st.lists(WILD, min_size=1, max_size=8))
def test_no_text_closes_a_tag_or_an_attribute(wild):
    turns = itertools.cycle(wild)

    def words() -> str:
        return next(turns)

    report, timings = replaced(given_.report(failed=True, injection=given_.INJECTION), words), given_.timings()
    timings["starts"] = {words(): replaced(timings["starts"]["boot"], words)}
    bad = [
        dataclasses.replace(one, label=words(), cause=words(), sentence=words(), missing={words(): words()})
        for one in A[3:6]
    ]
    check_harmless(html.page(report, timings, bad))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_each_known_attack_fails_everywhere_at_once(payload):
    report = replaced(FULL, lambda: payload)
    report["launches"]["changes"]["changed"] = {payload: {payload: [payload, 5]}, "sizes": {payload: [5, 6]}}
    bad = [dataclasses.replace(one, label=payload, cause=payload, sentence=payload) for one in A]
    check_harmless(html.page(report, replaced(given_.timings(), lambda: payload), bad))


def places(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document."""
    keys = value.keys() if isinstance(value, dict) else range(min(len(value), 2)) if isinstance(value, list) else ()
    return [so_far, *(place for key in keys for place in places(value[key], (*so_far, key)))]


SMALL = {**FULL, "checks": FULL["checks"][-3:]}
DOCUMENTS = {"report": SMALL, "timings": given_.timings()}
PLACES = [place for place in places(DOCUMENTS) if len(place) > 1]


@given(st.sampled_from(PLACES), JSON)
@example(("report", "launches", "changes", "changed", "enabled units"), {"a\nb\x1f": False})
def test_anybodys_json_gives_a_harmless_page_or_one_sentence(place, value):
    documents = json.loads(json.dumps(DOCUMENTS))
    inner = documents
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    try:
        page = html.page(documents["report"], documents["timings"])
    except UsageError as error:
        assert re.match(r"(report|timings)\.json: ", str(error))
        assert len(str(error)) < 400
        assert str(error).isprintable(), "one line, and no terminal acts on it"
    else:
        check_harmless(page)


def test_secrets_escapes_and_turning_letters_stay_out():
    secret = "rabbit://trove:hunter22@10.0.0.1/"
    report = replaced(given_.report(failed=True), lambda: f"{secret} \x1b[2J \u202e")
    page = html.page(report)
    assert "hunter22" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "[2J" not in text("\x1b[2J")


# ---- on disk


def written(tmp_path, name: str = "x") -> Folder:
    folder = Folder.under(tmp_path, name)
    folder.write_report(given_.report(launches=given_.launches(A, B)))
    folder.write_timings(given_.timings())
    for one in (*A, *B):
        with folder.launches.open("a") as file:
            file.write(sample.line(one) + "\n")
    return folder


def test_the_command_makes_the_same_page_from_what_lies_on_disk(tmp_path, capsys):
    folder = written(tmp_path)
    assert cli.main(["report", str(folder.path)]) == 0
    assert capsys.readouterr().out == f"{folder.page}\n"
    assert folder.page.read_text() == html.page(
        given_.report(launches=given_.launches(A, B)), given_.timings(), [*A, *B]
    )


def test_the_command_takes_a_folder_of_several_reports(tmp_path, capsys):
    pages = [str(written(tmp_path, name).page) for name in ("a", "b")]
    assert cli.main(["report", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.split() == pages


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("report.json", "{", "is no JSON"),
        ("report.json", "[" * 100_000, "is no JSON"),
        ("report.json", '{"schema": 1, "seconds": NaN}', "is no JSON"),
        ("report.json", '{"schema": 1, "x": ' + "9" * 5000 + "}", "is no JSON"),
        ("report.json", "[]", "is no table"),
        ("report.json", '{"schema": 99}', "schema is not 1"),
        ("report.json", '{"schema": 1, "checks": {"a": 1}}', "report.json: checks is not a list"),
        ("report.json", '{"schema": 1, "checks": [{"seconds": "x"}]}', "checks[0].seconds is not a number"),
        ("timings.json", "\x00", "timings.json: is no JSON"),
        ("launches.jsonl", '{"schema": 1}\n', "line 1 is no sample"),
    ],
)
def test_a_broken_report_is_one_sentence(tmp_path, capsys, name, content, says):
    folder = written(tmp_path)
    (folder.path / name).write_text(content)
    assert cli.main(["report", str(folder.path)]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not folder.page.exists()


def test_no_report_is_one_sentence(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "no report.json in it" in capsys.readouterr().err


def test_five_hundred_launches_are_less_than_five_megabytes():
    a, b = given_.samples(250, "stock", slower=2.0, failing=25), given_.samples(250)
    page = html.page(given_.report(launches=given_.launches(a, b)), given_.timings(), [*a, *b])
    assert len(page.encode()) < 1_000_000, "five are promised; docs/report.md tells 0.9"
    assert page.count("<tr") > 500
    assert page.count("<circle") == 490 + 1, "each launch has one dot or one cross, and the legend one of each"
    assert page.count('class="cross"') == 10 + 1
