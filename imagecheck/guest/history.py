"""Runs in the guest, sent over SSH as it stands: what the guest knows of its own start, as one JSON object.

Standard library only, Python 3.8 or later. Nothing here judges, and a source that is silent is no error: its place
stays empty. Times are as each source has them; guest/facts.py makes one clock of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIMIT = 8 << 20  # bytes of the agent's log, from its beginning; debug = true writes some 50 kB per launch
# oslo.log's default prefix: time, process, level, logger, [context], message (oslo_log/_options.py)
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,](\d{3}) (\d+) [A-Z]+ (\S+) \[[^\]]*\] (.*)")
INIT = re.compile(r"\[ *(\d+\.\d+)\] Run /init as init process")  # init/main.c, run_init_process
# mysqld and mariadbd (sql/mysqld.cc), postgres (postmaster.c); entrypoints may start a server for a first time before
READY = re.compile(r"(\S+) .*(?:(?:mysqld|mariadbd): ready for connections|database system is ready to accept)")
SERVICE = "org.freedesktop.systemd1"


def tell(*argv: str, errors: int = subprocess.DEVNULL) -> str:
    """What a program writes to stdout; "" when it cannot. ``errors``: where its stderr goes."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=errors, timeout=40, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def properties(text: str) -> dict[str, str]:
    """The lines KEY=VALUE of `systemctl show`."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def load(path: str) -> Any:
    """A JSON file; {} when it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def inspected(*argv: str) -> dict[str, Any]:
    """The first object that `docker ... inspect` tells; {} when there is none."""
    try:
        found: dict[str, Any] = (json.loads(tell("docker", *argv) or "[]") or [{}])[0]
    except ValueError:
        return {}
    return found


def happened(until: float) -> list[tuple[str, float, str]]:
    """What docker did with images and containers, as its daemon remembers it (256 events, docker-events(1))."""
    kinds = [part for kind in ("pull", "load", "create", "health_status") for part in ("--filter", f"event={kind}")]
    text = tell("docker", "events", "--since", "1", "--until", str(int(until)), "--format", "{{json .}}", *kinds)
    found = []
    for line in text.splitlines():
        try:
            one = json.loads(line)
            actor = one.get("Actor") or {}
            name = (actor.get("Attributes") or {}).get("name") or actor.get("ID") or ""
            found.append((str(one.get("Action")), int(one["timeNano"]) / 1e9, str(name)))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def mtime(path: str) -> float:
    """When a file was written; 0 when it is not there."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def local(text: str, milliseconds: str) -> float:
    """A time of the agent's log, which is the guest's local time, as seconds since the epoch; 0 for nonsense."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000
    except (ValueError, OverflowError):
        return 0.0


def marks(lines: list[str], wanted: dict[str, list[str]], pid: int, since: float) -> dict[str, tuple[float, str]]:
    """The first line of the agent's process and the first that fits each of ``wanted`` (event -> [logger, begin]).

    Lines of other processes do not count: the agent may have been started again. Where the process that writes is
    not the unit's main one, lines from ``since`` on count.
    """
    rows = []
    for line in lines:
        found = LINE.match(line)
        if found:
            rows.append((local(found[1], found[2]), int(found[3]), found[4], found[5]))
    own = [row for row in rows if row[1] == pid] or [row for row in rows if since and row[0] >= since]
    table = {"agent_imported": (own[0][0], "")} if own else {}
    for when, _, logger, message in own:
        for event, (name, begin) in wanted.items():
            if event not in table and logger == name and message.startswith(begin):
                table[event] = (when, message[:300])
    return table


def stamps(path: str, kind: str, *names: str) -> list[int]:
    """Two properties of a systemd object by D-Bus, as numbers (microseconds); [] when it does not answer."""
    words = tell("busctl", "get-property", SERVICE, path, f"{SERVICE}.{kind}", *names).split()
    numbers = [int(word) for word in words if word.isdigit()]
    return numbers if len(numbers) == len(names) else []


def object_path(unit: str) -> str:
    """The D-Bus path of a unit (sd_bus_path_encode)."""
    return "/org/freedesktop/systemd1/unit/" + "".join(
        one if one.isascii() and one.isalnum() and not (at == 0 and one.isdigit()) else f"_{ord(one):02x}"
        for at, one in enumerate(unit)
    )


def look(asked: dict[str, Any]) -> dict[str, Any]:
    """Everything, once."""
    agent = asked["units"][0]
    wall, mono = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)
    shown = tell("systemctl", "show", "-p", asked["unit"], *asked["units"])
    units = [properties(block) for block in shown.strip().split("\n\n")]
    main = units[0].get("MainPID", "0") if units else "0"
    ran = stamps(object_path(agent), "Service", "ExecMainStartTimestamp", "ExecMainStartTimestampMonotonic")
    try:
        with Path(asked["log"]).open("rb") as file:
            lines = file.read(LIMIT).decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    told = marks(lines, asked["marks"], int(main) if main.isdigit() else 0, ran[0] / 1e6 if ran else 0)
    point = re.search(r"mount path (/\S+)", told.get("storage_asked", (0.0, ""))[1])
    unit = tell("systemd-escape", "--path", "--suffix=mount", point[1]).strip() if point else ""
    container = inspected("inspect", asked["container"])
    # Databases write to stderr.
    words = tell("docker", "logs", "--timestamps", asked["container"], errors=subprocess.STDOUT) if container else ""
    init = INIT.search(tell("dmesg"))
    return {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "wall": wall,
        "mono": mono,
        "manager": properties(tell("systemctl", "show", "-p", asked["manager"])),
        "units": units,
        "began": stamps("/org/freedesktop/systemd1", "Manager", "UserspaceTimestamp", "UserspaceTimestampMonotonic"),
        "ran": ran,
        "init": init[1] if init else "",
        "cloud_init": load("/run/cloud-init/status.json"),
        "files": {name: mtime(path) for name, path in asked["files"].items()},
        "log": {event: when for event, (when, _) in told.items()},
        "mount": properties(tell("systemctl", "show", "-p", asked["unit"], unit)) if unit else {},
        "created": container.get("Created", ""),
        "container": container.get("State", {}),
        "image": (container.get("Config") or {}).get("Image", ""),
        "docker": happened(wall) if container else [],
        "ready": [found[1] for found in map(READY.match, words.splitlines()) if found],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(json.loads(sys.argv[1]))))
