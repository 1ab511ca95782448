"""A root file system of a guest that the tests of the disk stage fill file by file."""

import pytest

from imagecheck.tree import Tree


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    for folder in ("etc/systemd/system", "usr/lib/systemd/system"):
        (root / folder).mkdir(parents=True)
    return Tree(root)


def put(tree, path, text="", mode=0o644):
    file = tree.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def link(tree, path, target):
    file = tree.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)
