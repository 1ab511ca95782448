"""The road's own machinery: each step once, a broken one told once, its time its own. No cloud is needed for that."""

import time
from types import SimpleNamespace

import pytest

from imagecheck import run
from imagecheck.choice import Choice
from imagecheck.definition import known, load
from imagecheck.errors import Cause, NotReached, StepFailed, UsageError
from imagecheck.report import Folder, Retry
from imagecheck.run import Road
from imagecheck.session import Session


@pytest.fixture
def road(tmp_path):
    one = Road(Choice("an-image", load(known()[0]), None), lambda: None, Folder(tmp_path / "report"))
    yield one
    one.close()


def raising(error):
    def make():
        raise error

    return make


def test_a_step_is_made_once(road):
    calls = []
    for _ in range(3):
        assert road.step("a", lambda: calls.append(1) or len(calls)) == 1
    assert calls == [1]


def test_a_broken_step_is_told_once_and_not_tried_again(road):
    broken = StepFailed("a", "no valid host", seen="ERROR", remedy="free one")
    with pytest.raises(StepFailed, match="no valid host"):
        road.step("a", raising(broken))
    with pytest.raises(NotReached, match="not reached: a: no valid host"):
        road.step("a", lambda: pytest.fail("tried again"))
    (fault,) = road.faults
    assert (fault.step, fault.sentence, fault.seen, fault.remedy) == ("a", "no valid host", "ERROR", "free one")
    assert fault.evidence.endswith("report/a")


def test_the_step_that_called_for_a_broken_one_is_not_broken_itself(road):
    def inner():
        return road.step("inner", raising(StepFailed("inner", "it broke")))

    with pytest.raises(StepFailed, match="it broke"):
        road.step("outer", inner)
    assert [fault.step for fault in road.faults] == ["inner"]
    with pytest.raises(NotReached, match="not reached: inner: it broke"):
        road.step("outer", inner)
    with pytest.raises(NotReached, match="not reached: inner: it broke"):
        road.step("another", inner)
    assert len(road.faults) == 1


def test_a_usage_error_on_the_road_is_a_sentence_too(road):
    with pytest.raises(UsageError):
        road.step("a", raising(UsageError("the site names no 'guest_key'")))
    with pytest.raises(NotReached, match="not reached: a: the site names no 'guest_key'"):
        road.step("a", lambda: None)
    assert road.faults[0].step == "a"


def test_what_is_no_error_of_ours_is_not_swallowed(road):
    with pytest.raises(ZeroDivisionError):
        road.step("a", lambda: 1 / 0)
    assert road.step("a", lambda: 7) == 7


def test_a_steps_time_is_without_that_of_the_steps_it_called_for(road):
    road.step("outer", lambda: road.step("inner", lambda: time.sleep(0.2)))
    assert road.seconds["inner"] >= 0.2
    assert road.seconds["outer"] < 0.1


def test_a_step_that_was_not_reached_has_no_time(road):
    with pytest.raises(StepFailed):
        road.step("inner", raising(StepFailed("inner", "x")))
    with pytest.raises(NotReached):
        road.step("outer", lambda: road.step("inner", lambda: None))
    assert "outer" not in road.seconds


def test_closing_leaves_no_private_file(road):
    folder = road._private()
    assert folder.is_dir()
    road.close()
    assert not folder.exists()


def test_two_roads_never_share_a_name(tmp_path):
    choice = Choice("an-image", load(known()[0]), None)
    runs = {Road(choice, lambda: None, Folder(tmp_path)).run for _ in range(20)}
    assert len(runs) == 20


@pytest.mark.parametrize(
    ("nodeid", "image"),
    [
        ("t.py::test_a[guest]", "guest"),
        ("t.py::test_a[guest-large]", "guest-large"),
        ("t.py::test_a[guest-3]", "guest"),
        ("t.py::test_a[3-guest-large]", "guest-large"),
        ("t.py::test_a", ""),
        ("t.py::test_a[other]", ""),
    ],
)
def test_a_test_id_tells_its_image(tmp_path, nodeid, image):
    for name in ("guest", "guest-large"):
        (tmp_path / f"{name}.raw").write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
    files = [str(tmp_path / f"{name}.raw") for name in ("guest", "guest-large")]
    session = Session(images=files, datastore="mariadb:11.8", cloud="", site="", release="", report=tmp_path, yes=False)
    assert session.image_of(nodeid) == image


def test_two_files_of_one_name_stay_apart(tmp_path):
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "guest.raw"
        file.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))
        files.append(str(file))
    session = Session(images=files, datastore="mariadb:11.8", cloud="", site="", release="", report=tmp_path, yes=False)
    assert session.names == ["guest", "guest-2"]


# ---- once more


def passing(retryable=True):
    cause = Cause("broker-refused", "boot", "cloud", "likely", "refused", retryable=retryable)
    return StepFailed("guest agent", "the broker's port refuses connections", cause=cause)


@pytest.fixture
def cloudy(road, monkeypatch):
    """A road with a cloud in which nothing is ever made, and what was removed from it."""
    removed = []

    def clean(cloud, ledger, *, only=()):
        removed.append(tuple(only))
        return []

    monkeypatch.setattr(run.cleanup, "clean", clean)
    road._made["cloud"] = SimpleNamespace(cloud=None, ledger=SimpleNamespace(open=[]))
    yield road, removed
    road._made.pop("cloud")


def test_a_fault_of_the_cloud_that_may_pass_is_tried_once_more_from_its_start(cloudy):
    road, removed = cloudy
    road._made |= {"Nova server": 1, "guest": SimpleNamespace(forget=lambda: None), "config drive": 1}
    tries = []

    def make():
        tries.append(set(road._made))
        if len(tries) == 1:
            raise passing()
        return "here"

    assert road.step("guest agent", make) == "here"
    assert tries == [{"cloud", "Nova server", "guest", "config drive"}, {"cloud"}]
    assert removed == [("server", "queue")]
    assert road.faults == []
    assert road.facts().retries == (
        Retry("guest agent", "the broker's port refuses connections", "broker-refused", passed=True),
    )


def test_the_second_failure_counts(cloudy):
    road, _ = cloudy
    with pytest.raises(StepFailed, match="refuses connections"):
        road.step("guest agent", raising(passing()))
    assert [retry.passed for retry in road.retries] == [False]
    with pytest.raises(StepFailed):
        road.step("Trove instance", raising(passing()))
    assert len(road.retries) == 1, "once per run"
    assert [fault.step for fault in road.faults] == ["guest agent", "guest agent"]


@pytest.mark.parametrize("error", [passing(retryable=False), StepFailed("guest agent", "nobody knows why")])
def test_nothing_else_is_tried_again(cloudy, error):
    road, removed = cloudy
    with pytest.raises(StepFailed):
        road.step("guest agent", raising(error))
    assert (road.retries, removed) == ([], [])


def test_a_step_that_cannot_be_undone_is_not_tried_again(cloudy):
    road, removed = cloudy
    with pytest.raises(StepFailed):
        road.step("restart", raising(passing()))
    assert (road.retries, removed) == ([], [])
