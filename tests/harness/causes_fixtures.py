"""Excerpts that show each cause, and lines that look alike and must not; facts for the rows that look at those."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imagecheck.causes import Facts

FOLDER = Path(__file__).parent / "fixtures" / "causes"
EOF = "<eof>"
AGENT_UP = {"agent_active": "active", "agent_up": 200.0}


@dataclass
class Excerpt:
    """Lines of one place that show the row ``id``, and ``near`` misses."""

    id: str
    place: str
    shows: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        whole = "\n".join(self.shows)
        return whole.removesuffix(EOF) if whole.endswith(EOF) else whole + "\n"


def excerpts() -> list[Excerpt]:
    """Every section of every fixture file."""
    found: list[Excerpt] = []
    for file in sorted(FOLDER.glob("*.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("[") and line.partition("] ")[2] in PLACES_IN_HEADS:
                id, _, place = line[1:].partition("] ")
                found.append(Excerpt(id, place))
            elif line.startswith("! "):
                found[-1].near.append(line[2:])
            elif line.strip() and not line.startswith("# "):
                found[-1].shows.append(line)
    return found


PLACES_IN_HEADS = {"console", "journal", "agent", "cloud-init", "docker", "container", "nova", "trove", "build"}

# id -> facts that show it, facts that are close and do not
FACTS: dict[str, tuple[Facts, Facts]] = {
    "silent-console": (Facts(console_bytes=0, up=300), Facts(console_bytes=0, up=20)),
    "powered-off": (Facts(server_status="SHUTOFF"), Facts(server_status="REBOOT")),
    "cloud-init-disabled": (Facts(cloud_init="disabled"), Facts(cloud_init="running")),
    "cloud-init-error": (Facts(cloud_init="error"), Facts(cloud_init="done")),
    "guest-info-missing": (
        Facts(cloud_init="done", guest_info=False), Facts(cloud_init="running", guest_info=False),
    ),
    "guest-config-missing": (
        Facts(cloud_init="done", guest_info=True, guest_config=False),
        Facts(cloud_init="running", guest_info=True, guest_config=False),
    ),
    "guest-id-differs": (Facts(guest_id_fits=False), Facts(guest_id_fits=True)),
    "data-on-root": (
        Facts(data_mounted=False, prepare_started=True), Facts(data_mounted=False, prepare_started=False),
    ),
    "release-differs": (
        Facts(agent_release="26.0.0", cloud_release="23.0.0"), Facts(agent_release="23.1.0", cloud_release="23.0.0"),
    ),
    "agent-dead": (Facts(agent_result="start-limit-hit", agent_active="failed"), Facts(agent_result="exit-code")),
    "agent-storm": (
        Facts(agent_restarts=7, agent_active="activating"),
        Facts(agent_restarts=7, agent_active="active", agent_up=90),
    ),
    "agent-not-enabled": (
        Facts(agent_enabled=False, agent_active="inactive"), Facts(agent_enabled=False, agent_active="active"),
    ),
    "agent-down": (
        Facts(agent_active="failed", cloud_init="done"), Facts(agent_active="inactive", cloud_init="running"),
    ),
    "broker-login": (
        Facts(logins={"b:5672": "(403) ACCESS_REFUSED - Login was refused"}), Facts(logins={"b:5672": ""}),
    ),
    "broker-vhost": (Facts(logins={"b:5672": "(530) NOT_ALLOWED - vhost x not found"}), Facts(logins={"b:5672": ""})),
    "broker-name": (Facts(dials={"b:5672": "[Errno -2] Name or service not known"}), Facts(dials={"b:5672": ""})),
    "broker-timeout": (Facts(dials={"b:5672": "timed out"}), Facts(dials={"b:5672": "timed out"}, consumers=1)),
    "broker-refused": (
        Facts(dials={"b:5672": "[Errno 111] Connection refused"}),
        Facts(dials={"b:5672": "[Errno 111] Connection refused", "c:5672": ""}, consumers=1),
    ),
    "exchange-differs": (Facts(exchanges=("openstack", "trove")), Facts(exchanges=("trove", "trove"))),
    "agent-unheard": (
        Facts(consumers=0, dials={"b:5672": ""}, **AGENT_UP),
        Facts(consumers=0, dials={"b:5672": ""}, agent_active="active", agent_up=30),
    ),
    "heartbeat-lost": (
        Facts(prepare_ended=True, heartbeat_age=300, told="building"),
        Facts(prepare_ended=True, heartbeat_age=60, told="building"),
    ),
    "clock-wrong": (Facts(clock_offset=-7200), Facts(clock_offset=-1.5)),
    "clock-far-off": (Facts(clock_offset=-9e7), Facts(clock_offset=-7200)),
    "default-routes": (Facts(default_routes=2), Facts(default_routes=1)),
    "container-other-tag": (
        Facts(images=("mariadb:11.8",), wanted_image="mariadb:11.9"),
        Facts(images=("mariadb:11.8",), wanted_image="mariadb:11.8"),
    ),
    "docker-gave-up": (Facts(docker_active="failed"), Facts(docker_active="activating")),
    "container-out-of-memory": (Facts(container_oom=True), Facts(container_oom=False)),
    "container-restarting": (
        Facts(container="restarting", container_exit=1, container_restarts=3),
        Facts(container="running", container_restarts=3, container_up=60),
    ),
    "container-dead-after-reboot": (
        Facts(rebooted=True, container="exited"), Facts(rebooted=True, container="running"),
    ),
    "container-exited": (
        Facts(container="exited", container_exit=1), Facts(container="exited", container_exit=0, told="shutdown"),
    ),
    "nova-error": (Facts(server_status="ERROR"), Facts(server_status="BUILD")),
    "agent-said-failed": (Facts(told="failed to spawn"), Facts(told="building")),
    "agent-silent": (Facts(told="guestagent error"), Facts(told="new")),
    "taskmanager-lost": (
        Facts(status="BUILD", told="healthy"), Facts(status="BUILD", told="building", operating_status="HEALTHY"),
    ),
    "active-not-healthy": (
        Facts(status="ACTIVE", operating_status="SHUTDOWN"), Facts(status="ACTIVE", operating_status="HEALTHY"),
    ),
}  # fmt: skip
