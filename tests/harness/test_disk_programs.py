"""What only programs know of an image: their own settings, their libraries, what one Python file takes from another."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from disk_fixtures import put

from imagecheck import bootable, elf, hostcmd, jail, packages, selfcheck
from imagecheck.container import Container
from imagecheck.disk import Disk
from imagecheck.errors import StepFailed
from imagecheck.hostcmd import Completed
from imagecheck.tree import Tree


@pytest.fixture
def disk(tmp_path):
    for folder in ("etc", "usr/sbin", "usr/bin", "usr/lib/systemd/system"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return Disk(None, tmp_path / "root")


# ---- the root and the memory


@pytest.mark.parametrize(
    ("fstab", "kernel", "found"),
    [
        ("LABEL=root / ext4 defaults 0 1\n", "", ""),
        ("LABEL=root / ext4 errors=remount-ro 0 1\n/dev/sr0 /mnt iso9660 ro,nofail 0 0\n", "", ""),
        ("# LABEL=root / ext4 ro 0 1\n", "", ""),
        ("LABEL=root  /  ext4 ro,noatime 0 1 # hardened\n", "", "LABEL=root / ext4 ro,noatime 0 1"),
        ("LABEL=root / ext4 ro 0 1\n", "overlayroot=tmpfs", ""),
    ],
)
def test_a_root_that_stays_read_only_is_found(disk, fstab, kernel, found):
    put(disk, "/etc/fstab", fstab)
    put(disk, "/boot/grub/grub.cfg", f"linux /boot/vmlinuz root=LABEL=root ro {kernel}\n")
    assert bootable.read_only_root(disk.tree) == found


@pytest.mark.parametrize(
    ("word", "limit"), [("", None), ("mem=64M", 64 << 20), ("mem=2g", 2 << 30), ("crashkernel=64M memtest=1", None)]
)
def test_the_kernels_limit_of_memory_is_read(disk, word, limit):
    put(disk, "/boot/grub/grub.cfg", f"linux /boot/vmlinuz {word} console=ttyS0\n")
    assert bootable.memory_limit(disk.tree) == limit


# ---- what programs say of themselves


class Room:
    """Stands in for the jail: what was asked for, and what the program answers."""

    def __init__(self, monkeypatch, stderr="", rc=1):
        self.asked = []
        monkeypatch.setattr(jail, "run", self)
        self.answer = Completed("", stderr, rc)

    def __call__(self, root, *words, **options):
        self.asked.append((words, options))
        return self.answer


PASSWD = "root:x:0:0::/root:/bin/sh\ntrove:x:100:101::/var/lib/trove:/bin/sh\n"
SAID = {
    "sshd": ("/etc/ssh/sshd_config line 3: Bad configuration option: PermitRootLogins\r\n", "no hostkeys available\n"),
    "sudo": (
        "sudo: account validation failure, is your account locked?\n",
        "sudo: unable to resolve host vm: Temporary failure in name resolution\nsudo: unable to send audit message\n",
    ),
    "dockerd": ("unable to configure the Docker daemon with file x: wrong\n", "Status: unknown flag: --validate\n"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_program_that_refuses_its_settings_is_told_and_what_the_room_lacks_is_not(disk, monkeypatch, name):
    put(disk, "/etc/passwd", PASSWD)
    put(disk, "/etc/group", "docker:x:7:trove\nadm:x:8:\n")
    put(disk, "/usr/lib/systemd/system/docker.service", "[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n")
    put(disk, f"/usr/sbin/{name}", "x", 0o755)
    ask = {"sudo": lambda: selfcheck.sudo(disk, "trove")}.get(name, lambda: getattr(selfcheck, name)(disk))
    wrong, lacking = SAID[name]
    Room(monkeypatch, wrong + lacking)
    assert ask() == wrong.strip()
    Room(monkeypatch, lacking)
    assert ask() == ""
    Room(monkeypatch, wrong, rc=0)
    assert ask() == ""


def test_sudo_is_asked_as_the_agents_user_with_its_groups(disk, monkeypatch):
    put(disk, "/etc/passwd", PASSWD)
    put(disk, "/etc/group", "docker:x:7:trove\nadm:x:8:\nsudo:x:9:other,trove\n")
    put(disk, "/usr/bin/sudo", "x", 0o755)
    room = Room(monkeypatch)
    selfcheck.sudo(disk, "trove")
    assert room.asked == [(("exec sudo -n true",), {"user": "100:101", "groups": "7,9"})]
    assert selfcheck.sudo(disk, "root") == ""
    assert len(room.asked) == 1, "root needs none"


def test_dockerd_is_asked_as_its_unit_starts_it(disk, monkeypatch):
    unit = "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n"
    put(disk, "/usr/lib/systemd/system/docker.service", unit)
    room = Room(monkeypatch)
    selfcheck.dockerd(disk)
    (((script, *words), _),) = room.asked
    assert script.endswith("exec /usr/sbin/dockerd -H fd:// $DOCKER_OPTS --validate")
    assert words == ["sh", "/etc/default/docker"]


def test_programs_that_are_not_there_are_not_asked(disk, monkeypatch):
    room = Room(monkeypatch)
    assert (selfcheck.sshd(disk), selfcheck.sudoers(disk), selfcheck.dockerd(disk)) == ("", "", "")
    assert selfcheck.sudo(disk, "trove") == ""
    assert room.asked == []


def test_visudos_words_are_told(disk, monkeypatch):
    put(disk, "/usr/sbin/visudo", "x", 0o755)
    Room(monkeypatch, "/etc/sudoers.d/95-x:1:21: syntax error\n%x ALL=(ALL\n    ^~~\n")
    assert selfcheck.sudoers(disk).startswith("/etc/sudoers.d/95-x:1:21: syntax error")


@pytest.mark.skipif(os.geteuid() != 0 or hostcmd.which("unshare") is None, reason="needs root and unshare")
def test_a_room_has_no_network_and_no_process_of_ours_and_leaves_nothing(disk):
    """The host's own root stands in for an image: read-only in the room, as it was outside."""
    script = "cat /proc/net/dev | wc -l; ls /proc | grep -c '^[0-9]'; touch /usr/x 2>&1; id -u; echo \"$1\""
    try:
        done = jail.run(Path("/"), script, "sh", "word", user="65534:65534")
    except StepFailed as error:
        pytest.skip(str(error))
    lines = done.stdout.splitlines()
    assert int(lines[0]) == 3, "two lines of heading and lo"
    assert int(lines[1]) < 6
    assert "Read-only" in lines[2] or "Permission denied" in lines[2]
    assert lines[-2:] == ["65534", "word"]


# ---- libraries


def program(libraries=(), interpreter="", folders=""):
    """A small ELF file with a dynamic section (elf(5))."""
    strings = b"\0"
    names = []
    for text in (*libraries, folders):
        names.append(len(strings))
        strings += text.encode() + b"\0"
    tags = [(1, at) for at in names[: len(libraries)]] + ([(29, names[-1])] if folders else [])
    loader = interpreter.encode() + b"\0"
    at = 64 + 3 * 56
    texts, dynamic = at + len(loader), at + len(loader) + len(strings)
    table = b"".join(struct.pack("<QQ", *tag) for tag in [*tags, (5, 0x1000 + texts), (0, 0)])
    end = dynamic + len(table)
    parts = [(1, 0, 0x1000, end), (2, dynamic, 0x1000 + dynamic, len(table))]
    parts += [(3, at, 0x1000 + at, len(loader))] if interpreter else [(0, 0, 0, 0)]
    head = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, 3, 64, 0, 0)
    heads = b"".join(struct.pack("<IIQQQQQQ", kind, 0, o, a, a, size, size, 8) for kind, o, a, size in parts)
    return head + heads + loader + strings + table


def test_what_a_program_needs_is_read_and_wild_files_need_nothing(tmp_path):
    file = tmp_path / "program"
    file.write_bytes(program(["libc.so.6", "libz.so.1"], "/lib64/ld.so", "$ORIGIN/../lib:/opt/lib"))
    assert elf.needs(file) == elf.Needs("/lib64/ld.so", ("libc.so.6", "libz.so.1"), ("$ORIGIN/../lib", "/opt/lib"))
    for size in range(0, file.stat().st_size, 7):
        file.write_bytes(program(["libc.so.6"], "/lib64/ld.so")[:size])
        elf.needs(file)
    file.write_bytes(b"#!/bin/sh\n")
    assert elf.needs(file) == elf.Needs()


FILES = {
    "usr/sbin/mariadbd": program(["libc.so.6", "liba.so"], "/lib64/ld.so", "$ORIGIN/../own"),
    "lib64/ld.so": b"x",
    "usr/lib/x86_64-linux-gnu/libc.so.6": program(),
    "usr/own/liba.so": program(["libb.so"]),
    "opt/db/lib/libb.so": program(["libc.so.6"]),
    "etc/ld.so.conf.d/db.conf": b"# ours\n/opt/db/lib\n",
}


@pytest.fixture
def container(disk):
    for name, data in FILES.items():
        put(disk, name, data, 0o755)
    return Container({"config": {"Cmd": ["mariadbd"]}}, (disk.root,), "overlay2")


def test_a_server_with_all_its_libraries_can_run(container):
    assert container.cannot_run() == ""


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("usr/lib/x86_64-linux-gnu/libc.so.6", "libc.so.6"),
        ("usr/own/liba.so", "liba.so"),
        ("opt/db/lib/libb.so", "libb.so"),  # a library's library
        ("lib64/ld.so", "/lib64/ld.so"),
    ],
)
def test_a_library_that_is_in_no_layer_is_named(container, gone, told):
    (container.layers[0] / gone).unlink()
    assert container.cannot_run() == f"its server mariadbd needs {told}, which is in none of its layers"


def test_a_loader_that_looks_elsewhere_is_not_judged(container):
    put(Disk(None, container.layers[0]), "usr/sbin/mariadbd", program(["libmissing.so"], "/lib/ld-musl.so.1"), 0o755)
    put(Disk(None, container.layers[0]), "lib/ld-musl.so.1")
    assert container.cannot_run() == ""


# ---- Python


PACKAGE = {
    "__init__.py": "",
    "tools.py": "import os\nA, (B, C) = 1, (2, 3)\ndef one():\n    global LATE\n    LATE = 1\ntry:\n    D = 1\n"
    "except OSError as E:\n    pass\nclass F:\n    pass\nfor G in ():\n    pass\n",
    "user.py": "from package.tools import A, B as b, F\nfrom . import tools as t\nimport package.tools as whole\n"
    "t.C; whole.one; t.LATE; t.os; t.__name__\ntry:\n    from package.tools import NEW\n"
    "except ImportError:\n    NEW = 0\n",
    "other.py": "from package import tools\ndef f(tools):\n    return tools.anything\n",
}


def reads(tmp_path, changed="package/tools.py", **files):
    for name, text in {**PACKAGE, **{name + ".py": text for name, text in files.items()}}.items():
        put(Disk(None, tmp_path), f"site/package/{name}", text)
    return subprocess.run(
        [sys.executable, "-c", packages.READ, str(tmp_path / "site" / changed)],
        capture_output=True, text=True, check=False,
    ).stderr  # fmt: skip


def test_a_changed_file_that_still_has_what_others_take_is_whole(tmp_path):
    assert reads(tmp_path) == ""
    assert reads(tmp_path, changed="package/user.py") == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def one():\n  x = (\n", "is not Python any more"),
        ("import os\nA, (B, C) = 1, (2, 3)\n", "lacks"),
        ("import os\nA = B = C = F = LATE = 0\n", "lacks one, which"),
    ],
)
def test_a_file_that_breaks_off_is_told_by_what_others_miss(tmp_path, text, told):
    found = reads(tmp_path, tools=text)
    assert f"{tmp_path}/site/package/tools.py {told}" in found


@pytest.mark.parametrize("text", ["def __getattr__(name):\n    return 1\n", "globals().update(a=1)\n"])
def test_a_file_that_makes_its_names_at_run_time_is_not_judged(tmp_path, text):
    assert reads(tmp_path, tools=text) == ""


def test_this_projects_own_modules_take_nothing_that_is_not_there():
    """Hundreds of real imports, and none of them accused."""
    folder = Path(bootable.__file__).parent
    files = [str(folder / name) for name in ("tree.py", "inside.py")]
    done = subprocess.run([sys.executable, "-c", packages.READ, *files], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_tree_without_files_has_no_limits(tmp_path):
    tree = Tree(tmp_path)
    assert bootable.read_only_root(tree) == ""
    assert bootable.memory_limit(tree) is None
