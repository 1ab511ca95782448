"""Console texts: what is safe to show, and how far the boot came."""

from imagecheck.guest.console import clean, reached_userspace

GOOD = (
    "SeaBIOS (version 1.16.3)\r\n\x1b[2J[    0.000000] Linux version 6.12\r\n"
    "[    3.7] systemd[1]: Detected architecture x86-64.\r\n"
    "[   20.1] cloud-init[300]: Cloud-init v. 25.1 running 'init-local'\r\n\r\ntrixie login: "
)


def test_a_good_boot_reaches_userspace():
    assert reached_userspace(GOOD)


def test_firmware_alone_is_not_userspace():
    assert not reached_userspace("SeaBIOS (version 1.16.3)\r\nBooting from Hard Disk...\r\n")


def test_control_sequences_cannot_reach_a_terminal():
    assert clean("a\x1b[31mb\x07c\x1b(Bd\x00") == "abcd"
