"""A licensed database: whatever is wrong with what the person brings is one sentence, before anything is built."""

import gzip
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payload_fixtures import WILD, archive, deb, docker, needs_dpkg, refused, sha, taken_or_refused, tarred

from imagecheck.build import payload
from imagecheck.errors import UsageError

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


# ---- wild bytes end in the same sentences


@WILD
@given(
    data=st.binary(max_size=2000), head=st.sampled_from([b"", b"!<arch>\n", b"!<arch>\ndebian-binary   ", b"\x1f\x8b"])
)
def test_wild_bytes_are_refused_in_one_sentence(tmp_path, data, head):
    for name in ("wild.deb", "wild.tar"):
        (tmp_path / name).write_bytes(head + data or b"x")
        refused(tmp_path / name)


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
