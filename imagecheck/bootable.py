"""What an image needs to come up: boot code, kernel, initial RAM disk, modules, the volumes that it mounts, room."""

from __future__ import annotations

import lzma
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from imagecheck import inside
from imagecheck.tree import Tree, content

_MIB = 1 << 20
_LARGEST = 512 * _MIB  # bytes of an initial RAM disk that are read; Debian's with every module has 60 MiB
_UNPACKED = 1024 * _MIB  # bytes of one that are unpacked
_SOMETHING = re.compile(rb"[^\0]")
_FILES = 50  # kernels and initial RAM disks of a boot menu that are looked at
# Free bytes that a root file system must have as it lies: cloud-init, journald and dockerd write before anything can
# have grown it, and growing ext4 online needs blocks of its own (resize2fs(8)).
ROOM = 64 * _MIB
INODES = 1000

# Module -> why a guest needs it. Sources: Nova's config_drive_format (iso9660), the libvirt driver's default buses
# (virtio, nova/virt/libvirt/blockinfo.py and vif.py), Docker's contrib/check-config.sh ("Generally Necessary").
MODULES = {
    "isofs": "the config drive is an ISO 9660 file system",
    "virtio_pci": "Nova's devices are virtio ones",
    "virtio_blk": "the root disk and the ephemeral disk are virtio disks",
    "virtio_net": "the network ports are virtio ones",
    "overlay": "Docker keeps the layers of containers on overlayfs",
    "bridge": "Docker's default network is a bridge",
    "veth": "a container's end of that bridge",
}


def boots_by_itself(boot_sector: bytes, volumes: Iterable[str]) -> bool:
    """Is there boot code in the first sector, or a partition for UEFI's? An unknown sector (b"") is not judged."""
    return not boot_sector or any(boot_sector[:440]) or "EFI" in volumes


def boot_files(tree: Tree) -> list[str]:
    """Kernels and initial RAM disks that the boot menu names, as paths of the tree, without recovery modes."""
    text = tree.text("/boot/grub/grub.cfg") + tree.text("/boot/grub2/grub.cfg")
    text += "\n".join(tree.text(entry) for entry in tree.glob("/boot/loader/entries/*.conf"))
    found = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("linux", "linux16", "linuxefi", "initrd", "initrd16", "initrdefi"):
            named = [word for word in words[1 : 2 if words[0].startswith("linux") else None] if word.startswith("/")]
            # A boot partition of its own is /boot in the guest.
            found += [word if word.startswith("/boot/") else f"/boot{word}" for word in named]
    return list(dict.fromkeys(found))[:_FILES]


def broken_boot_files(tree: Tree) -> list[str]:
    """ "file: what is wrong" for each of `boot_files` that is not there or not whole; a menu without initrd counts."""
    found = []
    files = boot_files(tree)
    for file in files:
        place = tree.path(file)
        if place is None:
            found.append(f"{file}: named by the boot menu and not there")
        elif not stat.S_ISREG(place.lstat().st_mode):
            found.append(f"{file}: is no file")
        elif not place.lstat().st_size:
            found.append(f"{file}: empty")
        elif not (_whole_archive(content(place, _LARGEST)) if "initr" in file else _whole_kernel(place)):
            found.append(f"{file}: breaks off")
    if files and not any("initr" in file for file in files):
        found.append("no entry of the boot menu has an initrd")
    return found


def _whole_kernel(file: Path) -> bool:
    """A bzImage says how long it is (Documentation/arch/x86/boot.rst: setup_sects, syssize); others pass."""
    size, head = file.lstat().st_size, content(file, 0x210)
    if head[0x202:0x206] != b"HdrS" or len(head) < 0x210:
        return True
    sectors, (paragraphs,) = head[0x1F1] or 4, struct.unpack_from("<I", head, 0x1F4)
    return bool(size >= (sectors + 1) * 512 + paragraphs * 16)


def _whole_archive(data: bytes) -> bool:
    """Does an initial RAM disk reach its end? Uncompressed cpio, zstd, xz and gzip are known; others pass."""
    at = 0
    while at < len(data):
        if data[at] == 0:  # padding between archives
            at = found.start() if (found := _SOMETHING.search(data, at)) else len(data)
        elif data.startswith((b"070701", b"070702"), at):
            at = _after_cpio(data, at)
        elif data.startswith(b"\x28\xb5\x2f\xfd", at):
            at = _after_zstd(data, at)
        elif data.startswith((b"\xfd7zXZ\0", b"\x1f\x8b"), at):
            return _decompresses(data[at:])
        else:
            return True  # lz4, bzip2, ...: no verdict
        if at < 0:
            return False
    return True


def _after_cpio(data: bytes, at: int) -> int:
    """The offset behind the archive (cpio's newc format); -1: it breaks off."""
    while len(data) >= at + 110:
        try:
            size, name = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        except ValueError:
            return -1
        last = data[at + 110 : at + 110 + name].rstrip(b"\0") == b"TRAILER!!!"
        at = -(-(at + 110 + name) // 4) * 4
        at = -(-(at + size) // 4) * 4
        if last:
            return at
    return -1


def _after_zstd(data: bytes, at: int) -> int:
    """The offset behind the frame (RFC 8878, 3.1.1), without decompressing it; -1: it breaks off."""
    if len(data) < at + 6:
        return -1
    flags = data[at + 4]
    single = bool(flags & 0x20)
    at += 5 + (not single) + (0, 1, 2, 4)[flags & 3] + (int(single), 2, 4, 8)[flags >> 6]
    while len(data) >= at + 3:
        head = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if (head >> 1) & 3 == 1 else head >> 3)
        if head & 1:
            at += 4 if flags & 4 else 0
            return at if at <= len(data) else -1
    return -1


def _decompresses(data: bytes) -> bool:
    """To the end, a piece at a time: a few kilobytes may stand for gigabytes, and beyond `_UNPACKED` others pass."""
    if data.startswith(b"\xfd"):
        return _ends(lzma.LZMADecompressor(), data)
    return _inflates(zlib.decompressobj(31), data)


def _ends(unpacker: lzma.LZMADecompressor, data: bytes) -> bool:
    seen = 0
    try:
        while not unpacker.eof and seen < _UNPACKED:
            piece = unpacker.decompress(data, _MIB)
            if not piece and unpacker.needs_input:
                return unpacker.eof
            data, seen = b"", seen + len(piece)
    except lzma.LZMAError:
        return False
    return True


def _inflates(inflater: zlib._Decompress, data: bytes) -> bool:
    seen = 0
    try:
        while not inflater.eof and seen < _UNPACKED:
            piece = inflater.decompress(data, _MIB)
            data, seen = inflater.unconsumed_tail, seen + len(piece)
            if not piece and not data:
                return inflater.eof
    except zlib.error:
        return False
    return True


def missing_modules(tree: Tree) -> list[str]:
    """ "module: why" for those of `MODULES` that a kernel of the boot menu has neither built in nor as a file."""
    found = []
    for file in boot_files(tree):
        release = file.rpartition("/")[2].removeprefix("vmlinuz-")
        if file == release or not file.rpartition("/")[2].startswith("vmlinuz-"):
            continue
        folder = f"/lib/modules/{release}"
        if not tree.names(folder):
            found.append(f"{folder}: no modules for the kernel that the boot menu starts")
            continue
        lines = tree.text(f"{folder}/modules.dep").splitlines()
        loadable = {_module(path): path for path in (line.partition(":")[0] for line in lines)}
        built_in = {_module(line) for line in tree.text(f"{folder}/modules.builtin").splitlines()}
        for name, why in MODULES.items():
            if name not in built_in and not (name in loadable and tree.exists(f"{folder}/{loadable[name]}")):
                found.append(f"{name}: {why}")
    return found


def _module(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


_NAMES = ("LABEL=", "UUID=", "PARTUUID=", "PARTLABEL=")


def missing_volumes(tree: Tree, volumes: Iterable[str]) -> list[str]:
    """What the boot menu and /etc/fstab name and no partition of the image is, as "file: name".

    Lines of fstab that may fail (nofail, noauto) are left out; a device by its path is only right for the root.
    """
    known = {_plain(volume) for volume in volumes}
    wanted = []
    for line in inside.kernel_lines(tree):
        wanted += [("kernel's command line", word[5:]) for word in line.split() if word.startswith("root=")]
    for line in tree.text("/boot/grub/grub.cfg").splitlines():
        words = line.split()
        if words and words[0] == "search" and "--fs-uuid" in words:
            wanted.append(("grub.cfg", f"UUID={words[-1]}"))
    for line in tree.text("/etc/fstab").splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) < 4 or {"nofail", "noauto"} & set(fields[3].split(",")):
            continue
        if fields[0].startswith(_NAMES) or (fields[0].startswith("/dev/") and fields[1] != "/"):
            wanted.append(("/etc/fstab", fields[0]))
    return list(
        dict.fromkeys(
            f"{where}: {name}"
            for where, name in wanted
            if _plain(name) not in known and (name.startswith(_NAMES) or where == "/etc/fstab")
        )
    )


def _plain(name: str) -> str:
    """UUIDs in one case, without quotes."""
    kind, _, value = name.replace('"', "").partition("=")
    return f"{kind}={value.lower()}" if kind.endswith("UUID") else f"{kind}={value}"


def room(root: Path) -> tuple[int, int]:
    """(bytes, inodes) that are free for everybody."""
    told = os.statvfs(root)
    inodes = told.f_favail if told.f_files else INODES  # btrfs counts none
    return told.f_bavail * told.f_frsize, inodes


def read_only_root(tree: Tree) -> str:
    """The line of /etc/fstab that leaves the root file system read-only; empty: none, or an overlay lies over it."""
    if any(word.startswith(("overlayroot=", "systemd.volatile=")) for word in _kernel_words(tree)):
        return ""
    if tree.text("/etc/overlayroot.conf").strip():
        return ""
    for line in tree.text("/etc/fstab").splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) > 3 and fields[1] == "/" and "ro" in fields[3].split(","):
            return " ".join(fields)
    return ""


_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def memory_limit(tree: Tree) -> int | None:
    """Bytes of memory that the kernel's command line lets the guest have (mem=, kernel-parameters.txt); None: all."""
    told = [re.fullmatch(r"mem=([0-9]{1,15})([kmgt]?)", word.lower()) for word in _kernel_words(tree)]
    return min((int(one[1]) << _UNITS[one[2]] for one in told if one), default=None)


def _kernel_words(tree: Tree) -> list[str]:
    return [word for line in inside.kernel_lines(tree) for word in line.split()]
