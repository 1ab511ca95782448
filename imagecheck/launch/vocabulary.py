"""What can happen during a launch: each event with its meaning, source, clock and resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Clock = Literal["harness", "guest", "cloud"]


@dataclass(frozen=True)
class Kind:
    """One sort of event. ``resolution`` says how finely its source tells time, or how often it is asked.

    ``absent``: why a good launch may lack it; empty for what every launch has.
    """

    what: str
    source: str
    clock: Clock
    resolution: str
    absent: str = ""


_ALWAYS = "µs"
_POLL = "the poll's period, 0.5 to 1 s"
_UPTIME = "10 ms"
_LOG = "1 ms"
_FILE = "the file system's, ns"
_UNIT = "the image has no such unit, or the launch did not start it"
_NO_LOG = "the agent's log has no such line in oslo.log's default format"
_UEFI = "only UEFI with a loader that speaks systemd's boot loader interface tells it"
_NO_STAGE = "this cloud-init has no such stage, or keeps no status.json"

# In the order of a good launch. Read in: Trove 2025.1 (23.0.0), Nova 2025.1, systemd 257 (systemd.directives(7),
# org.freedesktop.systemd1(5)), cloud-init 25.1 (cloudinit/cmd/main.py, status_wrapper), Docker 26 (docker inspect).
EVENTS: Final[dict[str, Kind]] = {
    "api_called": Kind("the create request leaves", "harness, before the request", "harness", _ALWAYS),
    "api_accepted": Kind("the API has answered it", "harness, after the answer", "harness", _ALWAYS),
    "nova_started": Kind(
        "Nova has the server's request", "os-instance-actions create: start_time, the request's own", "cloud", "1 s",
    ),
    "scheduled": Kind(
        "a compute host was chosen and begins",
        "os-instance-actions create: start_time of compute__do_build_and_run_instance", "cloud", "1 s",
    ),
    "spawning": Kind(
        "addresses and disks are allocated", "Nova API: OS-EXT-STS:task_state spawning, by polling", "harness", _POLL,
        "the role may not see task_state",
    ),
    "image_fetched": Kind(
        "the image lies on the compute host", "only nova-compute's own log tells it", "cloud", "-",
        "no API of Nova tells it: compare a cold with a warm cache",
    ),
    "nova_active": Kind(
        "Nova has started the machine",
        "OS-SRV-USG:launched_at, os-instance-actions create: finish_time (1 s), or status ACTIVE by polling",
        "cloud", "1 s, or " + _POLL,
    ),
    "firmware_started": Kind(
        "the firmware runs", "systemd FirmwareTimestampMonotonic", "guest", _ALWAYS, _UEFI
    ),
    "loader_started": Kind("the boot loader runs", "systemd LoaderTimestampMonotonic", "guest", _ALWAYS, _UEFI),
    "console_spoke": Kind(
        "the console has its first byte", "Nova API: os-getConsoleOutput, by the watchdog's looks", "harness",
        "the watchdog's period, 5 to 10 s", "the driver keeps no console",
    ),
    "kernel_started": Kind(
        "firmware and boot loader are done", "systemd KernelTimestamp: zero of CLOCK_MONOTONIC", "guest", _ALWAYS
    ),
    "initrd_started": Kind(
        "the kernel hands over to its initrd",
        "systemd InitRDTimestampMonotonic, or the kernel's \"Run /init as init process\"", "guest",
        "µs, or ±0.1 s from the kernel log, whose clock is not CLOCK_MONOTONIC",
        "no initrd, or the kernel log has lost its beginning",
    ),
    "userspace_started": Kind(
        "kernel and initrd are done", "systemd UserspaceTimestampMonotonic", "guest", _ALWAYS
    ),
    "console_stamped": Kind(
        "the first line with a kernel stamp on the console", "console: [seconds]", "guest", _ALWAYS,
        "the console carries no kernel stamps (printk.time=0, or quiet until the end)",
    ),
    "cloudinit_local_began": Kind(
        "cloud-init looks for its config drive", "/run/cloud-init/status.json: init-local start", "guest", _UPTIME,
        _NO_STAGE,
    ),
    "cloudinit_local": Kind(
        "the network is described", "/run/cloud-init/status.json: init-local finished", "guest", _UPTIME, _NO_STAGE,
    ),
    "network_online": Kind(
        "a network is up", "systemctl show network-online.target: ActiveEnterTimestampMonotonic", "guest", _ALWAYS,
        _UNIT,
    ),
    "guest_info_written": Kind(
        "cloud-init has written guest_info.conf", "mtime of guest_info.conf", "guest", _FILE,
        "the file was written again since, or is not there",
    ),
    "cloudinit_network": Kind(
        "the injected files are written", "/run/cloud-init/status.json: init finished", "guest", _UPTIME, _NO_STAGE,
    ),
    "cloudinit_config": Kind(
        "cloud-init's config modules have run", "/run/cloud-init/status.json: modules-config finished", "guest",
        _UPTIME, _NO_STAGE,
    ),
    "cloudinit_final": Kind(
        "cloud-init is done", "/run/cloud-init/status.json: modules-final finished", "guest", _UPTIME, _NO_STAGE,
    ),
    "ssh_ready": Kind(
        "sshd listens", "systemctl show ssh.service or sshd.service: ActiveEnterTimestampMonotonic", "guest", _ALWAYS,
        _UNIT,
    ),
    "docker_ready": Kind(
        "docker answers", "systemctl show docker.service: ActiveEnterTimestampMonotonic", "guest", _ALWAYS, _UNIT,
    ),
    "userspace_finished": Kind(
        "systemd has started all it was asked for", "systemd FinishTimestampMonotonic", "guest", _ALWAYS,
        "systemd still starts something",
    ),
    "cloudinit_done": Kind(
        "cloud-init has written the injected files",
        "/run/cloud-init/status.json: the last stage that the agent waited for", "guest", _UPTIME,
    ),
    "agent_started": Kind(
        "the guest agent's process runs", "systemctl show agent unit: ExecMainStartTimestampMonotonic", "guest",
        _ALWAYS,
    ),
    "agent_imported": Kind(
        "the agent has loaded its modules and speaks", "agent log: first line of its process", "guest", _LOG, _NO_LOG,
    ),
    "storage_asked": Kind(
        "the agent formats and mounts the data disk", 'agent log: "Preparing the storage for"', "guest", _LOG, _NO_LOG,
    ),
    "storage_mounted": Kind(
        "the data disk is mounted", "systemctl show of its mount unit: ActiveEnterTimestampMonotonic", "guest",
        _ALWAYS, "the agent's log does not tell the mount point, or the disk was mounted before",
    ),
    "broker_connected": Kind(
        "the agent consumes from its queue", "broker: consumers of guestagent.ID, by polling", "harness",
        "the poll's period, 1 s",
    ),
    "prepare_started": Kind(
        "the agent works on Trove's prepare call", "mtime of .guestagent.prepare.start", "guest", _FILE
    ),
    "status_building": Kind(
        "Trove has the agent's word that it builds", "Trove's mgmt view: guest_status, by polling", "harness",
        "the poll's period, 1 s", "Trove's mgmt view shows no guest_status",
    ),
    "container_asked": Kind(
        "the database's settings are written, its container is asked for",
        'agent log: "Creating docker container, image"', "guest", _LOG, _NO_LOG,
    ),
    "image_ready": Kind(
        "the container's image is there: pulled, loaded, or preloaded and asked for",
        "docker events: pull or load before the container's create", "guest", "ns; preloaded: 1 ms of the agent's log",
        "docker has forgotten (256 events, or it was restarted), or was not told when a preloaded one was asked for",
    ),
    "container_created": Kind("the container is made", "docker inspect database: Created", "guest", "ns"),
    "container_started": Kind(
        "the database's container runs", "docker inspect database: State.StartedAt", "guest", "ns"
    ),
    "port_open": Kind(
        "the database's port takes a connection on the tenant network",
        "harness: TCP connect, by polling once the agent is on its broker", "harness", "the poll's period, 1 s",
        "neither broker nor Trove told of the agent, so nothing knocked before the end",
    ),
    "database_ready": Kind(
        "the database is initialised and takes connections",
        "docker logs --timestamps database: the last line of readiness before prepare's end", "guest", "ns",
        "the container's log has no line of readiness that is known here",
    ),
    "container_healthy": Kind(
        "docker calls the container healthy", "docker events: health_status", "guest", "ns",
        "the container has no health check (Trove gives one from 2026.1 on)",
    ),
    "prepare_ended": Kind(
        "the agent has seen its database healthy often enough", "mtime of .guestagent.prepare.end", "guest", _FILE
    ),
    "status_healthy": Kind(
        "Trove has the agent's word that it is healthy", "Trove's mgmt view: guest_status, by polling", "harness",
        "the poll's period, 1 s", "Trove's mgmt view shows no guest_status",
    ),
    "status_updated": Kind(
        "Trove's stamp of that word", "Trove's mgmt view: service_status_updated", "cloud", "1 s",
        "a later word had replaced it",
    ),
    "notified": Kind(
        "Trove's notification trove.instance.create", "notifications.info on the operator's broker", "cloud", _ALWAYS,
        "the site names no broker of notifications, and reading its queue would take them from who needs them",
    ),
    "first_query": Kind(
        "a query over the tenant network is answered", "harness: SQL client, by polling once the port is open",
        "harness", "the poll's period, 1 s",
    ),
    "healthy": Kind(
        "Trove says HEALTHY", "Trove API: operating_status, by polling", "harness", "the poll's period, 1 s"
    ),
}  # fmt: skip
