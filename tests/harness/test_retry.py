"""Which requests are asked again: the classifier, Retry-After, quotas and what is counted, without any network."""

import socket
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import exceptions as ksa

from imagecheck.cloud import retry
from imagecheck.cloud.classify import IDEMPOTENT, TABLE, classify, retry_after
from imagecheck.cloud.quota import TABLE as QUOTAS
from imagecheck.cloud.quota import remedy
from imagecheck.cloud.retry import Hiccup, Tally, ids, once, patience

URL = "http://cloud.example/v2.1/servers"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
JSON = {"Content-Type": "application/json"}
METHODS = st.sampled_from([*IDEMPOTENT, "POST", "PATCH"])
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "Content-Type", "X-Other"]), st.text(max_size=30))


def real(error: Exception) -> Exception:
    """As keystoneauth raises it: its own exception, with what requests said behind it."""
    try:
        raise error
    except requests.exceptions.Timeout:
        return _behind(ksa.ConnectTimeout("timed out"), error)
    except requests.exceptions.SSLError:
        return _behind(ksa.SSLError("SSL"), error)
    except requests.exceptions.ConnectionError:
        return _behind(ksa.ConnectFailure("Unable to establish connection"), error)
    except requests.exceptions.RequestException:
        return _behind(ksa.UnknownConnectionError("Unexpected", error), error)


def _behind(outer, inner):
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    ("method", "status", "kind", "reason"),
    [
        ("GET", 200, "final", ""),
        ("GET", 503, "again", "503"),
        ("PUT", 500, "again", "500"),
        ("DELETE", 502, "again", "502"),
        ("GET", 501, "final", ""),
        ("POST", 429, "again", "429"),
        ("POST", 500, "unsure", "500"),
        ("POST", 503, "unsure", "503"),
        ("POST", 504, "unsure", "504"),
        ("POST", 202, "final", ""),
        ("POST", 403, "final", ""),
        ("POST", 409, "final", ""),
        ("POST", 413, "final", ""),
        ("GET", 401, "final", ""),
        ("GET", 404, "final", ""),
    ],
)
def test_statuses(method, status, kind, reason):
    seen = classify(method, URL, status)
    assert (seen.kind, seen.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("error", "reason", "get", "post"),
    [
        (requests.exceptions.ConnectTimeout("x"), "timed out", "again", "unsure"),
        (requests.exceptions.ReadTimeout("x"), "timed out", "again", "unsure"),
        (requests.exceptions.ConnectionError("reset by peer"), "reset", "again", "unsure"),
        (requests.exceptions.ChunkedEncodingError("x"), "cut off", "again", "unsure"),
        (requests.exceptions.SSLError("x"), "", "final", "final"),
    ],
)
def test_lost_answers(error, reason, get, post):
    for method, kind in (("GET", get), ("POST", post)):
        seen = classify(method, URL, exception=real(error))
        assert (seen.kind, seen.reason) == (kind, reason)


def test_a_request_that_was_never_sent_may_be_sent_again_whatever_it_is():
    """A port that nobody listens on, asked by the real library."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(requests.exceptions.ConnectionError) as told:
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    seen = classify("POST", URL, exception=real(told.value))
    assert (seen.kind, seen.reason) == ("again", "refused")


def test_posts_that_change_nothing_are_repeated():
    assert classify("POST", "http://k/v3/auth/tokens", 503).kind == "again"
    assert classify("POST", "http://n/v2.1/servers/X/action", 503, action="os-getConsoleOutput").kind == "again"
    assert classify("POST", "http://n/v2.1/servers/X/action", 503, action="reboot").kind == "unsure"


def test_a_404_right_after_a_create_is_patience_and_later_an_answer():
    assert classify("GET", URL + "/X", 404, fresh=True).reason == "404 after its create"
    assert classify("GET", URL + "/X", 404).kind == "final"
    assert classify("DELETE", URL + "/X", 404, fresh=True).kind == "final"


def test_json_that_ends_early_is_a_lost_answer():
    assert classify("GET", URL, 200, JSON, b'{"servers": [').reason == "cut off"
    assert classify("POST", URL, 202, JSON, b'{"server": {"id"').kind == "unsure"
    assert classify("GET", URL, 200, JSON, b'{"servers": []}').kind == "final"
    assert classify("GET", URL, 200, JSON, b"").kind == "final"
    assert classify("GET", URL, 200, {"Content-Type": "text/plain"}, b"{").kind == "final"


@given(METHODS, st.integers(400, 499), HEADERS, st.binary(max_size=40))
def test_no_4xx_but_429_is_ever_repeated(method, status, headers, body):
    """Quota and policy do not pass by waiting, whatever Retry-After says (Cinder sends 0 with its quota)."""
    kind = classify(method, URL, status, headers, body, now=NOW).kind
    assert kind == ("again" if status == 429 else "final")


@given(st.sampled_from(["POST", "PATCH"]), st.integers(0, 599).filter(lambda n: n != 429), HEADERS,
       st.binary(max_size=40), st.booleans())  # fmt: skip
def test_what_may_have_been_done_is_never_simply_repeated(method, status, headers, body, fresh):
    assert classify(method, URL, status, headers, body, fresh=fresh, now=NOW).kind != "again"


@given(METHODS, st.integers(0, 999), HEADERS, st.binary(max_size=60), st.booleans())
def test_every_answer_gets_a_decision_with_a_reason(method, status, headers, body, fresh):
    seen = classify(method, URL, status, headers, body, fresh=fresh, now=NOW)
    assert (seen.kind == "final") == (seen.reason == "")
    assert seen.after is None or seen.after >= 0


@given(st.integers(500, 599), st.sampled_from(IDEMPOTENT))
def test_an_idempotent_request_is_never_unsure(status, method):
    assert classify(method, URL, status).kind in ("again", "final")


def test_every_row_names_its_source_and_can_be_reached():
    assert all(row.source for row in TABLE)
    seen = [set(row.seen) if isinstance(row.seen, range) else {row.seen} for row in TABLE]
    for number, row in enumerate(seen):
        assert not row <= set().union(*seen[:number]), f"row {number} is hidden by those before it"


# ---- Retry-After


def test_both_forms_of_retry_after():
    later = format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)
    assert retry_after("7", NOW) == 7.0
    assert retry_after(later, NOW) == 90.0
    assert retry_after(later, NOW + 1000) == 0.0
    assert classify("GET", URL, 429, {"retry-after": "3"}, now=NOW).after == 3.0


@given(st.text(max_size=60))
def test_no_retry_after_breaks_anything(text):
    found = retry_after(text, NOW)
    assert found is None or found >= 0


# ---- quotas: the words are those of the services' own sources, see the rows


@pytest.mark.parametrize(
    ("status", "said", "wanted"),
    [
        (403, "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances",
         "instances: 10 of 10 used; raise it with `openstack quota set --instances N PROJECT` or free some"),
        (403, "Quota exceeded for cores, ram: Requested 2, 2048, but already used 20, 51200 of 20, 51200 cores, ram",
         "cores: 20 of 20 used, ram: 51200 of 51200 used; raise it with `openstack quota set --cores N --ram N"),
        (403, "Quota exceeded, too many key pairs.", "--key-pairs N"),
        (409, "Quota exceeded for resources: ['port'].", "`openstack quota set --ports N PROJECT`"),
        (409, "Quota exceeded for resources: ['security_group'].", "--secgroups N"),
        (413, "Quota exceeded for resources: ['instances'].", "`openstack database quota update PROJECT instances N`"),
        (413, "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.",
         "all 10 volumes are used; raise it with `openstack quota set --volumes N"),
        (413, "Requested volume or snapshot exceeds allowed gigabytes quota. Requested 5G, quota is 1000G and 998G has "
         "been consumed.", "998 of 1000 GiB used, 5 more asked for; raise it with `openstack quota set --gigabytes N"),
        (403, "Resource servers is over limit of 10 due to current usage 10 and delta 1", "openstack limit set"),
        (0, "No valid host was found. There are not enough hosts available.", "openstack hypervisor list"),
        (0, "Exceeded maximum number of retries. Exhausted all hosts available", "nova-compute's log"),
        (413, "Request Entity Too Large", "image_size_cap"),
        (403, "Quota exceeded for something new", "openstack quota show"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_raise_or_free(status, said, wanted):
    assert wanted in remedy(said, status)


@pytest.mark.parametrize("said", ["Policy doesn't allow this", "", "Image not found", "Invalid flavorRef"])
def test_other_refusals_do_not_pretend_to_be_a_quota(said):
    assert remedy(said, 403) == ""


def test_every_quota_row_has_a_source():
    assert all(row.source for row in QUOTAS)


@given(st.text(max_size=200), st.integers(0, 599))
def test_no_words_of_a_cloud_break_the_remedy(said, status):
    assert isinstance(remedy(said, status), str)


# ---- counting


def test_the_tally_reads_as_a_sentence():
    tally = Tally()
    assert tally.sentence == ""
    for service, reason in (("glance", "reset"), ("nova", "503"), ("nova", "503")):
        tally.add(service, reason)
    assert tally.sentence == "retried 3 requests: nova 503 ×2, glance reset ×1"
    assert retry.sentence(tally.as_json()) == tally.sentence


def test_ids_of_what_was_made():
    id = "0185f629-d000-4a8d-87aa-86d6b1288ecd"
    assert ids(f'{{"server": {{"id": "{id}"}}}}'.encode()) == [id]
    assert ids(f'{{"id": "{id}"}}'.encode()) == [id]
    assert ids(b'{"flavor": {"id": "1"}}') == ids(b"[]") == ids(b"no") == []


# ---- made once


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(retry, "SETTLE", 0.05)


class Store:
    """Things with a name; ``answers`` says for each create whether it is carried out and whether its answer comes."""

    def __init__(self, *answers: tuple[bool, bool]) -> None:
        self.answers, self.made, self.asked = list(answers), 0, 0
        self.blind = False

    def make(self) -> str:
        done, told = self.answers[self.asked]
        self.asked += 1
        self.made += done
        if not told:
            raise Hiccup("the answer was lost", reason="reset", unsure=True)
        return "id"

    def find(self) -> str | None:
        if self.blind:
            raise Hiccup("nobody answers", reason="503")
        return "id" if self.made else None


@given(st.lists(st.tuples(st.booleans(), st.booleans()).filter(lambda a: a[0] or not a[1]), min_size=2, max_size=2))
def test_whatever_is_lost_nothing_is_made_twice(answers):
    store = Store(*answers)
    saved, retry.SETTLE = retry.SETTLE, 0.0
    try:
        with patience(0.0):
            once(Tally(), "nova", store.make, store.find)
    except Hiccup:
        assert store.made == 0
    finally:
        retry.SETTLE = saved
    assert store.made <= 1


def test_a_lost_answer_is_found_by_name_and_counted(quick):
    store, tally = Store((True, False)), Tally()
    assert once(tally, "nova", store.make, store.find) == "id"
    assert (store.asked, tally.sentence) == (1, "retried 1 request: nova reset ×1")


def test_what_is_surely_not_there_is_made_again_as_long_as_patience_lasts(quick):
    store, tally = Store((False, False), (False, False), (False, False), (True, True)), Tally()
    assert once(tally, "nova", store.make, store.find) == "id"
    assert (store.asked, store.made, tally.sentence) == (4, 1, "retried 3 requests: nova reset ×3")
    store = Store(*[(False, False)] * 3)
    with patience(0.01), pytest.raises(Hiccup, match="the answer was lost"):
        once(Tally(), "nova", store.make, store.find)
    assert store.asked == 2


def test_nothing_is_made_again_while_nobody_can_say_whether_it_is_there(quick):
    store = Store((False, False), (True, True))
    store.blind = True
    with patience(0.1), pytest.raises(Hiccup, match="the answer was lost"):
        once(Tally(), "nova", store.make, store.find)
    assert store.asked == 1


def test_a_service_that_is_silent_for_a_while_is_asked_until_it_says_what_is_there(quick):
    store, silent = Store((False, False), (True, True)), iter([True] * 20)

    def find():
        if next(silent, False):
            raise Hiccup("nobody answers", reason="500")
        return store.find()

    assert once(Tally(), "glance", store.make, find) == "id"
    assert (store.asked, store.made) == (2, 1)
