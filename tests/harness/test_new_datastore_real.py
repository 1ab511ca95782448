"""docs/adding-a-datastore.md followed to the letter: root, a Debian archive, two minutes."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = runpy.run_path(str(Path(__file__).with_name("test_new_datastore.py")))
PAGE, page, commands = HERE["PAGE"], HERE["page"], HERE["commands"]
SEARCH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWORD = "correct horse"  # with a blank, as a tenant's may be
pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root"),
    pytest.mark.skipif(not PAGE.is_file(), reason="needs a checkout"),
]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder in which the page was followed from top to bottom, and what each command said."""
    folder = tmp_path_factory.mktemp("followed")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = {}
    for block in page(PAGE.read_text(encoding="utf-8")):
        if block.shown:
            assert (folder / block.path).read_text() == block.text
        elif block.path:
            assert (folder / block.path).is_file(), f"the page changes {block.path} before it is there"
            (folder / block.path).write_text(block.text)
        elif block.language == "sh":
            done = subprocess.run(
                ["sh", "-eu"], input=block.text, cwd=folder, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.text}{done.stdout[-3000:]}{done.stderr[-3000:]}"
            said[block.text.strip()] = done.stdout
    return folder, said


def test_following_the_page_gives_an_image_whose_disk_checks_pass(followed):
    _, said = followed
    image = Path(said["imagecheck build images/valkey-debian.toml"].split()[-1])
    assert image.is_file()
    shipped = said["pytest --image images/valkey-debian.toml --stage disk"]
    assert "test_disk.py" in shipped
    assert "skipped" not in shipped, "a disk check that does not look at the image proves nothing"
    own = said["pytest --image images/valkey-debian.toml --stage disk checks/"]
    assert "2 passed, 1 deselected" in own


def test_an_unchanged_datastore_is_not_built_again(followed):
    folder, said = followed
    command = "imagecheck build images/valkey-debian.toml"
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    again = subprocess.run(["sh", "-euc", command], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert again.stdout == said[command]
    assert "unchanged" in again.stderr


def test_the_pages_container_serves_as_trove_starts_it(followed, tmp_path):
    root = container(tmp_path)
    os.chown(root / "var/lib/valkey", 1001, 1001)
    with server(root, user="1001:1001", secret=PASSWORD):
        assert ask(root, "PING").startswith("NOAUTH")
        assert ask(root, "SET", "word", "kept", secret=PASSWORD) == "OK"
    with server(root, user="1001:1001", secret="another"):  # only the first start sets it
        assert ask(root, "GET", "word", secret=PASSWORD) == "kept"
    assert all(file.stat().st_uid == 1001 for file in (root / "var/lib/valkey").rglob("*"))


def test_the_pages_container_serves_as_any_uid_and_as_root(followed, tmp_path):
    root = container(tmp_path)
    with server(root, user="4711:4711"):
        assert ask(root, "PING") == "PONG"
    for file in sorted((root / "var/lib/valkey").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with server(root, user="0:0", secret=PASSWORD):
        assert ask(root, "PING", secret=PASSWORD) == "PONG"
    assert (root / "var/lib/valkey/users.acl").stat().st_uid == 1001
    assert (root / "var/lib/valkey/users.acl").stat().st_mode & 0o077 == 0


# ---- the container without Docker: its files in a folder, its entry point in a chroot


def container(folder):
    """The files of the container that the build made, from its cache."""
    from imagecheck import paths

    made = (paths.home() / "images" / "cache").glob("container-valkey-*.tar")
    newest = max(made, key=lambda file: file.stat().st_mtime)
    root = folder / "root"
    root.mkdir()
    layer = folder / "layer.tar"
    with layer.open("wb") as out:
        subprocess.run(["tar", "-x", "-O", "-f", newest, "layer.tar"], stdout=out, check=True)
    subprocess.run(["tar", "-x", "-C", root, "-f", layer, "--exclude=./dev/*"], check=True)
    (root / "dev/null").touch(mode=0o666)
    return root


@contextlib.contextmanager
def server(root, *, user, secret=""):
    """The entry point under way, on a socket only; it has to end by SIGTERM, and well."""
    env = {"PATH": SEARCH, "LANG": "C.UTF-8", **({"VALKEY_PASSWORD": secret} if secret else {})}
    socket = root / "run/valkey/socket"
    socket.unlink(missing_ok=True)
    running = subprocess.Popen(
        ["chroot", f"--userspec={user}", "--groups=", root, "docker-entrypoint.sh", "--port", "0",
         "--unixsocket", "/run/valkey/socket"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while not socket.exists():
            assert running.poll() is None, running.stdout.read()
            assert time.monotonic() < end, "no socket after 30 s"
            time.sleep(0.05)
        yield
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0, running.stdout.read()
    finally:
        running.kill()
        running.stdout.close()


def ask(root, *words, secret=""):
    env = {"PATH": SEARCH, **({"REDISCLI_AUTH": secret} if secret else {})}
    done = subprocess.run(
        ["chroot", root, "valkey-cli", "-s", "/run/valkey/socket", *words],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()
