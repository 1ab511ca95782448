"""What a person may bring of a licensed database: packages and container archives, made here."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, settings

from imagecheck.build import payload
from imagecheck.errors import UsageError

WILD = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
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
