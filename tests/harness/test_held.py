"""A run's folders are on record before they exist, and found by it when their process died, wherever they are."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imagecheck import held, paths
from imagecheck.build import cleanup
from imagecheck.errors import StepFailed


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def dead(home, place, name=""):
    """A record of ``place`` whose process is no more."""
    file = home / "held" / f"{name or place.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    owner = vars(held.process.mine()) | {"started": "1"}
    file.write_text(json.dumps({"path": str(place), "time": 0, "process": owner}))
    return file


def test_a_folder_is_on_record_before_it_exists(home, monkeypatch):
    (home / "held").mkdir(parents=True)
    real, seen = Path.mkdir, []

    def mkdir(path, *arguments, **more):
        if path.name.startswith("imagecheck-run-"):
            seen.append((held.record(path).exists(), path.exists()))
        real(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with held.folder("imagecheck-run-"):
        assert seen == [(True, False)]


def test_a_folder_is_private_and_leaves_nothing(home):
    with held.folder("imagecheck-run-") as place:
        assert place.stat().st_mode & 0o777 == 0o700
        assert held.forsaken(home) == []
        assert cleanup.stale(home) == []
        (place / "key").write_text("x")
    assert not place.exists()
    assert list((home / "held").iterdir()) == []


def test_nothing_is_made_where_it_cannot_be_written_down(home):
    paths.home()
    (home / "held").write_text("a file in the way")
    with pytest.raises(StepFailed, match="no folder is made that could be lost"), held.folder("imagecheck-run-"):
        pass
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_record_that_does_not_fit_is_not_left_by_half(home, monkeypatch):
    """A real file system without room is a row of tests/faults (full-ledger)."""

    def no_room(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StepFailed, match="No space left on device"), held.folder("imagecheck-run-"):
        pass
    assert list((home / "held").iterdir()) == []


def test_what_is_still_mounted_below_is_not_deleted_through(home, monkeypatch):
    monkeypatch.setattr(held.occupied, "mounts", lambda place: [f"{place}/root"])
    with held.folder("imagecheck-disk-") as place:
        (place / "root").mkdir()
    assert (place / "root").exists()
    assert held.record(place).exists()


def test_a_killed_run_is_found_wherever_its_folder_was(home, tmp_path):
    elsewhere = tmp_path / "another-tmpdir"
    elsewhere.mkdir()
    script = (
        "import sys, signal; sys.path.insert(0, sys.argv[1])\n"
        "from imagecheck import held\n"
        "with held.folder('imagecheck-ssh-') as place: print(place, flush=True); signal.pause()\n"
    )
    root = Path(held.__file__).parents[1]
    argv = [sys.executable, "-c", script, root]
    environment = os.environ | {"TMPDIR": str(elsewhere)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as child:
        place = Path(child.stdout.readline().strip())
        assert cleanup.stale(home) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert [(one.what, one.path) for one in cleanup.stale(home)] == [("folder of a dead run", place)]
    assert cleanup.collect(home) == ([cleanup.Leftover("folder of a dead run", place)], [])
    assert not place.exists()
    assert list((home / "held").iterdir()) == []


@pytest.mark.parametrize("name", ["mine", "imagecheck-run-..", "imagecheck-other-0123abcd", "..", "imagecheck-runx-1"])
def test_a_record_never_leads_to_a_folder_that_is_no_runs(home, tmp_path, name):
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "precious").write_text("x")
    dead(home, tmp_path / name, "imagecheck-run-00000000")
    cleanup.collect(home)
    assert (tmp_path / name).is_dir()
    assert (tmp_path / "precious").exists()


def test_a_record_never_leads_through_a_link(home, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    link = tmp_path / "imagecheck-run-0123abcd"
    link.symlink_to(tmp_path / "precious")
    dead(home, link)
    cleanup.collect(home)
    assert (tmp_path / "precious" / "file").exists()


def test_a_record_whose_folder_was_never_made_goes(home, tmp_path):
    file = dead(home, tmp_path / "imagecheck-run-0123abcd")
    cleanup.collect(home)
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": 1}', '{"path": "/x", "process": {"pid": 1}}'])
def test_a_record_cut_off_by_a_crash_goes_later(home, text):
    file = home / "held" / "imagecheck-run-0123abcd.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert held.forsaken(home) == []
    os.utime(file, (0, 0))
    cleanup.collect(home)
    assert not file.exists()
