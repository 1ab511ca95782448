"""What an image needs to boot and serve and must not carry is read from its files, and wild files accuse nobody."""

import hashlib
import lzma
import struct
from datetime import UTC, datetime

import pytest
from disk_fixtures import link, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagecheck import bootable, cloudinit, hygiene, packages, runtime

PASSWD = "root:x:0:0::/root:/bin/sh\ntrove:x:100:101::/var/lib/trove:/bin/sh\n"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
pytest_plugins = ["disk_fixtures"]


# ---- booting


def cpio(name, content=b""):
    def one(called, data):
        sizes = [0] * 13
        sizes[6], sizes[11] = len(data), len(called) + 1
        head = b"070701" + b"".join(b"%08X" % size for size in sizes) + called + b"\0"
        return head.ljust(-(-len(head) // 4) * 4, b"\0") + data.ljust(-(-len(data) // 4) * 4, b"\0")

    return one(name, content) + one(b"TRAILER!!!", b"")


def zstd_raw(data):
    """One frame with one uncompressed block (RFC 8878)."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + (1 | len(data) << 3).to_bytes(3, "little") + data


ARCHIVES = {
    "cpio": cpio(b"init", b"x" * 999),
    "zstd": zstd_raw(b"y" * 200),
    "xz": lzma.compress(b"z" * 5000),
    "early cpio, padding, zstd": cpio(b"microcode", b"m" * 50).ljust(1024, b"\0") + zstd_raw(b"y" * 200),
}


@pytest.mark.parametrize("data", ARCHIVES.values(), ids=ARCHIVES)
def test_an_initrd_that_breaks_off_is_told_from_a_whole_one(tree, data):
    put(tree, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-1 root=LABEL=r\ninitrd /boot/initrd.img-1\n")
    put(tree, "/boot/vmlinuz-1", "some other kernel format")
    put(tree, "/boot/initrd.img-1", data)
    assert bootable.broken_boot_files(tree) == []
    put(tree, "/boot/initrd.img-1", data[:-20])
    assert bootable.broken_boot_files(tree) == ["/boot/initrd.img-1: breaks off"]


def test_a_compression_that_is_not_known_is_not_judged(tree):
    put(tree, "/boot/grub/grub.cfg", "linux /vmlinuz-1\ninitrd /initrd.img-1\n")
    put(tree, "/boot/vmlinuz-1", "kernel")
    put(tree, "/boot/initrd.img-1", cpio(b"early") + b"\x02\x21\x4c\x18 lz4 in the legacy format")
    assert bootable.broken_boot_files(tree) == []


@given(data=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wild_bytes_in_an_initrd_break_nothing(tree, data):
    put(tree, "/boot/grub/grub.cfg", "linux /vmlinuz-1\ninitrd /initrd.img-1\n")
    put(tree, "/boot/vmlinuz-1", data)
    put(tree, "/boot/initrd.img-1", data)
    assert isinstance(bootable.broken_boot_files(tree), list)


def test_a_kernel_is_as_long_as_its_header_says(tree):
    head = bytearray(0x210)
    head[0x1F1], head[0x202:0x206] = 3, b"HdrS"
    head[0x1F4:0x1F8] = struct.pack("<I", 64)
    whole = bytes(head).ljust(4 * 512 + 64 * 16, b"k")
    put(tree, "/boot/grub/grub.cfg", "linux /vmlinuz-1\ninitrd /initrd.img-1\n")
    put(tree, "/boot/initrd.img-1", "x")
    put(tree, "/boot/vmlinuz-1", whole)
    assert bootable.broken_boot_files(tree) == []
    put(tree, "/boot/vmlinuz-1", whole[:-1])
    assert bootable.broken_boot_files(tree) == ["/boot/vmlinuz-1: breaks off"]


def test_a_module_is_built_in_or_a_file(tree):
    put(tree, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-6.1\n")
    assert "no modules for the kernel" in bootable.missing_modules(tree)[0]
    built_in = [name for name in bootable.MODULES if name != "isofs"]
    put(tree, "/lib/modules/6.1/modules.builtin", "".join(f"kernel/x/{name}.ko\n" for name in built_in))
    put(tree, "/lib/modules/6.1/modules.dep", "kernel/fs/isofs/isofs.ko.zst: kernel/drivers/cdrom/cdrom.ko.zst\n")
    assert [one.partition(":")[0] for one in bootable.missing_modules(tree)] == ["isofs"]
    put(tree, "/lib/modules/6.1/kernel/fs/isofs/isofs.ko.zst")
    assert bootable.missing_modules(tree) == []


def test_volumes_are_those_of_the_boot_menu_and_fstab(tree):
    put(
        tree,
        "/boot/grub/grub.cfg",
        "\tsearch --no-floppy --fs-uuid --set=root AB-12\n\tlinux /boot/vmlinuz-1 root=LABEL=guest ro\n",
    )
    put(
        tree,
        "/etc/fstab",
        "# /dev/vdc /x ext4\nLABEL=guest / ext4 defaults 0 1\nLABEL=data /data ext4 nofail 0 0\n"
        "/dev/vda1 / ext4 defaults\ntmpfs /tmp tmpfs defaults 0 0\nUUID=77 /var ext4 defaults 0 0\n",
    )
    assert bootable.missing_volumes(tree, {"LABEL=guest", "UUID=ab-12", "UUID=77"}) == []
    assert bootable.missing_volumes(tree, {"UUID=ab-12"}) == [
        "kernel's command line: LABEL=guest",
        "/etc/fstab: LABEL=guest",
        "/etc/fstab: UUID=77",
    ]


def test_a_disk_without_boot_code_needs_an_efi_partition():
    assert not bootable.boots_by_itself(bytes(512), {"LABEL=x"})
    assert bootable.boots_by_itself(bytes(512), {"EFI"})
    assert bootable.boots_by_itself(b"\xeb" + bytes(511), set())
    assert bootable.boots_by_itself(b"", set())  # not known


# ---- serving


def test_a_unit_that_would_fail_is_told_and_one_that_may_not_start_is_not(tree):
    wants = "/etc/systemd/system/multi-user.target.wants"
    units = {
        "good": "ExecStart=/bin/tool",
        "no-program": "ExecStart=/bin/gone --now",
        "may-fail": "ExecStart=-/bin/gone",
        "no-file": "EnvironmentFile=/etc/gone\nExecStart=/bin/tool",
        "optional-file": "EnvironmentFile=-/etc/gone\nExecStart=/bin/tool",
    }
    put(tree, "/bin/tool", "#!/bin/sh\n", 0o755)
    for name, text in units.items():
        put(tree, f"/usr/lib/systemd/system/{name}.service", f"[Service]\n{text}\n")
        link(tree, f"{wants}/{name}.service", f"/usr/lib/systemd/system/{name}.service")
    put(
        tree,
        "/usr/lib/systemd/system/if.service",
        "[Unit]\nConditionPathExists=/gone\n[Service]\nExecStart=/bin/gone\n",
    )
    link(tree, f"{wants}/if.service", "/usr/lib/systemd/system/if.service")
    link(tree, f"{wants}/removed.service", "/usr/lib/systemd/system/removed.service")  # only wanted: nothing fails
    assert runtime.unit_flaws(tree) == [
        "no-file.service: its EnvironmentFile /etc/gone is missing",
        "no-program.service: its program /bin/gone is missing",
    ]


def test_a_program_that_breaks_off_is_told(tree):
    elf = bytearray(b"\x7fELF\x02".ljust(64, b"\0"))
    struct.pack_into("<Q", elf, 40, 1000)
    struct.pack_into("<HH", elf, 58, 64, 10)
    put(tree, "/usr/bin/runc", bytes(elf).ljust(1640, b"x"), 0o755)
    assert runtime.flaw(tree, "/usr/bin/runc") == ""
    put(tree, "/usr/bin/runc", bytes(elf).ljust(1639, b"x"), 0o755)
    assert runtime.flaw(tree, "/usr/bin/runc") == "breaks off"
    put(tree, "/usr/bin/runc", bytes(elf), 0o644)
    assert runtime.flaw(tree, "/usr/bin/runc") == "is not executable"


@pytest.mark.parametrize(
    ("python", "places", "found"),
    [
        ("/usr/bin/python3", ["/usr/lib/python3/dist-packages/trove-23.0.0.egg-info"], "23.0.0"),
        ("/usr/bin/python3.13", ["/usr/local/lib/python3.13/dist-packages/trove-22.0.1.dist-info"], "22.0.1"),
        ("/opt/agent/bin/python3", ["/opt/agent/lib/python3.12/site-packages/trove-26.0.0.dist-info"], "26.0.0"),
        ("/opt/agent/bin/python3", ["/usr/lib/python3/dist-packages/trove-23.0.0.egg-info"], ""),
        ("/usr/bin/python3", ["/usr/lib/python3/dist-packages/trove-18.0.0-py3.11.egg-info"], "18.0.0"),
        ("/usr/bin/python3", ["/usr/lib/python3/dist-packages/trove-dashboard-20.0.0.egg-info"], ""),
    ],
)
def test_the_agents_release_is_the_one_its_own_python_finds(tree, python, places, found):
    for place in places:
        put(tree, place)
    assert runtime.agent_release(tree, python) == found


def test_access_is_judged_along_the_whole_way(tree):
    put(tree, "/etc/passwd", PASSWD)
    put(tree, "/etc/group", "ops:x:7777:trove\n")
    put(tree, "/srv/a/b", "x")
    assert runtime.denied(tree, "trove", "/srv/a/b", 4) == ""
    (tree.root / "srv/a").chmod(0o600)
    assert "/srv/a (" in runtime.denied(tree, "trove", "/srv/a/b", 4)
    assert runtime.denied(tree, "root", "/srv/a/b", 4) == ""
    assert runtime.denied(tree, "nobody", "/srv/a/b", 4) == "there is no user nobody"
    assert runtime.denied(tree, "trove", "/srv/none", 4) == "/srv/none is missing"


def test_cloud_inits_settings_are_merged_and_broken_ones_named(tree):
    put(tree, "/etc/cloud/cloud.cfg", "cloud_init_modules: [write-files, [users-groups, always]]\n")
    put(tree, "/etc/cloud/cloud.cfg.d/10.cfg", "a: [\n")
    put(tree, "/etc/cloud/cloud.cfg.d/20.cfg", "# only a comment\n")
    put(tree, "/etc/cloud/cloud.cfg.d/30.cfg", "just text\n")
    _, broken = cloudinit.settings(tree)
    assert broken == ["/etc/cloud/cloud.cfg.d/10.cfg", "/etc/cloud/cloud.cfg.d/30.cfg"]
    assert cloudinit.module_flaws(tree) == ["no list has ssh, which installs Nova's key pair and makes the host keys"]


def test_default_routes_of_every_kind_are_found(tree):
    put(tree, "/etc/network/interfaces", "iface eth0 inet static\n  gateway 10.0.0.1\n# gateway 1.1.1.1\n")
    put(tree, "/etc/systemd/network/a.network", "[Network]\nGateway=10.0.0.1\n[DHCPv4]\nUseGateway=no\n")
    put(tree, "/etc/systemd/network/dhcp.network", "[Network]\nDHCP=yes\nGateway=_dhcp4\n")
    put(tree, "/etc/netplan/a.yaml", "network:\n  ethernets:\n    a:\n      routes:\n      - to: default\n")
    assert [line.partition(":")[0] for line in runtime.gateways(tree)] == [
        "/etc/network/interfaces",
        "/etc/systemd/network/a.network",
        "/etc/netplan/a.yaml",
    ]


def test_a_network_that_nobody_settles_is_told(tree):
    put(tree, "/etc/cloud/cloud.cfg.d/net.cfg", "network: {config: disabled}\n")
    assert runtime.network_unsettled(tree)
    put(tree, "/etc/network/interfaces", "iface eth0 inet dhcp\n")
    assert not runtime.network_unsettled(tree)


@pytest.mark.parametrize("word", ["systemd.unit=rescue.target", "init=/bin/bash", "emergency", "rd.break=pre-mount"])
def test_a_boot_into_a_shell_is_told(tree, word):
    put(tree, "/usr/lib/systemd/systemd", "x", 0o755)
    link(tree, "/sbin/init", "/usr/lib/systemd/systemd")
    put(tree, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-1 root=LABEL=r ro quiet init=/usr/lib/systemd/systemd\n")
    assert runtime.start_flaws(tree) == []
    put(tree, "/boot/grub/grub.cfg", f"linux /boot/vmlinuz-1 root=LABEL=r ro {word} quiet\n")
    assert runtime.start_flaws(tree) == [f"{word} on the kernel's command line"]


def test_an_agent_that_is_root_needs_no_sudo(tree):
    for name in runtime.AGENT:
        if name != "sudo":
            put(tree, f"/usr/sbin/{name}", "x", 0o755)
    assert runtime.agent_flaws(tree, root=True) == []
    assert [one.partition(" ")[0] for one in runtime.agent_flaws(tree, root=False)] == ["sudo"]


# ---- what is left behind


def test_a_row_of_leftovers_is_found_and_its_comment_is_not(tree):
    put(
        tree,
        "/etc/trove/a.conf",
        "# transport_url = rabbit://u:pw@h\ntransport_url = rabbit://h:5672/\n#password = x\n",
    )
    put(tree, "/etc/cloud/cloud.cfg", "system_info:\n  default_user:\n    lock_passwd: True\n # password: x\n")
    put(tree, "/etc/apt/sources.list", "deb http://archive.example/debian trixie main\n")
    assert hygiene.leftovers(tree) == []
    put(tree, "/etc/trove/a.conf", "transport_url = rabbit://u:pw@h:5672/\ninstance_rpc_encr_key = k\n")
    put(tree, "/etc/apt/sources.list", "deb https://me:pw@archive.example/debian trixie main\n")
    assert hygiene.leftovers(tree) == [
        "/etc/apt/sources.list: a login to a package source",
        "/etc/trove/a.conf: a guest's RPC key",
        "/etc/trove/a.conf: the message broker's password",
    ]


def test_what_is_told_of_a_leftover_never_holds_the_secret(tree):
    put(tree, "/etc/trove/a.conf", "[service_credentials]\npassword = hunter2hunter2\n")
    assert "hunter2" not in "".join(hygiene.leftovers(tree))


def test_every_leftover_has_a_source():
    assert all(row.source and row.what and row.places for row in hygiene.LEFTOVERS)


def test_a_certificate_is_judged_by_its_days(tree):
    cryptography = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = cryptography.Name([])
    for first, last, said in (
        (2019, 2020, "expired on 2020-01-01"),
        (2020, 2060, ""),  # GeneralizedTime from 2050 on
        (2030, 2031, "is not valid before 2030-01-01"),
    ):
        made = cryptography.CertificateBuilder(name, name, key.public_key(), 1)
        made = made.not_valid_before(datetime(first, 1, 1)).not_valid_after(datetime(last, 1, 1))  # noqa: DTZ001
        pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        put(tree, "/etc/trove/ca.pem", pem)
        assert hygiene.certificates(tree, NOW) == ([f"/etc/trove/ca.pem: {said}"] if said else [])


def test_rubbish_in_place_of_a_certificate_is_told(tree):
    put(tree, "/etc/trove/ca.pem", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n")
    assert hygiene.certificates(tree, NOW) == ["/etc/trove/ca.pem: is no certificate"]


# ---- packages


def test_files_of_a_package_that_are_missing_empty_or_changed_are_told(tree):
    files = {"usr/bin/a": b"program", "usr/lib/b.py": b"x = 1\n", "usr/lib/c.py": b"y = 1\n", "usr/lib/gone": b""}
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {name}\n" for name, data in files.items())
    put(tree, "/var/lib/dpkg/info/cloud-init.md5sums", sums + "0123  usr/share/doc/x\n0123  usr/lib/moved\n")
    put(tree, "/var/lib/dpkg/info/vim.md5sums", "0123  usr/bin/vim\n")  # nobody lives by it
    put(tree, "/var/lib/dpkg/diversions", "/usr/lib/moved\n/usr/lib/moved.distrib\nother\n")
    for name, data in files.items():
        put(tree, f"/{name}", data)
    assert packages.damage(tree) == packages.Damage((), ())
    put(tree, "/usr/bin/a", "")
    put(tree, "/usr/lib/b.py", "x = 2  # patched\n")
    (tree.root / "usr/lib/gone").unlink()
    found = packages.damage(tree)
    assert found.broken == ("/usr/bin/a (cloud-init): is empty", "/usr/lib/gone (cloud-init): is missing")
    assert found.changed == ("/usr/lib/b.py",)


def test_an_image_without_dpkg_is_not_judged(tree):
    assert packages.damage(tree) == packages.Damage((), ())
