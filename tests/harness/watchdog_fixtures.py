"""A look into a guest in which all is well, and its database's container in any state."""

from __future__ import annotations

from imagecheck.guest.follow import Look

UNIT = "trove-guestagent.service"
NO_TEXT = {"journal": b"", "agent": b"", "cloud-init": b""}
UNITS = {
    UNIT: {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "Result": "success",
           "NRestarts": "0", "ExecMainStartTimestampMonotonic": "50000000"},
    "docker.service": {"LoadState": "loaded", "ActiveState": "active"},
}  # fmt: skip
GOOD = Look(
    texts=NO_TEXT, boot_id="b-1", uptime=60.0, wall=1_700_000_000.0, asked=1_700_000_000.0, answered=1_700_000_001.0,
    units=UNITS, stages={"v1": {}}, result={"v1": {"errors": [], "datasource": "DataSourceConfigDrive"}},
    guest_id="g-1", guest_config=True, default_routes=1, free=10**9, dials={"b:5672": ""},
)  # fmt: skip


def container(**state):
    state = {
        "Running": False,
        "Restarting": False,
        "StartedAt": "2023-11-14T22:13:00.123456789Z",
        "ExitCode": 0,
    } | state
    return {"Name": "/database", "RestartCount": state.pop("restarts", 0), "State": state}
