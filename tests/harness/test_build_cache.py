"""What was built is kept by its content and taken again, and built anew when anything that decides it has changed."""

import dataclasses
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from build_fixtures import BOTH, GOOD, needs_qemu

from imagecheck import build
from imagecheck.build import archive, layers
from imagecheck.imagefile import ImageFile

pytest_plugins = ["build_fixtures"]
pytestmark = pytest.mark.usefixtures("build_home")


@needs_qemu
def test_an_unchanged_definition_is_built_once(fake, known, build_home):
    fake(GOOD)
    first = build.build(known)
    assert build.build(known) == first
    assert (build_home / "count").read_text() == BOTH
    assert first.manifest["phases"]["install"] >= 0
    assert first.manifest["sha256"] == first.sha256
    assert set(first.manifest["elements"]) == {name for layer in layers.layers(known) for name in layer.resolved}
    assert [layer["title"] for layer in first.manifest["layers"]] == ["guest", "disk and database"]
    assert sorted(file.name for file in first.path.parent.iterdir()) == ["build.log", "image.qcow2", "manifest.json"]


@needs_qemu
def test_rebuild_builds_again_and_replaces_the_image(fake, known, build_home):
    fake(GOOD)
    before = build.build(known)
    after = build.build(known, rebuild=True)
    assert (build_home / "count").read_text() == BOTH + BOTH
    assert after.path == before.path


@needs_qemu
def test_two_builds_of_one_definition_at_once_build_it_once_and_both_get_it(fake, known, build_home):
    fake(GOOD + "sleep 0.5")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: build.build(known), range(2))
    assert first == second
    assert (build_home / "count").read_text() == BOTH


def database(known, **changes):
    return dataclasses.replace(known, datastore=dataclasses.replace(known.datastore, **changes))


@needs_qemu
def test_a_change_in_the_database_layer_takes_the_kept_guest(fake, known, build_home):
    fake(GOOD)
    build.build(known)
    build.build(database(known, container="mariadb:11.9"))
    assert (build_home / "count").read_text() == BOTH + "qcow2 on guest\n"


@needs_qemu
def test_only_the_newest_guests_and_images_of_a_name_are_kept(fake, known, build_home):
    fake(GOOD)
    for number in range(4):
        environment = {**known.environment, "DIB_NUMBER": str(number)}
        newest = build.build(dataclasses.replace(known, environment=environment))
    assert len(list((build_home / "images").glob("guest-debian-trixie-*"))) == 2
    kept = list((build_home / "images").glob("mariadb-debian-*/image.qcow2"))
    assert len(kept) == 2
    assert newest.path in kept


@pytest.mark.parametrize(
    "change",
    [
        {"container": "mariadb:12"},
        {"carried": "pulled"},
        {"environment": {"A": "1"}},
        {"elements": ("docker-preload",)},
    ],
)
def test_what_decides_the_database_layer_changes_the_images_key_alone(known, change):
    before, after = build.recipe(known), build.recipe(database(known, **change))
    assert before.keys[0] == after.keys[0]
    assert before.key != after.key


def test_a_new_state_of_the_archive_is_another_image(known, monkeypatch):
    before = build.recipe(known)
    monkeypatch.setattr(archive, "state", lambda *_: {"trixie": "a newer one"})
    assert build.recipe(known).keys[0] != before.keys[0]


def test_an_archive_that_does_not_answer_keeps_the_state_it_had(known, build_home, monkeypatch):
    (build_home / "images").mkdir(parents=True)

    with monkeypatch.context() as answering:
        answering.setattr(archive.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"InRelease"))
        first = build.recipe(known).archives
    archive._state.cache_clear()
    assert build.recipe(known).archives == first != {"trixie": ""}


@needs_qemu
@pytest.mark.parametrize(
    "change",
    [{"release": "sid"}, {"environment": {}}, {"login": "ada"}, {"elements": ("debian-minimal", "docker-debian")}],
)
def test_a_changed_definition_is_another_image(fake, known, change):
    fake(GOOD)
    build.build(known)
    other = dataclasses.replace(known, **change)
    assert build.recipe(other).key != build.recipe(known).key
    assert build.cached(other) is None


def test_words_that_do_not_change_the_image_keep_its_key(known):
    other = dataclasses.replace(known, description="other words", needs=dataclasses.replace(known.needs, vcpus=4))
    assert build.recipe(other).key == build.recipe(known).key


@needs_qemu
def test_an_image_that_was_cut_off_is_not_taken_from_the_cache(fake, known):
    fake(GOOD)
    made = build.build(known)
    os.truncate(made.path, 100)
    assert build.cached(known) is None


def test_a_manifest_that_is_no_json_is_not_taken_from_the_cache(known, build_home):
    folder = build_home / "images" / f"{known.name}-{build.recipe(known).key}"
    folder.mkdir(parents=True)
    (folder / "image.qcow2").write_bytes(b"")
    (folder / "manifest.json").write_text("{")
    assert build.cached(known) is None


@needs_qemu
def test_the_manifest_can_be_read_back(fake, known):
    fake(GOOD)
    made = build.build(known)
    told = json.loads((made.path.parent / "manifest.json").read_text())
    assert made == ImageFile(made.path, "qcow2", told["virtual_size"], told["size"], told["sha256"], told)
    assert "127.0.0.1" not in json.dumps(told)  # the mirror is no part of what the image is
