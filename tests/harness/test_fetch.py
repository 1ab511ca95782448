"""What a source means, and images from a path. Those from a URL are in test_download.py."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagecheck import fetch, hostcmd
from imagecheck.errors import UsageError
from imagecheck.fetch import Source, parse

SUM = "0" * 64
IMAGE = bytes(510) + b"\x55\xaa" + bytes(4096)
needs_qemu = pytest.mark.skipif(hostcmd.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


# ---- what a source means


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("images/a.qcow2", "path", "images/a.qcow2"),
        ("~/a b.img", "path", "~/a b.img"),
        ("./a:b.raw", "path", "./a:b.raw"),
        ("https://host/a.qcow2?sig=1", "url", "https://host/a.qcow2?sig=1"),
        ("glance:trove-mariadb", "glance", "trove-mariadb"),
        ("glance:tag:trove", "glance", "tag:trove"),
    ],
)
def test_a_source_is_a_path_a_url_or_an_image_of_glance(text, kind, where):
    assert parse(f" {text} ", SUM.upper()) == Source(kind, where, SUM)


@pytest.mark.parametrize(
    ("text", "sha256", "said"),
    [
        ("http://host/a", "", "has no sha256"),
        ("https://host/a", "abc", "64 hexadecimal digits"),
        ("a.qcow2", "x" * 64, "64 hexadecimal digits"),
        ("ftp://host/a", SUM, "scheme 'ftp' is not known"),
        ("file:///a", SUM, "scheme 'file' is not known"),
        ("https:a", SUM, "not a whole"),
        ("https://", SUM, "not a whole"),
        ("https://[::1/a", SUM, "is not a URL"),
        ("https://host:port/a", SUM, "is not a URL"),
        ("glance:", "", "names no image"),
        ("glance: ", "", "names no image"),
        ("glance:tag:", "", "names no image"),
        ("", "", "is empty"),
        ("a\0b", "", "control characters"),
    ],
)
def test_a_source_that_means_nothing_is_refused_in_one_sentence(text, sha256, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse(text, sha256)
    assert "\n" not in str(caught.value)


def test_a_login_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="login in its URL") as caught:
        parse("https://me:hunter22@host/a", SUM)
    assert "hunter22" not in str(caught.value)


def test_a_signed_url_is_shown_without_its_signature():
    assert parse("https://host/a.qcow2?signature=abcdef", SUM).shown == "https://host/a.qcow2"


@given(st.text() | st.from_regex(r"(https?|glance|ftp|[a-z]*):/{0,3}.*"), st.just(SUM) | st.just("") | st.text())
@example("http://[", SUM)
@example("http://\uff0f.x/", SUM)
@example("//host:a/", "")
@example("http://\x80", "")
@example("https://host/\u202e\xa0", SUM)
def test_wild_text_is_a_source_or_one_sentence(text, digest):
    try:
        found = parse(text, digest)
    except UsageError as error:
        assert "\n" not in str(error)
        assert str(error).isprintable()
    else:
        assert found.where
        assert found.kind != "url" or len(found.sha256) == 64
        assert parse(text, digest) == found
        assert found.shown


def test_a_redirect_from_https_to_http_is_refused():
    with pytest.raises(UsageError, match="redirects from https"):
        fetch._next("https://host/a", "http://host/a")
    assert fetch._next("http://host/a", "https://host/a") == "https://host/a"


# ---- paths


@needs_qemu
def test_a_path_gives_the_file_itself(tmp_path):
    file = tmp_path / "a:b.raw"
    file.write_bytes(IMAGE)
    found = fetch.fetch(Source("path", str(file), hashlib.sha256(IMAGE).hexdigest()), tmp_path / "cache")
    assert (found.path, found.format) == (file, "raw")
    assert not (tmp_path / "cache").exists()


@needs_qemu
def test_a_path_with_another_digest_is_refused_with_both_sums(tmp_path):
    file = tmp_path / "a.raw"
    file.write_bytes(IMAGE)
    with pytest.raises(UsageError, match=f"{hashlib.sha256(IMAGE).hexdigest()}, not {SUM}"):
        fetch.fetch(parse(str(file), SUM), tmp_path)
    assert file.exists()


@pytest.mark.parametrize("where", ["missing.qcow2", "~nobody-of-that-name/a.qcow2", "x" * 5000])
def test_a_path_that_leads_nowhere_is_one_sentence(where, tmp_path):
    with pytest.raises(UsageError) as caught:
        fetch.fetch(parse(where), tmp_path)
    assert "\n" not in str(caught.value)


def test_an_image_of_glance_needs_a_cloud(tmp_path):
    with pytest.raises(UsageError, match="choose one with --cloud"):
        fetch.fetch(parse("glance:x"), tmp_path)
