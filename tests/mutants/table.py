"""All mutants that the disk stage must reject."""

from __future__ import annotations

from mutant import Mutant
from table_boots import BOOT, CLOUD_INIT, IMAGE
from table_serves import AGENT, DOCKER, HYGIENE

MUTANTS: tuple[Mutant, ...] = (*IMAGE, *BOOT, *CLOUD_INIT, *AGENT, *DOCKER, *HYGIENE)
