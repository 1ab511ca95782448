"""An image of unknown origin, looked into from outside: nothing in it hangs, leads out, explodes or breaks a reader.

Each reader of files of the image gives a value (or UsageError, StepFailed) for whatever the files hold.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import time
import tracemalloc
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagecheck import bootable, cloudinit, container, elf, hygiene, inside, manifest, packages, runtime
from imagecheck import tree as module
from imagecheck.tree import Tree, breaks_off, content

STORE = "/var/lib/docker/image/overlay2"
TAG = "mariadb:11.8"
# What the readers below read, so that wild text lands where somebody looks.
FILES = (
    "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/fstab", "/etc/os-release", "/etc/sudoers", "/etc/ld.so.conf",
    "/etc/docker/daemon.json", "/etc/cloud/cloud.cfg", "/etc/cloud/ds-identify.cfg", "/etc/network/interfaces",
    "/etc/netplan/x.yaml", "/etc/imagecheck/agent.json", "/boot/grub/grub.cfg", "/var/lib/dpkg/status",
    "/var/lib/dpkg/info/libc6.md5sums", "/usr/lib/systemd/system/trove-guestagent.service",
    "/usr/local/share/ca-certificates/x.crt", "/opt/trove/lib/python3/site-packages/a-1.dist-info/METADATA",
    f"{STORE}/repositories.json", f"{STORE}/imagedb/content/sha256/0", f"{STORE}/layerdb/sha256/0/diff",
    f"{STORE}/layerdb/sha256/0/cache-id",
)  # fmt: skip


def put(root, inside_, data):
    place = root / inside_.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return place


def read_all(root):
    """Every reader of a tree that has no need of a mount."""
    tree = Tree(root)
    unit = inside.unit(tree, "trove-guestagent.service")
    told = [
        inside.docker_images(tree), inside.datasources(tree), inside.kernel_lines(tree), inside.homes(tree),
        inside.private_keys(tree), inside.authorized_keys(tree), inside.histories(tree), inside.passwords(tree),
        inside.mounts_ephemeral(tree), inside.may_sudo(tree, "trove"), bootable.broken_boot_files(tree),
        bootable.missing_modules(tree), bootable.missing_volumes(tree, ["LABEL=root"]), bootable.read_only_root(tree),
        bootable.memory_limit(tree), runtime.docker_flaws(tree), runtime.start_flaws(tree), runtime.unit_flaws(tree),
        list(runtime.group_ids(tree)), runtime.network_unsettled(tree), runtime.gateways(tree),
        cloudinit.module_flaws(tree), cloudinit.missing_datasources(tree), cloudinit.switched_off(tree),
        hygiene.leftovers(tree), hygiene.identities(tree), hygiene.certificates(tree, datetime.now(UTC)),
        container.architecture(tree), container.settings(tree), container.driver_wanted(tree), packages.damage(tree),
        manifest._packages(tree), manifest._os(tree), manifest._python(tree), manifest._units(tree),
    ]  # fmt: skip
    if unit is not None:
        told += [inside.interpreter(tree, unit), inside.after_injection(tree, unit)]
        told += [inside.seconds(unit.last("Service.RestartSec"))]
    if (found := container.stored(tree, TAG)) is not None:
        told += [found.cannot_run(), found.program()]
    return told


# Pieces that a reader waits for, and what nobody expects after them.
PIECES = st.sampled_from([
    "root:x:0:0:root:/root:/bin/sh\n", ":", "²", "9" * 5000, "\0", "\x1b[2J", "[Service]\n", "ExecStart=", "/bin/\0x",
    "RestartSec=1.2.3 .", "#!/usr/bin/python3\0\n", "linux /vmlinuz ", "initrd /initrd.img ", "mem=", "-----BEGIN ",
    "Package: dpkg\n", "Architecture: ", "\n\n", "\n", " ", "\t", "{", "}", "[", "]", '"', ",", "null", "true",
    "-1e999",
    "datasource_list:", "cloud_init_modules: ", "- ", "&a ", "*a", "<<: *a\n",
    "!!python/object/apply:os.system [id]",
    "../" * 20, "/dev/zero", "~", "%", "=", "UUID=", "search --fs-uuid ", "sha256:", "policy:", "\u202e", "\x85",
    '{"Repositories": {"a": {"mariadb:11.8": ', '"sha256:0"', "}}}", '{"rootfs": {"diff_ids": ', '["x"]', "{}", "[[]]",
    '{"config": {"Cmd": ', '{"features": ', "12345678", "d41d8cd98f00b204e9800998ecf8427e  etc/passwd\n",
])  # fmt: skip
WILD = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.binary(max_size=60))


@settings(deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FILES), WILD, max_size=8))
def test_no_file_of_an_image_breaks_a_reader(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("root")
    for name, data in files.items():
        put(root, name, data)
    read_all(root)


@pytest.mark.parametrize("value", ["null", "1", '"x"', "[]", "[[1]]", "{}", '{"a": 1}', '[{"a": []}]', "[" * 50_000])
@pytest.mark.parametrize(
    ("file", "around"),
    [
        (f"{STORE}/repositories.json", "%s"),
        (f"{STORE}/repositories.json", '{"Repositories": %s}'),
        (f"{STORE}/repositories.json", '{"Repositories": {"m": %s}}'),
        (f"{STORE}/repositories.json", '{"Repositories": {"m": {"mariadb:11.8": %s}}}'),
        (f"{STORE}/imagedb/content/sha256/0", "%s"),
        (f"{STORE}/imagedb/content/sha256/0", '{"rootfs": %s}'),
        (f"{STORE}/imagedb/content/sha256/0", '{"rootfs": {"diff_ids": %s}}'),
        (f"{STORE}/imagedb/content/sha256/0", '{"rootfs": {"diff_ids": ["x"]}, "config": %s}'),
        (f"{STORE}/imagedb/content/sha256/0", '{"rootfs": {"diff_ids": ["x"]}, "config": {"Cmd": %s, "Env": %s}}'),
        ("/etc/docker/daemon.json", "%s"),
        ("/etc/docker/daemon.json", '{"features": %s, "storage-driver": %s}'),
        ("/etc/cloud/cloud.cfg", "cloud_init_modules: %s"),
        ("/etc/cloud/cloud.cfg", "network: %s"),
    ],
)
def test_json_and_yaml_of_another_shape_break_no_reader(tmp_path, file, around, value):
    put(tmp_path, f"{STORE}/repositories.json", json.dumps({"Repositories": {"m": {TAG: "sha256:0"}}}))
    put(tmp_path, f"{STORE}/layerdb/sha256/0/diff", "x")
    put(tmp_path, f"{STORE}/layerdb/sha256/0/cache-id", "12345678")
    put(tmp_path, "/var/lib/docker/overlay2/12345678/diff/file", "")
    put(tmp_path, file, around.replace("%s", value))
    read_all(tmp_path)


def test_a_fifo_a_device_or_a_socket_in_place_of_any_file_is_not_waited_for(tmp_path):
    for name in FILES:
        place = tmp_path / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(place)
    began = time.monotonic()
    read_all(tmp_path)
    assert content(tmp_path / "etc/passwd", 10) == b""
    assert not breaks_off(tmp_path / "etc/passwd")
    assert elf.needs(tmp_path / "etc/passwd") == elf.Needs()
    assert time.monotonic() - began < 10


def test_a_container_program_that_is_a_fifo_is_told_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "mariadbd")
    held = container.Container({"config": {"Cmd": ["mariadbd"], "Env": ["PATH=/"]}}, (tmp_path,), "overlay2")
    assert held.cannot_run() == "its entrypoint mariadbd is no file"


def test_no_link_leads_out_of_the_tree(tmp_path):
    secret = tmp_path / "host-secret"
    secret.write_text("of the host")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    ways = (
        str(secret),
        f"/{secret}",
        f"//{secret}",
        "../../host-secret",
        "../" * 40 + str(secret),
        f"/../..{secret}",
        "/proc/self/root" + str(secret),
    )
    for number, way in enumerate(ways):
        (root / f"etc/link{number}").symlink_to(way)
        assert Tree(root).text(f"/etc/link{number}") == ""
    for way in ways:  # what a file of the image calls a path
        assert Tree(root).text(way) == ""
        assert container.Container({}, (root,), "overlay2").find(way) is None
        assert container.Container({}, (root,), "overlay2").find(f"/etc/link{ways.index(way)}") is None
    (root / "etc/folder").symlink_to("../..")
    assert Tree(root).text("/etc/folder/host-secret") == ""
    assert Tree(root).text("/etc/../../host-secret") == ""
    assert "host-secret" not in Tree(root).names("/etc/folder")
    assert not any("host" in file for file in Tree(root).files("/"))
    # A link that was made after the way was resolved is not followed either.
    assert content(root / "etc/link0", 100) == b""


def test_links_that_lead_in_circles_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("/a/x")
    assert Tree(tmp_path).path("/a") is None


def test_a_hard_link_is_the_images_own_file(tmp_path):
    first = put(tmp_path, "/etc/passwd", "x")
    os.link(first, tmp_path / "etc/shadow")
    assert Tree(tmp_path).text("/etc/shadow") == "x"


def test_folders_thousands_deep_end_and_are_no_recursion(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(3000):
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
    finally:
        os.close(here)
    try:
        assert list(Tree(tmp_path).files("/")) == []
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # shutil.rmtree is a recursion


def test_names_with_line_ends_escapes_and_wild_bytes_are_names(tmp_path):
    for name in (b"new\nline", b"\x1b[2Jclear", b"\xff\xfe", "\u202egnp.exe".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    names = Tree(tmp_path).names("/")
    assert len(names) == 4
    assert len(list(Tree(tmp_path).files("/"))) == 4
    for name in names:
        shown = manifest.shown(name.encode("utf-8", "replace").decode())
        assert "\n" not in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_a_path_with_a_null_byte_is_nowhere(tmp_path):
    assert Tree(tmp_path).path("/etc\0/passwd") is None
    assert Tree(tmp_path).text("/\0") == ""


def test_a_file_of_terabytes_is_read_to_its_bound(tmp_path):
    place = put(tmp_path, "/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    os.truncate(place, 1 << 40)
    tracemalloc.start()
    try:
        accounts = Tree(tmp_path).accounts()
        last = Tree(tmp_path).text("/etc/passwd", last=1 << 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "root" in accounts
    assert len(last) <= 16 << 20
    assert peak < 500 << 20


def test_a_folder_with_more_names_than_any_guest_has_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_NAMES", 10)
    monkeypatch.setattr(module, "_FILES", 20)
    for number in range(50):
        (tmp_path / str(number)).touch()
    assert len(Tree(tmp_path).names("/")) == 10
    assert len(list(Tree(tmp_path).files("/"))) == 20


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader_of_programs(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("elf") / "x"
    file.write_bytes(b"\x7fELF\x02\x01" + data)
    elf.needs(file)
    breaks_off(file)


def test_a_program_that_claims_a_table_of_any_size_is_read_in_a_moment(tmp_path):
    head = bytearray(b"\x7fELF\x02\x01" + bytes(58))
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, 0xFFFF)
    segment = struct.pack("<IIQQQQQQ", 2, 0, 0, 0, 0, (1 << 64) - 1, 0, 0)
    (tmp_path / "x").write_bytes(bytes(head) + segment * 0xFFFF)
    began = time.monotonic()
    elf.needs(tmp_path / "x")
    assert time.monotonic() - began < 60


@given(st.binary(max_size=300))
@pytest.mark.parametrize("head", [b"070701", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x1f\x8b\x08\0", b"\0\0", b"BZh"])
def test_no_bytes_break_the_reader_of_initial_ram_disks(head, data):
    assert bootable._whole_archive(head + data) in (True, False)


def test_a_compressed_ram_disk_that_explodes_is_unpacked_a_piece_at_a_time(monkeypatch):
    monkeypatch.setattr(bootable, "_UNPACKED", 64 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    tracemalloc.start()
    try:
        assert bootable._whole_archive(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def _bomb(link):
    lines = ["a0: &a0 {x: 1, y: 2}"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} " + link(", ".join([f"*a{level - 1}"] * 10), level))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        _bomb(lambda many, level: f"[{many}]"),
        _bomb(lambda many, level: f"{{<<: [{many}], k{level}: 1}}"),
        _bomb(lambda many, level: f"[{many}]") + "cloud_init_modules: *a11\n",
        "a: &a [*a]\ncloud_init_modules: *a\n",
        "cloud_init_modules: &a\n- *a\n",
        "[" * 100_000,
        "a: !!python/object/apply:os.system ['touch /tmp/imagecheck-was-here']",
        "a: 2001-99-99",
        "a: " + "1" * 5000,
        "? [a]\n: b",
        "a: !!timestamp x",
        "a: 1:" * 1000,
    ],
    ids=["aliases", "merge keys", "aliases in a list", "itself", "list of itself", "depth", "object", "date", "digits",
         "key", "tag", "colons"],
)  # fmt: skip
def test_yaml_that_stands_for_billions_or_for_an_object_is_read_in_a_moment(tmp_path, text):
    put(tmp_path, "/etc/cloud/cloud.cfg", text)
    began = time.monotonic()
    assert cloudinit.module_flaws(Tree(tmp_path))
    runtime.network_unsettled(Tree(tmp_path))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("/etc/network/interfaces", "\n"),
        ("/etc/netplan/x.yaml", " \n"),
        ("/etc/cloud/ds-identify.cfg", "\n"),
        ("/usr/local/share/ca-certificates/x.crt", "-----BEGIN CERTIFICATE-----"),
        ("/var/lib/dpkg/status", "Package: dpkg\n"),
        ("/var/lib/dpkg/status", "Package: dpkg\n\n"),
        ("/etc/cloud/cloud.cfg", "- ephemeral0 - "),
        ("/etc/cloud/cloud.cfg", "[ '"),
        ("/usr/lib/systemd/system/trove-guestagent.service", "[Service]\nExecStart=@-:+!|"),
        ("/boot/grub/grub.cfg", "linux /x init=s"),
        ("/etc/trove/trove-guestagent.conf", "transport_url = a+a"),
        ("/etc/apt/sources.list", "machine machine "),
        ("/etc/apt/sources.list", "://a:"),
    ],
)
def test_a_megabyte_of_what_a_pattern_waits_for_takes_seconds(tmp_path, file, unit):
    put(tmp_path, file, unit * (1_000_000 // len(unit)))
    began = time.process_time()
    read_all(tmp_path)
    assert time.process_time() - began < 30  # about a second; with a pattern that is not linear, hours


def test_a_sparse_file_that_a_package_claims_costs_no_hours(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "_BUDGET", 1 << 20)
    place = put(tmp_path, "/usr/lib/huge", "")
    os.truncate(place, 1 << 40)
    put(tmp_path, "/var/lib/dpkg/info/libc6.md5sums", f"{'0' * 32}  usr/lib/huge\n")
    assert "not compared" in packages.damage(Tree(tmp_path)).broken[0]


def test_a_mode_of_a_file_is_its_own_not_that_of_what_it_leads_to(tmp_path):
    (tmp_path / "x").symlink_to("/etc/shadow")
    found = Tree(tmp_path).stat("/x")
    assert found is None or not stat.S_ISLNK(found.st_mode)
