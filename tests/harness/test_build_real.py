"""Real builds: root, a Debian archive, minutes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagecheck import build, definition, disk, inside, occupied
from imagecheck.build import cleanup

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root"),
]

BUILD = "from imagecheck import build, definition; build.build(definition.load('mariadb-debian'), yes=True)"


def test_a_shipped_definition_gives_the_image_that_its_manifest_describes():
    known = definition.load("mariadb-debian")
    image = build.build(known, yes=True)
    again = time.monotonic()
    assert build.build(known) == image
    assert time.monotonic() - again < 1
    with disk.opened(image) as opened:
        assert known.datastore.container in inside.docker_images(opened.tree)
        installed = opened.host.run("dpkg-query -W -f '${binary:Package} ${Version}\n'").stdout.split("\n")
    versions = dict(line.replace(":amd64", "").split(" ") for line in installed if line)
    assert image.manifest["packages"] == versions
    assert sum(image.manifest["phases"].values()) == pytest.approx(image.manifest["seconds"], abs=15)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_build_that_is_ended_in_the_middle_leaves_nothing_behind(tmp_path, number):
    home = tmp_path / "home"
    env = {**os.environ, "IMAGECHECK_HOME": str(home)}
    # Python ignores SIGINT where its parent did (a shell's background job).
    ended = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler); {BUILD}"],
        env=env, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: any("/mnt" in mount for mount in occupied.mounts(home)))
        ended.send_signal(number)
        ended.wait(timeout=120)
    finally:
        ended.kill()
    if number == signal.SIGKILL:  # nobody was left to clean up
        assert list((home / "images").glob(".work-*"))
        done = subprocess.run(
            [Path(sys.executable).with_name("imagecheck"), "gc"], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "work folder" in done.stdout + done.stderr
    assert occupied.mounts(home) == []
    assert cleanup.loops(home) == []
    assert list((home / "images").glob(".work-*")) == []
    assert not list((home / "images").glob("mariadb-debian-*"))


def wait_for(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.2)
