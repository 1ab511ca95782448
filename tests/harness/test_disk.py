"""Looking inside: no symlink leads out of the tree, every fact is read as the guest would, a mount is always undone."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from disk_fixtures import link, put

from imagecheck import disk, hostcmd, imagefile, inside
from imagecheck.errors import StepFailed, UsageError

pytest_plugins = ["disk_fixtures"]


# ---- the tree


@pytest.mark.parametrize(
    "target", ["/etc/hostname", "../../../../../../etc/hostname", "../../../../../../../etc/hostname"]
)
def test_a_symlink_is_followed_inside_the_tree_and_never_out_of_it(tree, target):
    put(tree, "/etc/hostname", "guest")
    link(tree, "/etc/a/b/c", target)
    assert tree.text("/etc/a/b/c") == "guest"


def test_a_folder_that_is_a_symlink_to_the_root_stays_inside(tree):
    put(tree, "/etc/shadow", "root:!:1::::::")
    link(tree, "/escape", "/")
    assert tree.path("/escape/etc/shadow") == tree.root / "etc/shadow"
    assert tree.path("/escape/../../../etc/shadow") == tree.root / "etc/shadow"


def test_a_circle_of_symlinks_is_nothing(tree):
    link(tree, "/a", "/b")
    link(tree, "/b", "/a")
    assert not tree.exists("/a")
    assert tree.text("/a") == ""


def test_what_is_no_regular_file_has_no_text(tree):
    os.mkfifo(tree.root / "etc/fifo")  # reading it would hang for ever
    assert tree.text("/etc/fifo") == ""
    assert tree.text("/etc") == ""
    assert tree.names("/etc/fifo") == []


def test_files_below_a_folder_are_listed_without_following_links(tree):
    put(tree, "/opt/a/b", "x")
    link(tree, "/opt/a/loop", "/opt")
    assert list(tree.files("/opt")) == ["/opt/a/b"]


def test_accounts_and_groups_are_read(tree):
    put(tree, "/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbroken\ntrove:x:100:101::/var/lib/trove:/bin/sh\n")
    put(tree, "/etc/group", "docker:x:999:trove,debian\nempty:x:5:\n")
    assert tree.accounts()["trove"].uid == 100
    assert set(tree.accounts()) == {"root", "trove"}
    assert tree.groups() == {"docker": {"trove", "debian"}, "empty": set()}


# ---- units

AGENT = "[Unit]\nAfter=network.target docker.socket\n[Service]\nExecStart=/usr/bin/agent --a \\\n  --b\n"


def test_a_unit_is_enabled_when_something_wants_it(tree):
    put(tree, "/usr/lib/systemd/system/agent.service", AGENT)
    assert not inside.unit(tree, "agent.service").enabled
    link(tree, "/etc/systemd/system/multi-user.target.wants/agent.service", "/usr/lib/systemd/system/agent.service")
    found = inside.unit(tree, "agent.service")
    assert found.enabled
    assert not found.masked
    assert found.last("Service.ExecStart") == "/usr/bin/agent --a    --b"


def test_a_masked_unit_is_not_enabled(tree):
    put(tree, "/usr/lib/systemd/system/agent.service", AGENT)
    link(tree, "/etc/systemd/system/multi-user.target.wants/agent.service", "/usr/lib/systemd/system/agent.service")
    link(tree, "/etc/systemd/system/agent.service", "/dev/null")
    found = inside.unit(tree, "agent.service")
    assert found.masked
    assert not found.enabled


def test_drop_ins_add_to_lists_and_an_empty_value_clears_them(tree):
    put(tree, "/usr/lib/systemd/system/agent.service", AGENT)
    put(tree, "/etc/systemd/system/agent.service.d/10.conf", "[Unit]\nAfter=cloud-init.service\n")
    put(tree, "/etc/systemd/system/agent.service.d/20.conf", "[Service]\nExecStart=\nExecStart=/other\n")
    found = inside.unit(tree, "agent.service")
    assert found.words("Unit.After") == {"network.target", "docker.socket", "cloud-init.service"}
    assert found.last("Service.ExecStart") == "/other"


def test_the_administrators_unit_wins(tree):
    put(tree, "/usr/lib/systemd/system/agent.service", AGENT)
    put(tree, "/etc/systemd/system/agent.service", "[Service]\nExecStart=/mine\n")
    assert inside.unit(tree, "agent.service").last("Service.ExecStart") == "/mine"


def test_a_unit_that_is_not_there_is_none(tree):
    assert inside.unit(tree, "agent.service") is None


@pytest.mark.parametrize(
    ("agent", "writer", "found"),
    [
        ("After=cloud-init-network.service", "", "cloud-init-network.service"),
        ("After=network.target", "Before=sysinit.target", "cloud-init-network.service"),
        ("After=network.target", "", ""),
        ("DefaultDependencies=no\nAfter=network.target", "Before=sysinit.target", ""),
        ("After=cloud-init.service", "", ""),  # that name is nobody's since cloud-init 24.3: it orders nothing
    ],
)
def test_an_agent_that_may_start_before_injection_is_found(tree, agent, writer, found):
    put(tree, "/usr/lib/systemd/system/cloud-init-network.service", f"[Unit]\n{writer}\n")
    put(tree, "/etc/systemd/system/agent.service", f"[Unit]\n{agent}\n")
    assert inside.after_injection(tree, inside.unit(tree, "agent.service")) == found


GATE = "[Unit]\nAfter={after}\n[Service]\nExecStart=/usr/bin/touch /run/injected\n"


@pytest.mark.parametrize(
    ("gate", "program", "found"),
    [
        (GATE.format(after="cloud-init-network.service"), 'wait("/run/injected")', "cloud-init-network.service"),
        (GATE.format(after="network.target"), 'wait("/run/injected")', ""),
        (GATE.format(after="cloud-init-network.service"), 'wait("/run/other")', ""),
        ("", 'wait("/run/injected")', ""),
    ],
)
def test_an_agent_that_starts_early_has_to_wait_for_what_comes_after_injection(tree, gate, program, found):
    put(tree, "/usr/lib/systemd/system/cloud-init-network.service", "[Unit]\n")
    unit = "[Unit]\nDefaultDependencies=no\nWants=gate.service\n[Service]\nExecStart=/usr/local/bin/agent --now\n"
    put(tree, "/etc/systemd/system/agent.service", unit)
    put(tree, "/usr/local/bin/agent", program)
    if gate:
        put(tree, "/etc/systemd/system/gate.service", gate)
    assert inside.after_injection(tree, inside.unit(tree, "agent.service")) == found


@pytest.mark.parametrize(("span", "value"), [("", 0.1), ("5", 5), ("500ms", 0.5), ("1min 5s", 65), ("2 min", 120)])
def test_time_spans_are_read_as_systemd_does(span, value):
    assert inside.seconds(span) == pytest.approx(value)


# ---- docker, cloud-init, kernel, secrets

STORE = "/var/lib/docker/image/overlay2"


def store(tree):
    put(tree, f"{STORE}/repositories.json", '{"Repositories": {"mariadb": {"mariadb:11.8": "sha256:abc"}}}')
    put(tree, f"{STORE}/imagedb/content/sha256/abc", '{"rootfs": {"type": "layers", "diff_ids": ["sha256:l1"]}}')
    put(tree, f"{STORE}/layerdb/sha256/l1/diff", "sha256:l1")


def test_a_preloaded_container_image_is_found_by_its_tag(tree):
    store(tree)
    assert inside.docker_images(tree) == {"mariadb:11.8": "sha256:abc"}


@pytest.mark.parametrize("lost", ["imagedb/content/sha256/abc", "layerdb/sha256/l1/diff"])
def test_a_tag_without_its_content_does_not_count(tree, lost):
    store(tree)
    (tree.root / f"{STORE}/{lost}".lstrip("/")).unlink()
    assert inside.docker_images(tree) == {}


def test_a_store_that_is_no_json_is_empty(tree):
    put(tree, f"{STORE}/repositories.json", "[")
    assert inside.docker_images(tree) == {}


def test_the_last_list_of_datasources_wins(tree):
    put(tree, "/etc/cloud/cloud.cfg", "datasource_list: [NoCloud]\n")
    put(tree, "/etc/cloud/cloud.cfg.d/90.cfg", "# datasource_list: [Ec2]\n")
    put(tree, "/etc/cloud/cloud.cfg.d/91.cfg", "datasource_list: [  ConfigDrive, None ]  # ours\n")
    assert inside.datasources(tree) == ["ConfigDrive", "None"]


@pytest.mark.parametrize(
    ("settings", "mounts"),
    [
        ("cloud_init_modules:\n - write_files\n - mounts\n", True),
        ("cloud_init_modules:\n - write_files\n", False),
        ("cloud_init_modules: [write_files, mounts]\n", True),
        ("cloud_init_modules:\n - mounts\nmounts: [[ephemeral0, null]]\n", False),
        ("cloud_init_modules:\n - mounts\nmounts:\n- [ 'ephemeral0', null ]\n", False),
    ],
)
def test_cloud_init_that_would_take_the_ephemeral_disk_is_found(tree, settings, mounts):
    put(tree, "/etc/cloud/cloud.cfg", settings)
    assert inside.mounts_ephemeral(tree) is mounts


def test_kernel_lines_leave_recovery_out(tree):
    menu = "menuentry a {\n\tlinux\t/boot/vmlinuz root=x console=ttyS0\n}\n\tlinux\t/boot/vmlinuz root=x single\n"
    put(tree, "/boot/grub/grub.cfg", menu)
    assert inside.kernel_lines(tree) == ["linux\t/boot/vmlinuz root=x console=ttyS0"]


def test_keys_histories_and_passwords_are_found_and_their_look_alikes_are_not(tree):
    put(tree, "/etc/passwd", "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n")
    put(tree, "/home/ada/.ssh/id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    put(tree, "/home/ada/.ssh/notes", "how to make a -----BEGIN OPENSSH PRIVATE KEY-----\n")
    put(tree, "/home/ada/.ssh/authorized_keys", "ssh-ed25519 AAAA ada\n")
    put(tree, "/root/.ssh/authorized_keys", "\n")
    put(tree, "/root/.bash_history", "passwd\n")
    put(tree, "/etc/shadow", "root:*:1::::::\nada:$y$j9T$x:1::::::\nopen::1::::::\nlocked:!$y$x:1::::::\n")
    assert inside.private_keys(tree) == ["/home/ada/.ssh/id_rsa"]
    assert inside.authorized_keys(tree) == ["/home/ada/.ssh/authorized_keys"]
    assert inside.histories(tree) == ["/root/.bash_history"]
    assert inside.passwords(tree) == ["ada", "open"]


@pytest.mark.parametrize(
    ("line", "may"),
    [
        ("trove ALL=(ALL) NOPASSWD:ALL", True),
        ("trove ALL=(ALL) NOPASSWD: ALL", True),
        ("%docker ALL=(ALL) NOPASSWD:ALL", True),
        ("trove ALL=(ALL) ALL", False),
        ("# trove ALL=(ALL) NOPASSWD:ALL", False),
    ],
)
def test_sudo_without_a_password_is_found(tree, line, may):
    put(tree, "/etc/group", "docker:x:9:trove\n")
    put(tree, "/etc/sudoers.d/90", line + "\n")
    assert inside.may_sudo(tree, "trove") is may


def test_the_agents_python_is_found_by_its_first_line(tree):
    put(tree, "/opt/venv/bin/guest-agent", "#!/opt/venv/bin/python3\n")
    put(tree, "/etc/systemd/system/agent.service", "[Service]\nExecStart=/opt/venv/bin/guest-agent --config-dir=/x\n")
    assert inside.interpreter(tree, inside.unit(tree, "agent.service")) == "/opt/venv/bin/python3"


# ---- opening

NEEDED = ("qemu-storage-daemon", "qemu-img", "mkfs.ext4", "losetup")
can_mount = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists() or any(hostcmd.which(program) is None for program in NEEDED),
    reason="needs root, /dev/fuse and qemu-storage-daemon",
)


def made(tmp_path, folders=("etc", "usr")):
    """A disk with one partition that holds a file system with these folders."""
    content = tmp_path / "content"
    for name in folders:
        (content / name).mkdir(parents=True)
    content.mkdir(exist_ok=True)
    part, raw, file = tmp_path / "part", tmp_path / "raw", tmp_path / "disk, with comma.qcow2"
    subprocess.run(["mkfs.ext4", "-q", "-d", content, part, "8M"], check=True)
    # One MBR entry by hand: type 83, from sector 2048, as long as the file system.
    sectors = part.stat().st_size // 512
    entry = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + sectors.to_bytes(4, "little")
    raw.write_bytes((bytes(446) + entry + bytes(48) + b"\x55\xaa").ljust(2048 * 512, b"\0") + part.read_bytes())
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, file], check=True)
    return imagefile.inspect(file)


def left_behind(tmp_path):
    mounted = [line for line in Path("/proc/mounts").read_text().splitlines() if str(tmp_path) in line]
    return mounted, list(tmp_path.glob("imagecheck-disk-*"))


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    return folder


@can_mount
def test_an_image_is_opened_read_only_and_closed_without_a_trace(tmp_path, work):
    before = imagefile.sha256(made(tmp_path).path)
    image = imagefile.inspect(tmp_path / "disk, with comma.qcow2")
    with disk.opened(image) as opened:
        assert str(opened.root) in opened.host.backend.get_pytest_id()
        assert opened.tree.names("/") == ["etc", "lost+found", "usr"]
        with pytest.raises(OSError, match="Read-only"):
            (opened.root / "etc" / "new").write_text("x")
    assert left_behind(work) == ([], [])
    assert imagefile.sha256(image.path) == before


@can_mount
def test_an_image_is_closed_also_when_the_body_raises(tmp_path, work):
    image = made(tmp_path)
    with pytest.raises(ZeroDivisionError), disk.opened(image):
        raise ZeroDivisionError
    assert left_behind(work) == ([], [])


@can_mount
def test_an_image_without_an_operating_system_is_one_sentence_and_leaves_nothing(tmp_path, work):
    image = made(tmp_path, folders=())
    with pytest.raises(StepFailed) as failed, disk.opened(image):
        pass
    assert "no partition of the image holds an operating system" in failed.value.sentence
    assert "holds no operating system" in failed.value.seen
    assert left_behind(work) == ([], [])


@can_mount
def test_an_image_that_was_replaced_by_one_with_a_backing_file_is_not_opened(tmp_path, work):
    image = made(tmp_path)
    base = tmp_path / "base.qcow2"
    image.path.rename(base)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, image.path], check=True)
    with pytest.raises(UsageError, match="needs a backing file"), disk.opened(image):
        pass
    assert left_behind(work) == ([], [])


def test_without_rights_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.os, "geteuid", lambda: 1000)
    image = imagefile.ImageFile(tmp_path / "x", "raw", 0, 0, "")
    with pytest.raises(UsageError, match="needs root"), disk.opened(image):
        pass
