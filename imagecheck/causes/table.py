"""The table of causes, whole. One file per layer holds the rows; `row.Row` says how to read one."""

from __future__ import annotations

from imagecheck.causes import agent, boot, broker, cloud, cloudinit, database, docker, host
from imagecheck.causes.row import Row

TABLE: tuple[Row, ...] = (
    *boot.ROWS, *cloudinit.ROWS, *agent.ROWS, *broker.ROWS, *docker.ROWS, *database.ROWS, *cloud.ROWS,
    *host.ROWS,
)  # fmt: skip
