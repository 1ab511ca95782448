"""The database's container is read from Docker's store as dockerd would, with the settings and programs it needs."""

import json

import pytest
from disk_fixtures import link, put

from imagecheck import container, runtime

pytest_plugins = ["disk_fixtures"]

TAG = "mariadb:11.8"
ID = "sha256:" + "1" * 64


def put_container(tree, files, driver="overlay2", layers=("aaaaaaaa",), **config):
    store = f"/var/lib/docker/image/{driver}"
    diffs = [f"sha256:{number:064}" for number in range(len(layers))]
    put(tree, f"{store}/repositories.json", json.dumps({"Repositories": {"mariadb": {TAG: ID}}}))
    told = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"diff_ids": diffs}}
    put(tree, f"{store}/imagedb/content/{ID.replace(':', '/')}", json.dumps(told))
    for number, layer in enumerate(layers):
        put(tree, f"{store}/layerdb/sha256/chain{number}/diff", diffs[number])
        put(tree, f"{store}/layerdb/sha256/chain{number}/cache-id", layer)
    for path, mode in files.items():
        put(tree, f"/var/lib/docker/{driver}/{path}", "#!/bin/sh\n", mode)


def test_an_entrypoint_is_found_through_layers_and_links(tree):
    files = {"aaaaaaaa/diff/usr/bin/sh": 0o755, "bbbbbbbb/diff/usr/local/bin/start.sh": 0o755}
    put_container(tree, files, layers=("aaaaaaaa", "bbbbbbbb"), Entrypoint=["start.sh"])
    link(tree, "/var/lib/docker/overlay2/aaaaaaaa/diff/bin", "usr/bin")
    found = container.stored(tree, TAG)
    assert found.cannot_run() == ""
    assert found.layers[0].parent.name == "bbbbbbbb"  # topmost first


def test_a_link_of_the_container_never_leads_out_of_it(tree):
    put(tree, "/etc/shadow", "secret", 0o755)
    put_container(tree, {"aaaaaaaa/diff/x": 0o755}, Entrypoint=["/a/shadow"])
    link(tree, "/var/lib/docker/overlay2/aaaaaaaa/diff/a", "../../../../../../../etc")
    assert "is in none of its layers" in container.stored(tree, TAG).cannot_run()


def test_a_layer_that_is_missing_and_an_entrypoint_that_is_closed_are_told(tree):
    put_container(tree, {"aaaaaaaa/diff/bin/sh": 0o755, "aaaaaaaa/diff/start": 0o750}, Entrypoint=["/start"])
    assert "not executable for everybody (mode 0750)" in container.stored(tree, TAG).cannot_run()
    put_container(tree, {}, layers=("aaaaaaaa", "cccccccc"), Cmd=["/start"])
    assert "is not in Docker's store" in container.stored(tree, TAG).cannot_run()


def test_layers_of_a_driver_that_is_not_known_are_not_judged(tree):
    put_container(tree, {"somewhere": 0o644}, driver="zfs", Entrypoint=["/start"])
    assert container.stored(tree, TAG).cannot_run() == ""
    assert container.stored(tree, "other:1") is None


def test_dockerds_settings_are_read_as_dockerd_would(tree):
    assert container.settings(tree) == {}
    put(tree, "/etc/docker/daemon.json", "")
    assert container.settings(tree) is None
    put(tree, "/etc/docker/daemon.json", '{"storage-driver": "vfs"}')
    assert container.driver_wanted(tree) == "vfs"
    put(tree, "/etc/docker/daemon.json", '{"features": {"containerd-snapshotter": true}}')
    assert container.driver_wanted(tree) == "containerd's snapshotter"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ('{"default-runtime": "crun", "runtimes": {"crun": {"path": "/usr/bin/crun"}}}', "/usr/bin/crun"),
        ('{"runtimes": {"crun": {"path": "/usr/bin/crun"}}}', "runc"),
        ('{"default-runtime": "kata", "runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}}', "runc"),
        ('{"default-runtime": ["crun"], "runtimes": ["crun"]}', "runc"),
    ],
)
def test_the_default_runtime_has_to_be_there(tree, text, program):
    put(tree, "/etc/docker/daemon.json", text)
    assert [flaw for flaw in runtime.docker_flaws(tree) if flaw.startswith(f"{program} is missing")]
