"""The proof itself is sound: the page lists every mutant, every check has one, and only the right cause counts."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from imagecheck import definition, hostcmd, imagefile

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs a checkout")
STEPS = {"image file", "look inside"}


@pytest.fixture(scope="module")
def mutants(load):
    return load("table").MUTANTS


def checks():
    files = (ROOT / "tests" / "image").glob("test_disk*.py")
    return {
        node.name
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def rows_of(heading):
    """The first cells of the table below a heading of the page."""
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    part = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \| (.+?) \| (.+?) \| `(.+?)` \|", part, re.M)


def test_the_page_lists_every_mutant_and_no_other(mutants):
    assert rows_of("What the disk tells") == [(one.name, one.stage, one.what, one.check) for one in mutants], (
        "tox -e mutants -- --write"
    )


def test_the_page_is_what_the_results_say(load, mutants):
    results = load("results")
    page = results.page(results.load(), mutants, load("boots").BOOTS)
    assert (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8") == page, "tox -e mutants -- --write"


def test_the_pages_score_is_a_whole_one(mutants):
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    found = re.search(r"Mutants: (\d+) of (\d+) rejected with the right cause, (\d+) accepted", page)
    assert found
    assert found.groups() == (str(len(mutants)), str(len(mutants)), "0")


def test_there_are_enough_mutants_and_each_has_its_own_name(load, mutants):
    names = [one.name for one in (*mutants, *load("boots").BOOTS)]
    assert len(names) == len(set(names)) >= 40
    assert all(re.fullmatch(r"[a-z][a-z-]+", name) for name in names)


def test_a_mutant_names_a_check_that_exists_and_words_that_can_be_found(mutants):
    for one in mutants:
        assert one.check in checks() | STEPS, one.name
        assert one.says, one.name
        re.compile(one.says)


def test_every_check_of_the_disk_stage_has_a_mutant_that_it_rejects(mutants):
    assert checks() - {one.check for one in mutants} == set()


@pytest.mark.parametrize(
    ("failed", "rejected", "right"),
    [
        ({}, False, False),
        ({"test_a": "disk full"}, True, True),
        ({"test_a": "disk full", "test_b": "more"}, True, True),
        ({"test_a": "something else"}, True, False),
        ({"test_b": "disk full"}, True, False),
    ],
)
def test_a_mutant_counts_only_when_its_own_check_names_what_was_broken(load, failed, rejected, right):
    mutant = load("mutant").Mutant("m", "what", lambda root: None, "test_a", "full")
    verdict = load("run").Verdict(mutant, failed=failed)
    assert (verdict.rejected, verdict.right) == (rejected, right)


def test_an_edit_that_changes_nothing_or_leaves_the_image_is_refused(load, tmp_path):
    place = tmp_path / "root"
    place.mkdir()
    (tmp_path / "outside").mkdir()
    (place / "out").symlink_to(tmp_path / "outside")
    root = load("overlay").Root(place, "a.service", "trove", "mariadb:11.8")
    root.write("/etc/x", "one")
    with pytest.raises(ValueError, match="would be the good image"):
        root.replace("/etc/x", "two", "three")
    with pytest.raises(ValueError, match="leads out of the image"):
        root.write("/out/x", "")
    with pytest.raises(FileNotFoundError):
        root.one("/boot/initrd*")


NEEDED = ("qemu-img", "qemu-storage-daemon", "partx", "losetup", "mkfs.ext4")


can_mount = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists() or any(hostcmd.which(program) is None for program in NEEDED),
    reason="needs root, /dev/fuse and qemu-storage-daemon",
)


@pytest.fixture
def good(tmp_path):
    """A small disk with one partition."""
    part, raw, file = (tmp_path / name for name in ("part", "raw", "good.qcow2"))
    subprocess.run(["mkfs.ext4", "-q", part, "8M"], check=True)
    entry = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (8 << 11).to_bytes(4, "little")
    raw.write_bytes((bytes(446) + entry + bytes(48) + b"\x55\xaa").ljust(1 << 20, b"\0") + part.read_bytes())
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, file], check=True)
    return file


@can_mount
def test_an_edit_goes_into_the_overlay_and_leaves_the_good_image_and_no_mount(load, tmp_path, good):
    overlay, work = load("overlay"), tmp_path / "work"
    work.mkdir()
    before = good.read_bytes()
    overlay.create(good, work / "overlay")
    with overlay.exported(good, work / "overlay", work) as shown:
        with overlay.mounted(shown, work) as place:
            (place / "planted").write_text("x" * 5000)
        assert b"planted" in shown.read_bytes()
    assert good.read_bytes() == before
    assert [entry.name for entry in work.iterdir()] == ["overlay"]
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@can_mount
def test_a_mutant_can_be_had_as_an_image_that_stands_alone(load, tmp_path, good):
    mutant = load("mutant").Mutant("m", "what", lambda root: root.write("/planted", "here"), "test_a", "full")
    made = tmp_path / "mutant.qcow2"
    load("run").make(imagefile.inspect(good), definition.load("mariadb-debian"), mutant, made)
    whole = imagefile.inspect(made)  # refuses what needs a backing file
    subprocess.run(["qemu-img", "convert", "-f", whole.format, "-O", "raw", made, tmp_path / "out"], check=True)
    assert b"planted" in (tmp_path / "out").read_bytes()
