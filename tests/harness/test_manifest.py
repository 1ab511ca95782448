"""What an image holds is read from its files; wild files leave their part empty; the SBOM is valid and repeatable."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagecheck import disk, imagefile, manifest, paths, redact
from imagecheck.disk import Disk
from imagecheck.imagefile import ImageFile
from imagecheck.manifest import Agent, Container, Contents, Package

IMAGE = "sha256:" + "1" * 64
LAYER = "sha256:" + "2" * 64
DIGEST = "sha256:" + "3" * 64
STATUS = """\
Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.22.21

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12
Description: the library
 Version: 9 is not it

Package: libc6
Status: hold ok installed
Architecture: i386
Version: 2.41-12

Package: trove-guestagent
Status: install ok installed
Architecture: all
Version: 1:23.0.0-2
"""


def put(root, path, text=""):
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def link(root, path, target):
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


def read(root):
    return manifest.contents(Disk(None, root))


def put_container(root, tags, size="1000"):
    store = "/var/lib/docker/image/overlay2"
    put(root, f"{store}/repositories.json", json.dumps({"Repositories": {"any": tags}}))
    put(root, f"{store}/imagedb/content/{IMAGE.replace(':', '/')}", json.dumps({"rootfs": {"diff_ids": [LAYER]}}))
    put(root, f"{store}/layerdb/sha256/one/diff", LAYER)
    put(root, f"{store}/layerdb/sha256/one/size", size)


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    put(place, "/etc/os-release", 'PRETTY_NAME="Debian 13"\nID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n')
    put(place, "/var/lib/dpkg/status", STATUS)
    return place


# ---- what is in it


def test_an_empty_tree_holds_nothing(tmp_path):
    found = read(tmp_path)
    assert found == Contents(file_system=found.file_system)


def test_packages_are_those_that_dpkg_calls_installed(root):
    found = read(root)
    assert found.packages_from == "dpkg"
    assert found.packages == {
        "dpkg": Package("1.22.21", "amd64"),
        "libc6": Package("2.41-12", "amd64"),
        "libc6:i386": Package("2.41-12", "i386"),
        "trove-guestagent": Package("1:23.0.0-2", "all"),
    }


def test_a_package_list_that_is_not_read_is_called_unknown(tmp_path):
    put(tmp_path, "/var/lib/rpm/rpmdb.sqlite", "x")
    assert read(tmp_path).packages_from.startswith("unknown: rpm")


def test_the_operating_system_is_known_by_os_release(root):
    assert read(root).os == {"id": "debian", "version": "13", "codename": "trixie", "name": "Debian 13"}


def test_python_packages_are_those_outside_the_distributions_hands(root):
    site = "lib/python3.13/site-packages"
    put(root, f"/opt/venv/{site}/oslo.config-10.0.dist-info/METADATA", "Name: oslo.config\nVersion: 10.0\n\nName: no\n")
    put(root, f"/opt/venv/{site}/no_metadata-2.1.dist-info/RECORD")
    put(root, f"/opt/venv/{site}/wild-1.dist-info/METADATA", "Name: \x1b[31m\nVersion: 1\n")
    put(root, "/usr/local/lib/python3.13/dist-packages/pip-25.dist-info/METADATA", "Name: pip\nVersion: 25\n")
    put(root, "/usr/lib/python3/dist-packages/yaml-6.dist-info/METADATA", "Name: yaml\nVersion: 6\n")
    assert read(root).python == {
        "/opt/venv": {"no-metadata": "2.1", "oslo-config": "10.0"},
        "/usr/local": {"pip": "25"},
    }


def test_units_are_enabled_when_something_wants_them_and_they_exist(root):
    for name in ("agent.service", "getty@.service", "idle.service", "quiet.timer"):
        put(root, f"/usr/lib/systemd/system/{name}")
    wants = "/etc/systemd/system/multi-user.target.wants"
    for name in ("agent.service", "getty@tty1.service", "quiet.timer", "nowhere.service"):
        link(root, f"{wants}/{name}", f"/usr/lib/systemd/system/{name}")
    link(root, "/etc/systemd/system/quiet.timer", "/dev/null")
    found = read(root)
    assert found.units_enabled == ("agent.service", "getty@tty1.service")
    assert found.units_masked == ("quiet.timer",)


def test_the_administrators_unit_undoes_a_mask_of_the_distribution(root):
    link(root, "/usr/lib/systemd/system/sudo.service", "/dev/null")
    put(root, "/etc/systemd/system/sudo.service", "[Service]")
    assert read(root).units_masked == ()


def test_the_kernel_is_the_one_that_the_first_entry_of_the_menu_boots(root):
    for release in ("6.1.0-9-amd64", "6.12.1-cloud"):
        put(root, f"/boot/vmlinuz-{release}")
    put(root, "/boot/grub/grub.cfg", "\tlinux\t/boot/vmlinuz-6.1.0-9-amd64 root=LABEL=x ro  quiet\n")
    found = read(root)
    assert (found.kernel, found.command_line) == ("6.1.0-9-amd64", "root=LABEL=x ro quiet")
    assert found.kernels == ("6.1.0-9-amd64", "6.12.1-cloud")


def test_a_boot_loader_entry_gives_the_command_line_too(root):
    put(root, "/boot/vmlinuz-6.9")
    put(root, "/boot/loader/entries/a.conf", "title a\noptions root=/dev/vda1 ro\n")
    found = read(root)
    assert (found.kernel, found.command_line) == ("6.9", "root=/dev/vda1 ro")


def test_the_agent_is_what_its_element_says_else_the_package_else_the_venv(root):
    put(root, "/opt/venv/lib/python3.13/site-packages/trove-22.0.1.dist-info/METADATA", "Name: trove\nVersion: 22.0.1")
    assert read(root).agent == Agent("23.0.0", "package", "trove-guestagent 1:23.0.0-2")
    put(root, "/etc/imagecheck/agent.json", '{"install": "source", "release": "23.0.1.dev4", "ref": "0a1b2c"}')
    assert read(root).agent == Agent("23.0.1.dev4", "source", "0a1b2c")
    put(root, "/etc/imagecheck/agent.json", "[1, 2")
    put(root, "/var/lib/dpkg/status", "")
    assert read(root).agent == Agent("22.0.1", "pypi", "trove==22.0.1")


def test_container_images_have_id_size_and_the_registrys_digest(root):
    put_container(root, {"mariadb:11.8": IMAGE, f"mariadb@{DIGEST}": IMAGE})
    assert read(root).containers == {"mariadb:11.8": Container(IMAGE, 1000, DIGEST)}
    put_container(root, {"mariadb:11.8": IMAGE}, size="²")
    assert read(root).containers == {"mariadb:11.8": Container(IMAGE, 0, "")}


def test_users_and_the_file_systems_size_are_there(root):
    put(root, "/etc/passwd", "trove:x:100:101::/var/lib/trove:/bin/sh\n\x1b[31m:x:1:1:::\n")
    found = read(root)
    assert found.users == {"trove": 100}
    assert 0 < found.file_system.used <= found.file_system.size


def test_one_broken_file_takes_no_other_part_with_it(root):
    put(root, "/etc/passwd", "a:x:²:1:::\n")  # a digit for Python, and yet no number
    put(root, "/var/lib/docker/image/overlay2/repositories.json", '{"Repositories": [7]}')
    found = read(root)
    assert found.users == {}
    assert found.containers == {}
    assert len(found.packages) == 4


def test_no_secret_of_the_command_line_gets_out(root):
    put(root, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-1 ro ds=http://me:hunter22@host/ \x1b[31m\n")
    assert read(root).command_line == "ro ds=http://me:***@host/ \N{REPLACEMENT CHARACTER}[31m"


FILES = (
    "/etc/os-release",
    "/etc/passwd",
    "/etc/imagecheck/agent.json",
    "/boot/grub/grub.cfg",
    "/boot/loader/entries/a.conf",
    "/opt/venv/lib/python3.13/site-packages/trove-1.dist-info/METADATA",
    "/var/lib/dpkg/status",
    "/var/lib/docker/image/overlay2/repositories.json",
    f"/var/lib/docker/image/overlay2/imagedb/content/{IMAGE.replace(':', '/')}",
    "/var/lib/docker/image/overlay2/layerdb/sha256/one/size",
    "/var/lib/docker/image/overlay2/layerdb/sha256/one/diff",
)
WILD = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [
                *STATUS.splitlines(), "", "\0", "²:²:²:²:²:²:²",
                "ID=\x1b", "linux", "options", "Name:", "Version: \u2028",
                "9" * 5000,
            ]
        ),
        max_size=12,
    ).map(lambda lines: "\n".join(lines).encode()),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=8), st.sampled_from([IMAGE, LAYER, "../..", "\0"])),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["Repositories", "rootfs", "diff_ids", "release", "a:b"]), inner),
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(st.sampled_from(FILES), WILD, max_size=len(FILES)))
def test_wild_files_never_raise_and_what_comes_out_is_json_and_a_valid_sbom(tmp_path_factory, files):
    place = tmp_path_factory.mktemp("wild")
    for path, data in files.items():
        put(place, path, data)
    found = read(place)
    text = json.dumps(found.as_json(), ensure_ascii=False)
    text.encode()
    assert text.isprintable()
    assert VALIDATOR.validate_str(manifest.sbom(found, name="x", sha256="a" * 64, built=1)) is None


@settings(max_examples=30)
@given(name=st.binary(min_size=1, max_size=40).filter(lambda raw: not {0, 47} & set(raw) and raw not in (b".", b"..")))
def test_wild_file_names_never_raise(tmp_path_factory, name):
    place, odd = tmp_path_factory.mktemp("wild"), os.fsdecode(name)
    for folder in ("opt", "etc/systemd/system", "etc/systemd/system/a.wants", "boot", "var/lib/docker/image"):
        for suffix in ("", ".service", ".wants"):
            (place / folder / (odd + suffix)).mkdir(parents=True, exist_ok=True)
    assert json.dumps(read(place).as_json()).isprintable()


# ---- manifest.json


@pytest.fixture
def image(tmp_path):
    return ImageFile(tmp_path / "image.qcow2", "qcow2", 2000, 1000, "ab" * 32)


def make(image, held=None, environment=None, **more):
    like = SimpleNamespace(name="n", description="d", environment=environment or {})
    facts = {
        "key": "k", "began": 1.9, "seconds": 12.345, "phases": {"root": 3.0}, "hooks": {"a": 0.01, "b": 0.1},
        "builder": "3.43.0", "elements": {"vm": "x"}, "packages": {"from-dib": "1"},
    }  # fmt: skip
    return manifest.document(like, image, **(facts | more), held=held)


def test_the_manifest_says_what_the_build_did_and_what_the_image_holds(root, image):
    told = make(image, read(root))
    assert told["schema"] == 2
    assert told["built"] == "1970-01-01T00:00:01+00:00"
    assert told["hooks"] == {"b": 0.1}
    assert told["packages"]["libc6"] == "2.41-12"
    assert told["contents"]["agent"]["release"] == "23.0.0"
    assert json.loads(json.dumps(told)) == told


def test_without_a_look_inside_packages_are_those_of_the_builder(image):
    told = make(image)
    assert told["packages"] == {"from-dib": "1"}
    assert told["contents"] is None


def test_secrets_of_the_environment_stay_out_of_the_manifest(image):
    redact.learn("learned-by-heart")
    try:
        told = make(
            image,
            environment={
                "DIB_ROOT_PASSWORD": "two\nlines", "DIB_X": "https://me:pw@host/x", "A": "learned-by-heart", "B": "b"
            },
        )["environment"]  # fmt: skip
    finally:
        redact.forget()
    assert told == {"DIB_ROOT_PASSWORD": "***", "DIB_X": "https://me:***@host/x", "A": "***", "B": "b"}


def test_the_documentation_has_a_line_for_every_key(root, image):
    put_container(root, {"mariadb:11.8": IMAGE})
    told = make(image, read(root))
    text = (Path(__file__).resolve().parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
    keys = [*told, *(f"contents.{key}" for key in told["contents"])]
    assert [key for key in keys if f"| `{key}` |" not in text] == []
    documented = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    of_the_build = {"format", "layers", "archives", "container"}  # build/ adds them
    assert set(documented) - set(keys) == of_the_build


# ---- SBOM

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def test_the_sbom_is_valid_cyclonedx_and_names_everything(root):
    put_container(root, {"quay.example/db/mariadb:11.8": IMAGE, f"quay.example/db/mariadb@{DIGEST}": IMAGE})
    put(
        root, "/opt/venv/lib/python3.13/site-packages/trove-23.0.0.dist-info/METADATA", "Name: trove\nVersion: 23.0.0\n"
    )
    text = manifest.sbom(read(root), name="mariadb-debian", sha256="ab" * 32, built=0)
    assert VALIDATOR.validate_str(text) is None
    told = json.loads(text)
    assert sorted(one["purl"] for one in told["components"] if "purl" in one) == [
        "pkg:deb/debian/dpkg@1.22.21?arch=amd64&distro=trixie",
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=trixie",
        "pkg:deb/debian/libc6@2.41-12?arch=i386&distro=trixie",
        "pkg:deb/debian/trove-guestagent@1:23.0.0-2?arch=all&distro=trixie",
        f"pkg:docker/quay.example/db/mariadb@{DIGEST}?tag=11.8",
        "pkg:pypi/trove@23.0.0",
    ]
    assert told["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert told["metadata"]["timestamp"].startswith("1970-01-01T00:00:00")


def test_the_same_image_gives_the_same_sbom_and_another_image_another_serial_number(root):
    held = read(root)
    first, second = (manifest.sbom(held, name="n", sha256="ab" * 32, built=5) for _ in range(2))
    assert first == second
    other = manifest.sbom(held, name="n", sha256="cd" * 32, built=5)
    assert json.loads(other)["serialNumber"] != json.loads(first)["serialNumber"]


def test_an_sbom_of_nothing_is_valid_too():
    assert VALIDATOR.validate_str(manifest.sbom(Contents(), name="n", sha256="0" * 64, built=0)) is None


# ---- a real image, where one was built


@pytest.mark.skipif(os.geteuid() != 0, reason="looking inside an image needs root")
def test_a_built_image_is_read_within_two_seconds():
    built = next((paths.home() / "images").glob("mariadb-debian-*/image.qcow2"), None)
    if built is None or not Path("/dev/fuse").exists():
        pytest.skip("no image was built here yet")
    size = built.stat().st_size
    with disk.opened(ImageFile(built, imagefile.probe(built), size, size, "")) as opened:
        began = time.monotonic()
        found = manifest.contents(opened)
        assert time.monotonic() - began < 2
    assert len(found.packages) > 100
    assert found.agent.release
    assert found.kernel in found.kernels
    assert "trove-guestagent.service" in found.units_enabled
