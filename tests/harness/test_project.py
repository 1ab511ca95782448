"""The project itself: its shape, its rules, and that what it promises on paper is what it does."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "imagecheck").rglob("*.py"))
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs a checkout")


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def tracked() -> tuple[Path, ...]:
    """The files that git knows or would take."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout")
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return tuple(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())


def name_of(file: Path) -> str:
    """imagecheck/cloud/nova.py -> cloud/nova.py"""
    return file.relative_to(ROOT / "imagecheck").as_posix()


def imports_of(file: Path) -> set[str]:
    """imagecheck's own modules that ``file`` imports anywhere, as `name_of` calls them."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if _module(whole) else node.module)
    return {name for name in map(_module, found) if name} - {name_of(file), "__init__.py"}


def _module(dotted: str) -> str:
    if not dotted.startswith("imagecheck."):
        return ""
    path = ROOT / dotted.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.exists():
            return name_of(file)
    return ""


# ---- rules for every module


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(file):
    assert ast.get_docstring(tree(file)), f"{name_of(file)} has no docstring"


def test_files_stay_short():
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in tracked()
        if file.suffix == ".py"
    }
    for name, length in lengths.items():
        if 400 < length <= 450:
            warnings.warn(f"{name} has {length} lines: about to be two files", stacklevel=1)
    assert not {name: length for name, length in lengths.items() if length > 450}


def test_only_the_plugin_knows_pytest():
    knowing = {
        name_of(file)
        for file in MODULES
        for node in ast.walk(tree(file))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] in PYTEST for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PYTEST)
    }
    assert knowing <= {"plugin.py", "fixtures.py"}


PYTEST = {"pytest", "_pytest", "xdist"}


def test_nothing_but_waits_sleeps():
    sleeping = {
        name_of(file)
        for file in MODULES
        for node in ast.walk(tree(file))
        if (isinstance(node, ast.Attribute) and node.attr == "sleep")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "sleep" for alias in node.names))
    }
    assert sleeping <= {"waits.py"}


def test_plumbing_asserts_nothing_but_types():
    def narrows(node: ast.expr) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id in ("isinstance", "callable")
        return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.IsNot)

    judging = [
        f"{name_of(file)}:{node.lineno}"
        for file in MODULES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]
    assert judging == []


# ---- arrows point downwards


@functools.cache
def layers() -> dict[str, int]:
    """Module or package -> row in the picture of docs/architecture.md, the top being 0."""
    picture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    rows: dict[str, int] = {}
    for number, line in enumerate(picture.strip().splitlines()):
        for word in line.split():
            if not re.fullmatch(r"[\w/]+(\.py|/)", word):
                break  # the rest of the line explains
            rows[word] = number
    return rows


def layer_of(name: str) -> int:
    """The row of the longest entry that ``name`` lies in."""
    rows = layers()
    fitting = [entry for entry in rows if name == entry or (entry.endswith("/") and name.startswith(entry))]
    assert fitting, f"{name} is in no row of the picture in docs/architecture.md"
    return rows[max(fitting, key=len)]


@pytest.mark.parametrize("file", [file for file in MODULES if name_of(file) != "__init__.py"], ids=name_of)
def test_a_module_knows_only_what_lies_below_it(file):
    name = name_of(file)
    upwards = {other for other in imports_of(file) if layer_of(other) < layer_of(name)}
    assert not upwards


def test_there_are_no_circles():
    graph = {name_of(file): imports_of(file) for file in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


# ---- nothing of this machine


def own_hosts() -> set[str]:
    """The hosts that this machine gets its packages from, as its own configuration names them."""
    texts = [value for key, value in os.environ.items() if re.search(r"(?i)pip_|uv_|index|proxy|mirror", key)]
    files = [*Path("/etc/apt").rglob("*.list"), *Path("/etc/apt").rglob("*.sources"), *Path("/etc/apt").rglob("*.conf")]
    files += [Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"]
    for file in files:
        if file.is_file() and os.access(file, os.R_OK):
            texts += [
                line for line in file.read_text(errors="replace").splitlines() if not line.lstrip().startswith("#")
            ]
    found = re.findall(r"\b[a-z][a-z0-9+.-]*://[^\s\"'\]]+", "\n".join(texts))
    hosts = {urlsplit(url).hostname or "" for url in found}
    return {host for host in hosts if "." in host and not re.fullmatch(r"[\d.]+", host)}


def test_no_file_names_where_this_machine_gets_its_packages():
    hosts = own_hosts()
    naming = [
        (file.relative_to(ROOT).as_posix(), host)
        for file in tracked()
        for host in hosts
        if host in file.read_text(encoding="utf-8", errors="replace")
    ]
    assert naming == []


def test_no_file_names_the_folder_of_this_checkout():
    if len(ROOT.parts) < 3:
        pytest.skip("the checkout's path is too short to tell from ordinary text")
    naming = [file for file in tracked() if re.search(re.escape(str(ROOT)) + r"\b", file.read_text(errors="replace"))]
    assert naming == []


# ---- dependencies


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def plain(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", requirement)[0]).lower()


def pins() -> dict[str, int]:
    """Package -> number of hashes in constraints.txt."""
    found: dict[str, int] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9_.-]+)==\S+", line):
            name = plain(match[1])
            found[name] = 0
        elif "--hash=sha256:" in line:
            found[name] += 1
    return found


def test_every_dependency_is_pinned_with_hashes():
    table = project()["project"]
    wanted = [*table["dependencies"], *table["optional-dependencies"]["dev"]]
    pinned = pins()
    assert {plain(requirement) for requirement in wanted} <= set(pinned)
    assert all(pinned.values())


def test_the_constraints_name_no_host():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(?m)^\s*--(?!hash=)", text)


def test_every_dependency_says_why_on_its_line():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project()["project"]
    for requirement in [*table["dependencies"], *table["optional-dependencies"]["dev"]]:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f'"{requirement}"')]
        assert re.search(r"# .*\w.{8,}", line), f"{requirement}: why this one?"


def third_party() -> set[str]:
    found = set()
    for file in MODULES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    # pytest-xdist is only looked at when the user has it.
    return found - set(sys.stdlib_module_names) - {"imagecheck", "_pytest", "xdist"}


def test_what_is_imported_is_declared():
    packages = {
        "openstack": "openstacksdk", "troveclient": "python-troveclient", "yaml": "pyyaml", "testinfra":
        "pytest-testinfra", "diskimage_builder": "diskimage-builder", "cyclonedx": "cyclonedx-python-lib",
        "packageurl": "packageurl-python",
    }  # fmt: skip
    declared = {plain(requirement) for requirement in project()["project"]["dependencies"]}
    assert {packages.get(name, plain(name)) for name in third_party()} <= declared


# ---- what is promised to a newcomer and to CI


def test_ci_calls_the_readmes_test_command_and_nothing_else():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "./dev pytest --image mariadb-debian" in readme
    assert "./dev tox" in readme
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec ./dev tox"]


def test_what_a_newcomer_runs_can_be_run():
    for name in ("dev", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK)
        subprocess.run(["sh", "-n", ROOT / name], check=True)


def test_dev_without_a_command_says_how_it_is_used():
    done = subprocess.run([ROOT / "dev"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ./dev COMMAND")


@pytest.mark.skipif(not (ROOT / ".venv/made-at").exists(), reason="needs the .venv of ./dev")
def test_what_dev_starts_compiles_once():
    """Containers switch byte code off, and the packages of .venv come without: each start would compile them all."""
    asked = [ROOT / "dev", "python", "-c", "import sys; print(sys.dont_write_bytecode)"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run(asked, capture_output=True, text=True, check=True, env=environment).stdout == "False\n"


def test_a_wheel_carries_definitions_elements_and_checks(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    shipped = "imagecheck/_shipped"
    assert f"{shipped}/images/mariadb-debian.toml" in names
    assert f"{shipped}/suite/test_boot.py" in names
    for file in (ROOT / "elements").rglob("*"):
        # What .gitignore leaves out is not shipped either.
        if file.is_file() and file in tracked():
            packed = f"{shipped}/elements/{file.relative_to(ROOT / 'elements').as_posix()}"
            assert packed in names
            assert bool(modes[packed] & 0o100) == os.access(file, os.X_OK), "a hook that is not executable does not run"
    assert not any(name.startswith(("tests/", "images/", "elements/")) for name in names)
    assert "imagecheck = imagecheck.plugin" in points
    assert "imagecheck = imagecheck.cli:main" in points


def test_the_plugin_is_loaded_once(pytestconfig):
    loaded = [
        name for name, plugin in pytestconfig.pluginmanager.list_name_plugin()
        if getattr(plugin, "__name__", "") == "imagecheck.plugin"
    ]  # fmt: skip
    assert len(loaded) == 1
