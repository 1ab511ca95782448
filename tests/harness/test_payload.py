"""A licensed database: whatever is wrong with what the person brings is one sentence, before anything is built."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagecheck.build import container_archive, payload
from imagecheck.errors import UsageError

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed (dpkg)")


def refused(location, **more):
    with pytest.raises(UsageError) as caught:
        payload.check(str(location), **more)
    sentence = str(caught.value)
    assert sentence.startswith(f"{payload.VARIABLE}: ")
    assert "\n" not in sentence
    assert sentence.isprintable()
    return sentence


def taken_or_refused(file):
    try:
        payload.check(str(file))
    except UsageError:
        refused(file)


# ---- what a person has


def deb(folder, name="acme", version="1.0", arch="amd64", compress="xz", **more):
    tree = folder / f".{name}"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share/acme").mkdir(parents=True)
    (tree / "usr/share/acme" / name).write_bytes(os.urandom(20000))
    fields = {"Package": name, "Version": version, "Architecture": arch, "Maintainer": "A <a@a.invalid>"} | more
    (tree / "DEBIAN/control").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()) + "Description: x\n")
    file = folder / f"{name}_{version}_{arch}.deb"
    build = ["dpkg-deb", "--root-owner-group", f"-Z{compress}", "--nocheck", "--build", tree, file]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return file


def sha(data):
    return hashlib.sha256(data).hexdigest()


def tarred(members):
    """``members``: name -> bytes, or a TarInfo under any key."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


LAYER = tarred({"licence.txt": b"paid\n" * 500})


def config(arch="amd64", layers=(LAYER,), **more):
    diffs = ["sha256:" + sha(layer) for layer in layers]
    return json.dumps({"architecture": arch, "os": "linux", "rootfs": {"diff_ids": diffs}} | more).encode()


def docker(arch="amd64", layer=LAYER, tags=("acme:1",), **change):
    """As `docker save` wrote it until version 24; ``change``: members, None takes one out."""
    about = config(arch)
    manifest = [{"Config": sha(about) + ".json", "RepoTags": list(tags), "Layers": ["a/layer.tar"]}]
    members = {"a/layer.tar": layer, sha(about) + ".json": about, "manifest.json": json.dumps(manifest).encode()}
    return {name: data for name, data in (members | change).items() if data is not None}


def described(data, **more):
    return {"digest": "sha256:" + sha(data), "size": len(data)} | more


def oci(arch="amd64", index=None, layer=LAYER):
    """An OCI layout in a tar, as skopeo and buildah write it."""
    about = config(arch)
    manifest = json.dumps({"config": described(about), "layers": [described(layer)]}).encode()
    members = {"blobs/sha256/" + sha(data): data for data in (about, manifest, layer)}
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    members["index.json"] = json.dumps({"manifests": index(manifest) if index else [described(manifest)]}).encode()
    return members


def archive(folder, members, name="acme.tar", pack=None):
    file = folder / name
    data = members if isinstance(members, bytes) else tarred(members)
    file.write_bytes(pack(data) if pack else data)
    return file


# ---- what is taken


@needs_dpkg
@pytest.mark.parametrize("compress", ["xz", "gzip", "none", "zstd"])
def test_a_package_is_taken_however_it_is_compressed(tmp_path, compress):
    file = deb(tmp_path, compress=compress)
    found = payload.check(str(file))
    assert (found.kind, found.files, found.names) == ("deb", (file,), {"acme": "1.0"})
    assert found.digests == {file.name: sha(file.read_bytes())} == payload.key(str(file))


@needs_dpkg
def test_a_folder_of_packages_is_taken_as_one_with_what_lies_beside_them_left_out(tmp_path):
    deb(tmp_path, "acme-server")
    deb(tmp_path, "acme-common", arch="all")
    (tmp_path / "LICENCE.txt").write_text("x")
    found = payload.check(str(tmp_path))
    assert found.kind == "debs"
    assert found.names == {"acme-common": "1.0", "acme-server": "1.0"}
    assert len(found.digests) == 2


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


def test_a_home_folder_and_a_link_to_the_file_are_followed(tmp_path, monkeypatch):
    archive(tmp_path, docker())
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("acme.tar")
    assert payload.check("~/link").path == tmp_path / "acme.tar"


# ---- what is refused, in one sentence


@pytest.mark.parametrize(("location", "words"), [
    ("", "is empty: give a .deb"),
    ("  ", "is empty: give a .deb"),
    ("/nowhere/acme.deb", "/nowhere/acme.deb does not exist: give a .deb"),
    ("/etc/hostname/acme.deb", "does not exist"),
    ("https://acme.invalid/acme.deb", "is a URL: download it"),
    ("file:///acme.deb", "is a URL: download it"),
    ("/dev/null", "is neither a file nor a folder"),
    ("a\0b", "cannot be read"),
    ("/x\ny", "does not exist"),
])  # fmt: skip
def test_a_location_that_names_nothing_usable_is_refused(location, words):
    assert words in refused(location)


def test_the_sentence_names_who_said_it(tmp_path):
    with pytest.raises(UsageError, match=r"^mine\.toml: DATASTORE_PKG_LOCATION: .*/x does not exist"):
        payload.check(str(tmp_path / "x"), where="mine.toml: DATASTORE_PKG_LOCATION")


def test_empty_files_and_folders_are_refused(tmp_path):
    assert f"{tmp_path} is empty: give a .deb" in refused(tmp_path)
    (tmp_path / "acme.deb").touch()
    assert "acme.deb is empty: get it from its vendor again" in refused(tmp_path / "acme.deb")
    assert "acme.deb is empty" in refused(tmp_path)


def test_what_may_not_be_read_is_refused(tmp_path, monkeypatch):
    file = archive(tmp_path, docker())

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", denied)
    assert "acme.tar cannot be read (Permission denied): change its permissions" in refused(file)


@pytest.mark.parametrize(
    ("target", "words"),
    [("../acme.tar", "leads out of the folder: copy"), ("gone", "to nothing"), ("acme.tar", "to nothing")],
)
def test_links_that_lead_out_of_the_folder_or_nowhere_are_refused(tmp_path, target, words):
    archive(tmp_path, docker())
    (tmp_path / "in").mkdir()
    (tmp_path / "in/acme.tar").symlink_to(target)
    assert f"in/acme.tar is a link {words}" in refused(tmp_path / "in").replace("link that", "link")


def test_folders_that_mix_or_hold_the_wrong_things_are_refused(tmp_path):
    (tmp_path / "readme").touch()
    assert "holds no .deb and no container archive (but readme)" in refused(tmp_path)
    archive(tmp_path, docker())
    archive(tmp_path, docker(), name="other.tar.gz", pack=gzip.compress)
    assert "holds 2 container archives: leave the one of the database" in refused(tmp_path)
    (tmp_path / "acme.deb").write_bytes(b"x")
    assert "mixes packages (acme.deb) and containers (acme.tar): give one kind" in refused(tmp_path)


def test_an_unpacked_layout_and_a_socket_are_refused(tmp_path, monkeypatch):
    (tmp_path / "oci-layout").touch()
    assert "is an unpacked OCI layout: put it into an archive: tar" in refused(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        made.bind("acme.deb")
        assert "acme.deb is neither a file nor a folder" in refused(tmp_path)


@needs_dpkg
def test_packages_for_another_machine_are_refused(tmp_path):
    file = deb(tmp_path, arch="arm64")
    assert f"{file} is for arm64, the image is for amd64: give the amd64 package" in refused(file)
    assert payload.check(str(file), arch="arm64").kind == "deb"


@needs_dpkg
def test_two_files_of_one_package_are_refused(tmp_path):
    deb(tmp_path, version="1.0")
    deb(tmp_path, version="2.0")
    assert "acme_2.0_amd64.deb is the package acme as acme_1.0_amd64.deb is: leave one of them" in refused(tmp_path)


@needs_dpkg
@pytest.mark.parametrize("compress", ["xz", "gzip", "none", "zstd"])
def test_a_package_that_was_cut_off_is_refused_wherever(tmp_path, compress):
    whole = deb(tmp_path, compress=compress).read_bytes()
    cut = tmp_path / "cut.deb"
    for length in (1, 7, 8, 60, 100, 200, 600, len(whole) // 2, len(whole) - 3000, len(whole) - 2):  # -1 may be padding
        cut.write_bytes(whole[:length])
        sentence = refused(cut)
        assert "cut.deb is corrupt (" in sentence or "cut.deb is no Debian package" in sentence, length


@needs_dpkg
def test_a_package_that_is_none_or_called_otherwise_is_refused(tmp_path):
    (tmp_path / "page.deb").write_text("<html>Log in to download</html>")
    assert "page.deb is no Debian package: get it from its vendor again" in refused(tmp_path / "page.deb")
    file = deb(tmp_path).rename(tmp_path / "acme.bin")
    assert "acme.bin is a Debian package by another name: rename it to .deb" in refused(file)


@needs_dpkg
def test_a_package_with_a_member_that_leads_outside_is_refused(tmp_path):
    file = deb(tmp_path, compress="none")
    bad = gzip.compress(tarred({"./../../etc/cron.d/evil": b"x"}))
    ar = file.read_bytes()
    head = ar[: ar.index(b"data.tar")]
    file.write_bytes(head + b"data.tar.gz     0           0     0     100644  %-10d`\n" % len(bad) + bad)
    assert "holds a member that leads outside ('./../../etc/cron.d/evil')" in refused(file)


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

WILD = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@WILD
@given(
    data=st.binary(max_size=2000), head=st.sampled_from([b"", b"!<arch>\n", b"!<arch>\ndebian-binary   ", b"\x1f\x8b"])
)
def test_wild_bytes_are_refused_in_one_sentence(tmp_path, data, head):
    for name in ("wild.deb", "wild.tar"):
        (tmp_path / name).write_bytes(head + data or b"x")
        refused(tmp_path / name)


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


@needs_dpkg
def test_a_package_with_wild_bytes_in_it_is_taken_or_refused(tmp_path):
    whole = deb(tmp_path).read_bytes()

    @settings(max_examples=40)
    @given(place=st.integers(0, len(whole) - 1), bytes_=st.binary(min_size=1, max_size=200))
    def hold(place, bytes_):
        data = bytearray(whole)
        data[place : place + len(bytes_)] = bytes_
        (tmp_path / "wild.deb").write_bytes(data)
        taken_or_refused(tmp_path / "wild.deb")

    hold()
