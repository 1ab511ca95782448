"""hostcmd.py: commands end, say why they failed, and leave nothing behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from imagecheck import hostcmd
from imagecheck.errors import StepFailed, UsageError


def test_a_command_gives_its_output_and_code():
    done = hostcmd.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.stdout, done.stderr, done.rc) == ("out\n", "err\n", 0)


def test_nothing_goes_through_a_shell():
    assert hostcmd.run(["echo", "$HOME; ls *"]).stdout == "$HOME; ls *\n"


def test_input_environment_and_folder_reach_the_command(tmp_path):
    done = hostcmd.run(["sh", "-c", 'cat; echo "$WHAT"; pwd'], input="in\n", env={"WHAT": "x"}, cwd=tmp_path)
    assert done.stdout == f"in\nx\n{tmp_path}\n"


def test_a_failure_shows_the_last_lines_redacted():
    with pytest.raises(StepFailed) as caught:
        hostcmd.run(["sh", "-c", "seq 50 >&2; echo password=hunter22 >&2; exit 3"], step="build")
    assert caught.value.step == "build"
    assert "ended with code 3" in caught.value.sentence
    assert "50" in caught.value.seen
    assert "12" not in caught.value.seen
    assert "hunter22" not in str(caught.value)


def test_a_failure_may_be_asked_for():
    assert hostcmd.run(["false"], check=False).rc == 1


def test_output_that_is_not_text_does_not_matter():
    assert "�" in hostcmd.run(["printf", r"\377\376"]).stdout


def test_a_missing_program_names_the_package_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(hostcmd, "_SBIN", ())
    with pytest.raises(UsageError, match=r"qemu-img is not installed on this host: apt-get install qemu-utils"):
        hostcmd.run(["qemu-img", "info"])
    with pytest.raises(UsageError, match=r"mmdebstrap and ip are not installed .*apt-get install iproute2 mmdebstrap"):
        hostcmd.require("mmdebstrap", "ip")


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def _eventually(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_time_out_ends_the_command_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    with pytest.raises(StepFailed, match=r"did not end within 0\.3 s"):
        hostcmd.run(["sh", "-c", f"sleep 60 & echo $! > {pids}; wait"], timeout=0.3)
    assert _eventually(lambda: _gone(int(pids.read_text())))


def test_a_stream_gives_each_line_as_it_comes():
    seen: list[str] = []
    assert hostcmd.stream(["sh", "-c", "echo one; echo two >&2; printf three"], seen.append) == 0
    assert seen == ["one", "two", "three"]


def test_ctrl_c_in_a_stream_leaves_no_process(tmp_path):
    pids = tmp_path / "pids"

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hostcmd.stream(["sh", "-c", f"sleep 60 & echo $! > {pids}; echo go; wait"], stop)
    assert _eventually(lambda: _gone(int(pids.read_text())))


def test_a_command_that_ignores_being_asked_is_ended_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(hostcmd, "_GRACE", 0.2)
    pid = tmp_path / "pid"
    code = (
        "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    )
    with pytest.raises(StepFailed, match="did not end"):
        hostcmd.run([sys.executable, "-c", code, pid], timeout=1.0)
    assert _eventually(lambda: _gone(int(pid.read_text())))


def test_a_stream_too_has_a_deadline():
    with pytest.raises(StepFailed, match=r"did not end within 0\.3 s"):
        hostcmd.stream(["sleep", "60"], print, timeout=0.3)


def test_a_failed_stream_shows_what_it_said_last():
    with pytest.raises(StepFailed) as caught:
        hostcmd.stream(["sh", "-c", "echo E: no such package; exit 100"], print)
    assert "no such package" in caught.value.seen


def test_no_file_descriptor_is_left_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        hostcmd.run(["true"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
