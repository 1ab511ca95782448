"""Builds without diskimage-builder, for tests of what is around it: a shell script stands in for disk-image-create."""

import pytest

from imagecheck import definition, hostcmd, mirror
from imagecheck.build import archive, dib, host

GOOD = """
echo 'dib-run-parts Running /x/install.d/01-package-installs'
echo 'dib-run-parts 01-package-installs completed'
if [ $2 = tar ]; then echo guest > $1.tar; else qemu-img create -q -f qcow2 $1.qcow2 1M; fi
guest=${DIB_GUEST_LAYER:-/dev/null}
[ ! -p "$guest" ] || read -r guest < "$guest"
echo "$2 on $(cat "$guest")" >> $IMAGECHECK_HOME/count
"""
BOTH = "tar on \nqcow2 on guest\n"
needs_qemu = pytest.mark.skipif(hostcmd.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


@pytest.fixture
def known():
    """A definition to build."""
    return definition.load("mariadb-debian")


@pytest.fixture
def build_home(tmp_path, monkeypatch):
    """A home of its own, and an archive that does not answer."""
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(mirror, "archive", lambda _: "http://127.0.0.1:9/debian")
    archive._state.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def fake(monkeypatch):
    """Makes a shell script of disk-image-create; the host lacks nothing."""

    def script(text):
        def command(layer, out):
            return ["/bin/bash", "-c", text, layer.kind, str(out), layer.kind]

        monkeypatch.setattr(dib, "command", command)
        monkeypatch.setattr(host, "require_root", lambda: None)
        monkeypatch.setattr(host, "ensure", lambda _: None)

    return script
