"""A licensed database that comes as a container archive: taken as the usual tools write it, refused in one sentence."""

import gzip
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payload_fixtures import (
    LAYER,
    WILD,
    archive,
    config,
    described,
    docker,
    oci,
    refused,
    sha,
    taken_or_refused,
    tarred,
)  # fmt: skip

from imagecheck.build import container_archive, payload

# ---- what is taken


@pytest.mark.parametrize("pack", [None, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("make", [docker, oci])
def test_a_container_archive_is_taken_alone_and_in_a_folder(tmp_path, make, pack):
    file = archive(tmp_path, make(), pack=pack)
    found = payload.check(str(file))
    assert found.kind == "container"
    assert found.names == {"acme:1" if make is docker else "without a tag": "sha256:" + sha(config())}
    assert payload.check(str(tmp_path)).files == (file,)


def test_layers_may_be_compressed_and_linked_as_docker_save_does(tmp_path):
    link = tarfile.TarInfo("b/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
    about = config(layers=(LAYER, LAYER))
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}]
    members = {"a/layer.tar": gzip.compress(LAYER), "b": link, "c.json": about}
    members["manifest.json"] = json.dumps(manifest).encode()
    assert payload.check(str(archive(tmp_path, members))).kind == "container"


def test_of_several_platforms_the_image_s_own_is_taken(tmp_path):
    def both(manifest):
        other = described(b"elsewhere", platform={"architecture": "arm64", "os": "linux"})
        return [other, described(manifest, platform={"architecture": "amd64", "os": "linux"})]

    assert payload.check(str(archive(tmp_path, oci(index=both)))).kind == "container"
    assert "is for amd64 and arm64, the image is for s390x" in refused(archive(tmp_path, oci(index=both)), arch="s390x")


# ---- what is refused, in one sentence


OTHER = tarred({"licence.txt": b"other"})


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (docker(arch="arm64"), "is for linux/arm64, the image is for linux/amd64: save the linux/amd64 one"),
        (oci(arch="arm64"), "is for linux/arm64, the image is for linux/amd64"),
        (docker(**{"a/layer.tar": None}), "is incomplete (the layer a/layer.tar is missing)"),
        (docker(layer=OTHER), "is corrupt (the layer a/layer.tar is not what its digest says)"),
        (docker(**{"manifest.json": b"[{}, {}]"}), "holds 2 images: save the one of the database alone"),
        (docker(**{"manifest.json": b"[{"}), "is corrupt (manifest.json is no JSON)"),
        (docker(**{"manifest.json": b"[1]"}), "holds 1 images"),
        (docker(**{"manifest.json": b"{}"}), "manifest.json does not hold what it should"),
        (docker(**{"manifest.json": b'[{"Config": "../x", "Layers": []}]'}), "is incomplete (../x is missing)"),
        (docker(**{"manifest.json": b"[" * 100000}), "is corrupt (manifest.json is no JSON)"),
        (docker(**{"manifest.json": None}), "is no container archive (neither manifest.json nor index.json is in it)"),
        (docker(**{"../up": b"x"}), "holds a member that leads outside ('../up')"),
        (docker(**{"/etc/passwd": b"x"}), "holds a member that leads outside"),
        ({"licence.txt": b"x"}, "is no container archive (neither manifest.json nor index.json is in it)"),
        ({"index.json": b"{}"}, "is corrupt (its index names no image)"),
        ({"index.json": b'{"manifests": [{"digest": "md5:1"}]}'}, "is named by no SHA-256 digest"),
        (oci() | {"blobs/sha256/" + sha(LAYER): OTHER}, "is not what its digest says"),
        ({k: v for k, v in oci().items() if sha(LAYER) not in k}, "is incomplete (the blob sha256:"),
    ],
)  # fmt: skip
def test_a_container_archive_that_would_not_load_is_refused(tmp_path, members, words):
    assert words in refused(archive(tmp_path, members))


def special(kind, target=""):
    member = tarfile.TarInfo("a/b")
    member.type, member.linkname = kind, target
    return {"x": member}


@pytest.mark.parametrize(
    "link", [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.SYMTYPE, "../../x"), (tarfile.LNKTYPE, "../x")]
)
def test_a_container_archive_with_a_link_that_leads_outside_is_refused(tmp_path, link):
    assert "holds a link that leads outside ('a/b')" in refused(archive(tmp_path, docker() | special(*link)))


def test_a_file_system_as_docker_export_writes_it_is_refused_with_the_right_command(tmp_path):
    sentence = refused(archive(tmp_path, special(tarfile.CHRTYPE)))
    assert "as `docker export` writes it, 'a/b' is in it): make it with `docker save" in sentence


@pytest.mark.parametrize("pack", [None, gzip.compress], ids=["plain", "gzip"])
def test_a_container_archive_that_was_cut_off_is_refused_wherever(tmp_path, pack):
    whole = archive(tmp_path, docker(), pack=pack).read_bytes()
    end = len(whole) if pack else len(whole.rstrip(b"\0"))
    for length in {min(cut, end - 1) for cut in (1, 5, 100, 511, 513, 1000, end // 2, end)}:
        file = tmp_path / "cut.tar"
        file.write_bytes(whole[:length])
        assert refused(file), length


def test_a_header_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path):
    long = tarfile.TarInfo("x")
    long.type, long.size = tarfile.XHDTYPE, 8 << 30
    file = archive(
        tmp_path, long.tobuf(tarfile.USTAR_FORMAT) if long.size < 8 << 30 else long.tobuf(tarfile.GNU_FORMAT)
    )
    assert "out of all proportion" in refused(file)


def test_an_archive_of_too_many_files_or_bytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(container_archive, "TOTAL", 1 << 10)
    assert "no image has room for it" in refused(archive(tmp_path, docker()))
    monkeypatch.setattr(container_archive, "MEMBERS", 0)
    assert "more than 0 files are in it" in refused(archive(tmp_path, docker()))


# ---- wild bytes end in the same sentences


@WILD
@given(
    place=st.integers(0, 10**6), bytes_=st.binary(min_size=1, max_size=600), packed=st.booleans(), kind=st.booleans()
)
def test_a_container_archive_with_wild_bytes_in_it_is_taken_or_refused(tmp_path, place, bytes_, packed, kind):
    data = tarred(docker() if kind else oci())
    data = bytearray(gzip.compress(data) if packed else data)
    place %= len(data)
    data[place : place + len(bytes_)] = bytes_
    taken_or_refused(archive(tmp_path, bytes(data)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["manifests", "Config", "Layers", "digest", "config", "platform", "x"]), inner
        )
    ),
    max_leaves=8,
)


@WILD
@given(found=JSON, name=st.sampled_from(["manifest.json", "index.json"]))
def test_a_manifest_with_wild_content_is_refused_in_one_sentence(tmp_path, found, name):
    refused(archive(tmp_path, {name: json.dumps(found).encode()}))
