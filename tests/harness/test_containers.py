"""Container archives: made so that Docker takes them, and refused in one sentence where it would not."""

import gzip
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from imagecheck import paths

ELEMENTS = paths.shipped("elements")
TOOL = ELEMENTS / "docker-preload" / "docker_archive.py"
HOOKS = {
    name: next((ELEMENTS / name / folder).iterdir())
    for name, folder in (
        ("container-from-packages", "root.d"),
        ("container-from-registry", "extra-data.d"),
        ("container-from-archive", "extra-data.d"),
    )
}
SETTINGS = {"Entrypoint": ["start"], "Cmd": ["served"], "Volumes": {"/data": {}}}

spec = importlib.util.spec_from_file_location("docker_archive", TOOL)
assert spec
assert spec.loader
docker_archive = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docker_archive)


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def made(tmp_path):
    """An archive from a small root file system."""
    root = tmp_path / "root.tar"
    with tarfile.open(root, "w") as tar:
        docker_archive.add(tar, "bin/start", b"#!/bin/sh\n")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SETTINGS))
    out = tmp_path / "container.tar"
    docker_archive.make(root, config, "amd64", "served:1", out)
    return out


def oci(path, *, arch="amd64", packed=True):
    """An OCI layout with one image as one tar file, its layer compressed; gives the layer's digest."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        docker_archive.add(tar, "bin/start", b"#!/bin/sh\n")
    plain = content.getvalue()
    layer = gzip.compress(plain, mtime=0) if packed else plain
    config = json.dumps(
        {"architecture": arch, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(plain)]}}
    ).encode()
    manifest = json.dumps(
        {"config": {"digest": "sha256:" + digest(config)}, "layers": [{"digest": "sha256:" + digest(layer)}]}
    ).encode()
    index = json.dumps({"manifests": [{"digest": "sha256:" + digest(manifest)}]}).encode()
    with tarfile.open(path, "w") as tar:
        docker_archive.add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        docker_archive.add(tar, "index.json", index)
        for blob in (layer, config, manifest):
            docker_archive.add(tar, "blobs/sha256/" + digest(blob), blob)
    return "sha256:" + digest(plain)


def run(hook, tmp_path, **env):
    """Run an element's hook with the hooks folder that DIB would have merged."""
    hooks = tmp_path / "hooks"
    for element in ("docker-preload", hook):
        shutil.copytree(ELEMENTS / element, hooks, dirs_exist_ok=True)
    (tmp_path / "build").mkdir(exist_ok=True)
    given = {
        "PATH": os.environ["PATH"], "TMP_HOOKS_PATH": str(hooks), "TMP_BUILD_DIR": str(tmp_path / "build"),
        "ARCH": "amd64", "DIB_PYTHON_EXEC": sys.executable, "DIB_CONTAINER": "served:1", "DIB_IMAGE_CACHE":
        str(tmp_path), "DIB_RELEASE": "trixie", "DIB_CONTAINER_CARRIED": "packages",
        "DIB_CONTAINER_EXPIRED_ARCHIVE": "0", "DIB_CONTAINER_CACHE_HOURS": "1", **env,
    }  # fmt: skip
    return subprocess.run([HOOKS[hook]], env=given, capture_output=True, text=True, check=False)


def test_an_archive_from_a_root_is_laid_out_as_docker_save_does(made):
    with tarfile.open(made) as tar:
        (image,) = json.load(tar.extractfile("manifest.json"))
        layer = tar.extractfile("layer.tar").read()
        config = tar.extractfile(image["Config"]).read()
    assert image["RepoTags"] == ["served:1"]
    assert image["Layers"] == ["layer.tar"]
    assert image["Config"] == digest(config) + ".json"
    content = json.loads(config)
    assert content["config"] == SETTINGS
    assert content["architecture"] == "amd64"
    assert content["rootfs"]["diff_ids"] == ["sha256:" + digest(layer)]


def test_the_same_root_makes_the_same_archive(made, tmp_path):
    again = tmp_path / "again.tar"
    docker_archive.make(tmp_path / "root.tar", tmp_path / "config.json", "amd64", "served:1", again)
    assert again.read_bytes() == made.read_bytes()


def test_a_sound_archive_goes_into_the_image_with_the_tag_that_trove_asks_for(made, tmp_path):
    done = run("container-from-archive", tmp_path, DIB_CONTAINER_ARCHIVE=str(made), DIB_CONTAINER="other:2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hooks/docker-preload/container.tar").read_bytes() == made.read_bytes()
    assert (tmp_path / "hooks/docker-preload/container.tag").read_text() == "other:2\n"


def test_what_guests_pull_is_put_beside_the_image_and_not_into_it(made, tmp_path):
    out = tmp_path / "out"
    done = run(
        "container-from-archive", tmp_path, DIB_CONTAINER_ARCHIVE=str(made), DIB_CONTAINER_CARRIED="pulled",
        DIB_CONTAINER_OUT=str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "container.tar").read_bytes() == made.read_bytes()
    said = json.loads((out / "container.json").read_text())
    assert said["tag"] == "served:1"
    assert said["id"].startswith("sha256:")
    assert len(said["layers"]) == 1
    assert said["from"] == "archive container.tar"
    assert not (tmp_path / "hooks/docker-preload").exists()


def test_an_oci_layout_becomes_what_docker_loads(tmp_path):
    layer = oci(tmp_path / "oci.tar")
    done = run("container-from-archive", tmp_path, DIB_CONTAINER_ARCHIVE=str(tmp_path / "oci.tar"))
    assert done.returncode == 0, done.stderr
    adopted = docker_archive.Archive(tmp_path / "hooks/docker-preload/container.tar")
    assert not adopted.oci
    assert adopted.tags == ["served:1"]
    assert adopted.whole().diffs == [layer]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda file: file.unlink(), "there is no file"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_bytes(b"nothing like a tar" * 100), "is no whole container archive"),
        (lambda file: file.write_bytes(file.read_bytes()[:4096]), "is no whole container archive"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b"#!/bin/sh", b"#!/bin/ls")), "is damaged: layer.tar"),
        (lambda file: oci(file, arch="arm64"), "is for arm64, the guest is amd64"),
    ],
    ids=["missing", "empty", "no tar", "cut off", "changed", "other architecture"],
)
def test_an_archive_that_docker_would_not_run_is_refused_in_one_sentence(made, tmp_path, spoil, sentence):
    spoil(made)
    done = run("container-from-archive", tmp_path, DIB_CONTAINER_ARCHIVE=str(made))
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert sentence in said
    assert str(made) in said
    assert not (tmp_path / "hooks/docker-preload").exists()


@pytest.mark.parametrize("members", [{"etc/passwd": b""}, {"oci-layout": b"{}"}], ids=["no manifest", "no index"])
def test_a_tar_that_is_no_container_is_refused(tmp_path, members):
    file = tmp_path / "x.tar"
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            docker_archive.add(tar, name, data)
    with pytest.raises(docker_archive.Refused, match="neither manifest.json nor an OCI layout"):
        docker_archive.Archive(file)


def test_a_registry_without_skopeo_names_the_package(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    done = run("container-from-registry", tmp_path, PATH=str(tools), DIB_CONTAINER_REFERENCE="host/x:1")
    assert done.returncode == 1
    assert done.stderr == "container-from-registry: skopeo is not on this host: install the package skopeo\n"


def test_a_registry_is_asked_for_the_reference_and_without_tls_only_on_request(made, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "skopeo"
    fake.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nfor a; do last=$a; done\n'
        f'out=${{last#docker-archive:}}\ncp {made} "${{out%:served:1}}"\n'
    )
    fake.chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    for plain in ("0", "1"):
        done = run(
            "container-from-registry", tmp_path, PATH=path, DIB_CONTAINER_REFERENCE="host:5000/x@sha256:12",
            DIB_CONTAINER_REGISTRY_PLAIN=plain,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        asked = (tmp_path / "asked").read_text()
        assert "docker://host:5000/x@sha256:12" in asked
        assert ("--src-tls-verify=false" in asked) == (plain == "1")
    assert (tmp_path / "hooks/docker-preload/container.tag").read_text() == "served:1\n"


def test_packages_without_a_database_element_are_refused(tmp_path):
    done = run("container-from-packages", tmp_path, DIB_DISTRIBUTION_MIRROR="nowhere")
    assert done.returncode == 1
    assert "one database element with a folder container/NAME is needed" in done.stderr


def test_databases_name_each_file_that_their_container_needs():
    folders = list(ELEMENTS.glob("*/container/*"))
    assert {"mariadb", "mysql", "postgresql"} <= {folder.name for folder in folders}
    for folder in folders:
        assert json.loads((folder / "config.json").read_text())["Entrypoint"] == ["docker-entrypoint.sh"]
        for name in ("customize", "docker-entrypoint.sh"):
            assert os.access(folder / name, os.X_OK)
        assert (folder / "packages").read_text().split()
        assert (folder / "version").read_text().count("\n") == 1


@pytest.mark.parametrize("before", ["", '{"bip": "10.0.0.1/24", "registry-mirrors": ["http://b"]}'], ids=["new", "old"])
def test_a_mirror_is_added_to_what_docker_was_told_before(tmp_path, before):
    file = tmp_path / "daemon.json"
    file.write_text(before)
    (hook,) = (ELEMENTS / "docker-mirror" / "install.d").iterdir()
    env = {"PATH": os.environ["PATH"], "DOCKER_DAEMON_JSON": str(file), "DIB_DOCKER_MIRROR": "http://a:5000"}
    for _ in range(2):  # a second time changes nothing
        subprocess.run([hook], env=env, check=True)
    settings = json.loads(file.read_text())
    assert settings["registry-mirrors"] == ["http://a:5000", *(["http://b"] if before else [])]
    assert settings.get("bip") == ("10.0.0.1/24" if before else None)


def test_a_mirror_that_is_no_url_is_refused(tmp_path):
    (hook,) = (ELEMENTS / "docker-mirror" / "install.d").iterdir()
    env = {"PATH": os.environ["PATH"], "DOCKER_DAEMON_JSON": str(tmp_path / "x"), "DIB_DOCKER_MIRROR": "here:5000"}
    done = subprocess.run([hook], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "docker-mirror: DIB_DOCKER_MIRROR is no http(s) URL: 'here:5000'\n"
