"""The rows of all groups, in the order in which they are run."""

from __future__ import annotations

from row import Row
from table_api import API
from table_kills import KILLS
from table_services import SERVICES

ROWS: tuple[Row, ...] = (*KILLS, *API, *SERVICES)
