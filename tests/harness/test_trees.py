"""Element trees of other projects: what an entry may say, where it lies, and that only the pinned bytes are used."""

import hashlib
import io
import os
import re
import tarfile
import threading
from pathlib import Path

import pytest

from imagecheck.build import elements, trees
from imagecheck.errors import StepFailed

TROVE = (
    "pypi:trove==23.0.0#sha256=055201a0e44c4ab871d748b4a6455653b0f6dbf4a3e23a7433384a62f15ea07b:"
    "integration/scripts/files/elements"
)
TRIPLEO = (
    "pypi:tripleo-image-elements==15.0.0"
    "#sha256=667c581c6a0fc193a475207cea24a4af8ddb2464929dc333e36391afcbd84e6b:elements"
)
# As integration/scripts/functions_qemu of Trove 23.0.0 calls it, with the block device that DIB's vm asks for.
TROVESTACK = (
    "base", "vm", "block-device-mbr", "ubuntu-minimal", "cloud-init-datasources", "pip-cache", "guest-agent",
    "ubuntu-docker",
)  # fmt: skip

# A source distribution needs a way to tell pip its metadata; this one needs no network for it.
BACKEND = """
from pathlib import Path
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder) / "small-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\n")
    return info.name
"""
SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A source distribution with one element, where pip finds it: the entry that names it."""
    folder = tmp_path / "index"
    folder.mkdir()
    packed = pack(folder / "small-1.0.tar.gz")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return f"pypi:small==1.0#sha256={hashlib.sha256(packed.read_bytes()).hexdigest()}:the/elements"


def pack(file, *more):
    texts = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        "pyproject.toml": SYSTEM,
        "backend.py": BACKEND,
        "the/elements/one/README.rst": "one\n",
        "the/elements/one/element-deps": "package-installs\n",
    }
    with tarfile.open(file, "w:gz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"small-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in more:
            archive.addfile(member)
    return file


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


# ---- what an entry says


def test_a_path_counts_from_the_file_that_says_it(tmp_path):
    assert trees.parse("../more", tmp_path / "images").folder == tmp_path / "more"
    assert trees.parse("/srv/elements", tmp_path).folder == Path("/srv/elements")
    assert trees.parse("~/elements", tmp_path).folder == Path.home() / "elements"


def test_a_source_distribution_is_named_with_release_digest_and_folder(tmp_path):
    tree = trees.parse(TROVE, tmp_path)
    assert (tree.folder, tree.name, tree.version) == (None, "trove", "23.0.0")
    assert tree.inside == "integration/scripts/files/elements"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (" ", "it is empty: write a path"),
        ("pypi:trove", "write it as pypi:NAME==VERSION#sha256=HEX"),
        ("pypi:trove==23.0.0:elements", "with the digest of the .tar.gz"),
        (TROVE.replace("==", ">="), "write it as pypi:"),
        (TROVE.replace("0552", "055"), "64 hexadecimal digits"),
        (TROVE.replace("integration", "../integration"), "leaves the source distribution"),
        (TROVE.replace(":integration", ":/integration"), "leaves the source distribution"),
        ("https://example.org/elements.git", "an address is no pinned tree"),
    ],
)
def test_an_entry_that_pins_nothing_is_refused_with_the_remedy(tmp_path, entry, sentence):
    with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
        trees.parse(entry, tmp_path)


# ---- where it lies


def test_looking_for_a_tree_touches_nothing(tmp_path):
    cache = tmp_path / "cache"
    assert trees.located(trees.parse(TROVE, tmp_path), cache) is None
    assert not cache.exists()


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a folder: correct the path"):
        trees.located(trees.parse("nowhere", tmp_path), tmp_path)


def test_a_folder_needs_no_fetching(tmp_path):
    (tmp_path / "mine").mkdir()
    assert trees.fetch(trees.parse("mine", tmp_path), tmp_path / "cache") == tmp_path / "mine"
    assert not (tmp_path / "cache").exists()


# ---- fetching it


def test_a_tree_is_fetched_once_and_resolves_before_diskimage_builders_own(small, tmp_path, monkeypatch):
    tree, cache = trees.parse(small, tmp_path), tmp_path / "cache"
    found = trees.fetch(tree, cache)
    assert trees.located(tree, cache) == found
    assert [entry.name for entry in cache.iterdir()] == [found.relative_to(cache).parts[0]]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))  # nothing there: a second download would fail
    assert trees.fetch(tree, cache) == found
    resolved = elements.resolve(["debian-minimal", "one"], [found, *elements.search_path()], "test.toml")
    assert resolved["one"] == found / "one"


def test_two_that_fetch_at_once_end_with_one_tree(small, tmp_path, monkeypatch):
    tree, cache = trees.parse(small, tmp_path), tmp_path / "cache"
    both = threading.Barrier(2, timeout=60)
    download = trees._download
    monkeypatch.setattr(trees, "_download", lambda *words: (download(*words), both.wait())[0])
    found = []
    threads = [threading.Thread(target=lambda: found.append(trees.fetch(tree, cache))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [trees.located(tree, cache)] * 2
    assert len(list(cache.iterdir())) == 1


def test_other_bytes_than_the_pinned_ones_are_never_unpacked(small, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(StepFailed, match="element trees"):
        trees.fetch(trees.parse(re.sub("[0-9a-f]{64}", "0" * 64, small), tmp_path), cache)
    assert list(cache.iterdir()) == []


def test_a_folder_that_the_source_distribution_does_not_have_is_named(small, tmp_path):
    with pytest.raises(ValueError, match="small 1.0 has no folder the/wrong: look into"):
        trees.fetch(trees.parse(small.replace("the/elements", "the/wrong"), tmp_path), tmp_path / "cache")


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("/etc/evil"),
        tarfile.TarInfo("small-1.0/../../evil"),
        link("small-1.0/evil", "/etc"),
        link("small-1.0/evil", "../../etc"),
        link("small-1.0/evil", "../etc/passwd", tarfile.LNKTYPE),
        link("small-1.0/evil", "", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name} {member.linkname}",
)
def test_a_source_distribution_writes_nowhere_but_into_its_folder(tmp_path, member):
    packed = pack(tmp_path / "small-1.0.tar.gz", member)
    with pytest.raises(StepFailed, match="would leave its folder"):
        trees._unpack(packed, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_links_inside_a_source_distribution_are_kept(tmp_path):
    packed = pack(tmp_path / "small-1.0.tar.gz", link("small-1.0/the/elements/two", "../elements/one"))
    assert (trees._unpack(packed, tmp_path / "into") / "the/elements/two/README.rst").read_text() == "one\n"


# ---- the real ones


@pytest.mark.sandbox
def test_troves_own_tree_resolves_to_what_trovestack_builds(tmp_path):
    tree = trees.fetch(trees.parse(TROVE, tmp_path), tmp_path)
    found = elements.resolve(TROVESTACK, [tree, *elements.search_path()], "trovestack-ubuntu.toml")
    assert {name for name, folder in found.items() if folder.is_relative_to(tree)} == {
        "guest-agent", "ubuntu-docker", "ubuntu-guest"
    }  # fmt: skip
    order = [hook.split(" ")[0] for hook in elements.hooks(found, "install.d")]
    assert order.index("11-user") < order.index("21-docker")
    inside = tree / "guest-agent/install.d/guest-agent-source-install/31-guest-agent-install"
    # Each of these is read under `set -u`, so the definition has to set it.
    hooks = inside.read_text() + (tree / "ubuntu-guest/extra-data.d/11-ssh-key-dev").read_text()
    hooks += (tree / "guest-agent/post-install.d/31-enable-guest-agent-systemd").read_text()
    assert all(f"${{{name}" in hooks for name in ("DEV_MODE", "GUEST_USERNAME", "SYNC_LOG_TO_CONTROLLER", "SSH_DIR"))


@pytest.mark.sandbox
def test_tripleos_tree_resolves_beside_ours(tmp_path):
    tree = trees.fetch(trees.parse(TRIPLEO, tmp_path), tmp_path)
    names = ("debian-minimal", "vm", "block-device-mbr", "trove-guest", "interface-names", "os-collect-config")
    found = elements.resolve(names, [tree, *elements.search_path()], "test.toml")
    theirs = {name for name, folder in found.items() if folder.is_relative_to(tree)}
    assert {"interface-names", "os-apply-config", "os-collect-config", "os-refresh-config", "os-svc-install"} <= theirs
