"""Definitions, site files, image headers, commands and guests that mean harm: one sentence of ours, or a value."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import broker, definition, hostcmd, imagefile, paths, site
from imagecheck.blackbox import box
from imagecheck.errors import StepFailed, UsageError
from imagecheck.guest import agent, config_drive, evidence, facts, network, redeliver
from imagecheck.guest.ssh import understood

WILD_TOML = [
    "a = " + "1" * 5000,
    "a = " + "[" * 5000,
    "use = ['x\0']",
    "\0",
    'description = "\\u001b[2J"',
    "=",
    "[a]\n[a]",
]


@pytest.mark.parametrize("text", WILD_TOML)
def test_toml_of_any_kind_ends_in_one_sentence(tmp_path, text):
    file = tmp_path / "guest.toml"
    file.write_text(text)
    for load in (definition.load, site.load):
        with pytest.raises(UsageError) as told:
            load(file)
        assert str(file) in str(told.value)


def test_a_fifo_a_folder_a_device_or_a_gigabyte_is_no_definition_and_no_site(tmp_path):
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "folder.toml").mkdir()
    with (tmp_path / "huge.toml").open("wb") as huge:
        huge.truncate(1 << 40)
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("fifo", "folder", "huge", "zero"):
        for load in (definition.load, site.load):
            with pytest.raises(UsageError, match=r"cannot be read"):
                load(tmp_path / f"{name}.toml")
        with pytest.raises(UsageError):
            broker.addresses(tmp_path / f"{name}.toml")


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x.toml", "a\0b.toml"])
def test_a_path_that_cannot_be_used_is_told(name):
    with pytest.raises(UsageError, match="give the whole path"):
        definition.load(name)


def test_a_small_file_is_read(tmp_path):
    (tmp_path / "x").write_text("text")
    assert paths.small(tmp_path / "x") == "text"


def qcow2(size=1 << 30, version=3):
    head = bytearray(0x10000)
    struct.pack_into(">4sIQIIQIIQQIIQ", head, 0, b"QFI\xfb", version, 0, 0, 16, size, 0, 1, 0x30000, 0x10000, 1, 0, 0)
    struct.pack_into(">QQQII", head, 72, 0, 0, 0, 4, 104)
    return bytes(head)


@pytest.mark.parametrize("size", [1 << 60, (1 << 64) - 1, (2 << 40) + 1])
def test_a_disk_of_an_exbibyte_is_refused_before_anything_opens_it(tmp_path, size, monkeypatch):
    monkeypatch.setattr(hostcmd, "run", lambda *_, **__: pytest.fail("qemu-img opened it"))
    (tmp_path / "a.qcow2").write_bytes(qcow2(size))
    with pytest.raises(UsageError, match="which no guest image has"):
        imagefile.inspect(tmp_path / "a.qcow2")
    with (tmp_path / "a.raw").open("wb") as raw:
        raw.write(b"\xeb" + bytes(509) + b"\x55\xaa")
        raw.truncate((2 << 40) + 512)
    with pytest.raises(UsageError, match="which no guest image has"):
        imagefile.inspect(tmp_path / "a.raw")


@pytest.mark.parametrize(
    "text",
    [
        b"# Disk DescriptorFile\nversion=1\n",
        b'# other comment\n\n   \nversion = 1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/shadow" 0\n',
        b"version=1\n",
        b'\n#\nCID=1\ncreateType="vmfs"\n',
    ],
)
def test_a_vmdk_description_is_refused_also_with_the_mark_of_a_boot_sector(tmp_path, text):
    (tmp_path / "a.raw").write_bytes(text.ljust(510, b"\0") + b"\x55\xaa" + bytes(512))
    with pytest.raises(UsageError, match="is a VMDK description"):
        imagefile.inspect(tmp_path / "a.raw")


@pytest.mark.parametrize("name", ["nbd:localhost:10809", 'json:{"driver":"nbd"}', "-U", "ssh:x"])
def test_the_name_of_a_file_is_no_protocol_and_no_option(tmp_path, monkeypatch, name):
    seen = []
    (tmp_path / name).write_bytes(qcow2())
    monkeypatch.chdir(tmp_path)

    def run(argv, **_):
        seen.append([str(word) for word in argv])
        return hostcmd.Completed(json.dumps({"virtual-size": 1}), "", 0)

    monkeypatch.setattr(hostcmd, "run", run)
    imagefile.inspect(name)
    assert seen[0][-1] == f"{tmp_path}/{name}"
    assert seen[0][seen[0].index("-f") + 1] == "qcow2"


@given(st.binary(max_size=300))
def test_no_header_breaks_the_probe(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("image") / "x"
    for head in (b"", b"QFI\xfb\0\0\0\3", b"QFI\xfb\0\0\0\2", bytes(510) + b"\x55\xaa"):
        file.write_bytes(head + data)
        with contextlib.suppress(UsageError):
            assert imagefile.probe(file) in ("qcow2", "raw")


def test_a_command_that_never_stops_talking_is_ended(monkeypatch):
    monkeypatch.setattr(hostcmd, "MOST", 1 << 20)
    with pytest.raises(StepFailed, match="said more than 1 MiB"):
        hostcmd.run([sys.executable, "-c", "while True: print('x' * 99999)"], timeout=60)


def test_a_line_without_end_comes_in_pieces(monkeypatch):
    monkeypatch.setattr(hostcmd, "_LONGEST", 1000)
    lines = []
    hostcmd.stream([sys.executable, "-c", "print('x' * 10000)"], lines.append, timeout=60)
    assert max(map(len, lines)) <= 1000
    assert sum(map(len, lines)) == 10000


class Says:
    """A guest that answers whatever it is told to; a real one does not lie on request."""

    def __init__(self, said):
        self.said = said

    def run(self, *_, **__):
        return hostcmd.Completed(self.said, "", 0)


@pytest.mark.parametrize(
    "said", ["", "null", "[]", "{}", '{"wall": "x"}', "[" * 50_000, "1" * 5000, '{"brokers": 1}', "\x1b"]
)
def test_a_guest_that_answers_anything_is_told_and_breaks_nothing(said):
    guest = Says(said)
    for ask in (
        lambda: facts.facts(guest, units=[]),
        lambda: network.look(guest, "x", {}),
        lambda: redeliver._python(guest, "", {}),
    ):
        try:
            ask()
        except StepFailed as told:
            assert "cannot be read" in str(told)
    assert agent.connections(guest, "x") == []
    assert config_drive._json(said) == {} or said.startswith("{")
    assert evidence.plain(said + "\n{" + said)


def test_whatever_breaks_on_a_guests_answer_is_one_sentence():
    for error in (KeyError("x"), TypeError(), ValueError(), RecursionError(), IndexError(), AttributeError()):
        with pytest.raises(StepFailed, match="about its units cannot be read"), understood("its units"):
            raise error


def test_a_console_of_any_size_is_looked_at_to_its_bound(monkeypatch):
    for name, characters in (("READ", 1000), ("HEAD", 300), ("TAIL", 900)):
        monkeypatch.setattr(box, name, characters)
    text, note = box.bounded("".join(f"line {number}\n" for number in range(100_000)))
    assert text.startswith("line 0\n")
    assert text.rstrip().endswith("line 99999")
    assert len(text) < 3000
    assert "left out in the middle" in note
