"""One request of an API and its answer -> asked again or not: a table with its sources, and pure.

What a repetition may do twice decides: GET, PUT and DELETE may be repeated, a POST only where nothing was done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as ksa

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")  # RFC 9110, 9.2.2
# POSTs that change nothing: a token (Keystone v3), and reading a console (Nova, "Show Console Output").
_HARMLESS = re.compile(r"/auth/tokens( auth)?$|/action os-getConsoleOutput$")


@dataclass(frozen=True)
class Decision:
    """``kind``: "final" (take the answer as it is), "again", or "unsure" (it may have been carried out: look first).

    ``reason`` in a word or two ("503", "reset"), ``after`` the seconds that the cloud asked for, None where it did not.
    """

    kind: Literal["final", "again", "unsure"]
    reason: str = ""
    after: float | None = None


@dataclass(frozen=True)
class Row:
    """What was seen (an exception's word, or HTTP statuses) -> what to do when a repetition is harmless, and else."""

    seen: str | range
    harmless: Literal["final", "again"]
    other: Literal["final", "again", "unsure"]
    source: str


# The first that fits; what none fits is final.
TABLE = (
    Row("refused", "again", "again", "connect(2), getaddrinfo(3): no byte of the request was sent"),
    Row("reset", "again", "unsure", "RFC 9110, 9.2.2: only idempotent methods are repeated on a closed connection"),
    Row("timed out", "again", "unsure", "as above; the time-out is of the answer, the request has been sent"),
    Row("cut off", "again", "unsure", "RFC 9112, 8: an incomplete answer; its request was carried out or not"),
    Row("certificate", "final", "final", "keystoneauth1 SSLError: asking again shows the same certificate"),
    Row(range(429, 430), "again", "again", "RFC 6585, 4: refused by rate before it was looked at"),
    Row(range(500, 501), "again", "unsure", "oslo.messaging and database time-outs of a service come out as 500"),
    Row(range(501, 502), "final", "final", "RFC 9110, 15.6.2: the method is not known, and will not be"),
    Row(range(502, 505), "again", "unsure", "RFC 9110, 15.6.3-5: a proxy's words; it may have passed the request on"),
    Row(range(505, 506), "final", "final", "RFC 9110, 15.6.6: the HTTP version is not known"),
    Row(range(506, 600), "again", "unsure", "RFC 9110, 15: an unknown 5xx is a 500"),
    # 413 of Cinder and Trove is a quota, although Cinder sends Retry-After: 0 (cinder/exception.py, QuotaError).
    # 401: keystoneauth has asked for a new token and tried again already (keystoneauth1/session.py, request).
    Row(range(400, 500), "final", "final", "RFC 9110, 15.5: what is asked for; quota and policy do not pass"),
)


def classify(
    method: str,
    url: str,
    status: int = 0,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    exception: BaseException | None = None,
    *,
    action: str = "",
    fresh: bool = False,
    now: float = 0.0,
) -> Decision:
    """What to do after one request. Pure.

    ``action`` is the key of a server action's body, ``fresh`` that what the URL names was made a moment ago, ``now``
    the time in seconds since the epoch, against which a date in Retry-After is read.
    """
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    harmless = method.upper() in IDEMPOTENT or bool(_HARMLESS.search(f"{urlsplit(url).path} {action}".strip()))
    word = _word(exception) if exception is not None else "cut off" if _cut_off(status, headers, body) else ""
    if not word and status == 404 and fresh and method.upper() in ("GET", "HEAD"):
        return Decision("again", "404 after its create")
    for row in TABLE:
        if row.seen == word or (not word and isinstance(row.seen, range) and status in row.seen):
            kind = row.harmless if harmless else row.other
            after = retry_after(headers.get("retry-after", ""), now) if status in (429, 503) else None
            return Decision(kind, word or str(status), after) if kind != "final" else Decision("final")
    return Decision("final")


def retry_after(text: str, now: float) -> float | None:
    """Retry-After in seconds from ``now``: both forms of RFC 9110, 10.2.3; None where it is neither."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _word(error: BaseException) -> str:
    """An exception in the words of the table; "" for one that is not the network's."""
    chain: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(chain) < 20:
        one = queue.pop(0)
        if isinstance(one, BaseException) and not any(one is seen for seen in chain):
            chain.append(one)
            queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    # By name: urllib3 is requests' own matter.
    names = {type(one).__name__ for one in chain}
    if "SSLError" in names:
        return "certificate"
    if names & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}:
        return "refused"
    if names & {"IncompleteRead", "InvalidChunkLength", "ChunkedEncodingError", "ContentDecodingError"}:
        return "cut off"
    if isinstance(error, ksa.ConnectTimeout | TimeoutError) or "ReadTimeout" in names:
        return "timed out"
    return "reset" if isinstance(error, ksa.ConnectionError | ConnectionError | requests.ConnectionError) else ""


def _cut_off(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """An answer that says it is JSON and is not: a connection closed early, where no length was promised."""
    if not 200 <= status < 300 or not body or "application/json" not in headers.get("content-type", ""):
        return False
    try:
        json.loads(body)
    except ValueError:
        return True
    return False
