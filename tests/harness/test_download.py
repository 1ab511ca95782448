"""Images from a URL. The server is a real one on loopback that misbehaves as it is told to."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imagecheck import download, fetch, hostcmd
from imagecheck.errors import StepFailed, UsageError
from imagecheck.fetch import parse

MIB = 1 << 20
SUM = "0" * 64
pytestmark = pytest.mark.skipif(hostcmd.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


def raw_image(size=2 * MIB, seed=b"x"):
    return bytes(510) + b"\x55\xaa" + (hashlib.sha256(seed).digest() * (size // 32))[: size - 512]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Site:
    """What the server has and how it behaves; ``asked`` is every request as (path, its Range)."""

    def __init__(self):
        self.content = raw_image()
        self.tag = '"one"'
        self.ranges = True  # may parts be asked for?
        self.drop_after = []  # bytes after which the next answers break off
        self.statuses = []  # what the next requests get instead
        self.redirects = {}
        self.headers = {}
        self.pause = 0.0  # seconds between two pieces
        self.before = lambda: None
        self.asked = []
        self.logins = []
        self.url = ""

    def empty(self, handler, status, location=""):
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        if location:
            handler.send_header("Location", location)
        handler.end_headers()

    def answer(self, handler):
        self.asked.append((handler.path, handler.headers.get("Range")))
        self.logins.append(handler.headers.get("Authorization"))
        self.before()
        if handler.path in self.redirects:
            return self.empty(handler, 302, self.redirects[handler.path])
        if self.statuses:
            return self.empty(handler, self.statuses.pop(0))
        start, wanted = 0, handler.headers.get("Range")
        if wanted and self.ranges and handler.headers.get("If-Range", self.tag) == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.content):
                return self.empty(handler, 416)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content) - start))
        if self.tag:
            handler.send_header("ETag", self.tag)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        part = self.content[start:]
        if self.drop_after:
            part = part[: self.drop_after.pop(0)]
            handler.close_connection = True
        for at in range(0, len(part), MIB // 4):
            handler.wfile.write(part[at : at + MIB // 4])
            time.sleep(self.pause)
        return None


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "INTERVAL", 0.02)
    monkeypatch.setattr(download, "PATIENCE", 1.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            one.answer(self)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients that hang up are what is tested
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    one.url = f"http://127.0.0.1:{server.server_port}/image"
    yield one
    server.shutdown()
    server.server_close()


def get(site, tmp_path, digest=""):
    return fetch.fetch(parse(site.url, digest or sha256(site.content)), tmp_path)


def lay(site, tmp_path, content):
    """What an earlier run left of the site's image."""
    part = tmp_path / "by-digest" / sha256(site.content) / "part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def left(tmp_path):
    return sorted(file.name for file in tmp_path.rglob("*") if file.is_file() and file.name != "lock")


# ---- downloads that go well


def test_a_download_is_verified_and_the_second_time_costs_neither_request_nor_hash(site, tmp_path, monkeypatch):
    first = get(site, tmp_path)
    assert first.path.read_bytes() == site.content
    assert (first.format, first.sha256) == ("raw", sha256(site.content))
    assert first.path.is_relative_to(tmp_path / "by-digest" / first.sha256)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    monkeypatch.setattr(hostcmd, "run", lambda *_, **__: pytest.fail("qemu-img was started"))
    assert get(site, tmp_path) == first
    assert len(site.asked) == 1
    assert left(tmp_path) == ["image.json", "image.raw"]


def test_an_image_in_the_cache_that_was_written_to_is_fetched_again_but_not_one_that_was_touched(site, tmp_path):
    first = get(site, tmp_path)
    os.utime(first.path, (1, 1))
    assert get(site, tmp_path) == first
    assert len(site.asked) == 1
    first.path.write_bytes(raw_image(seed=b"other"))
    assert get(site, tmp_path).path.read_bytes() == site.content
    assert len(site.asked) == 2


def test_two_at_once_download_once(site, tmp_path):
    site.pause = 0.05
    found = []
    threads = [threading.Thread(target=lambda: found.append(get(site, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(found), len(set(found))) == (3, 1)
    assert len(site.asked) == 1


def test_memory_does_not_grow_with_the_image(site, tmp_path):
    site.content = raw_image(24 * MIB)
    wanted = parse(site.url, sha256(site.content))
    tracemalloc.start()
    try:
        fetch.fetch(wanted, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The server is a thread of the same process and copies the content once.
    assert peak < len(site.content) + 4 * MIB


def test_redirects_are_followed(site, tmp_path):
    site.redirects = {"/image": "/elsewhere", "/elsewhere": site.url.replace("/image", "/there")}
    assert get(site, tmp_path).size == len(site.content)
    assert [path for path, _ in site.asked] == ["/image", "/elsewhere", "/there"]


def test_a_login_from_netrc_is_used(site, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter22\n")
    monkeypatch.setenv("NETRC", str(netrc))
    get(site, tmp_path)
    assert site.logins[0].startswith("Basic ")


# ---- downloads that break


def test_a_broken_connection_goes_on_where_it_stopped(site, tmp_path):
    site.drop_after = [MIB, MIB // 2]
    assert get(site, tmp_path).path.read_bytes() == site.content
    starts = [int(part.split("=")[1][:-1]) for _, part in site.asked[1:]]
    # Less than one piece is lost.
    assert starts[0] > MIB - (1 << 16)
    assert starts[1] > starts[0] + MIB // 2 - (1 << 16)


def test_another_run_goes_on_where_a_killed_one_stopped(site, tmp_path):
    site.pause = 0.2
    code = "import sys; from pathlib import Path; from imagecheck import fetch; "
    code += "fetch.fetch(fetch.parse(sys.argv[1], sys.argv[2]), Path(sys.argv[3]))"
    child = subprocess.Popen([sys.executable, "-c", code, site.url, sha256(site.content), tmp_path])
    part = tmp_path / "by-digest" / sha256(site.content) / "part"
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > MIB // 2) and time.monotonic() < end:
        time.sleep(0.02)
    child.kill()
    child.wait()
    site.pause = 0
    assert get(site, tmp_path).path.read_bytes() == site.content
    assert site.asked[-1][1] is not None
    assert left(tmp_path) == ["image.json", "image.raw"]


def test_a_whole_part_of_a_killed_run_needs_no_request(site, tmp_path):
    part = lay(site, tmp_path, site.content)
    part.with_name("part.json").write_text(json.dumps({"size": len(site.content), "validator": '"one"'}))
    assert get(site, tmp_path).size == len(site.content)
    assert site.asked == []


def test_a_part_that_was_spoiled_is_fetched_from_the_start(site, tmp_path):
    lay(site, tmp_path, raw_image(seed=b"other")[:MIB])
    assert get(site, tmp_path).path.read_bytes() == site.content
    assert [part for _, part in site.asked] == [f"bytes={MIB}-", None]


@pytest.mark.parametrize("have", [2 * MIB, 3 * MIB])
def test_a_part_that_is_too_long_is_fetched_from_the_start(site, tmp_path, have):
    lay(site, tmp_path, bytes(have))
    assert get(site, tmp_path).path.read_bytes() == site.content


def test_a_server_without_ranges_is_asked_from_the_start(site, tmp_path):
    site.ranges = False
    site.drop_after = [MIB]
    assert get(site, tmp_path).path.read_bytes() == site.content
    assert len(site.asked) == 2


@pytest.mark.parametrize("honest", [True, False])
def test_an_image_that_changes_meanwhile_is_fetched_from_the_start(site, tmp_path, honest):
    new = raw_image(seed=b"new")
    site.drop_after = [MIB]

    def change():
        if len(site.asked) == 2:
            # A server that does not know If-Range sends the rest of the new one.
            site.content, site.tag = new, '"two"' if honest else ""

    site.before = change
    assert get(site, tmp_path, sha256(new)).path.read_bytes() == new


def test_a_busy_server_is_asked_again_and_a_dead_one_is_told(site, tmp_path):
    site.statuses = [503] * 1000
    with pytest.raises(StepFailed, match=r"seen last: the server answered 503 Service Unavailable"):
        get(site, tmp_path)
    site.statuses = [503, 429, 500, 599]
    assert get(site, tmp_path).size == len(site.content)


def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(site, tmp_path):
    site.ranges = False
    site.drop_after = [MIB] * 1000
    with pytest.raises(StepFailed, match=r"seen last: .*broke after 1\.0 MiB"):
        get(site, tmp_path)


def test_nobody_listening_is_told_without_the_query(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.1)
    with pytest.raises(StepFailed, match="refused") as caught:
        fetch.fetch(parse("http://127.0.0.1:9/a?signature=abcdef", SUM), tmp_path)
    assert "abcdef" not in str(caught.value)


def test_a_server_that_falls_silent_is_given_up(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", (1.0, 0.2))
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    silent = threading.Event()
    site.before = lambda: silent.wait(5)
    try:
        with pytest.raises(StepFailed, match="timed out"):
            get(site, tmp_path)
    finally:
        silent.set()


def test_a_download_that_only_trickles_ends_at_the_deadline(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "DEADLINE", 0.3)
    site.pause = 0.2
    with pytest.raises(StepFailed, match="did not come within"):
        get(site, tmp_path)


# ---- downloads that are refused


def test_another_digest_is_refused_with_both_sums_and_nothing_stays(site, tmp_path):
    with pytest.raises(UsageError, match=f"{sha256(site.content)}, not {SUM}") as caught:
        get(site, tmp_path, SUM)
    assert site.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == []
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [404, 403, 401, 410, 204, 304])
def test_a_server_that_says_no_is_not_asked_again(site, tmp_path, status):
    site.statuses = [status]
    with pytest.raises(UsageError, match=f"the server answered {status} "):
        get(site, tmp_path)
    assert len(site.asked) == 1


def test_a_circle_of_redirects_ends(site, tmp_path):
    site.redirects = {"/image": "/image"}
    with pytest.raises(UsageError, match="redirects more than 10 times"):
        get(site, tmp_path)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a", "file:///etc/passwd", "http://me:hunter22@127.0.0.1/a"])
def test_a_redirect_to_anything_but_http_is_refused(site, tmp_path, target):
    site.redirects = {"/image": target}
    with pytest.raises(UsageError) as caught:
        get(site, tmp_path)
    assert "hunter22" not in str(caught.value)
    assert len(site.asked) == 1


def test_a_server_without_tls_is_refused_at_once(site, tmp_path):
    with pytest.raises(UsageError, match="TLS cannot be trusted"):
        fetch.fetch(parse(site.url.replace("http:", "https:"), SUM), tmp_path)


@pytest.mark.parametrize(("head", "said"), [(b"\xfd7zXZ\0", "is xz-compressed"), (b"<html>", "is not an image")])
@pytest.mark.parametrize("size", [8 * MIB, 0])
def test_what_is_no_image_is_refused_before_the_rest_comes(site, tmp_path, head, said, size):
    site.content, site.pause = head + bytes(size), 0.2
    began = time.monotonic()
    with pytest.raises(UsageError, match=f"^{site.url}: {said}"):
        get(site, tmp_path)
    assert time.monotonic() - began < 3
    assert left(tmp_path) == []


def test_an_image_that_needs_another_file_is_refused_before_qemu_opens_it(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["create", "-q", "-f", "qcow2", "base.qcow2", "8M"],
                  ["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2"]):  # fmt: skip
        subprocess.run(["qemu-img", *words], check=True)
    site.content = (tmp_path / "top.qcow2").read_bytes()
    monkeypatch.setattr(hostcmd, "run", lambda *_, **__: pytest.fail("qemu-img was started"))
    with pytest.raises(UsageError, match="needs a backing file"):
        get(site, tmp_path / "cache")
    assert left(tmp_path / "cache") == []


def test_an_encoded_answer_is_refused(site, tmp_path):
    site.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(UsageError, match="gzip-encoded"):
        get(site, tmp_path)


def test_an_image_for_which_there_is_no_room_is_refused_before_it_comes(site, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage(10, 9, MIB))
    with pytest.raises(StepFailed, match=r"needs 2\.0 MiB and .* has 1\.0 MiB free"):
        get(site, tmp_path)
    assert left(tmp_path) == ["part.json"]


def test_a_cache_that_cannot_be_written_is_one_sentence(site, tmp_path):
    (tmp_path / "by-digest").write_text("not a folder")
    with pytest.raises(StepFailed, match="cannot be kept"):
        get(site, tmp_path)


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(site, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)  # a disk cannot be filled here; a file can
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(StepFailed, match=r"cannot be kept .*File too large"):
            get(site, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert get(site, tmp_path).size == len(site.content)
    assert site.asked[-1][1] is not None
