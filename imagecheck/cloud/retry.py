"""Requests that are asked again, when, and how often it happened: the one place for all of OpenStack's APIs.

classify.py decides; `Session` carries it out below openstacksdk and troveclient alike; `once` is for what
must not be made twice. A wait (waits.py) asks its own question again: inside one, patience ends with the wait.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1 import session as sessions
from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_exponential, wait_random

from imagecheck import waits
from imagecheck.cloud.classify import Decision, classify
from imagecheck.errors import ImagecheckError
from imagecheck.redact import learn

T = TypeVar("T")
PATIENCE = 60.0  # seconds that a request is asked again for; a restart of an API behind a proxy takes about ten
FRESH = 10.0  # seconds after a create during which a 404 may be a database replica or another worker lagging behind
SOCKETS = 100  # kept open to a service; of requests' ten, fifty threads throw one away after nearly each answer
SETTLE = 10.0  # seconds in which a create whose answer was lost shows in lists, if it was carried out
_SERVICES = {
    "compute": "nova", "image": "glance", "network": "neutron", "database": "trove", "identity": "keystone",
    "block-storage": "cinder", "volumev3": "cinder", "volume": "cinder", "block-store": "cinder",
}  # fmt: skip


# ---- how often it happened


class Tally:
    """Requests that were asked again, by service and reason. May be used from several threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, service: str, reason: str) -> None:
        """One more."""
        with self._lock:
            self._counts[service, reason] += 1

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self._counts.values())

    def as_json(self) -> dict[str, dict[str, int]]:
        """Service -> reason -> number."""
        told: dict[str, dict[str, int]] = {}
        for (service, reason), number in sorted(self._counts.items()):
            told.setdefault(service, {})[reason] = number
        return told

    @property
    def sentence(self) -> str:
        """For people; "" when there were none."""
        return sentence(self.as_json())


def sentence(requests: Mapping[str, Mapping[str, int]]) -> str:
    """ "retried 3 requests: nova 503 ×2, glance reset ×1", the most frequent first; "" for none."""
    flat = [(number, service, reason) for service, reasons in requests.items() for reason, number in reasons.items()]
    total = sum(number for number, _, _ in flat)
    if not total:
        return ""
    ordered = sorted(flat, key=lambda one: (-one[0], one[1], one[2]))
    listed = ", ".join(f"{service} {reason} ×{number}" for number, service, reason in ordered)
    return f"retried {total} request{'s' if total > 1 else ''}: {listed}"


# ---- carrying it out

_patience: ContextVar[float] = ContextVar("patience", default=PATIENCE)


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """In the body a request is asked again for so many seconds; 0: never."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


@dataclass(frozen=True)
class _Answer:
    decision: Decision
    response: requests.Response | None = None
    error: Exception | None = None


# keystoneauth's connect_retries and status_code_retries stay 0: they count tries instead of time, repeat POSTs too,
# read Retry-After in one of its two forms, sleep out of sight and tell nobody.
class Session(sessions.Session):
    """keystoneauth's session, which asks again what `classify` says, visibly and within `patience`.

    A service that let all patience pass is asked once per request until it answers: what still wants to ask it (waits,
    evidence, removal) must not wait for it again and again. Every token is learned by redact.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for adapter in self.session.adapters.values():
            if isinstance(adapter, sessions.TCPKeepAliveAdapter):
                adapter.init_poolmanager(len(_SERVICES), SOCKETS)
        self.tally = Tally()
        self._silent: set[str] = set()
        self._made: dict[str, float] = {}  # id -> when it was made (monotonic)

    def get_auth_headers(self, *args: Any, **more: Any) -> dict[str, str] | None:
        """As keystoneauth's; learns the token."""
        headers: dict[str, str] | None = super().get_auth_headers(*args, **more)
        learn((headers or {}).get("X-Auth-Token", ""))
        return headers

    def request(self, url: str, method: str, *args: Any, **more: Any) -> requests.Response:
        """As keystoneauth's, whose exceptions it raises."""
        raises = more.get("raise_exc") is not False
        more["raise_exc"] = False
        service = _service(more, url, self.auth)
        began = time.monotonic()

        def left() -> float:
            allowed = 0.0 if service in self._silent else _patience.get()
            rest = allowed - (time.monotonic() - began)
            return rest if (ends := waits.left()) is None else min(rest, ends)

        def rest(state: RetryCallState) -> float:
            decision = _outcome(state).decision
            pause = backoff(state) if decision.after is None else decision.after
            return max(0.0, min(pause, left()))

        def note(state: RetryCallState) -> None:
            self.tally.add(service, _outcome(state).decision.reason)

        answer: _Answer = Retrying(
            retry=lambda state: _outcome(state).decision.kind == "again",
            stop=lambda _: left() < 0.001 or _sent_once(more),
            wait=rest,
            before_sleep=note,
            sleep=lambda seconds: waits.pause(seconds, reason=f"{service} to be asked again"),
            retry_error_callback=_outcome,
        )(self._ask, url, method, args, more)
        if answer.decision.kind == "again":
            self._silent.add(service)
        else:
            self._silent.discard(service)
        if answer.error is not None:
            raise answer.error
        response = answer.response
        if response is None:
            raise ksa.ConnectFailure(f"no answer of {url}")
        if answer.decision.reason == "cut off":
            lost = requests.exceptions.ChunkedEncodingError("the answer's JSON ends early")
            raise ksa.UnknownConnectionError(f"the answer of {url} was cut off", lost)
        if raises and response.status_code >= 400:
            raise ksa.from_response(response, method, url)
        return response

    def _ask(self, url: str, method: str, args: tuple[Any, ...], more: Mapping[str, Any]) -> _Answer:
        action = next(iter(more["json"]), "") if isinstance(more.get("json"), dict) else ""
        error: Exception | None = None
        response: requests.Response | None = None
        try:
            response = super().request(url, method, *args, **more)
        except ksa.ConnectionError as lost:
            error = lost
        status, headers, body = 0, {}, b""
        if response is not None:
            status, headers = response.status_code, dict(response.headers)
            body = b"" if more.get("stream") else response.content
        decision = classify(
            method, url, status, headers, body, error, action=str(action), fresh=self._fresh(url), now=time.time()
        )
        self._remember(url, method, status, body)
        return _Answer(decision, response, error)

    def _fresh(self, url: str) -> bool:
        now = time.monotonic()
        return any(id in url and now - made < FRESH for id, made in self._made.items())

    def _remember(self, url: str, method: str, status: int, body: bytes) -> None:
        if method == "DELETE":
            self._made = {id: made for id, made in self._made.items() if id not in url}
        if method != "POST" or not 200 <= status < 300:
            return
        now = time.monotonic()
        self._made = {id: made for id, made in self._made.items() if now - made < FRESH} | dict.fromkeys(ids(body), now)


def ids(body: bytes) -> list[str]:
    """The ids of what a create has made, from its answer: {"id": ...} or {"server": {"id": ...}}. Pure."""
    try:
        table = json.loads(body)
    except ValueError:
        return []
    if not isinstance(table, dict):
        return []
    found = [one.get("id") for one in (table, *table.values()) if isinstance(one, dict)]
    return [id for id in found if isinstance(id, str) and len(id) >= 32]  # a UUID; anything short is in every URL


# The first is about half a second, the longest eight; a jitter keeps several runs from asking in step.
backoff = wait_exponential(multiplier=0.4, max=8) + wait_random(0, 0.3)


def _outcome(state: RetryCallState) -> _Answer:
    if state.outcome is None:
        raise RuntimeError("asked before there was an answer")
    answer: _Answer = state.outcome.result()
    return answer


def _sent_once(more: Mapping[str, Any]) -> bool:
    """A body that is read from a file is gone after it was sent."""
    return not isinstance(more.get("data"), str | bytes | dict | None)


def _service(more: Mapping[str, Any], url: str, auth: Any) -> str:
    kind = str((more.get("endpoint_filter") or {}).get("service_type") or "")
    if not kind:  # keystoneauth's own requests: tokens, and versions of an endpoint
        keystone = str(getattr(auth, "auth_url", None) or "").rstrip("/").removesuffix("/v3")
        if "/auth/" in url or (keystone and url.rstrip("/").removesuffix("/v3") == keystone):
            return "keystone"
        catalogue = getattr(getattr(getattr(auth, "auth_ref", None), "service_catalog", None), "catalog", None) or ()
        urls = [(one["type"], str(end.get("url"))) for one in catalogue for end in one.get("endpoints", ())]
        kinds = {_SERVICES.get(one, one) for one, there in urls if there.startswith(url.rstrip("/"))}
        kind = kinds.pop() if len(kinds) == 1 else urlsplit(url).netloc
    return _SERVICES.get(kind, kind)


# ---- what must not be made twice


class Hiccup(ImagecheckError):
    """The cloud answered 429 or 5xx, or did not answer: worth asking again within the deadline of a wait.

    ``reason`` as in the table ("503", "reset"); ``unsure``: what was asked for may have been done all the same.
    """

    def __init__(self, sentence: str, *, reason: str = "", unsure: bool = False) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.unsure = unsure


def once(tally: Tally, service: str, make: Callable[[], T], find: Callable[[], T | None]) -> T:
    """What ``make`` gives; when its answer is lost, what ``find`` finds by name, and only when it is surely not there
    is it made again: once at least, and as long as patience lasts.

    Raises what ``make`` raises. A Hiccup of the last try, or of looking, is raised: nothing is made blindly.
    """
    began, again = time.monotonic(), False
    while True:
        try:
            return make()
        except Hiccup as lost:
            if not lost.unsure:
                raise
            if (found := _look(find, lost)) is not None:
                if not again:
                    tally.add(service, lost.reason)
                return found
            if again and time.monotonic() - began >= _patience.get():
                raise
            tally.add(service, lost.reason)
            again = True


def _look(find: Callable[[], T | None], lost: Hiccup) -> T | None:
    """What is there; None once it has been absent for `SETTLE` seconds. Raises ``lost`` where nobody could say so
    within patience."""
    since: float | None = None

    def there() -> waits.Ready[T | None] | waits.NotYet:
        nonlocal since
        if (found := find()) is not None:
            return waits.Ready(found)
        now = time.monotonic()
        since = now if since is None else since
        return waits.Ready(None) if now - since >= SETTLE else waits.NotYet("not there")

    try:
        return waits.until(
            there, reason="what was asked for to show", deadline=SETTLE + _patience.get(),
            interval=min(1.0, max(SETTLE / 2, 0.01)), transient=(Hiccup,),
        ).value  # fmt: skip
    except waits.TimedOut:
        raise lost from None
