"""An image file from where it lies: what a definition's or --image's `source` means, and its file, verified."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import requests  # installed with keystoneauth1 in any case; knows proxies, netrc and the system's certificates

from imagecheck import imagefile
from imagecheck.download import TIMEOUT, Ask, Wanted, held_to, take
from imagecheck.errors import UsageError
from imagecheck.imagefile import ImageFile
from imagecheck.redact import learn, redact

REDIRECTS = 10


@dataclass(frozen=True)
class Source:
    """Where an image lies. ``where``: path as written, URL, or Glance's id, name or tag:NAME. ``sha256``: hex or ""."""

    kind: Literal["path", "url", "glance"]
    where: str
    sha256: str = ""

    @property
    def shown(self) -> str:
        """For people: a URL without its query, which may hold a signature."""
        if self.kind == "url":
            return _shown(urlsplit(self.where))
        return f"glance:{self.where}" if self.kind == "glance" else self.where


def parse(text: str, sha256: str = "") -> Source:
    """What ``text`` means: "glance:NAME", an http(s) URL (with ``sha256``, hexadecimal), or else a path. Pure.

    A path with a colon is written ./NAME. Raises UsageError, one sentence.
    """
    text, named = text.strip(), f"source {redact(text.strip()[:200])!r}"
    digest = sha256.strip().lower().removeprefix("sha256:")
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UsageError(f"sha256 {sha256[:80]!r} is not a SHA-256: give its 64 hexadecimal digits")
    if not text or re.search(r"[\x00-\x1f\x7f]", text):
        raise UsageError(f"{named} is empty or has control characters: give a path, an http(s) URL or glance:NAME")
    scheme, _, rest = text.partition(":") if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) else ("", "", text)
    if not scheme:
        return Source("path", text, digest)
    if scheme.lower() == "glance":
        if not rest.strip() or rest.strip() == "tag:":
            raise UsageError(f"{named} names no image: write glance:ID, glance:NAME or glance:tag:NAME")
        return Source("glance", rest.strip(), digest)
    if scheme.lower() not in ("http", "https"):
        raise UsageError(
            f"source with the scheme {scheme[:40]!r} is not known: give an http(s) URL, glance:NAME or a path "
            "(one with a colon as ./NAME)"
        )
    if not text.isprintable():  # RFC 3986 has no such characters; a terminal would hide or act on them
        raise UsageError(f"{named} has characters that cannot be shown: write them as %XX")
    where = _web(text)
    if not digest:
        raise UsageError(f"source {_shown(where)} has no sha256: give the image's SHA-256, downloads are verified")
    return Source("url", text, digest)


def fetch(source: Source, cache: Path) -> ImageFile:
    """The image of a path (as it is; a relative one from the working folder) or URL (below ``cache``), verified.

    Raises UsageError (not there, not allowed, another digest, not qcow2 or raw) and StepFailed (network, room).
    """
    if source.kind == "glance":
        raise UsageError(f"source {source.shown} lies in a cloud: choose one with --cloud")
    if source.kind == "url":
        learn(urlsplit(source.where).query)  # of a presigned URL: whoever has it may read
        with requests.Session() as session:
            session.headers["User-Agent"] = "imagecheck"
            return take(Wanted(source.shown, "sha256", source.sha256, _asker(session, source.where)), cache)
    try:
        path = Path(source.where).expanduser()
    except RuntimeError as error:  # ~nobody-of-that-name
        raise UsageError(f"{source.where}: {error}: give the whole path") from error
    return held_to(imagefile.inspect(path), source.sha256, source.where)


# ---- URLs


def _web(url: str) -> SplitResult:
    """``url`` taken apart; UsageError (which never repeats a password) unless it is a plain http(s) address."""
    try:
        where = urlsplit(url)
        host, _ = where.hostname, where.port
    except ValueError as error:
        raise UsageError(f"source {url.rpartition('@')[2][:200]!r} is not a URL ({error}): correct it") from error
    if "@" in where.netloc:
        raise UsageError(f"source at {host!r} has a login in its URL: take it out, and put it into ~/.netrc instead")
    if where.scheme not in ("http", "https") or not host or re.search(r"[\s\\]", url):
        raise UsageError(f"source {_shown(where)[:200]!r} is not a whole http(s) URL: give https://HOST/PATH")
    return where


def _shown(where: SplitResult) -> str:
    return urlunsplit((where.scheme, where.netloc, where.path, "", ""))


def _asker(session: requests.Session, start: str) -> Ask:
    def ask(headers: Mapping[str, str]) -> requests.Response:
        url = start
        for _ in range(REDIRECTS + 1):
            response = session.get(
                url, headers=dict(headers), stream=True, allow_redirects=False, timeout=TIMEOUT
            )  # fmt: skip
            target = session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            url = _next(url, target)
        raise UsageError(f"{_shown(urlsplit(start))}: redirects more than {REDIRECTS} times: give the final address")

    return ask


def _next(url: str, target: str) -> str:
    """Where a redirect leads; UsageError when that is not http(s), or no longer https."""
    whole = urljoin(url, target)
    before, after = urlsplit(url), _web(whole)
    if before.scheme == "https" and after.scheme != "https":
        raise UsageError(
            f"{_shown(before)}: redirects from https to {_shown(after)}, which anybody on the way can change: "
            "give an address that stays with https"
        )
    return whole
