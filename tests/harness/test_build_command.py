"""Images made by any command: what it is told, what is taken of what it leaves, and that nothing of it keeps running.

A SimpleNamespace stands in for a definition: these tests need five of its fields and none of its rules."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck.build import command
from imagecheck.errors import StepFailed, UsageError

RAW = bytes(510) + b"\x55\xaa" + bytes(4096)


def definition(*words, source=None, **environment):
    return SimpleNamespace(
        name="mine", release="noble", source=source, builder="command", command=words, environment=environment
    )


def sh(script, **environment):
    return definition("sh", "-c", script, "sh", "{output}", "{work}", **environment)


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def log(tmp_path):
    return tmp_path / "build.log"


@pytest.fixture
def raw(tmp_path):
    file = tmp_path / "disk.bin"
    file.write_bytes(RAW)
    return file


def alive(mark):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


# ---- what it is told


def test_the_words_say_where_the_image_goes_and_what_it_is(tmp_path):
    told = command.words(definition("tool", "-o={output}", "{work}/x", "{name}-{release}", "{other} {}"), tmp_path)
    assert told == ["tool", f"-o={tmp_path}/image.qcow2", f"{tmp_path}/x", "mine-noble", "{other} {}"]


@given(st.text(), st.text())
def test_what_is_put_in_is_not_read_again(name, word):
    made = command.words(definition("tool", "{name}", word), Path("/w"))
    assert len(made) == 3
    made = command.words(SimpleNamespace(**{**vars(definition("tool", "{name}")), "name": name}), Path("/w"))
    assert made == ["tool", name]


def test_a_relative_program_lies_beside_its_definition(tmp_path):
    assert command.words(definition("./make", source=tmp_path / "a.toml"), tmp_path)[0] == str(tmp_path / "make")
    assert command.words(definition("make", source=tmp_path / "a.toml"), tmp_path)[0] == "make"
    assert command.words(definition("/bin/make", source=tmp_path / "a.toml"), tmp_path)[0] == "/bin/make"


@pytest.mark.parametrize("words", [(), ("",), (" ",)])
def test_a_definition_without_a_command_is_told(work, log, words):
    with pytest.raises(UsageError, match="'command' is empty"):
        command.run(definition(*words), work, log)


def test_it_gets_the_hosts_environment_and_the_definitions(work, log, raw, monkeypatch):
    monkeypatch.setenv("OF_THE_HOST", "one")
    command.run(sh(f'echo "$OF_THE_HOST $OF_MINE $PWD"; cp {raw} "$1"', OF_MINE="two"), work, log)
    assert f"one two {work}" in log.read_text()


# ---- what is taken


def test_a_raw_image_stays_raw(work, log, raw):
    found = command.run(sh(f'cp {raw} "$1"'), work, log)
    assert found == work / "image.raw"
    assert found.read_bytes() == RAW


@pytest.mark.parametrize("name", ["out/disk.qcow2", "disk.img", "a/b/disk.raw"])
def test_an_image_elsewhere_in_the_work_folder_is_found(work, log, name):
    qcow2 = b"QFI\xfb" + struct.pack(">I", 2) + bytes(200)
    place = f'mkdir -p "$2/{Path(name).parent}" && cp "$IMAGE" "$2/{name}"'
    image = log.with_name("image")
    image.write_bytes(qcow2)
    assert command.run(sh(place, IMAGE=str(image)), work, log) == work / name


def test_the_named_output_wins_over_others(work, log, raw):
    assert command.run(sh(f'cp {raw} "$1"; cp {raw} other.img'), work, log) == work / "image.raw"


def test_several_images_are_refused_and_named(work, log, raw):
    with pytest.raises(StepFailed, match="left 2 images") as caught:
        command.run(sh(f"cp {raw} a.raw; cp {raw} b.img"), work, log)
    assert caught.value.seen == "a.raw, b.img"


def test_no_image_is_told_with_what_is_there(work, log):
    with pytest.raises(StepFailed, match="ended well but left no image") as caught:
        command.run(sh("printf 0123 > disk.vmdk"), work, log)
    assert "disk.vmdk (0.0 MiB)" in caught.value.seen
    with pytest.raises(StepFailed, match="no image"):
        command.run(definition("true"), work, log)


@pytest.mark.parametrize(("content", "said"), [("KDMVxxxx", "is a VMDK image"), ("", "is not an image")])
def test_another_format_is_named_and_refused(work, log, content, said):
    with pytest.raises(StepFailed, match=said) as caught:
        command.run(sh(f'printf "{content}" > "$1"'), work, log)
    assert str(work) not in caught.value.sentence


def test_an_image_that_needs_another_file_is_refused(work, log, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"QFI\xfb" + struct.pack(">IQI", 3, 200, 11) + bytes(180) + b"/etc/passwd")
    with pytest.raises(StepFailed, match="needs a backing file"):
        command.run(sh('cp "$IMAGE" "$1"', IMAGE=str(image)), work, log)


def test_a_link_to_an_image_is_no_image(work, log, raw):
    with pytest.raises(StepFailed, match="left a symbolic link to "):
        command.run(sh(f'ln -s {raw} "$1"'), work, log)
    assert raw.exists()


# ---- how it fails


def test_a_failure_shows_the_lines_that_matter_and_the_log_has_them_all(work, log):
    script = "echo first; printf 'fetch 1%%\\rfetch 99%%\\n'; echo '+ set -x'; echo; echo 'E: broken' >&2; exit 3"
    with pytest.raises(StepFailed, match="^image build: sh ended with code 3") as caught:
        command.run(sh(script), work, log)
    assert [line.strip() for line in caught.value.seen.splitlines()] == ["first", "fetch 99%", "E: broken"]
    assert str(log) in caught.value.remedy
    assert "+ set -x" in log.read_text()


def test_an_error_before_much_cleaning_up_is_shown(work, log):
    script = "echo 'ERROR: no such suite'; for i in 1 2 3 4 5 6 7 8 9; do echo cleaning $i; done; exit 1"
    with pytest.raises(StepFailed) as caught:
        command.run(sh(script), work, log)
    assert caught.value.seen.startswith("ERROR: no such suite")
    assert caught.value.seen.endswith("cleaning 9")


def test_a_known_cause_comes_with_its_remedy(work, log):
    with pytest.raises(StepFailed) as caught:
        command.run(sh("echo 'cp: No space left on device'; exit 1"), work, log)
    assert "free room" in caught.value.remedy


def test_secrets_are_in_neither_the_log_nor_the_failure(work, log):
    with pytest.raises(StepFailed) as caught:
        command.run(sh("echo password=hunter22; exit 1"), work, log)
    assert "hunter22" not in log.read_text()
    assert "hunter22" not in str(caught.value)


def test_a_missing_program_is_told_by_its_name(work, log):
    with pytest.raises(UsageError, match="no-such-tool is not installed"):
        command.run(definition("no-such-tool"), work, log)
    with pytest.raises(StepFailed, match="could not be started"):
        command.run(definition("./no-such-tool", source=work / "a.toml"), work, log)


@given(st.lists(st.text()))
def test_the_lines_that_matter_are_few_and_were_said(lines):
    shown = command._matter(lines)
    assert len(shown) <= 8
    assert all(line in lines or line == "…" for line in shown)


@given(st.text())
def test_a_line_is_shown_as_one_line_without_colours(text):
    plain = command._plain(text)
    assert "\r" not in plain
    assert command._plain(f"\x1b[31m{plain}\x1b[0m") == command._plain(plain)


# ---- what keeps running


def test_a_command_that_does_not_end_is_ended_with_its_children(work, log):
    with pytest.raises(StepFailed, match=r"did not end within 0\.5 s"):
        command.run(sh("sleep 60 & sleep 60", WHO="ends-late"), work, log, deadline=0.5)
    assert alive("WHO=ends-late") == []


def test_a_daemon_that_left_the_group_is_ended_when_the_command_ends(work, log, raw):
    script = f'setsid sleep 60 >/dev/null 2>&1 </dev/null & cp {raw} "$1"'
    command.run(sh(script, WHO="daemon-left"), work, log)
    assert alive("WHO=daemon-left") == []


def test_a_daemon_that_holds_the_output_open_does_not_hold_the_build(work, log, raw):
    began = time.monotonic()
    command.run(sh(f'setsid sleep 60 & cp {raw} "$1"', WHO="daemon-holds"), work, log)
    assert time.monotonic() - began < 20
    assert alive("WHO=daemon-holds") == []


def test_ctrl_c_leaves_no_process(work, log, monkeypatch):
    def stop(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_plain", stop)
    with pytest.raises(KeyboardInterrupt):
        command.run(sh("setsid sleep 60 & echo started; wait", WHO="ctrl-c"), work, log)
    assert alive("WHO=ctrl-c") == []


def test_nobody_elses_processes_are_ended(work, log, raw):
    other = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, command.MARK: "x"}
    )
    try:
        command.run(sh(f'cp {raw} "$1"'), work, log)
        assert other.poll() is None
    finally:
        other.communicate(b"\n")
