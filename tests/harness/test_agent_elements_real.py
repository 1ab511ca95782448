"""The guest agent's element, run as diskimage-builder runs it, in a small Debian: minutes, root, an archive, PyPI."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagecheck import mirror
from imagecheck.build import elements, trees

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs mmdebstrap"),
]
USED = ("install-types", "source-repositories", "trove-guest", "trove-guest-agent", "trove-guest-agent-entry-points")
SDIST = "pypi:trove==23.0.0#sha256=055201a0e44c4ab871d748b4a6455653b0f6dbf4a3e23a7433384a62f15ea07b:trove"
LIB = Path(next(iter(find_spec("diskimage_builder").submodule_search_locations))) / "lib"
AGENT = "/usr/local/bin/trove-guestagent"


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    """A Debian with what debian-minimal puts before the hooks, packed, so that each test has its own."""
    packed = tmp_path_factory.mktemp("debian") / "root.tar"
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", "--include=python3,systemd,sudo,passwd", "trixie", packed, mirror.debian()],
        check=True, capture_output=True,
    )  # fmt: skip
    return packed


@pytest.fixture
def guest(debian, tmp_path):
    """A build: `hooks("extra-data")` on the host, `hooks("install")` inside, `run(...)` in the guest."""
    return Build(debian, tmp_path)


class Build:
    def __init__(self, debian, folder):
        # Named as diskimage-builder does: source-repositories makes a file name of what follows the dot.
        self.root, self.tree, self.env = folder / "dib_build.test" / "mnt", folder / "hooks", {}
        self.root.mkdir(parents=True)
        subprocess.run(["tar", "-C", self.root, "--exclude=./dev/*", "-xf", debian], check=True)
        for place in (next(p / name for p in elements.search_path() if (p / name).is_dir()) for name in USED):
            shutil.copytree(place, self.tree, dirs_exist_ok=True)
        shutil.copy(LIB / "dib-run-parts", self.tree)
        (self.root / "usr/share/pkg-map").mkdir()  # pkg-map's own hook makes it in a build
        programs = folder / "bin"
        programs.mkdir()
        shutil.copy(Path(trees.__file__).parent / "shims" / "sudo", programs)
        (programs / "sudo").chmod(0o755)
        self.outside = {
            **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TMP_MOUNT_PATH": str(self.root),
            "TMP_HOOKS_PATH": str(self.tree), "DIB_IMAGE_CACHE": str(folder / "cache"), "IMAGE_NAME": "image",
            "DIB_PYTHON_EXEC": sys.executable, "DIB_OFFLINE": "", "DIB_DEFAULT_INSTALLTYPE": "source",
            "DIB_MANIFEST_IMAGE_DIR": "root", "ARCH": "amd64",
        }  # fmt: skip

    def hooks(self, phase):
        if phase == "extra-data":
            return self._done([self.tree / "dib-run-parts", self.tree / "extra-data.d"], {**self.outside, **self.env})
        inside = self.root / "tmp/in_target.d"
        shutil.copytree(self.tree, inside, symlinks=True)
        try:
            return self.run("/tmp/in_target.d/dib-run-parts", f"/tmp/in_target.d/{phase}.d", **self.env)
        finally:
            shutil.rmtree(inside)

    def run(self, *command, **env):
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **env}
        return self._done(["chroot", self.root, *command], plain)

    @staticmethod
    def _done(command, env):
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def installed(guest):
    """Run all phases; what the agent in it says of itself."""
    for phase in ("extra-data", "install", "finalise"):
        done = guest.hooks(phase)
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    shebang = (guest.root / AGENT.lstrip("/")).read_text().splitlines()[0]
    assert shebang == "#!/opt/guest-agent-venv/bin/python3"
    imports = guest.run(shebang[2:], "-c", "import trove.cmd.guest, trove.rpc, docker, kombu, pymysql, psycopg2")
    assert imports.returncode == 0, imports.stderr
    venv = guest.root / "opt/guest-agent-venv"
    assert list(venv.glob("lib/python3*/site-packages/trove/cmd/__pycache__/guest.*.pyc")), "no bytecode"
    assert not list(venv.glob("lib/python3*/site-packages/pip"))
    assert not list(venv.rglob("*.key")), "a library's tests brought their keys"
    assert list((guest.root / "var/lib/trove/.cache/python-entrypoints").iterdir())
    assert (guest.root / "etc/systemd/system/multi-user.target.wants/trove-guestagent.service").is_symlink()
    says = guest.run(AGENT, "--version", PYTHONDONTWRITEBYTECODE="1")
    assert says.returncode == 0, says.stderr
    stamp = json.loads((guest.root / "etc/imagecheck/agent.json").read_text())
    assert says.stdout.strip() == stamp["release"].partition(".dev")[0]  # Trove leaves a commit's suffix out
    return stamp


def test_a_release_from_the_package_index_becomes_an_agent_that_starts(guest):
    guest.env = {"DIB_INSTALLTYPE_trove_guest_agent": "pypi"}
    assert installed(guest) == {"install": "pypi", "release": "23.0.0", "ref": "trove==23.0.0"}


def test_a_commit_of_a_repository_becomes_an_agent_that_knows_its_release(guest, tmp_path):
    repository = shutil.copytree(trees.fetch(trees.parse(SDIST, tmp_path), tmp_path / "trees").parent, tmp_path / "git")
    (repository / "PKG-INFO").unlink()  # only a source distribution has it

    def git(*words):
        who = ["-c", "user.name=x", "-c", "user.email=x@localhost", "-C", repository]
        return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "stable/2025.1")
    git("add", "-A")
    git("commit", "-q", "-m", "the release")
    git("tag", "-a", "-m", "23.0.0", "23.0.0")
    git("commit", "-q", "--allow-empty", "-m", "a fix")
    guest.env = {
        "DIB_INSTALLTYPE_trove_guest_agent": "source",
        "DIB_REPOLOCATION_trove_guest_agent": str(repository),
        "DIB_REPOREF_trove_guest_agent": "stable/2025.1",
    }
    stamp = installed(guest)
    assert stamp == {"install": "source", "release": stamp["release"], "ref": git("rev-parse", "HEAD")}
    assert stamp["release"].startswith("23.0.1.dev1")
    assert not (guest.root / "opt/trove-source").exists()


def test_a_release_that_the_guests_python_cannot_run_is_refused_outside(guest):
    """Row 13 of the known failures: an agent newer than the guest's Python."""
    guest.env = {"DIB_INSTALLTYPE_trove_guest_agent": "pypi", "DIB_TROVE_VERSION": "26.0.0"}
    python = guest.root / "usr/bin/python3"
    python.unlink()
    python.write_text("#!/bin/sh\necho 3.10.12 35 x86_64\n")
    python.chmod(0o755)
    done = guest.hooks("extra-data")
    assert done.returncode != 0
    assert "Requires-Python >=3.11" in done.stderr + done.stdout
