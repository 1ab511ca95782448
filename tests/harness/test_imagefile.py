"""Image files: what is taken, what is refused, and that qemu never opens a file that a header names."""

import hashlib
import struct
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagecheck import hostcmd, imagefile
from imagecheck.errors import UsageError
from imagecheck.imagefile import FOREIGN, inspect

MIB = 1 << 20
needs_qemu = pytest.mark.skipif(hostcmd.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


def qemu_img(*words):
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture
def qcow2(tmp_path):
    file = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", file, 8 * MIB)
    return file


@needs_qemu
def test_a_qcow2_image_is_taken_with_its_sizes_and_digest(qcow2):
    image = inspect(qcow2)
    assert (image.format, image.virtual_size, image.size) == ("qcow2", 8 * MIB, qcow2.stat().st_size)
    assert image.sha256 == hashlib.sha256(qcow2.read_bytes()).hexdigest()
    assert image.path == qcow2


@needs_qemu
def test_a_raw_disk_with_a_boot_sector_is_taken(tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(510) + b"\x55\xaa" + bytes(MIB - 512))
    assert inspect(file).format == "raw"
    assert imagefile.check(inspect(file)).sound


@needs_qemu
def test_an_intact_image_is_sound_and_a_damaged_one_is_not(tmp_path):
    file = tmp_path / "disk.qcow2"
    raw = tmp_path / "raw"
    raw.write_bytes(b"x" * 4 * MIB)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, file)
    assert imagefile.check(inspect(file)).sound
    table = struct.unpack_from(">Q", file.read_bytes(), 48)[0]  # refcount_table_offset
    with file.open("r+b") as stream:
        stream.seek(table)
        stream.write(struct.pack(">Q", 0))
    found = imagefile.check(inspect(file))
    assert not found.sound
    assert found.said


@needs_qemu
def test_a_backing_file_is_refused_and_named(tmp_path, qcow2):
    top = tmp_path / "top.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", qcow2, top)
    with pytest.raises(UsageError, match=r"top\.qcow2: needs a backing file .*disk\.qcow2.*flatten it"):
        inspect(top)


@needs_qemu
def test_an_external_data_file_is_refused_before_qemu_opens_it(tmp_path, monkeypatch):
    file = tmp_path / "data.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'secret'},data_file_raw=on", file, MIB)
    monkeypatch.setattr(hostcmd, "run", lambda *_, **__: pytest.fail("qemu-img was asked"))
    with pytest.raises(UsageError, match=r"data\.qcow2: needs a data file .*flatten it"):
        inspect(file)


@pytest.mark.parametrize(("offset", "magic", "what"), [row[:3] for row in FOREIGN], ids=[row[2] for row in FOREIGN])
def test_a_foreign_format_is_named_with_a_remedy(tmp_path, offset, magic, what):
    file = tmp_path / "image"
    file.write_bytes(bytes(offset) + magic + bytes(imagefile._HEAD))
    with pytest.raises(UsageError, match=rf"image: is {what}, not a qcow2 or raw image: \w+"):
        inspect(file)


def test_a_text_is_not_an_image(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("hello\n" * 1000)
    with pytest.raises(UsageError, match=r"notes\.txt: is not an image"):
        inspect(file)


@pytest.mark.parametrize("name", ["missing.qcow2", "."])
def test_what_is_no_file_is_named(tmp_path, name):
    with pytest.raises(UsageError, match=r"does not exist|is not a file"):
        inspect(tmp_path / name)


@needs_qemu
def test_a_cut_off_image_is_one_sentence(tmp_path, qcow2):
    cut = tmp_path / "cut.qcow2"
    cut.write_bytes(qcow2.read_bytes()[:50])
    with pytest.raises(UsageError, match=r"cut\.qcow2: .*fetch or build it again"):
        inspect(cut)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.binary(max_size=600))
def test_any_header_is_read_or_refused_in_one_sentence(tmp_path, head):
    file = tmp_path / "any"
    file.write_bytes(b"QFI\xfb" + head)
    try:
        said = imagefile.probe(file)
    except UsageError as error:
        said = str(error)
    assert said == "qcow2" or said.startswith(f"{file}: ")
