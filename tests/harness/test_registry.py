"""registry.py without a registry: names, archives, answers. The sandbox's own one is in test_registry_real.py."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import hostcmd, registry
from imagecheck.errors import ImagecheckError, StepFailed, UsageError

TAG = "mariadb:11.8"
CONFIG = b'{"architecture": "amd64", "os": "linux"}'
DIGEST = "sha256:" + hashlib.sha256(CONFIG).hexdigest()


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def saved(*images: tuple[str, bytes]) -> dict[str, bytes]:
    """The files of a docker-archive of (tag, configuration), layers left out."""
    listing = [{"Config": f"{n}.json", "RepoTags": [tag], "Layers": []} for n, (tag, _) in enumerate(images)]
    configs = {f"{n}.json": config for n, (_, config) in enumerate(images)}
    return configs | {"manifest.json": json.dumps(listing).encode()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "container.tar", saved((TAG, CONFIG)))


class Answers(http.server.BaseHTTPRequestHandler):
    """A registry that says what the test wants, and remembers what it was asked."""

    says: tuple[int, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.says[0])
        self.send_header("Content-Length", str(len(self.says[1])))
        self.send_header("Docker-Content-Digest", "sha256:own")
        self.end_headers()
        self.wfile.write(self.says[1])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def fake() -> Iterator[type[Answers]]:
    class Mine(Answers):
        asked = []  # noqa: RUF012 a class for each test
        says = (404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        where = ""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as server:
        Mine.where = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Mine
        server.shutdown()
        thread.join()


def manifest(digest: str) -> tuple[int, bytes]:
    return 200, json.dumps({"config": {"digest": digest}, "layers": [{"size": 40}, {"size": 2}]}).encode()


@pytest.mark.parametrize(
    ("tag", "path"),
    [
        ("mariadb:11.8", ("library/mariadb", "11.8")),
        ("mariadb", ("library/mariadb", "latest")),
        ("docker.io/mariadb:11", ("library/mariadb", "11")),
        ("docker.io/library/mariadb:11", ("library/mariadb", "11")),
        ("openstacktrove/db-backup-mysql:8.0", ("openstacktrove/db-backup-mysql", "8.0")),
    ],
)
def test_an_image_is_published_under_the_path_that_a_mirror_is_asked_for(tag: str, path: tuple[str, str]) -> None:
    assert registry.path_of(tag) == path


@pytest.mark.parametrize("tag", ["quay.io/a/b:1", "localhost/a:1", "10.0.0.1:5000/a:1"])
def test_an_image_of_another_registry_is_refused_because_no_mirror_is_asked_for_it(tag: str) -> None:
    with pytest.raises(UsageError, match="only for Docker Hub's images"):
        registry.path_of(tag)


@pytest.mark.parametrize(
    "tag", ["", ":", "mariadb:", "MariaDB:11", "a b:1", "a@sha256:00", "x/..:1", "a//b:1", "a:1\n"]
)
def test_what_is_no_tag_is_one_sentence(tag: str) -> None:
    with pytest.raises(UsageError, match="such as mariadb:11.8"):
        registry.path_of(tag)


@given(st.text(max_size=30))
def test_any_text_is_a_safe_path_or_a_sentence(text: str) -> None:
    try:
        repository, version = registry.path_of(text)
    except UsageError:
        return
    assert "/" in repository
    assert not {"..", ".", ""} & {*repository.split("/"), version}
    assert not set("?#% \\") & set(repository + version)


def test_what_is_there_is_told_by_the_digest_of_its_configuration(fake: type[Answers]) -> None:
    fake.says = manifest(DIGEST)
    assert registry.present(fake.where, TAG) == DIGEST
    assert fake.asked == ["/v2/library/mariadb/manifests/11.8"]


def test_a_list_of_images_is_told_by_its_own_digest(fake: type[Answers]) -> None:
    fake.says = (200, b'{"manifests": []}')
    assert registry.present(fake.where, TAG) == "sha256:own"


def test_what_is_not_there_is_empty(fake: type[Answers]) -> None:
    assert registry.present(fake.where, TAG) == ""


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ((404, b"<html>no such page</html>"), "HTTP 404"),
        ((500, b"disk full"), "HTTP 500: disk full"),
        ((200, b"<html>"), "Expecting value"),
        ((200, b"[]"), "not a table"),
        ((200, b"7"), "not a table"),
        ((200, b'{"config": {}, "layers": []}'), "digest"),
    ],
)
def test_what_is_no_registry_is_named_with_what_it_said(
    fake: type[Answers], answer: tuple[int, bytes], seen: str
) -> None:
    fake.says = answer
    with pytest.raises(StepFailed, match=f"registry {fake.where} does not answer") as caught:
        registry.present(fake.where, TAG)
    assert seen in caught.value.seen


def test_a_registry_that_is_not_there_is_named_with_the_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StepFailed, match=where) as caught:
            registry.present(where, TAG)
    assert "refused" in caught.value.seen
    assert "'registry' in the site file" in caught.value.remedy


def test_an_environments_proxy_is_not_asked(fake: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert registry.present(fake.where, TAG) == ""


def test_an_image_that_is_there_already_is_not_pushed(
    fake: type[Answers], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.says = manifest(DIGEST)
    monkeypatch.setattr(hostcmd, "stream", None)
    done = registry.publish(archive, TAG, fake.where)
    assert done == registry.Published(f"{fake.where}/library/mariadb:11.8", DIGEST, 42, pushed=False)


@pytest.fixture
def skopeo(fake: type[Answers], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for the program: keeps its command, and the registry then has the archive's image."""
    commands: list[list[str]] = []

    def stream(argv: list[str], on_line: object, **_: object) -> int:
        commands.append(argv)
        fake.says = manifest(DIGEST)
        return 0

    monkeypatch.setattr(hostcmd, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(hostcmd, "stream", stream)
    return commands


def test_another_image_under_the_same_tag_is_replaced(
    fake: type[Answers], archive: Path, skopeo: list[list[str]]
) -> None:
    fake.says = manifest("sha256:older")
    assert registry.publish(archive, TAG, fake.where).pushed
    assert skopeo[0][-2:] == ["docker-archive:container.tar:@0", f"docker://{fake.where}/library/mariadb:11.8"]


def test_of_several_images_the_one_with_the_tag_is_pushed(
    fake: type[Answers], tmp_path: Path, skopeo: list[list[str]]
) -> None:
    several = write_archive(tmp_path / "several.tar", saved(("mysql:8.4", b"{}"), (TAG, CONFIG)))
    assert registry.publish(several, TAG, fake.where).pushed
    assert "docker-archive:several.tar:@1" in skopeo[0]
    with pytest.raises(UsageError, match="holds 2 images, and not one of them is postgres:17"):
        registry.publish(several, "postgres:17", fake.where)


def test_a_push_that_the_registry_does_not_show_is_a_failure(
    fake: type[Answers], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostcmd, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(hostcmd, "stream", lambda *_, **__: 0)
    with pytest.raises(StepFailed, match="was pushed, but the registry has another image") as caught:
        registry.publish(archive, TAG, fake.where)
    assert caught.value.seen == "nothing"


def test_without_skopeo_the_sentence_names_package_and_use(
    fake: type[Answers], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostcmd, "which", lambda program: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(UsageError, match=r"skopeo \(pushes .*apt-get install"):
        registry.publish(archive, TAG, fake.where)


BROKEN = {
    "empty": b"",
    "text": b"not a tar\n" * 100,
    "gzip cut off": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_archive_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "container.tar"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="holds no container image .*docker save") as caught:
        registry.publish(file, TAG, "127.0.0.1:9")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "members",
    [
        {"layer": b"x"},
        {"manifest.json": b"{"},
        {"manifest.json": b"[7]"},
        {"manifest.json": b'[{"Config": "gone.json"}]'},
        {"manifest.json": b'[{"RepoTags": []}]'},
    ],
)
def test_an_archive_of_something_else_is_one_sentence(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="holds no container image"):
        registry.publish(write_archive(tmp_path / "c.tar", members), TAG, "127.0.0.1:9")


def test_an_archive_that_is_missing_or_named_with_a_colon_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read .No such file"):
        registry.publish(tmp_path / "none.tar", TAG, "127.0.0.1:9")
    with pytest.raises(UsageError, match="no colon"):
        registry.publish(tmp_path / "a:b.tar", TAG, "127.0.0.1:9")


@given(st.binary(max_size=600))
def test_wild_bytes_are_refused_in_one_sentence(content: bytes) -> None:
    path = Path("/dev/shm") / "imagecheck-wild-archive.tar"
    try:
        path.write_bytes(content)
        with pytest.raises(ImagecheckError):
            registry.publish(path, TAG, "127.0.0.1:9")
    finally:
        path.unlink()
