"""Images that are in Glance already: which one is meant, what is refused, and that its data is verified.

The server is a stand-in that speaks the few paths of Glance's API v2 that are used, because a real one cannot be made
to answer wrongly; the client below `Cloud` is keystoneauth's own. The real Glance is proven on the sandbox.
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1.adapter import Adapter
from keystoneauth1.noauth import NoAuth
from keystoneauth1.session import Session

from imagecheck import download as downloads
from imagecheck import hostcmd
from imagecheck.cloud import glance
from imagecheck.errors import StepFailed, UsageError

MIB = 1 << 20
CONTENT = bytes(510) + b"\x55\xaa" + hashlib.sha256(b"x").digest() * (MIB // 32)
needs_qemu = pytest.mark.skipif(hostcmd.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


def image(number=1, **changes):
    return {
        "id": f"00000000-0000-0000-0000-{number:012}", "name": "trove-mariadb", "status": "active", "tags": ["trove"],
        "disk_format": "raw", "container_format": "bare", "visibility": "public", "size": len(CONTENT),
        "created_at": f"2026-01-{number:02}T00:00:00Z", "checksum": hashlib.md5(CONTENT).hexdigest(),
        "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(CONTENT).hexdigest(), **changes,
    }  # fmt: skip


class Glance(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        where, known = urlsplit(self.path), self.server.known
        self.server.asked.append((where.path, self.headers.get("Range")))
        if self.server.statuses:
            return self._send(self.server.statuses.pop(0), b"")
        if where.path == "/images":
            query = {key: values[0] for key, values in parse_qs(where.query).items()}
            fitting = [one for one in known if query.get("name", one["name"]) == one["name"]]
            fitting = [one for one in fitting if query.get("tag", "") in ["", *one["tags"]]]
            after = [one["id"] for one in fitting].index(query["marker"]) + 1 if "marker" in query else 0
            page = fitting[after : after + min(int(query["limit"]), self.server.page)]
            more = {"next": "/images?more"} if after + len(page) < len(fitting) else {}
            return self._send(200, json.dumps({"images": page, **more}).encode())
        one = next((one for one in known if where.path.split("/")[2] == one["id"]), None)
        if one is None:
            return self._send(404, b"")
        if not where.path.endswith("/file"):
            return self._send(200, json.dumps(one).encode())
        content, start = self.server.content, 0
        if asked := self.headers.get("Range"):
            if not self.server.ranges:  # a store that cannot give a part
                return self._send(400, b"")
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        return self._send(206 if start else 200, content[start:], headers)

    def _send(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if len(body) > MIB // 2 and self.server.breaks:
            self.server.breaks -= 1
            self.close_connection = True
            body = body[: MIB // 2]
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Glance)
    server.known, server.content, server.asked, server.statuses = [image()], CONTENT, [], []
    server.ranges, server.breaks, server.page = True, 0, 200
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "INTERVAL", 0.02)
    monkeypatch.setattr(downloads, "PATIENCE", 0.5)
    monkeypatch.setattr(glance, "PATIENCE", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as one:
        yield one


@pytest.fixture
def cloud(server):
    url = f"http://127.0.0.1:{server.server_port}"
    return SimpleNamespace(admin=SimpleNamespace(image=Adapter(Session(auth=NoAuth()), endpoint_override=url)))


# ---- which one is meant


@pytest.mark.parametrize(
    "text", ["trove-mariadb", image()["id"], "tag:trove", "glance:trove-mariadb", " glance:tag:trove "]
)
def test_an_image_is_found_by_id_name_and_tag(cloud, text):
    found = glance.look_up(cloud, text)
    assert (found.id, found.format, found.size) == (image()["id"], "raw", len(CONTENT))
    assert (found.algorithm, found.digest) == ("sha512", hashlib.sha512(CONTENT).hexdigest())


def test_a_name_that_looks_like_an_id_is_found(cloud, server):
    server.known = [image(name=image(2)["id"])]
    assert glance.look_up(cloud, image(2)["id"]).id == image()["id"]


def test_several_images_of_a_name_are_named_with_ids_and_dates(cloud, server):
    server.known = [image(1), image(2), image(3, status="queued")]
    with pytest.raises(UsageError, match="means 2 images") as caught:
        glance.look_up(cloud, "trove-mariadb")
    for one in server.known[:2]:
        assert one["id"] in str(caught.value)
        assert one["created_at"] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_only_active_one_of_a_name_is_meant(cloud, server):
    server.known = [image(1, status="deactivated"), image(2), image(3, status="saving")]
    assert glance.look_up(cloud, "trove-mariadb").id == image(2)["id"]


def test_a_missing_name_is_told_with_similar_ones_from_every_page(cloud, server):
    server.page = 2
    server.known = [image(n, name=f"other{n}") for n in range(1, 8)] + [image(8, name="trove-postgresql")]
    with pytest.raises(UsageError, match="did you mean 'trove-postgresql'"):
        glance.look_up(cloud, "trove-postgres")


def test_a_missing_tag_is_told_with_similar_ones(cloud):
    with pytest.raises(UsageError, match="did you mean 'tag:trove'"):
        glance.look_up(cloud, "tag:trov")


def test_an_image_where_there_is_none_is_one_sentence(cloud, server):
    server.known = []
    with pytest.raises(UsageError, match="no such image that this login may see: see: openstack image list"):
        glance.look_up(cloud, "x")


@pytest.mark.parametrize("status", ["queued", "saving", "importing", "deactivated", "killed", "pending_delete"])
def test_an_image_that_is_not_active_is_refused(status):
    with pytest.raises(UsageError, match=f"is {status}, not active: "):
        glance.described(image(status=status))


@pytest.mark.parametrize("format_", ["vmdk", "iso", "ami", "vhdx", None])
def test_another_disk_format_is_named_and_refused(format_):
    with pytest.raises(UsageError, match=f"disk format {format_}, not qcow2 or raw"):
        glance.described(image(disk_format=format_))


@pytest.mark.parametrize("changes", [{"os_hash_algo": None, "os_hash_value": None}, {"os_hash_algo": "shake_128"}])
def test_without_a_hash_that_can_be_checked_the_checksum_counts(changes):
    assert glance.described(image(**changes)).algorithm == "md5"


@given(
    st.text(),
    st.lists(st.tuples(st.sampled_from(["active", "queued", "deactivated"]), st.text()), max_size=12),
    st.lists(st.text()),
)
def test_the_choice_is_one_image_or_one_sentence(text, images, names):
    known = [image(n, status=status, created_at=date) for n, (status, date) in enumerate(images)]
    active = [one for one in known if one["status"] == "active"]
    try:
        assert glance.choose(text, known, lambda: names) == (active or known)[0]
    except UsageError:
        assert len(active or known) != 1
    else:
        assert len(active or known) == 1


def test_a_busy_glance_is_asked_again_and_a_dead_one_is_told(cloud, server, monkeypatch):
    monkeypatch.setattr(glance, "PATIENCE", 10)
    server.statuses = [503]
    assert glance.look_up(cloud, "trove-mariadb")
    monkeypatch.setattr(glance, "PATIENCE", 0.2)
    server.statuses = [503] * 100
    with pytest.raises(StepFailed, match="seen last: .*503"):
        glance.look_up(cloud, "trove-mariadb")


# ---- its data


@needs_qemu
def test_an_image_is_downloaded_once_and_verified(cloud, server, tmp_path):
    found = glance.look_up(cloud, "trove-mariadb")
    first = glance.download(cloud, found, tmp_path, hashlib.sha256(CONTENT).hexdigest())
    assert first.path.read_bytes() == CONTENT
    assert first.path.is_relative_to(tmp_path / "by-digest" / found.digest)
    assert glance.download(cloud, found, tmp_path) == first
    assert [path for path, _ in server.asked].count(f"/images/{found.id}/file") == 1


@needs_qemu
@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_the_store_allows_it(cloud, server, tmp_path, ranges):
    server.breaks, server.ranges = 1, ranges
    file = glance.download(cloud, glance.look_up(cloud, "trove-mariadb"), tmp_path)
    assert file.path.read_bytes() == CONTENT
    parts = [part for path, part in server.asked if path.endswith("/file")]
    assert [part is None for part in parts] == ([True, False] if ranges else [True, False, True])


@needs_qemu
def test_data_that_is_not_what_glance_says_is_refused(cloud, server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(UsageError, match="has the sha512 .*, not "):
        glance.download(cloud, glance.look_up(cloud, "trove-mariadb"), tmp_path)


@needs_qemu
def test_another_digest_than_the_user_gives_is_refused(cloud, tmp_path):
    with pytest.raises(UsageError, match="has the sha256"):
        glance.download(cloud, glance.look_up(cloud, "trove-mariadb"), tmp_path, "0" * 64)


@needs_qemu
def test_a_wrong_disk_format_in_glance_is_told(cloud, server, tmp_path):
    server.known = [image(disk_format="qcow2")]
    with pytest.raises(UsageError, match="is raw inside, but Glance calls it qcow2"):
        glance.download(cloud, glance.look_up(cloud, "trove-mariadb"), tmp_path)


def test_an_image_without_any_digest_needs_one_from_the_user(cloud, server, tmp_path):
    server.known = [image(os_hash_algo=None, os_hash_value=None, checksum=None)]
    with pytest.raises(UsageError, match="has no digest in Glance"):
        glance.download(cloud, glance.look_up(cloud, "trove-mariadb"), tmp_path)


def test_a_digest_that_would_be_a_path_is_refused(cloud, server, tmp_path):
    server.known = [image(os_hash_value="../../x")]
    with pytest.raises(UsageError, match="is not a digest"):
        glance.download(cloud, glance.look_up(cloud, "trove-mariadb"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404])
def test_data_that_may_not_be_read_is_told_at_once(cloud, server, tmp_path, status):
    found = glance.look_up(cloud, "trove-mariadb")
    server.statuses = [status]
    with pytest.raises(UsageError, match=f"the server answered {status} "):
        glance.download(cloud, found, tmp_path)
