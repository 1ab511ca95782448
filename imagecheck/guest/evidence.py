"""What a guest can say about its own trouble: read in one go, saved before anything is deleted."""

from __future__ import annotations

from collections.abc import Iterator

from imagecheck.errors import ImagecheckError
from imagecheck.guest.ssh import Guest

TIMEOUT = 240  # seconds for everything together; 85 s were seen in an emulated guest on a busy host
LIMIT = 2_000_000  # bytes per piece: a log that grew without end must not fill the report
_MARK = "=====imagecheck:"
# File name in the evidence -> command in the guest. {unit} and {log} come from the definition.
PIECES: tuple[tuple[str, str], ...] = (
    ("journal.txt", "journalctl -b --no-pager -o short-precise"),
    ("agent-journal.txt", "journalctl -b --no-pager -o short-precise -u {unit}"),
    ("agent.log", "cat {log}"),
    (
        "units.txt",
        "systemctl --no-pager list-units --all; systemctl --no-pager --failed; systemctl status --no-pager {unit}",
    ),
    ("cloud-init.txt", "cloud-init status --long; cat /run/cloud-init/result.json /run/cloud-init/status.json"),
    ("cloud-init.log", "cat /var/log/cloud-init.log"),
    ("cloud-init-output.log", "cat /var/log/cloud-init-output.log"),
    ("injected.txt", "ls -laR /etc/trove; cat /etc/trove/conf.d/guest_info.conf"),
    ("docker.txt", "docker ps -a --no-trunc; docker images; docker inspect database; docker logs --tail 500 database"),
    ("network.txt", "ip -br addr; ip route; ss -tnp; cat /etc/resolv.conf"),
    ("disks.txt", "lsblk -f; findmnt -D; df -h"),
    ("dmesg.txt", "dmesg"),
)


def collect(guest: Guest, *, unit: str, log: str) -> Iterator[tuple[str, str]]:
    """(file name, text) of every piece, in one round trip. Raises nothing: what failed is said in the text."""
    script = []
    for name, command in PIECES:
        filled = command.format(unit=unit, log=log)
        script.append(f"echo '{_MARK}{name}'; {{ {filled}; }} 2>&1 | tail -c {LIMIT}; echo")
    try:
        # By standard input: sudo logs its command line, and the marks would be found in the journal again.
        text = guest.run("sh -s", input="\n".join(script) + "\n", timeout=TIMEOUT).stdout
    except ImagecheckError as error:
        yield "guest.txt", f"the guest gave no evidence: {error}\n"
        return
    for piece in text.split(_MARK)[1:]:
        name, _, body = piece.partition("\n")
        yield name.strip(), body
