"""Two images compared: every change once, reversed the other way round; a wild manifest is one sentence."""

import copy
import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagecheck import diff, disk, manifest
from imagecheck.diff import Change, Group
from imagecheck.errors import UsageError
from imagecheck.imagefile import ImageFile

IMAGE = "sha256:" + "1" * 64
A = {
    "schema": 2,
    "name": "mariadb-debian",
    "sha256": "ab" * 32,
    "size": 1000 << 20,
    "virtual_size": 2 << 30,
    "diskimage-builder": "3.43.0",
    "elements": {"vm": "diskimage-builder 3.43.0", "docker-preload": "66" * 32},
    "environment": {"DIB_X": "1"},
    "packages": {"adduser": "3.152", "openssl": "3.5.1", "libmariadb3": "11.8"},
    "contents": {
        "os": {"id": "debian", "version": "13"},
        "packages": {},
        "python": {"/opt/venv": {"trove": "23.0.0"}},
        "units_enabled": ["docker.service", "ssh.service"],
        "units_masked": ["apt-daily.timer"],
        "kernel": "6.12.1-cloud-amd64",
        "command_line": "root=LABEL=cloudimg-rootfs ro console=ttyS0,115200 no_timer_check quiet apparmor=0 audit=0",
        "agent": {"release": "23.0.0", "install": "package", "ref": ""},
        "containers": {"mariadb:11.8": {"id": IMAGE, "size": 100 << 20, "digest": ""}},
        "users": {"root": 0, "trove": 100},
        "file_system": {"size": 3 << 30, "used": 1 << 30},
    },
}


def changed(*path_and_value):
    """A with one thing changed; a value of None removes it."""
    *path, last, value = path_and_value
    told = copy.deepcopy(A)
    place = told
    for key in path:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return told


def text(a, b, width=100):
    return "\n".join(diff.lines(diff.compare(a, b), width))


# ---- what is compared


@pytest.mark.parametrize(
    ("path", "value", "group", "change"),
    [
        (("size",), 1100 << 20, "sizes", ("file", 1000 << 20, 1100 << 20)),
        (("virtual_size",), 3 << 30, "sizes", ("disk", 2 << 30, 3 << 30)),
        (("contents", "file_system", "used"), 5, "sizes", ("used", 1 << 30, 5)),
        (("contents", "containers", "mariadb:11.8", "size"), 7, "sizes", ("container mariadb:11.8", 100 << 20, 7)),
        (("contents", "containers", "mariadb:11.8", "id"), "x", "container images", ("mariadb:11.8", IMAGE, "x")),
        (("contents", "os", "version"), "12", "operating system", ("version", "13", "12")),
        (("contents", "kernel"), "6.13", "kernel", ("release", "6.12.1-cloud-amd64", "6.13")),
        (("contents", "agent", "release"), "22.0.0", "guest agent", ("release", "23.0.0", "22.0.0")),
        (("contents", "containers", "mariadb:11.8"), None, "container images", ("mariadb:11.8", IMAGE, None)),
        (("packages", "openssl"), "3.5.2", "packages", ("openssl", "3.5.1", "3.5.2")),
        (("packages", "libpq5"), "17", "packages", ("libpq5", None, "17")),
        (("packages", "adduser"), None, "packages", ("adduser", "3.152", None)),
        (("contents", "python", "/opt/venv"), None, "Python packages", ("/opt/venv: trove", "23.0.0", None)),
        (("contents", "units_enabled"), ["docker.service"], "enabled units", ("ssh.service", "", None)),
        (("contents", "units_masked"), ["apt-daily.timer", "x.timer"], "masked units", ("x.timer", None, "")),
        (("contents", "users", "trove"), 101, "users", ("trove", 100, 101)),
        (("diskimage-builder",), "3.44", "diskimage-builder", ("version", "3.43.0", "3.44")),
        (("elements", "docker-preload"), "77" * 32, "elements", ("docker-preload", "66" * 32, "77" * 32)),
        (("environment", "DIB_X"), "2", "environment", ("DIB_X", "1", "2")),
    ],
)  # fmt: skip
def test_every_change_is_named_in_its_group_and_nothing_else_is(path, value, group, change):
    found = diff.compare(A, changed(*path, value))
    assert found
    assert [one.title for one in found.groups] == [group]
    assert Change(*change) in found.groups[0].changes
    assert found.unknown == ()


def test_an_image_does_not_differ_from_itself():
    found = diff.compare(A, A)
    assert not found
    assert diff.lines(found)[-1] == "no difference"


def test_what_a_manifest_does_not_say_is_not_taken_for_a_change():
    foreign = {key: value for key, value in A.items() if key not in ("elements", "environment", "diskimage-builder")}
    found = diff.compare(A, foreign)
    assert not found
    assert found.unknown == (("diskimage-builder", "B"), ("elements", "B"), ("environment", "B"))
    assert "not known of B, so not compared: diskimage-builder, elements, environment" in diff.lines(found)


def test_packages_that_were_not_read_in_either_image_are_called_not_compared():
    rpm = changed("packages", {})
    assert diff.compare(rpm, rpm).unknown == (("packages", "A and B"),)
    assert diff.compare(A, rpm).groups == ()


def test_a_manifest_without_a_look_inside_compares_what_it_has():
    old = changed("contents", None)
    found = diff.compare(old, changed("packages", "openssl", "4"))
    assert [group.title for group in found.groups] == ["packages"]
    assert ("kernel", "A") in found.unknown


# ---- as text and JSON


def test_lines_are_grouped_with_counts_first():
    b = changed("packages", {"adduser": "3.152", "openssl": "3.5.2", "libpq5": "17", "libpq6": "18"})
    b["name"], b["size"] = "postgresql-debian", 1100 << 20
    assert diff.lines(diff.compare(A, b)) == [
        "A  mariadb-debian abababababab",
        "B  postgresql-debian abababababab",
        "sizes: 1 changed",
        "  ~ file  1000.00 MiB -> 1.07 GiB  (+10.0 %)",
        "packages: 2 added, 1 removed, 1 changed",
        "  - libmariadb3  11.8",
        "  + libpq5       17",
        "  + libpq6       18",
        "  ~ openssl      3.5.1 -> 3.5.2",
    ]


def test_a_long_change_takes_a_line_for_before_and_one_for_after():
    line = A["contents"]["command_line"]
    told = text(A, changed("contents", "command_line", line + " single"), 120)
    assert f"  ~ command line\n      - {line}\n      + {line} single" in told


def test_digests_are_shown_short_and_kept_whole_in_json():
    b = changed("elements", "docker-preload", "77" * 32)
    assert "  ~ docker-preload  666666666666 -> 777777777777" in text(A, b)
    told = diff.as_json(diff.compare(A, b))
    assert told["changed"] == {"elements": {"docker-preload": ["66" * 32, "77" * 32]}}
    assert json.loads(json.dumps(told)) == told


def test_a_foreign_name_cannot_speak_to_the_terminal():
    told = text(A, changed("packages", "\x1b[2Jevil", "1\n2"))
    assert "\x1b" not in told
    assert "1\n2" not in told


# ---- wild manifests

KEYS = [*A, *A["contents"], "mariadb:11.8", "id", "used", "release", "/opt/venv"]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just(10**400)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=3)), inner)
    ),
    max_leaves=12,
)
WORDS = st.text(max_size=4)
TABLE = st.dictionaries(WORDS, WORDS, max_size=4)
NUMBER = st.integers(0, 1 << 50)
MANIFESTS = st.fixed_dictionaries(
    {},
    optional={
        "name": WORDS, "sha256": WORDS, "size": NUMBER, "virtual_size": NUMBER, "diskimage-builder": WORDS,
        "elements": TABLE, "environment": TABLE, "packages": TABLE,
        "contents": st.fixed_dictionaries({}, optional={
            "os": TABLE, "python": st.dictionaries(WORDS, TABLE, max_size=2), "kernel": WORDS, "command_line": WORDS,
            "units_enabled": st.lists(WORDS), "units_masked": st.lists(WORDS), "users": st.dictionaries(WORDS, NUMBER),
            "agent": st.fixed_dictionaries({"release": WORDS, "install": WORDS, "ref": WORDS}),
            "containers": st.dictionaries(WORDS, st.fixed_dictionaries({"id": WORDS, "size": NUMBER, "digest": WORDS})),
            "file_system": st.fixed_dictionaries({"size": NUMBER, "used": NUMBER}),
        }),
    },
)  # fmt: skip


@given(told=MANIFESTS)
def test_any_manifest_equals_itself(told):
    assert not diff.compare(told, copy.deepcopy(told))


@given(a=MANIFESTS, b=MANIFESTS)
def test_the_other_way_round_every_change_is_reversed(a, b):
    forth, back = diff.compare(a, b), diff.compare(b, a)
    assert [
        Group(group.title, tuple(Change(one.name, one.after, one.before) for one in group.changes))
        for group in back.groups
    ] == list(forth.groups)
    swap = {"A": "B", "B": "A", "A and B": "A and B"}
    assert [(title, swap[side]) for title, side in back.unknown] == list(forth.unknown)


@given(a=MANIFESTS, b=MANIFESTS, width=st.integers(-1, 200))
@example(a={"contents": {"os": {"": "0", "00": ""}}}, b={"contents": {"os": {"": "", "0": ""}}}, width=0)
def test_lines_are_printable_and_as_wide_as_asked_unless_a_word_is_longer(a, b, width):
    for line in diff.lines(diff.compare(a, b), width):
        assert line.isprintable()
        assert len(line) <= max(width, 40)


@given(a=st.one_of(JSON, MANIFESTS), b=JSON)
def test_a_wild_manifest_is_compared_or_refused_in_one_sentence(a, b):
    try:
        found = diff.compare(a, b)
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert all(line.isprintable() for line in diff.lines(found))
        json.dumps(diff.as_json(found))


def test_a_manifest_that_makes_no_sense_is_named_with_its_key():
    with pytest.raises(UsageError, match="B: its manifest's 'contents.units_enabled' makes no sense"):
        diff.compare(A, changed("contents", "units_enabled", 7))


# ---- an image's manifest


@pytest.fixture
def image(tmp_path):
    return ImageFile(tmp_path / "x.qcow2", "qcow2", 20, 10, "ab" * 32)


def test_an_image_with_a_full_manifest_is_not_opened(image, monkeypatch):
    monkeypatch.setattr(disk, "opened", None)
    assert diff.of_image(ImageFile(image.path, "qcow2", 20, 10, "ab" * 32, A)) == A


def test_an_image_without_one_is_opened_and_read(image, tmp_path, monkeypatch):
    import contextlib

    @contextlib.contextmanager
    def opened(_):
        yield disk.Disk(None, tmp_path)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(disk, "opened", opened)
    told = diff.of_image(image)
    assert (told["name"], told["sha256"], told["size"], told["virtual_size"]) == ("x.qcow2", "ab" * 32, 10, 20)
    again = manifest.contents(disk.Disk(None, tmp_path)).as_json()
    # The folder is this host's, where others write meanwhile.
    assert told["contents"].pop("file_system")["size"] == again.pop("file_system")["size"]
    assert told["contents"] == again
    assert not diff.compare(told, told)


def test_without_root_an_image_without_a_manifest_is_one_sentence(image, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="x.qcow2: no manifest says what it holds.*run as root"):
        diff.of_image(image)
