"""The road's own machinery: each step once, a broken one told once, its time its own. No cloud is needed for that."""

import time

import pytest

from imagecheck.choice import Choice
from imagecheck.definition import known, load
from imagecheck.errors import StepFailed, UsageError
from imagecheck.report import Folder
from imagecheck.run import NotReached, Road
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
        assert road._step("a", lambda: calls.append(1) or len(calls)) == 1
    assert calls == [1]


def test_a_broken_step_is_told_once_and_not_tried_again(road):
    broken = StepFailed("a", "no valid host", seen="ERROR", remedy="free one")
    with pytest.raises(StepFailed, match="no valid host"):
        road._step("a", raising(broken))
    with pytest.raises(NotReached, match="not reached: a: no valid host"):
        road._step("a", lambda: pytest.fail("tried again"))
    (fault,) = road.faults
    assert (fault.step, fault.sentence, fault.seen, fault.remedy) == ("a", "no valid host", "ERROR", "free one")
    assert fault.evidence.endswith("report/a")


def test_the_step_that_called_for_a_broken_one_is_not_broken_itself(road):
    def inner():
        return road._step("inner", raising(StepFailed("inner", "it broke")))

    with pytest.raises(StepFailed, match="it broke"):
        road._step("outer", inner)
    assert [fault.step for fault in road.faults] == ["inner"]
    with pytest.raises(NotReached, match="not reached: inner: it broke"):
        road._step("outer", inner)
    with pytest.raises(NotReached, match="not reached: inner: it broke"):
        road._step("another", inner)
    assert len(road.faults) == 1


def test_a_usage_error_on_the_road_is_a_sentence_too(road):
    with pytest.raises(UsageError):
        road._step("a", raising(UsageError("the site names no 'guest_key'")))
    with pytest.raises(NotReached, match="not reached: a: the site names no 'guest_key'"):
        road._step("a", lambda: None)
    assert road.faults[0].step == "a"


def test_what_is_no_error_of_ours_is_not_swallowed(road):
    with pytest.raises(ZeroDivisionError):
        road._step("a", lambda: 1 / 0)
    assert road._step("a", lambda: 7) == 7


def test_a_steps_time_is_without_that_of_the_steps_it_called_for(road):
    road._step("outer", lambda: road._step("inner", lambda: time.sleep(0.2)))
    assert road.seconds["inner"] >= 0.2
    assert road.seconds["outer"] < 0.1


def test_a_step_that_was_not_reached_has_no_time(road):
    with pytest.raises(StepFailed):
        road._step("inner", raising(StepFailed("inner", "x")))
    with pytest.raises(NotReached):
        road._step("outer", lambda: road._step("inner", lambda: None))
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
