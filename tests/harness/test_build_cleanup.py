"""What dead builds and runs leave on this host goes; what living ones use stays."""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from imagecheck import held, occupied, paths
from imagecheck.build import cleanup
from imagecheck.cloud.collection import Collected, collect_garbage

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and loop devices need root")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of its own, and a folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    (tmp_path / "home/images/cache").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def owner():
    """Start a process that holds a folder; ends with the test."""
    fork = multiprocessing.get_context("fork")  # a fresh interpreter would take most of these tests' time
    started = []

    def live(folder, ready):
        with held.hold(folder):
            ready.set()
            signal.pause()

    def start(folder):
        ready = fork.Event()
        started.append(fork.Process(target=live, args=(folder, ready), daemon=True))
        started[-1].start()
        assert ready.wait(30)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def work(home, name=".work-a"):
    folder = home / "images" / name
    folder.mkdir()
    (folder / "half").write_text("x")
    return folder


def killed(process):
    process.kill()
    process.join()


def words(found):
    return [(one.what, one.path.name) for one in found]


# ---- who is alive


def test_a_folder_is_held_until_its_process_ends_however_it_ends(home, owner):
    folder = work(home)
    process = owner(folder)
    assert held.held(folder / held.ALIVE)
    assert cleanup.stale(home) == []
    killed(process)
    assert not held.held(folder / held.ALIVE)
    assert words(cleanup.stale(home)) == [("work folder", ".work-a")]


def test_a_folder_is_held_from_its_first_moment_and_no_longer_than_the_body(home):
    folder = work(home)
    with held.hold(folder):
        assert held.held(folder / held.ALIVE)
        assert {file.name for file in folder.iterdir()} == {held.ALIVE, "half"}
    assert [file.name for file in folder.iterdir()] == ["half"]


def test_a_folder_that_was_removed_in_the_body_is_no_trouble(home):
    folder = work(home)
    with held.hold(folder):
        cleanup.sweep(folder)
    assert not folder.exists()


def test_a_lock_that_is_a_link_or_may_not_be_opened_counts_as_held(tmp_path):
    (tmp_path / "lock").symlink_to("elsewhere")
    assert held.held(tmp_path / "lock")
    assert held.held(tmp_path)


def test_a_folder_that_names_nobody_is_a_living_build_s_as_long_as_there_is_one(home):
    folder = work(home)
    lock = home / "images" / ".lock-0123"
    with lock.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        assert cleanup.stale(home) == []
        assert words(cleanup.stale(home, alone=True)) == [("work folder", ".work-a")]
    assert cleanup.collect(home) == ([cleanup.Leftover("work folder", folder)], [])
    assert not folder.exists()
    assert lock.exists()


# ---- what goes


def test_a_dry_run_says_all_and_removes_nothing(home):
    folder = work(home)
    assert cleanup.collect(home, dry_run=True) == ([], [f"work folder {folder}"])
    assert (folder / "half").exists()


def test_half_images_and_unfinished_files_go_and_whole_ones_stay(home):
    images = home / "images"
    whole, half, guest = (images / f"x-{digit * 16}" for digit in "012")
    for folder in (whole, half, guest, images / "fetched", images / "my-own"):
        folder.mkdir()
    (whole / "manifest.json").touch()
    (guest / "layer.json").touch()
    (half / "image.qcow2").touch()
    (images / "cache" / "x.tar.part.Ab").touch()
    (images / "cache" / "x.tar").touch()
    (images / "fetched" / "y.part").touch()  # the download goes on from there
    (images / "x.log").touch()
    removed, left = cleanup.collect(home)
    assert words(removed) == [("half an image", half.name), ("unfinished file", "x.tar.part.Ab")]
    assert left == []
    assert not half.exists()
    assert (images / "cache" / "x.tar").exists()
    assert (images / "fetched" / "y.part").exists()
    assert cleanup.stale(home) == []


def test_nothing_to_do_where_nothing_was_ever_built(tmp_path):
    assert cleanup.collect(tmp_path / "nowhere") == ([], [])


def test_links_are_not_followed(home, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    (home / "images" / ".work-link").symlink_to(precious)
    (home / "images" / f"x-{'0' * 16}").symlink_to(precious)
    (tmp_path / "tmp" / "imagecheck-run-link").symlink_to(precious)
    assert cleanup.collect(home) == ([], [])
    assert (precious / "file").exists()


@pytest.fixture
def disk():
    """Attach a disk inside a folder and mount something beside it; undone whatever the test does."""
    devices, folders = [], []

    def attach(folder):
        (folder / "disk").write_bytes(bytes(1 << 20))
        (folder / "mnt").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "mnt"], check=True)
        folders.append(folder / "mnt")
        shown = subprocess.run(["losetup", "-f", "--show", folder / "disk"], capture_output=True, text=True, check=True)
        devices.append(shown.stdout.strip())
        return devices[-1]

    yield attach
    for folder in folders:
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)
    for device in devices:
        subprocess.run(["losetup", "-d", device], capture_output=True, check=False)


@root_only
def test_the_mounts_and_loop_devices_of_a_dead_build_go_and_those_of_a_living_one_stay(home, owner, disk):
    living, dead = work(home, ".work-living"), work(home, ".work-dead")
    owner(living)
    ended = owner(dead)
    kept, gone = disk(living), disk(dead)
    killed(ended)
    removed, left = cleanup.collect(home)
    assert words(removed) == [("work folder", ".work-dead")]
    assert left == []
    assert not dead.exists()
    assert occupied.mounts(home) == [str(living / "mnt")]
    assert cleanup.loops(home) == [kept]
    assert gone != kept


@root_only
def test_a_loop_device_goes_whose_work_folder_is_already_gone(home, disk):
    folder = work(home)
    disk(folder)
    subprocess.run(["umount", folder / "mnt"], check=True)
    for file in folder.iterdir():
        file.unlink() if file.is_file() else file.rmdir()
    folder.rmdir()
    assert words(cleanup.stale(home)) == [("work folder", ".work-a")]
    removed, left = cleanup.collect(home)
    assert len(removed) == 1
    assert left == []
    assert cleanup.loops(home) == []


@root_only
def test_the_processes_of_a_dead_build_end(home, owner):
    folder = work(home)
    killed(owner(folder))
    orphan = subprocess.Popen(["sleep", "1000"], cwd=folder)
    cleanup.collect(home)
    assert orphan.wait(timeout=5) == -signal.SIGKILL
    assert not folder.exists()


# ---- runs


def run_folder(name="imagecheck-run-ab12", age=0):
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700)
    (folder / "id_ed25519").write_text("secret")
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


def test_the_key_of_a_killed_run_goes_and_a_living_run_keeps_its(home, owner):
    dead, living = run_folder("imagecheck-run-dead"), run_folder("imagecheck-run-living")
    ended = owner(dead)
    owner(living)
    killed(ended)
    removed, left = cleanup.collect(home)
    assert words(removed) == [("folder of a dead run", "imagecheck-run-dead")]
    assert left == []
    assert not dead.exists()
    assert (living / "id_ed25519").exists()


def test_a_folder_that_says_nothing_of_its_run_goes_after_a_day(home):
    run_folder("imagecheck-run-new")
    run_folder("imagecheck-ssh-old", age=90000)
    run_folder("other-run-old", age=90000)
    assert words(cleanup.stale(home)) == [("folder of a dead run", "imagecheck-ssh-old")]


def test_an_opened_image_with_a_living_server_is_in_use(home, tmp_path):
    folder = run_folder("imagecheck-disk-old", age=90000)
    script = tmp_path / "qemu-storage-daemon"
    script.symlink_to(sys.executable)
    server = subprocess.Popen([script, "-c", "import time; time.sleep(1000)", folder / "raw"])
    try:
        assert cleanup.stale(home) == []
        server.kill()
        server.wait()
        assert words(cleanup.stale(home)) == [("folder of a dead run", "imagecheck-disk-old")]
    finally:
        server.kill()
        server.wait()


# ---- imagecheck gc


def test_gc_tells_of_clouds_and_of_this_host(home):
    folder = work(home)
    assert paths.home() == home
    assert collect_garbage(dry_run=True) == Collected(0, [f"work folder {folder}"])
    assert collect_garbage() == Collected(gone=1)
    assert collect_garbage() == Collected()


def test_gc_goes_on_where_one_thing_cannot_go(home, monkeypatch):
    stuck, other = work(home, ".work-a"), work(home, ".work-b")
    real = cleanup.sweep

    def sweep(folder):
        if folder == stuck:
            raise OSError(16, "Device or resource busy")
        real(folder)

    monkeypatch.setattr(cleanup, "sweep", sweep)
    left = [f"work folder {stuck}: [Errno 16] Device or resource busy"]
    assert collect_garbage() == Collected(gone=1, left=left)
    assert not other.exists()
