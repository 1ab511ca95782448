"""What a guest can say about its own trouble: read in one go, saved before anything is deleted."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from imagecheck import hostcmd
from imagecheck.errors import ImagecheckError, StepFailed
from imagecheck.guest.ssh import SSH_FAILED, Guest

SECONDS = 30.0  # for everything together
EACH = 10  # seconds for one piece, in the guest: a docker that hangs must not cost the rest
MOST = 64 << 20  # characters of all pieces
LIMIT = 2_000_000  # bytes per piece: a log that grew without end must not fill the report


@dataclass(frozen=True)
class Source:
    """A file of the evidence, what it holds, and the command that gives it in the guest ({unit}, {log} filled in)."""

    name: str
    what: str
    command: str


CONTAINER = "container.log"
# In the order in which they are read: what explains most for the least time first.
PIECES: tuple[Source, ...] = (
    Source("agent.log", "the guest agent's own log", "cat {log}"),
    Source("agent-journal.txt", "the agent's unit", "journalctl -b --no-pager -o short-precise -u {unit}"),
    Source(
        "cloud-init.txt",
        "cloud-init's status and result",
        "cat /run/cloud-init/status.json /run/cloud-init/result.json; cloud-init status --long",
    ),
    Source("cloud-init.log", "cloud-init's log", "cat /var/log/cloud-init.log"),
    Source("cloud-init-output.log", "what cloud-init's commands said", "cat /var/log/cloud-init-output.log"),
    Source(
        "injected.txt",
        "the files that Trove injects, with owner and mode",
        "ls -laR /etc/trove; cat /etc/trove/conf.d/guest_info.conf",
    ),
    Source("journal.txt", "the journal of this boot", "journalctl -b --no-pager -o short-precise"),
    Source(
        "units.txt",
        "units that failed, and all others",
        "systemctl --no-pager --failed; systemctl status --no-pager {unit} docker containerd; "
        "systemctl --no-pager list-units --all",
    ),
    Source(
        "network.txt",
        "addresses, routes, sockets, name servers",
        "ip -br addr; ip route; ip -6 route; ip -br link; ss -tnap; cat /etc/resolv.conf",
    ),
    Source(
        "disks.txt", "disks, mounts, free space", "lsblk -f; findmnt -D; findmnt; df -h; df -i; cat /etc/fstab"
    ),
    Source(
        CONTAINER,
        "what the containers said",
        'cd /var/lib/docker/containers && for f in */*-json.log; do '
        'if [ -e "$f" ]; then echo "== $f"; tail -c 500000 "$f"; fi; done',
    ),
    Source("docker-journal.txt", "docker's unit", "journalctl -b --no-pager -o short-precise -u docker -u containerd"),
    Source(
        "docker.txt",
        "containers and images in docker",
        'docker ps -a --no-trunc; docker images; ids=$(docker ps -aq); [ -z "$ids" ] || docker inspect $ids',
    ),
    Source("dmesg.txt", "the kernel's messages", "dmesg"),
)  # fmt: skip


def collect(guest: Guest, *, unit: str, log: str, seconds: float = SECONDS) -> tuple[dict[str, str], str]:
    """The text of each piece by name, in one round trip, and why those that are not there are missing ("": none).

    Raises nothing: what failed in the guest is said in the text; what had come when the time was up is kept.
    """
    mark = f"=====imagecheck-{secrets.token_hex(4)}:"
    script = []
    for piece in PIECES:
        filled = piece.command.format(unit=unit, log=log).replace("'", "'\\''")
        script.append(f"echo '{mark}{piece.name}'; timeout -k 1 {EACH} sh -c '{filled}' 2>&1 | tail -c {LIMIT}; echo")
    script.append(f"echo '{mark}'")
    said: list[str] = []  # what comes before the first mark: ssh's own words
    found: dict[str, list[str]] = {}
    current, size = said, 0

    def take(line: str) -> None:
        nonlocal current, size
        if (size := size + len(line) + 1) > MOST:  # whatever `tail -c` is in this guest
            raise StepFailed("guest", f"the guest says more than {MOST >> 20} MiB")
        before, marked, name = line.partition(mark)
        if before or not marked:
            current.append(before)
        if marked:
            current = found[name] = []

    why = ""
    try:
        # By standard input: sudo logs its command line, and the marks would be found in the journal again.
        code = hostcmd.stream(
            guest.argv("sudo -n sh -s"), take, check=False, timeout=seconds, input="\n".join([*script, ""])
        )
        if "" not in found:
            lost = "the connection was lost" if code == SSH_FAILED else "the guest's shell ended"
            why = ": ".join(filter(None, (lost, " ".join(" ".join(said).split())[:300])))
    except ImagecheckError as error:
        why = f"{seconds:.0f} s were over" if "did not end" in str(error) else str(error).splitlines()[0]
    if why and found:
        found[list(found)[-1]].append(f"[imagecheck: cut off here, {why}]")
    found.pop("", None)
    texts = {name: "\n".join(lines).rstrip("\n") + "\n" for name, lines in found.items()}
    if CONTAINER in texts:
        texts[CONTAINER] = plain(texts[CONTAINER])
    return texts, why


def plain(text: str) -> str:
    """Docker's json-file logs as `docker logs` would show them; lines that are none stay as they are."""
    lines = []
    for line in text.splitlines():
        try:
            told = json.loads(line) if line.startswith("{") else {}
        except (ValueError, RecursionError):
            told = {}
        lines.append(str(told["log"]).rstrip("\n") if isinstance(told, dict) and "log" in told else line)
    return "\n".join(lines) + "\n"
