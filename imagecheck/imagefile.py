"""An image file: what it is, found out without trusting it."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from imagecheck import hostcmd
from imagecheck.errors import StepFailed, UsageError

Format = Literal["qcow2", "raw"]


@dataclass(frozen=True)
class ImageFile:
    """A whole image in one file. ``virtual_size`` and ``size`` (of the file) in bytes; ``manifest`` is the build's."""

    path: Path
    format: Format
    virtual_size: int
    size: int
    sha256: str
    manifest: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Consistency:
    """What ``qemu-img check`` says: ``supported`` is False for raw images, which have nothing to check."""

    supported: bool
    sound: bool
    said: str


# Signatures at an offset (bytes), what the file is, and the way to something that Glance and Nova take here.
# Sources: each format's specification; qemu block/{vmdk,vpc,vdi,vhdx,qed}.c probes.
_CONVERT = "convert it with 'qemu-img convert -O qcow2'"
FOREIGN = (
    (0, b"KDMV", "a VMDK image", _CONVERT),
    (0, b"# Disk DescriptorFile", "a VMDK description", _CONVERT),
    (0, b"conectix", "a VHD image", _CONVERT),
    (0, b"vhdxfile", "a VHDX image", _CONVERT),
    (0, b"QED\0", "a QED image", _CONVERT),
    (0, b"COWD", "a VMDK image", _CONVERT),
    (0, b"WithoutFreeSpace", "a Parallels image", _CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels image", _CONVERT),
    (0, b"Bochs Virtual HD Image", "a Bochs image", _CONVERT),
    (0, b"#!/bin/sh\n#V2.0 Format", "a cloop image", _CONVERT),
    (0, b"LUKS\xba\xbe", "encrypted with LUKS", "give an image that Nova can boot"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image", _CONVERT),
    (0, b"\x1f\x8b", "gzip-compressed", "unpack it with gunzip"),
    (0, b"\xfd7zXZ\0", "xz-compressed", "unpack it with unxz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed", "unpack it with unzstd"),
    (0, b"BZh", "bzip2-compressed", "unpack it with bunzip2"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it"),
    (0, b"\x7fELF", "a program", "give a qcow2 or raw image"),
    (257, b"ustar", "a tar archive", "give the image inside it"),
    (0x8001, b"CD001", "an ISO 9660 CD image", "give an image of a disk"),
)
_HEAD = 0x8006  # bytes: enough for every signature above
# What qemu (and so a cloud that does not name the format) takes for a VMDK description, wherever comments let it begin:
# its extents are paths of the host (CVE-2022-47951; qemu block/vmdk.c, vmdk_probe).
_VMDK = re.compile(rb"(?:[ \t\r\n\0]|#[^\n]*\n)*version[ \t]*=|.{0,4096}?createType[ \t]*=", re.S)
LARGEST = 2 << 40  # bytes of a disk: as many as a partition table of the MBR kind can tell; a guest image has a few GiB
# Time and memory for qemu-img with a file of unknown origin, as Nova gives it (nova/virt/images.py, QEMU_IMG_LIMITS).
_LIMITED = ("prlimit", "--cpu=30", f"--as={1 << 30}")
_QCOW2 = b"QFI\xfb"
# docs/interop/qcow2.txt of qemu: header fields, incompatible feature bits, header extensions.
_EXTERNAL_DATA_BIT = 1 << 2
_EXTERNAL_DATA_NAME = 0x44415441


def inspect(path: str | Path) -> ImageFile:
    """What ``path`` is: a qcow2 or raw disk image that stands alone. Raises UsageError, one sentence.

    The header is read here before qemu opens the file: a backing or data file named in it could be any file of
    this host (CVE-2024-32498), and qemu would open it. The SHA-256 is computed, about a second for each GB.
    """
    file = Path(path).expanduser()
    format_ = probe(file)
    told = _info(file, format_)
    for key in ("backing-filename", "full-backing-filename"):
        if told.get(key):
            raise _not_alone(file, "a backing file", str(told[key]))
    _not_too_large(file, int(told["virtual-size"]))
    if (told.get("format-specific") or {}).get("data", {}).get("data-file"):
        raise _not_alone(file, "a data file", "outside of it")
    return ImageFile(file.absolute(), format_, int(told["virtual-size"]), file.stat().st_size, sha256(file))


def probe(file: Path) -> Format:
    """The format by the file's own bytes; raises UsageError where it is refused."""
    try:
        if not file.is_file():
            what = "is not a file" if file.exists() else "does not exist"
            raise UsageError(f"{file}: {what}: give the path of a qcow2 or raw image")
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}): check its path and permissions") from error
    if head[:4] == _QCOW2:
        _alone(file, head)
        return "qcow2"
    for offset, magic, what, remedy in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise UsageError(f"{file}: is {what}, not a qcow2 or raw image: {remedy}")
    if _VMDK.match(head):
        raise UsageError(f"{file}: is a VMDK description, not a qcow2 or raw image: {_CONVERT}")
    _not_too_large(file, file.stat().st_size)
    # A raw image has no header; a bootable one has the boot sector's mark, and nothing else does by chance.
    if head[510:512] != b"\x55\xaa":
        raise UsageError(f"{file}: is not an image (no qcow2 header, no boot sector): give a qcow2 or raw disk image")
    return "raw"


def _not_too_large(file: Path, size: int) -> None:
    if size > LARGEST:
        raise UsageError(
            f"{file}: says that its disk has {size:,} bytes, which no guest image has (at most {LARGEST >> 40} TiB): "
            "build it again with the size that the guest needs"
        )


def _alone(file: Path, head: bytes) -> None:
    if len(head) < 72:
        raise UsageError(f"{file}: is a qcow2 image that breaks off in its header: fetch or build it again")
    version, backing_offset, backing_size = struct.unpack_from(">IQI", head, 4)
    if version not in (2, 3):
        raise UsageError(f"{file}: is qcow version {version}, not qcow2: {_CONVERT}")
    if backing_offset or backing_size:
        named = head[backing_offset : backing_offset + min(backing_size, 1023)].decode("utf-8", "replace")
        raise _not_alone(file, "a backing file", named or "somewhere")
    _not_too_large(file, struct.unpack_from(">Q", head, 24)[0])
    if struct.unpack_from(">I", head, 32)[0]:
        raise UsageError(f"{file}: is encrypted: Nova cannot boot it; {_CONVERT}")
    if version == 2:
        return
    if len(head) < 104:
        raise UsageError(f"{file}: is a qcow2 image that breaks off in its header: fetch or build it again")
    if struct.unpack_from(">Q", head, 72)[0] & _EXTERNAL_DATA_BIT:
        raise _not_alone(file, "a data file", "outside of it")
    offset = struct.unpack_from(">I", head, 100)[0]
    while offset + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == 0:
            return
        if kind == _EXTERNAL_DATA_NAME:
            named = head[offset + 8 : offset + 8 + min(length, 1023)].decode("utf-8", "replace")
            raise _not_alone(file, "a data file", named)
        offset += 8 + (length + 7) // 8 * 8


def _not_alone(file: Path, what: str, named: str) -> UsageError:
    return UsageError(
        f"{file}: needs {what} ({named!r}), so it is not a whole image: flatten it where it was made "
        "with 'qemu-img convert -O qcow2'"
    )


def _info(file: Path, format_: Format) -> dict[str, Any]:
    try:
        # From the root: "nbd:x" and "json:{...}" may be names of files, and -x too.
        whole = file.absolute()
        hostcmd.require("qemu-img")
        said = hostcmd.run(
            [*_LIMITED, "qemu-img", "info", "--output=json", "-f", format_, "--force-share", whole], timeout=60
        )
        return cast(dict[str, Any], json.loads(said.stdout))
    except (StepFailed, ValueError, RecursionError) as error:
        seen = error.seen if isinstance(error, StepFailed) else str(error)
        raise UsageError(f"{file}: qemu-img cannot read it ({seen}): fetch or build it again") from error


def check(image: ImageFile) -> Consistency:
    """Is the file intact inside? (``qemu-img check``: clusters referenced twice, leaked, or beyond the end.)"""
    if image.format == "raw":
        return Consistency(False, True, "raw images have no metadata to check")
    done = hostcmd.run(["qemu-img", "check", "-f", image.format, image.path], check=False, timeout=600)
    said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
    return Consistency(True, done.rc == 0, said)


def sha256(file: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises UsageError where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}): check its path and permissions") from error
