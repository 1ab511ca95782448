#!/usr/bin/env python3
"""Container archives as ``docker save`` writes them: make one, look into one. Needs Python's own library only.

make LAYER CONFIG ARCH TAG OUT      from a root file system's tar and Docker's settings (JSON)
describe ARCHIVE ARCH TAG FROM      print tag, id, layers and FROM as JSON
check ARCHIVE ARCH                  the same, and read every byte of its layers
adopt ARCHIVE TAG OUT               a copy that 'docker load' takes, of an OCI layout too

Whatever is wrong with an archive ends in one sentence and exit code 1.
"""

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile

CHUNK = 1 << 20
EPOCH = "1970-01-02T00:00:00Z"


class Refused(Exception):
    """One sentence that names the archive and what is wrong with it."""


def sha256(stream):
    found = hashlib.sha256()
    while data := stream.read(CHUNK):
        found.update(data)
    return found.hexdigest()


def compact(content):
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


class Hashing:
    """A file that is read by somebody else, and hashed on the way."""

    def __init__(self, stream):
        self.stream, self.hash = stream, hashlib.sha256()

    def read(self, size=-1):
        data = self.stream.read(size)
        self.hash.update(data)
        return data


def make(layer, config, arch, tag, out):
    with open(config, encoding="utf-8") as file:
        settings = json.load(file)
    with open(layer, "rb") as content, tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("layer.tar")
        member.size, member.mode = content.seek(0, io.SEEK_END), 0o644
        content.seek(0)
        read = Hashing(content)
        archive.addfile(member, read)
        image = compact({
            "architecture": arch, "os": "linux", "created": EPOCH, "config": settings,
            "history": [{"created": EPOCH, "created_by": "imagecheck: distribution packages"}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + read.hash.hexdigest()]},
        })
        name = hashlib.sha256(image).hexdigest() + ".json"
        add(archive, name, image)
        add(archive, "manifest.json", compact([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]))


class Archive:
    """A readable archive with one image: its config, layers and tags, from Docker's manifest or from an OCI layout."""

    def __init__(self, path):
        self.path = path
        try:
            self.tar = tarfile.open(path, "r:*")
            self.names = {name.removeprefix("./"): name for name in self.tar.getnames()}
            self.oci = "manifest.json" not in self.names
            if self.oci and not {"index.json", "oci-layout"} <= set(self.names):
                raise Refused(f"{path} is no container archive: neither manifest.json nor an OCI layout is in it")
            self.config, self.layers, self.tags = self._oci() if self.oci else self._docker()
            self.id = "sha256:" + sha256(self.open(self.config))
            self.image = json.load(self.open(self.config))
            self.diffs = self.image["rootfs"]["diff_ids"]
            missing = [name for name in self.layers if name not in self.names]
        except OSError as failed:
            raise Refused(f"{path} cannot be read: {failed.strerror or failed}") from failed
        except (tarfile.TarError, EOFError, ValueError, KeyError, IndexError, TypeError) as failed:
            why = str(failed).partition("\n")[0].rstrip(":")
            raise Refused(f"{path} is no whole container archive: {type(failed).__name__}: {why}") from failed
        if missing or len(self.diffs) != len(self.layers):
            raise Refused(f"{path} lacks layers: {missing or len(self.diffs) - len(self.layers)}")

    def open(self, name):
        member = self.tar.extractfile(self.names[name])
        if member is None:
            raise KeyError(name)
        return member

    def _docker(self):
        manifest = json.load(self.open("manifest.json"))
        if len(manifest) != 1:
            raise Refused(f"{self.path} has {len(manifest)} images: save the one that Trove asks for")
        (image,) = manifest
        return image["Config"], image["Layers"], image.get("RepoTags") or []

    def _oci(self):
        found = json.load(self.open("index.json"))
        while "manifests" in found:  # an index may name another one, with a manifest for each platform
            fitting = [one for one in found["manifests"] if one.get("platform", {}).get("architecture", "amd64") == "amd64"]
            found = json.load(self.open(self._blob(fitting[0])))
        return self._blob(found["config"]), [self._blob(layer) for layer in found["layers"]], []

    @staticmethod
    def _blob(descriptor):
        return "blobs/" + descriptor["digest"].replace(":", "/")

    def fits(self, arch):
        if self.image.get("architecture") != arch:
            raise Refused(f"{self.path} is for {self.image.get('architecture')}, the guest is {arch}")
        return self

    def whole(self):
        """Read each layer and compare it with what the config says of it."""
        for name, wanted in zip(self.layers, self.diffs, strict=True):
            try:
                stream = self.open(name)
                packed = stream.read(2) == b"\x1f\x8b"
                stream.seek(0)
                found = "sha256:" + sha256(gzip.open(stream) if packed else stream)
            except (OSError, EOFError, tarfile.TarError) as failed:
                raise Refused(f"{self.path} is damaged in {name}: {failed}") from failed
            if found != wanted:
                raise Refused(f"{self.path} is damaged: {name} is {found}, its config says {wanted}")
        return self


def described(archive, tag="", origin=""):
    tags = [tag] if tag else archive.tags
    print(json.dumps({"tag": ", ".join(tags), "id": archive.id, "layers": archive.diffs, "from": origin}))


def adopt(path, tag, out):
    archive = Archive(path)
    if not archive.oci:
        shutil.copyfile(path, out)
        return
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as copy:
        for name in [archive.config, *archive.layers]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = archive.tar.getmember(archive.names[name]).size, 0o644
            copy.addfile(member, archive.open(name))
        add(copy, "manifest.json", compact([{"Config": archive.config, "RepoTags": [tag], "Layers": archive.layers}]))


def main(command, *given):
    if command == "make":
        make(*given)
    elif command == "describe":
        described(Archive(given[0]).fits(given[1]), *given[2:])
    elif command == "check":
        described(Archive(given[0]).fits(given[1]).whole(), "", given[0])
    elif command == "adopt":
        adopt(*given)
    else:
        raise Refused(f"no command {command}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refused as refused:
        sys.exit(f"container archive: {refused}")
