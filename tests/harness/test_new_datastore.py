"""A new datastore's files: written whole or not at all, and the page that explains them tells what they are."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagecheck import cli, datastore_template, definition, options, paths
from imagecheck.build.layers import layers
from imagecheck.errors import UsageError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-datastore.md"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Block:
    """A fenced block: a command ("sh" without ``path``), a file's new content, or (``shown``) what it is already."""

    language: str
    text: str
    path: str = ""
    shown: bool = False


def page(text):
    """The blocks of a page, in their order."""
    form = re.compile(
        r"(?:^`(?P<path>[^`\n]+/[^`\n]+)`(?P<shown>, as written)?:\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
        re.MULTILINE | re.DOTALL,
    )
    found = [Block(one["language"], one["text"], one["path"] or "", bool(one["shown"])) for one in form.finditer(text)]
    assert 2 * len(found) == len(re.findall(r"^```", text, re.MULTILINE)), "a block is not closed"
    return found


def commands(blocks):
    return [one.text for one in blocks if one.language == "sh" and not one.path]


def files(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def blocks():
    if not PAGE.is_file():
        pytest.skip("needs a checkout")
    return page(PAGE.read_text(encoding="utf-8"))


@pytest.fixture
def as_written(tmp_path):
    datastore_template.write("valkey", tmp_path / "new")
    return tmp_path / "new"


@pytest.fixture
def as_the_page_says(as_written, blocks):
    for block in blocks:
        if block.path and not block.shown:
            (as_written / block.path).write_text(block.text, encoding="utf-8")
    return as_written


# ---- the command


def test_a_new_datastore_says_what_it_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new-datastore", "my-db"]) == 0
    assert set(capsys.readouterr().out.split()) == files(tmp_path)
    assert {
        "checks/test_my_db.py", "images/my-db-debian.toml", "elements/my-db-container/README.rst",
        "elements/my-db-container/element-deps", *(f"elements/my-db-container/container/my-db/{name}" for name in
        ("packages", "version", "customize", "docker-entrypoint.sh", "config.json")),
    } == files(tmp_path)  # fmt: skip


def test_a_new_datastore_leaves_no_placeholder(as_written):
    for name in files(as_written):
        assert not re.search(r"@[A-Z]+@", name + (as_written / name).read_text()), name


@pytest.mark.parametrize("name", ["valkey", "a", "my-own-db2", "d" * 40])
def test_a_new_datastore_resolves_to_an_image_that_brings_its_container(tmp_path, name):
    datastore_template.write(name, tmp_path)
    made = layers(definition.load(tmp_path / "images" / f"{name}-debian.toml"))
    assert made[-1].resolved[f"{name}-container"] == tmp_path / "elements" / f"{name}-container"
    assert {"container-from-packages", "docker-preload"} <= set(made[-1].resolved)
    assert made[-1].environment["DIB_CONTAINER"].startswith(f"{name}:")


def test_a_new_datastore_in_a_checkout_lies_beside_the_shipped_ones(tmp_path, monkeypatch):
    for name in ("elements", "images"):
        shutil.copytree(paths.shipped(name), tmp_path / name)
    monkeypatch.setattr(paths, "shipped", lambda name: tmp_path / name)
    datastore_template.write("valkey", tmp_path)
    assert "valkey-debian" in definition.known()
    assert layers(definition.load("valkey-debian"))[-1].resolved["valkey-container"].is_relative_to(tmp_path)
    with pytest.raises(UsageError, match="'valkey': imagecheck has one already"):
        datastore_template.write("valkey", tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "name", ["", "Valkey", "val key", "../up", "a/b", "-a", "a-", "a--b", "a.b", "ä", "9", "x" * 41]
)
def test_a_new_datastore_needs_a_name_that_a_container_can_have(tmp_path, name):
    with pytest.raises(UsageError, match="for example valkey"):
        datastore_template.write(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["mariadb"])
def test_a_new_datastore_is_none_that_is_shipped(tmp_path, name):
    with pytest.raises(UsageError, match="imagecheck has one already .*: take another name"):
        datastore_template.write(name, tmp_path)
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    "place", ["images/valkey-debian.toml", "checks/test_valkey.py", "elements/valkey-container/element-deps"]
)
@pytest.mark.parametrize("how", ["file", "dangling link"])
def test_a_new_datastore_overwrites_nothing(tmp_path, place, how):
    there = tmp_path / place
    there.parent.mkdir(parents=True)
    if how == "file":
        there.write_text("mine")
    else:
        there.symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"{re.escape(str(there))} is there already: nothing was written"):
        datastore_template.write("valkey", tmp_path)
    assert [one for one in tmp_path.rglob("*") if not one.is_dir()] == [there]
    assert how != "file" or there.read_text() == "mine"


def test_a_new_datastore_that_fails_in_the_middle_leaves_nothing(tmp_path):
    (tmp_path / "images").write_text("a file where a folder should be")
    with pytest.raises(
        UsageError, match=r"images.* cannot be written \(.*\): nothing was written; name another folder"
    ):
        datastore_template.write("valkey", tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["images"]


def test_a_new_datastore_loses_to_somebody_faster_without_harm(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "valkey-debian.toml").write_text("theirs")
    monkeypatch.setattr(datastore_template, "_there", lambda place: False)
    with pytest.raises(UsageError, match="nothing was written"):
        datastore_template.write("valkey", tmp_path)
    assert files(tmp_path) == {"images/valkey-debian.toml"}
    assert (tmp_path / "images" / "valkey-debian.toml").read_text() == "theirs"


def test_a_new_datastore_in_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["new-datastore", "valkey", "--into", str(tmp_path / "file" / "below")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be written (File exists)" in said


# ---- what was written is fit to be shipped; the same is asked of imagecheck's own elements


@pytest.mark.parametrize("made", ["as_written", "as_the_page_says"])
def test_elements_of_a_new_datastore_pass_the_linters(request, made):
    folder = request.getfixturevalue(made)
    elements = folder / "elements"
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ELEMENTS_DIR": str(elements), "LIB_DIR": str(elements)}
    lint = subprocess.run(["dib-lint"], env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout
    scripts = [file for file in elements.rglob("*") if file.is_file() and file.read_bytes().startswith(b"#!")]
    assert len(scripts) == 2
    assert all(os.access(file, os.X_OK) and len(file.read_text().splitlines()) <= 80 for file in scripts)
    program = shutil.which("shellcheck", path=env["PATH"])
    said = subprocess.run([program, "--severity=style", *scripts], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("made", ["as_written", "as_the_page_says"])
def test_checks_of_a_new_datastore_pass_the_linters(request, made):
    folder = request.getfixturevalue(made)
    settings = ["--config", PAGE.parents[1] / "pyproject.toml"] if PAGE.is_file() else []
    for command in (["check", "--ignore", "S"], ["format", "--check"]):
        said = subprocess.run(
            [BIN / "ruff", *command, *settings, folder / "checks"], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr


def test_elements_of_a_new_datastore_say_what_goes_in_and_what_they_leave(as_written):
    text = (as_written / "elements/valkey-container/README.rst").read_text()
    assert text.splitlines()[:3] == ["=" * 16, "valkey-container", "=" * 16]
    assert "Inputs" in text
    assert "Leaves in the image:" in text


def test_a_new_datastores_entry_point_runs_other_programs_and_fills_the_folder_once(as_written, tmp_path):
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    data = tmp_path / "data"
    data.mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "valkey-server").write_text('#!/bin/sh\necho "server $*"\n')
    (programs / "valkey-server").chmod(0o755)
    script = tmp_path / "entry"
    text = (as_written / "elements/valkey-container/container/valkey/docker-entrypoint.sh").read_text()
    script.write_text(text.replace("data=/var/lib/valkey", f"data={data}").replace('"$(id -u)" = 0', "1 = 0"))

    def run(*words):
        env = {"PATH": f"{programs}:{os.environ['PATH']}"}
        return subprocess.run(["sh", script, *words], env=env, capture_output=True, text=True, check=True).stdout

    assert run("echo", "hello") == "hello\n"
    assert run("valkey-server", "--port", "0") == f"docker-entrypoint: filling {data}\nserver --port 0\n"
    assert run("--port", "0") == "server --port 0\n"


# ---- the page


def test_the_page_shows_what_the_command_writes(as_written, blocks):
    shown = [block for block in blocks if block.shown]
    assert len(shown) >= 3
    for block in shown:
        assert (as_written / block.path).read_text() == block.text, block.path


def test_the_page_changes_only_files_that_the_command_wrote(as_written, blocks):
    changed = {block.path for block in blocks if block.path and not block.shown}
    assert changed <= files(as_written)
    assert len(changed) == 4
    assert all(
        (as_written / block.path).read_text() != block.text for block in blocks if block.path and not block.shown
    )


def test_the_page_lists_every_file(as_written, blocks):
    listed = next(block.text for block in blocks if block.language == "text" and "element-deps" in block.text)
    assert {line.split()[0] for line in listed.splitlines()} == files(as_written)


def test_the_pages_commands_are_ones_that_there_are(blocks):
    lines = [shlex.split(line) for text in commands(blocks) for line in text.splitlines()]
    assert [line[0] for line in lines] == ["imagecheck", "imagecheck", "imagecheck", "pytest", "pytest"]
    for words in lines:
        if words[0] == "imagecheck":
            cli._parser().parse_args(words[1:])
        else:
            assert {word for word in words if word.startswith("--")} <= set(options.OPTIONS)


def test_the_pages_datastore_resolves(as_the_page_says, monkeypatch):
    monkeypatch.chdir(as_the_page_says)
    known = definition.load("images/valkey-debian.toml")  # as the page names it
    assert known.datastore.container == "valkey:8.1"
    assert "valkey-container" in layers(known)[-1].resolved


def test_the_pages_links_lead_somewhere():
    if not PAGE.is_file():
        pytest.skip("needs a checkout")
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PAGE.parent / target).exists(), target
    for named in re.findall(r"`((?:elements|tests)/[\w./-]+)`", text):
        assert "valkey" in named or (PAGE.parents[1] / named).exists(), named
