"""The build without building: phases from output, failures as sentences, host packages, nothing left behind."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagecheck import build, hostcmd, mirror, occupied, schema
from imagecheck.build import cleanup, dib, elements, host, layers, output
from imagecheck.errors import StepFailed, UsageError

pytest_plugins = ["build_fixtures"]
pytestmark = pytest.mark.usefixtures("build_home")


class Clock:
    now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


# ---- output


def feed(*lines):
    seen = output.Progress(clock=Clock())
    changes = [seen.line(line) for line in lines]
    seen.end()
    return seen, changes


def test_phases_and_hooks_are_found_in_the_output_and_timed():
    seen, changes = feed(
        "dib-run-parts Running /x/hooks/root.d/08-debootstrap",
        "I: success in 11 seconds",
        "dib-run-parts 08-debootstrap completed",
        "dib-run-parts Running /tmp/in_target.d/install.d/01-package-installs",
        "dib-run-parts 01-package-installs completed",
        "Calculating image size (this may take a minute)...",
        "Converting image using qemu-img convert",
    )
    assert list(seen.phases) == ["root", "install", "block-device", "convert"]
    assert seen.hooks == {"root.d/08-debootstrap": 1.0, "install.d/01-package-installs": 1.0}
    assert changes == [True, False, False, True, False, True, True]
    assert seen.place == "convert"


def test_profiling_tables_are_not_evidence():
    seen, _ = feed(
        "dib-run-parts Running /x/install.d/50-hook",
        "something broke",
        "dib-run-parts ----------------------- PROFILING -----------------------",
        "dib-run-parts Target: install.d",
        "dib-run-parts 50-hook 3.836",
        "Unmount /x/mnt/proc",
        "INFO diskimage_builder.block_device.blockdevice [-] State already cleaned",
    )
    assert seen.place == "install.d/50-hook"
    assert seen.tail == ["something broke"]


def test_every_phase_of_diskimage_builder_has_a_title():
    script = (Path(elements.dib_elements()).parent / "lib" / "disk-image-create").read_text()
    for word in ("extra-data", "pre-install", "install", "post-install", "post-root", "pre-finalise", "finalise"):
        assert f" {word}\n" in script  # still a phase of the DIB in use
        assert word in output.PHASES


# ---- running it, with a stand-in for disk-image-create


def test_a_system_without_a_known_archive_is_not_built_and_says_so(known, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("IMAGECHECK_UBUNTU_MIRROR", raising=False)
    monkeypatch.setattr(mirror, "_of_host", dict)
    ubuntu = dataclasses.replace(known, os="ubuntu", release="noble")
    with pytest.raises(StepFailed, match=r"not built here: no Ubuntu archive is known .*IMAGECHECK_UBUNTU_MIRROR"):
        build.build(ubuntu)


def test_a_failed_build_names_phase_hook_lines_and_remedy_and_leaves_nothing(fake, known, build_home):
    fake("""
    echo 'dib-run-parts Running /x/install.d/01-package-installs'
    echo 'E: Unable to locate package trove-guestagnet'
    echo 'Unmount /x/mnt/proc'
    exit 1
    """)
    with pytest.raises(StepFailed) as failed:
        build.build(known)
    assert failed.value.sentence == (
        "diskimage-builder failed in install.d/01-package-installs: the suite has no package trove-guestagnet"
    )
    assert failed.value.seen == "E: Unable to locate package trove-guestagnet"
    assert "package-installs.yaml" in failed.value.remedy
    left = {path.name for path in (build_home / "images").iterdir()}
    assert left == {"cache", ".lock", "mariadb-debian.log"}


def test_a_build_without_an_image_is_a_failure(fake, known):
    fake("true")
    with pytest.raises(StepFailed, match=r"left no image\.tar"):
        build.build(known)


def test_ctrl_c_ends_the_build_and_what_it_started(fake, known, build_home, monkeypatch):
    fake("sleep 1000 & echo $! > $IMAGECHECK_HOME/child-$2; echo 'dib-run-parts Running /x/install.d/1'; wait")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(output.Progress, "line", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build.build(known)
    for note in build_home.glob("child-*"):
        child = int(note.read_text())
        assert not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"
    assert (build_home / "child-tar").exists()
    assert not list((build_home / "images").glob(".work-*"))


def test_the_leftovers_of_a_killed_build_are_removed_by_the_next(fake, known, build_home):
    stale = build_home / "images" / ".work-dead"
    stale.mkdir(parents=True)
    (stale / "half-an-image").write_text("x")
    sleeper = subprocess.Popen(["sleep", "1000"], cwd=stale)
    fake("exit 1")
    with pytest.raises(StepFailed):
        build.build(known)
    assert not stale.exists()
    assert sleeper.wait(timeout=5) == -9


def test_secrets_do_not_reach_the_log(fake, known, build_home):
    fake("echo 'transport_url = rabbit://trove:hunter22@broker'; exit 1")
    with pytest.raises(StepFailed) as failed:
        build.build(known)
    assert "hunter22" not in (build_home / "images" / "mariadb-debian.log").read_text()
    assert "hunter22" not in str(failed.value)


# ---- environment


def test_the_definition_has_the_last_word_where_it_may(known, tmp_path):
    layer = layers.layers(known)[-1]
    env = dib.environment(known, layer, tmp_path, tmp_path / "cache", tmp_path / "guest.tar")
    assert env["DIB_GUEST_LAYER"] == str(tmp_path / "guest.tar")
    assert env["DIB_BOOTLOADER_DEFAULT_CMDLINE"] == known.environment["DIB_BOOTLOADER_DEFAULT_CMDLINE"]
    assert env["DIB_RELEASE"] == "trixie"
    assert env["DIB_GUEST_LOGIN"] == known.login
    assert env["PATH"].split(":")[0] == str(tmp_path / "bin")
    assert set(schema.RESERVED) - set(env) == {"ARCH", "DIB_CONTAINER_REFERENCE", "DIB_CONTAINER_ARCHIVE"}


@pytest.mark.parametrize(("there", "names"), [(True, ["sudo"]), (False, ["dmsetup", "kpartx", "sudo"])])
def test_stand_ins_for_the_device_mapper_are_only_where_there_is_none(tmp_path, monkeypatch, there, names):
    monkeypatch.setattr(host, "has_device_mapper", lambda: there)
    dib._private_programs(tmp_path / "bin")
    assert sorted(file.name for file in (tmp_path / "bin").iterdir()) == names
    assert all(os.access(file, os.X_OK) for file in (tmp_path / "bin").iterdir())


def test_a_node_of_the_device_mapper_without_a_driver_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "DEVICE_MAPPER", tmp_path / "control")
    assert not host.has_device_mapper()


def test_the_private_sudo_runs_the_command_with_its_variables_and_path():
    sudo = dib.SHIMS / "sudo"
    done = subprocess.run(
        ["/bin/sh", sudo, "-E", "A=1", "sh", "-c", 'echo "$A $PATH"'],
        env={"PATH": "/private:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1 /private:/usr/bin:/bin\n"


# ---- host


def test_missing_host_packages_are_named_with_what_they_are_for(monkeypatch):
    monkeypatch.setattr(hostcmd, "which", lambda program: None if program == "mmdebstrap" else f"/usr/bin/{program}")
    assert list(host.missing_host_packages()) == ["mmdebstrap"]
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(UsageError, match=r"mmdebstrap \(makes the guest's .*apt-get install .*mmdebstrap.*--yes"):
        host.ensure()


def test_with_yes_missing_packages_are_installed_once(monkeypatch):
    asked = []
    monkeypatch.setattr(hostcmd, "which", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def run(argv, **_):
        asked.append(argv)
        return hostcmd.Completed("", "", 0)

    monkeypatch.setattr(hostcmd, "run", run)
    host.ensure(yes=True)
    assert len(asked) == 1
    assert asked[0][:3] == ["apt-get", "install", "--no-install-recommends"]
    assert "qemu-utils" in asked[0]


def test_nobody_but_root_builds(known, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="needs root"):
        build.build(known)


# ---- cleanup

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@root_only
def test_mounts_and_loop_devices_below_the_work_folder_are_undone(tmp_path):
    work = tmp_path / "work"
    (work / "mnt").mkdir(parents=True)
    disk = work / "disk"
    disk.write_bytes(bytes(1 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work / "mnt"], check=True)
    (work / "mnt" / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work / "mnt" / "inner"], check=True)
    device = subprocess.run(
        ["losetup", "-f", "--show", disk], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert cleanup.loops(work) == [device]
    cleanup.sweep(work)
    assert not work.exists()
    assert occupied.mounts(work) == []
    assert cleanup.loops(work) == []


@root_only
def test_what_is_bound_into_the_work_folder_survives_its_removal(tmp_path):
    precious, work = tmp_path / "precious", tmp_path / "work"
    precious.mkdir()
    (precious / "file").write_text("keep")
    (work / "mnt").mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, work / "mnt"], check=True)
    cleanup.sweep(work)
    assert (precious / "file").read_text() == "keep"
    assert not work.exists()


def test_networkx_is_loaded_only_when_a_graph_is_made():
    asked = (
        "import sys, networkx as nx; before = 'networkx.classes' in sys.modules; graph = nx.DiGraph([(1, 2)]);"
        "print(before, list(nx.topological_sort(graph)), 'networkx.classes' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "PYTHONPATH": str(dib.SHIMS / "python")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False [1, 2] True\n"
