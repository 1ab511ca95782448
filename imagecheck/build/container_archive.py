"""A container archive (`docker save`, or an OCI layout in a tar) looked into: whole, one image, right architecture.

One pass over the file, in memory, nothing unpacked; then it is all names and digests.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import posixpath
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

JSON = 4 << 20  # bytes of a manifest or configuration; registries refuse larger ones (OCI distribution spec)
KEPT = 64 << 20  # bytes of all of them
MEMBERS = 10_000
TOTAL = 64 << 30  # bytes after decompression
TAIL = 1 << 10  # MiB after the last member
HEADER = 1 << 20  # bytes of a long name or of pax headers
_SAVE = "make it with `docker save IMAGE` or `skopeo copy ... docker-archive:FILE`"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NAMED = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")  # members whose names promise their digest
_INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


class Bad(Exception):
    """``what`` is wrong with a file, as the rest of a sentence that begins with its name; ``remedy`` may be empty."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class _Header(tarfile.TarInfo):
    """Headers are read into memory by what they say their size is: not these."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Header:
        found = super().frombuf(buf, encoding, errors)
        extended = found.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
        if extended and (found.type == tarfile.GNUTYPE_SPARSE or found.size > HEADER):
            raise Bad("is no container archive (a header of it is out of all proportion)", _SAVE)
        return found


@dataclass
class _Members:
    digests: dict[str, str] = field(default_factory=dict)
    unpacked: dict[str, str] = field(default_factory=dict)  # of what is gzip: the digest of what is in it
    sizes: dict[str, int] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """The member that ``name`` is or links to; `docker save` links equal layers."""
        for _ in range(10):
            if name not in self.links:
                break
            name = self.links[name]
        return name


def look(file: Path, arch: str) -> dict[str, str]:
    """Tag -> digest of the configuration of the one image in ``file``. Raises Bad, and OSError as the file gives it."""
    members = _read(file)
    for name, digest in members.digests.items():
        promised = _NAMED.fullmatch(name)
        if promised and promised[1] != digest and not name.endswith("/"):
            raise Bad(f"is corrupt ({name} is not what its digest says)")
    if "manifest.json" in members.texts:
        return _docker(members, arch)
    if "index.json" in members.texts:
        return _oci(members, arch)
    raise Bad("is no container archive (neither manifest.json nor index.json is in it)", _SAVE)


# ---- reading


def _read(file: Path) -> _Members:
    members = _Members()
    try:
        with file.open("rb") as opened, _unpacked(opened) as data:
            with tarfile.open(fileobj=data, mode="r|", tarinfo=_Header) as tar:
                for count, member in enumerate(tar):
                    if count >= MEMBERS:
                        raise Bad(f"is no container archive (more than {MEMBERS} files are in it)", _SAVE)
                    _take(tar, member, members)
            for _ in range(TAIL):  # the checksum of what is compressed comes last
                if not data.read(1 << 20):
                    break
    except Bad:
        raise
    except tarfile.ReadError as error:
        if members.sizes:
            raise Bad(f"is corrupt ({error})") from error
        raise Bad("is neither a Debian package nor a container archive", _SAVE) from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError) as error:
        raise Bad(f"is corrupt ({_plain(error)})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Bad(f"is corrupt ({_plain(error)})") from error  # gzip's and bzip2's complaints are OSErrors too
    return members


def _unpacked(opened: BinaryIO) -> IO[bytes]:
    head = opened.read(6)
    opened.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=opened)  # type: ignore[return-value]
    return lzma.LZMAFile(opened) if head.startswith(b"\xfd7zXZ\0") else opened


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, members: _Members) -> None:
    name = posixpath.normpath(member.name)
    if _outside(name):
        raise Bad(f"holds a member that leads outside ({member.name!a})")
    if member.isdir():
        return
    if name in members.sizes or name in members.links:
        raise Bad(f"is corrupt ({name!a} is in it twice)")
    if member.issym() or member.islnk():
        base = posixpath.dirname(name) if member.issym() else ""
        target = posixpath.normpath(posixpath.join(base, member.linkname))
        if _outside(target):
            raise Bad(f"holds a link that leads outside ({member.name!a})")
        members.links[name] = target
        return
    data = tar.extractfile(member) if member.isreg() else None
    if data is None:
        raise Bad(f"is no container archive (as `docker export` writes it, {member.name!a} is in it)", _SAVE)
    if sum(members.sizes.values()) + member.size > TOTAL:
        raise Bad(f"holds more than {TOTAL >> 30} GiB", "no image has room for it")
    total, inner, size = hashlib.sha256(), hashlib.sha256(), 0
    packed: Any = None
    kept = b""
    while chunk := data.read(1 << 20):
        if size == 0 and chunk.startswith(b"\x1f\x8b"):
            packed = zlib.decompressobj(wbits=31)
        size += len(chunk)
        total.update(chunk)
        if size <= JSON:
            kept += chunk
        if packed is not None and not _inflate(packed, chunk, inner):
            packed = None
    if size != member.size:
        raise Bad("is corrupt (it ends too early)")
    members.sizes[name] = size
    members.digests[name] = total.hexdigest()
    if packed is not None and packed.eof:
        members.unpacked[name] = inner.hexdigest()
    if size <= JSON and kept.lstrip()[:1] in (b"{", b"[") and sum(map(len, members.texts.values())) + size <= KEPT:
        members.texts[name] = kept


def _inflate(packed: Any, chunk: bytes, inner: Any) -> bool:
    """False where it is no gzip after all (then its digest fits nothing, and that is said)."""
    try:
        while chunk and not packed.eof:
            inner.update(packed.decompress(chunk, 1 << 20))
            chunk = packed.unconsumed_tail
    except zlib.error:
        return False
    return True


def _outside(name: str) -> bool:
    return name.startswith("/") or name.split("/")[0] == ".." or "\0" in name


def _plain(error: BaseException) -> str:
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return words if words.isprintable() else ascii(words)


# ---- what it says


def _json(members: _Members, name: str, kind: type) -> Any:
    try:
        found = json.loads(members.texts[members.at(name)])
    except KeyError:
        raise Bad(f"is incomplete ({ascii(name)[1:-1]} is missing)") from None
    except (ValueError, RecursionError) as error:
        raise Bad(f"is corrupt ({ascii(name)[1:-1]} is no JSON)") from error
    if not isinstance(found, kind):
        raise Bad(f"is corrupt ({ascii(name)[1:-1]} does not hold what it should)")
    return found


def _docker(members: _Members, arch: str) -> dict[str, str]:
    """moby's image/tarexport: manifest.json lists images, each with Config, RepoTags, Layers."""
    images = _json(members, "manifest.json", list)
    if len(images) != 1 or not isinstance(images[0], dict):
        raise Bad(f"holds {len(images)} images", "save the one of the database alone")
    image = images[0]
    name, layers = image.get("Config"), image.get("Layers")
    if not isinstance(name, str) or not isinstance(layers, list) or not all(isinstance(one, str) for one in layers):
        raise Bad("is corrupt (manifest.json names no configuration or layers)")
    config = _json(members, posixpath.normpath(name), dict)
    _architecture(config, arch)
    rootfs = config.get("rootfs")
    wanted = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(wanted, list) or len(wanted) != len(layers):
        raise Bad("is corrupt (manifest.json and the configuration name different layers)")
    for layer, digest in zip(layers, wanted, strict=True):
        there = members.at(posixpath.normpath(layer))
        if there not in members.sizes:
            raise Bad(f"is incomplete (the layer {ascii(layer)[1:-1]} is missing)")
        if digest not in (f"sha256:{members.digests[there]}", f"sha256:{members.unpacked.get(there)}"):
            raise Bad(f"is corrupt (the layer {ascii(layer)[1:-1]} is not what its digest says)")
    tags = image.get("RepoTags")
    tag = tags[0] if isinstance(tags, list) and tags and isinstance(tags[0], str) else "without a tag"
    return {tag: f"sha256:{members.digests[members.at(posixpath.normpath(name))]}"}


def _oci(members: _Members, arch: str) -> dict[str, str]:
    """OCI image layout 1.1: index.json -> (index ->) manifest -> configuration and layers, all by digest."""
    described = _choose(_json(members, "index.json", dict), arch)
    if described.get("mediaType") in _INDEX:
        described = _choose(_json(members, _blob(members, described), dict), arch)
    manifest = _json(members, _blob(members, described), dict)
    config, layers = manifest.get("config"), manifest.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise Bad("is corrupt (its manifest names no configuration or layers)")
    _architecture(_json(members, _blob(members, config), dict), arch)
    for layer in layers:
        _blob(members, layer)
    notes = described.get("annotations")
    tag = notes.get("org.opencontainers.image.ref.name") if isinstance(notes, dict) else None
    return {tag if isinstance(tag, str) and tag else "without a tag": str(config["digest"])}


def _choose(index: Mapping[str, Any], arch: str) -> dict[str, Any]:
    listed = index.get("manifests")
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if not found:
        raise Bad("is corrupt (its index names no image)")
    platforms = [one["platform"] if isinstance(one.get("platform"), dict) else {} for one in found]
    if len(found) == 1 and not platforms[0]:
        return found[0]
    fitting = [
        one
        for one, where in zip(found, platforms, strict=True)
        if where.get("architecture") == arch and where.get("os", "linux") == "linux"
    ]
    if not fitting:
        there = sorted({ascii(where.get("architecture"))[1:-1] for where in platforms if where})
        if not there:
            raise Bad(f"holds {len(found)} images", "save the one of the database alone")
        raise Bad(f"is for {' and '.join(there)}, the image is for {arch}", f"save the linux/{arch} one")
    if len(fitting) > 1:
        raise Bad(f"holds {len(fitting)} images for {arch}", "save the one of the database alone")
    return fitting[0]


def _blob(members: _Members, described: object) -> str:
    digest = described.get("digest") if isinstance(described, dict) else None
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if not match or not isinstance(described, dict):
        raise Bad("is corrupt (something in it is named by no SHA-256 digest)")
    name = f"blobs/sha256/{match[1]}"
    if members.at(name) not in members.sizes:
        raise Bad(f"is incomplete (the blob {digest} is missing)")
    if members.digests[members.at(name)] != match[1] or described.get("size") != members.sizes[members.at(name)]:
        raise Bad(f"is corrupt (the blob {digest} is not what its digest or size says)")
    return name


def _architecture(config: Mapping[str, Any], arch: str) -> None:
    its, system = config.get("architecture"), config.get("os", "linux")
    if its != arch or system != "linux":
        there = ascii(f"{system}/{its or 'no architecture'}")[1:-1]
        raise Bad(f"is for {there}, the image is for linux/{arch}", f"save the linux/{arch} one")
