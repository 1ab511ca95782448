"""Why a guest, its database or its cloud failed: evidence -> cause -> remedy -> source, as a table. Pure.

`verdict` judges what was saved, `Watch` what comes while something waits; both know only `Facts` and texts.
"""

from imagecheck.causes.judge import Evidence, Verdict, evidence_from, place_of, verdict
from imagecheck.causes.row import PLACES, Facts, Place, Row
from imagecheck.causes.table import TABLE
from imagecheck.causes.watch import Watch

__all__ = [
    "PLACES",
    "TABLE",
    "Evidence",
    "Facts",
    "Place",
    "Row",
    "Verdict",
    "Watch",
    "evidence_from",
    "place_of",
    "verdict",
]
