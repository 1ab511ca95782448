"""Where a launch is cut into phases, which of them wait, and the fixed floors of Trove's own polling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagecheck.launch.vocabulary import EVENTS


@dataclass(frozen=True)
class Floor:
    """Time that Trove takes whatever the image does: option, default in seconds or times, where it is read."""

    option: str
    default: int
    what: str
    source: str


# Read in Trove 2023.1 to 2026.1 (20.0.0 to 26.0.0); 18.0.0 and 19.0.0 have no state_healthy_counts.
FLOORS: Final[dict[str, Floor]] = {
    one.option: one
    for one in (
        Floor(
            "state_healthy_counts", 5, "HEALTHY polls in a row that the agent wants before it ends prepare",
            "trove/guestagent/datastore/service.py, wait_for_status; trove/common/cfg.py; since 20.0.0",
        ),
        Floor(
            "state_change_poll_time", 3, "seconds between two of the agent's polls",
            "trove/guestagent/datastore/service.py, wait_for_status; trove/common/cfg.py",
        ),
        Floor(
            "usage_sleep_time", 5, "seconds between taskmanager's first two looks; it backs off to 30",
            "trove/taskmanager/models.py, wait_for_instance; trove/common/utils.py, build_polling_task",
        ),
        Floor(
            "report_interval", 30, "seconds between the agent's heartbeats; the end of prepare does not wait for one",
            "trove/common/rpc/service.py, start; trove/guestagent/datastore/service.py, set_status",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """Where a phase ends. The first cut of a table has no phase: it is the origin.

    ``waiting``: for what nobody works in this phase; "" where somebody does.
    """

    event: str
    phase: str
    waiting: str = ""

    @property
    def source(self) -> str:
        """Where the event's time comes from."""
        return EVENTS[self.event].source if self.event in EVENTS else ""

    @property
    def absent(self) -> str:
        """Why a good launch may lack the event; "" for what every launch has."""
        return EVENTS[self.event].absent if self.event in EVENTS else ""


# Not cut: what runs beside the path (docker, sshd, cloud-init's later stages), and stamps of the same moment.
_TO_THE_AGENT = (
    Cut("scheduled", "scheduling"),
    Cut("spawning", "network"),
    Cut("image_fetched", "image download"),
    Cut("nova_active", "spawn"),
    Cut("kernel_started", "firmware and loader"),
    Cut("initrd_started", "kernel"),
    Cut("userspace_started", "initrd"),
    Cut("cloudinit_local_began", "systemd to cloud-init"),
    Cut("cloudinit_local", "cloud-init local"),
    Cut("cloudinit_done", "cloud-init files"),
    Cut("agent_started", "agent started"),
    Cut("agent_imported", "agent imports"),
    Cut("storage_mounted", "storage preparation"),
    Cut("broker_connected", "broker connected"),
)

BOOT_CUTS: tuple[Cut, ...] = (
    Cut("api_called", ""),
    Cut("api_accepted", "API accepted"),
    *_TO_THE_AGENT,
)

# Trove casts prepare while the server is still building; the agent finds it in its queue. Inside prepare the agent
# writes settings, starts the container, waits until the database answers often enough and says so; then it makes
# databases and users, the last thing that a client's first query needs (manager.py, prepare).
LAUNCH_CUTS: tuple[Cut, ...] = (
    Cut("api_called", ""),
    Cut("api_accepted", "API accepted"),
    Cut("nova_started", "Trove before Nova"),
    *_TO_THE_AGENT,
    Cut("prepare_started", "prepare received"),
    Cut("container_asked", "database settings"),
    Cut("image_ready", "image pull"),
    Cut("container_started", "container start"),
    Cut("database_ready", "database initialisation"),
    Cut(
        "prepare_ended", "agent's health polls",
        "the agent's polls: state_healthy_counts in a row, state_change_poll_time apart (guest settings)",
    ),
    Cut("first_query", "first query"),
)  # fmt: skip

# What comes after a client has its answer: until the news is in Trove's API.
HEALTHY_CUTS: tuple[Cut, ...] = (
    Cut("first_query", ""),
    Cut(
        "healthy", "taskmanager's polls",
        "taskmanager's next look: usage_sleep_time, backing off to 30 s (trove.conf)",
    ),
)  # fmt: skip
