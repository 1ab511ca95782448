"""A licensed database in a real image: a package and a container that this test makes itself. Needs root, minutes."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time

import pytest

from imagecheck import build, definition, disk, inside
from imagecheck.build import payload
from imagecheck.errors import UsageError

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root"),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed (dpkg)"),
]
NAME = "mariadb-debian-licensed"
PROGRAM = "#!/bin/sh\nset -eu\necho \"acme $(cat /usr/share/acme-common/release) says $(echo '6*7' | bc)\"\n"


def deb(folder, name, files, **fields):
    tree = folder / f"{name}.tree"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)
    (tree / "DEBIAN").mkdir()
    told = {"Package": name, "Version": "1.0", "Architecture": "all", "Maintainer": "A <a@a.invalid>"} | fields
    (tree / "DEBIAN/control").write_text("".join(f"{k}: {v}\n" for k, v in told.items()) + "Description: a test\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, folder], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def packages(folder):
    """A server that needs a package beside it and, through that, one of the distribution's archive."""
    folder.mkdir()
    deb(folder, "acme-common", {"usr/share/acme-common/release": "1.0"}, Depends="bc")
    deb(folder, "acme-server", {"usr/bin/acme": PROGRAM}, Depends="acme-common (= 1.0)", Architecture="amd64")
    return folder


def container(file):
    """An OCI layout in a compressed tar, which Docker does not load as it is."""

    def tarred(members, **how):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=how.get("mode", "w")) as tar:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return out.getvalue()

    def described(data):
        return {"digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}

    layer = tarred({"acme/licence.txt": b"paid for\n"})
    about = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/acme/server"]}}
    config = json.dumps(about | {"rootfs": {"type": "layers", "diff_ids": [described(layer)["digest"]]}}).encode()
    manifest = json.dumps({"schemaVersion": 2, "config": described(config), "layers": [described(layer)]}).encode()
    members = {"blobs/sha256/" + hashlib.sha256(data).hexdigest(): data for data in (layer, config, manifest)}
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [described(manifest)]}).encode()
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    file.write_bytes(tarred(members, mode="w:gz"))
    return file, described(config)["digest"]


def test_packages_that_the_person_brings_are_installed_and_work(tmp_path, monkeypatch):
    monkeypatch.setenv(payload.VARIABLE, str(packages(tmp_path / "acme")))
    known = definition.load(NAME)
    image = build.build(known, yes=True)
    with disk.opened(image) as opened:
        assert opened.host.run("acme").stdout == "acme 1.0 says 42\n"
        told = opened.host.run(
            "dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' acme-common acme-server bc"
        )
        assert told.rc == 0
        assert "acme-common 1.0 installed\nacme-server 1.0 installed\nbc " in told.stdout
        assert opened.host.run("dpkg --audit").stdout == ""
        # The shipped container is there as before; the files themselves are not.
        assert known.datastore.container in inside.docker_images(opened.tree)
        assert not opened.host.run("find / -xdev -name 'acme*.deb'").stdout
    assert image.manifest["packages"]["acme-server"] == "1.0"
    again = time.monotonic()
    assert build.build(known) == image
    assert time.monotonic() - again < 1


def test_a_container_that_the_person_brings_takes_the_place_of_the_shipped_one(tmp_path, monkeypatch):
    file, digest = container(tmp_path / "acme.tar.gz")
    monkeypatch.setenv(payload.VARIABLE, str(file))
    known = definition.load(NAME)
    image = build.build(known, yes=True)
    with disk.opened(image) as opened:
        images = inside.docker_images(opened.tree)
        assert {tag: id for tag, id in images.items() if "@" not in tag} == {known.datastore.container: digest}
        (licence,) = opened.root.glob("var/lib/docker/overlay2/*/diff/acme/licence.txt")
        assert licence.read_text() == "paid for\n"
    assert image.manifest["container"]["id"] == digest
    assert "acme.tar.gz" in image.manifest["container"]["from"]


def test_what_is_broken_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    (tmp_path / "acme.deb").write_bytes(b"!<arch>\ncut off")
    monkeypatch.setenv(payload.VARIABLE, str(tmp_path / "acme.deb"))
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match=r"DATASTORE_PKG_LOCATION: .*/acme\.deb is corrupt \("):
        build.build(definition.load(NAME))
    assert not list((tmp_path / "home").rglob("build.log"))
