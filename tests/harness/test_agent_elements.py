"""The guest agent's element and Ubuntu's, without building: what they install, in what order, and what they refuse."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagecheck import paths
from imagecheck.build import elements

OURS = paths.shipped("elements")
AGENT = OURS / "trove-guest-agent"
DEBIAN = ("debian-minimal", "guest-lean", "debian-cloud-kernel")
UBUNTU = ("ubuntu-minimal", "guest-lean", "ubuntu-cloud-kernel")
GUEST = ("cloud-init-configdrive", "docker-debian", "trove-guest-agent")
DISK = ("vm", "block-device-mbr", "guest-fast-boot", "trove-guest-agent-entry-points")


def resolve(*names):
    return elements.resolve(names, elements.search_path(), "test.toml")


def packages(tmp_path, found, **env):
    """What diskimage-builder itself makes of the elements' package-installs.yaml: phase -> packages."""
    program = elements.dib_elements() / "package-installs/bin/package-installs-squash"
    folders = ":".join(map(str, elements.search_path()))
    out = tmp_path / "squashed.json"
    env = {"ARCH": "amd64", "DISTRO_NAME": "ubuntu" if "ubuntu-minimal" in found else "debian", **env}
    subprocess.run(
        [sys.executable, program, "--elements", " ".join(found), "--path", folders, out],
        env={**os.environ, **env}, check=True, capture_output=True,
    )  # fmt: skip
    return {package for phase in json.loads(out.read_text()).values() for package, _ in phase.get("install", [])}


@pytest.mark.parametrize("kind", ["package", "pypi", "source"])
def test_agent_comes_from_the_distribution_only_when_it_shall(tmp_path, kind):
    found = packages(tmp_path, resolve(*DEBIAN, *GUEST), DIB_INSTALLTYPE_trove_guest_agent=kind)
    assert ("trove-guestagent" in found) == (kind == "package")
    assert {"python3", "docker.io", "iptables"} <= found


def test_agent_has_one_hook_for_each_way_to_install_it():
    kinds = {folder.name for folder in (AGENT / "install.d").iterdir() if folder.is_dir()}
    assert kinds == {f"trove-guest-agent-{kind}-install" for kind in ("package", "pypi", "source")}
    for kind in kinds:
        (hook,) = (AGENT / "install.d" / kind).iterdir()
        assert hook.name.startswith("55-")  # before 60-trove-guest-agent, which finds what it has left
        assert os.access(hook, os.X_OK)


def test_agent_is_fetched_after_the_source_and_refused_before_it():
    order = [hook.split(" ")[0] for hook in elements.hooks(resolve(*DEBIAN, *GUEST), "extra-data.d")]
    refuses, source, wheels = map(
        order.index, ("05-trove-guest-agent-pinned", "98-source-repositories", "99-trove-guest-agent-wheels")
    )
    assert refuses < source < wheels
    # DIB's package map is replaced after it was copied: no guest needs source-repositories' git.
    assert order.index("10-create-pkg-map-dir") < order.index("15-trove-guest-agent-no-git")


def test_entry_points_are_read_last_and_bring_no_agent_along():
    found = resolve("debian-minimal", *DISK)
    assert "trove-guest-agent" not in found
    order = [hook.split(" ")[0] for hook in elements.hooks(found, "finalise.d")]
    assert order.index("50-bootloader") < order.index("95-trove-guest-agent-entry-points")


def pinned(tmp_path, **env):
    """The hook that judges the inputs, run as on a host."""
    (tmp_path / "constraints-2025.1.txt").touch()
    defaults = (AGENT / "environment.d/10-trove-guest-agent.bash").read_text()
    hook = AGENT / "extra-data.d/05-trove-guest-agent-pinned"
    return subprocess.run(
        ["bash", "-c", f"set -eu\n{defaults}\nexec bash {hook}"],
        env={"PATH": os.environ["PATH"], "TMP_HOOKS_PATH": str(tmp_path), **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


SOURCE = {"DIB_INSTALLTYPE_trove_guest_agent": "source", "DIB_REPOLOCATION_trove_guest_agent": "/repo"}
PYPI = {"DIB_INSTALLTYPE_trove_guest_agent": "pypi"}


@pytest.mark.parametrize(
    "env",
    [
        {},
        PYPI,
        {**PYPI, "DIB_TROVE_VERSION": "24.0.0.0rc1"},
        {**SOURCE, "DIB_REPOREF_trove_guest_agent": "23.0.0"},
        {**SOURCE, "DIB_REPOREF_trove_guest_agent": "stable/2025.1"},
        {**SOURCE, "DIB_REPOREF_trove_guest_agent": "4cdc0cda"},
    ],
)
def test_agent_takes_what_names_a_release(tmp_path, env):
    assert pinned(tmp_path, **env).returncode == 0


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (SOURCE, "DIB_REPOREF_trove_guest_agent is '', a moving target: give a tag"),
        ({**SOURCE, "DIB_REPOREF_trove_guest_agent": "master"}, "'master', a moving target"),
        ({**SOURCE, "DIB_REPOREF_trove_guest_agent": "*"}, "a moving target"),
        ({**SOURCE, "DIB_REPOLOCATION_trove_guest_agent": ""}, "DIB_REPOLOCATION_trove_guest_agent is not set: give"),
        ({**PYPI, "DIB_TROVE_VERSION": ">=23"}, "DIB_TROVE_VERSION is '>=23': give one release"),
        ({**PYPI, "DIB_TROVE_CONSTRAINTS": "gone.txt"}, "DIB_TROVE_CONSTRAINTS is 'gone.txt': no such file"),
        ({"DIB_INSTALLTYPE_trove_guest_agent": "pip"}, "is 'pip': package, pypi or source"),
    ],
)
def test_agent_refuses_what_moves_or_is_not_there_in_one_sentence(tmp_path, env, sentence):
    done = pinned(tmp_path, **env)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.startswith("ERROR: trove-guest-agent: ")


def test_constraints_pin_everything_and_name_no_host():
    lines = [line for line in (AGENT / "constraints-2025.1.txt").read_text().splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line) for line in lines)
    names = [line.partition("==")[0] for line in lines]
    assert len(names) == len(set(names)) > 100
    assert {"pip", "eventlet", "oslo-messaging", "docker", "legacy-cgi"} <= set(names)
    assert "trove" not in names  # a commit has a release of its own


def test_ubuntu_resolves_to_one_system_with_one_kernel(tmp_path):
    found = resolve(*UBUNTU, *GUEST, *DISK)
    assert not [name for name in found if name.startswith("debian-")]
    text = "\n".join(
        file.read_text()
        for file in sorted(
            (file for name in found for file in (found[name] / "environment.d").glob("*.bash")),
            key=lambda file: file.name,
        )
        if "kernel" in file.name
    )
    said = subprocess.run(
        ["bash", "-c", f"set -eu\n{text}\necho $DIB_UBUNTU_KERNEL"], capture_output=True, text=True, check=True
    )
    kernel = said.stdout.strip()
    assert kernel == "linux-image-virtual"
    wanted = packages(
        tmp_path, found, DIB_UBUNTU_KERNEL=kernel, DIB_RELEASE="noble", DIB_INSTALLTYPE_trove_guest_agent="pypi"
    )
    assert {name for name in wanted if name.startswith("linux-")} == {"linux-image-virtual"}
    assert {"cloud-init", "docker.io", "openssh-server", "systemd-resolved", "initramfs-tools", "grub-pc"} <= wanted
    assert "trove-guestagent" not in wanted
    assert Path(found["ubuntu-minimal"]).is_relative_to(elements.dib_elements())
