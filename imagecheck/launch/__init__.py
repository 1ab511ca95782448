"""Where the launch time goes: events from several clocks, joined into phases without gaps or overlaps.

Measuring is ``collect``; this package's ``events`` and ``timeline`` only judge and never touch a cloud.
"""

from imagecheck.launch.events import EVENTS, Clock, Event, Offset, best_offset
from imagecheck.launch.timeline import BOOT_CUTS, LAUNCH_CUTS, Cut, Phase, Timeline, timeline

__all__ = [
    "BOOT_CUTS",
    "EVENTS",
    "LAUNCH_CUTS",
    "Clock",
    "Cut",
    "Event",
    "Offset",
    "Phase",
    "Timeline",
    "best_offset",
    "timeline",
]
