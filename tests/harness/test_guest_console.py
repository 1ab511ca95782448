"""Console texts: what is an alarm and what is not."""

import pytest

from imagecheck.guest.console import alarms, clean, reached_userspace

GOOD = (
    "SeaBIOS (version 1.16.3)\r\n\x1b[2J[    0.000000] Linux version 6.12\r\n"
    "[    3.7] systemd[1]: Detected architecture x86-64.\r\n"
    "[   20.1] cloud-init[300]: Cloud-init v. 25.1 running 'init-local'\r\n\r\ntrixie login: "
)


def test_a_good_boot_raises_no_alarm():
    assert alarms(GOOD) == []
    assert reached_userspace(GOOD)


def test_firmware_alone_is_not_userspace():
    assert not reached_userspace("SeaBIOS (version 1.16.3)\r\nBooting from Hard Disk...\r\n")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs", "panicked"),
        ("You are in emergency mode. After logging in, type", "emergency"),
        ("\x1b[0m(initramfs) ", "initramfs"),
        ("grub rescue> ", "GRUB"),
        ("grub> ", "GRUB"),
        ("No bootable device.", "firmware"),
        ("Traceback (most recent call last):", "Python"),
        ("[  99.0] Out of memory: Killed process 712 (mariadbd)", "memory"),
        ("[DEPEND] Dependency failed for local-fs.target - Local File Systems.", "file system"),
    ],
)
def test_a_broken_boot_is_named(line, word):
    (one,) = alarms(GOOD + "\n" + line + "\r\n")
    assert word in one.meaning
    assert one.line == clean(line).strip()


def test_control_sequences_cannot_reach_a_terminal():
    assert clean("a\x1b[31mb\x07c\x1b(Bd\x00") == "abcd"
