"""A plan says what would be done, to the letter, and does none of it."""

import dataclasses

import pytest

from imagecheck import build, cli, definition, mirror, plan
from imagecheck.build import archive, payload


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(mirror, "archive", lambda _: "http://127.0.0.1:9/debian")
    monkeypatch.delenv(payload.VARIABLE, raising=False)
    archive._state.cache_clear()
    return tmp_path / "home"


def text(known, **how):
    return "\n".join(plan.lines(plan.plan(known, **how)))


@pytest.mark.parametrize("name", definition.known())
def test_every_shipped_definition_has_a_plan_that_names_its_call(name, home, capsys):
    assert cli.main(["plan", name]) == 0
    told = capsys.readouterr().out
    known = definition.load(name)
    if known.builder == "diskimage-builder" and not known.image_source:
        assert "disk-image-create -n -u -a amd64 -t qcow2 -o image" in " ".join(told.split())
    assert known.datastore.container in told
    assert "servers, one at a time" in told
    assert not [file for file in home.rglob("*") if file.is_file()]


def test_a_plan_tells_both_calls_with_environment_elements_and_packages():
    made = plan.plan(definition.load("mariadb-debian"))
    guest, top = made.calls
    assert guest.environment["DIB_RELEASE"] == "trixie"
    assert "guest-layer" in top.words
    assert top.environment["DIB_CONTAINER"] == "mariadb:11.8"
    assert "mariadb-container" in top.elements
    assert "trove-guestagent" in guest.packages
    assert (made.servers, made.obstacles) == (2, ())


def test_a_plan_ends_with_the_stage():
    assert plan.plan(definition.load("mariadb-debian"), stage="disk").servers == 0
    assert plan.plan(definition.load("mariadb-debian"), stage="boot").servers == 1


def test_a_release_boots_three_more_and_the_plan_says_what_they_cost():
    known = definition.load("mariadb-debian")
    daily, release = plan.plan(known), plan.plan(known, qualify=True)
    assert release.servers == daily.servers + 3
    assert sum(release.seconds.values()) > sum(daily.seconds.values())
    assert plan.plan(known, stage="disk", qualify=True).servers == 0
    assert "injection matrix" in text(known, qualify=True)
    assert "injection matrix" not in text(known)


def test_a_plan_says_what_keeps_an_image_from_being_made(monkeypatch):
    ubuntu = dataclasses.replace(definition.load("mariadb-debian"), os="ubuntu", release="noble")
    monkeypatch.undo()
    monkeypatch.setattr(mirror, "_of_host", dict)
    monkeypatch.delenv("IMAGECHECK_UBUNTU_MIRROR", raising=False)
    assert "not built here: no Ubuntu archive is known" in " ".join(text(ubuntu).split())
    assert "DATASTORE_PKG_LOCATION is not set" in " ".join(text(definition.load("mariadb-debian-licensed")).split())


def test_a_plan_of_a_fetched_or_commanded_image_says_from_where():
    known = definition.load("mariadb-debian")
    fetched = dataclasses.replace(known, image_source="glance:tag:trove", elements=(), disk=())
    assert "fetched from glance:tag:trove" in text(fetched)
    other = dataclasses.replace(known, builder="command", command=("./make", "{output}"), elements=(), disk=())
    assert "made by ./make '{output}'" in text(other)


def test_a_plan_knows_what_is_kept(monkeypatch):
    known = definition.load("mariadb-debian")
    cold = plan.plan(known).seconds["build"]
    monkeypatch.setattr(build, "kept", lambda _, number: number == 0)
    assert plan.plan(known).seconds["build"] < cold
    assert "kept: not repeated" in text(known)
