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
    assert clean("a\x1b[31mb\x07c\x1b(Bd\x00\x1b[0;1;38:5:185me") == "abcde"


def test_what_nova_leaves_of_control_sequences_is_taken_out_too():
    """Nova removes the escape characters and nothing else: as read from a guest of the sandbox."""
    told = (
        "]104[?7h[   20.519831] systemd[1]: Failed to start data-policy.service - Site policy.\n"
        "[[0;1;31mFAILED[0m] Failed to start [0;1;39mdata-policy.service[0m - Site policy.\n"
        "[[0;1;38:5:185mDEPEND[0m] Dependency failed for [0;1;39mlocal-fs.target[0m - Local File Systems.\n"
        "[    2.1] virtio_net virtio0 [8086:7010] ens2: renamed [12] [a1] trace[7]: x\n"
    )
    assert clean(told).splitlines() == [
        "[   20.519831] systemd[1]: Failed to start data-policy.service - Site policy.",
        "[FAILED] Failed to start data-policy.service - Site policy.",
        "[DEPEND] Dependency failed for local-fs.target - Local File Systems.",
        "[    2.1] virtio_net virtio0 [8086:7010] ens2: renamed [12] [a1] trace[7]: x",
    ]
