"""Where the launch time goes: events from several clocks, joined into phases without gaps or overlaps.

Measuring is ``collect``; this package's ``events`` and ``timeline`` only judge and never touch a cloud.
"""

from imagecheck.launch.cuts import BOOT_CUTS, FLOORS, HEALTHY_CUTS, LAUNCH_CUTS, Cut, Floor
from imagecheck.launch.events import Event, Offset, best_offset
from imagecheck.launch.timeline import Phase, Timeline, phase_times, timeline
from imagecheck.launch.vocabulary import EVENTS, Clock, Kind

__all__ = [
    "BOOT_CUTS",
    "EVENTS",
    "FLOORS",
    "HEALTHY_CUTS",
    "LAUNCH_CUTS",
    "Clock",
    "Cut",
    "Event",
    "Floor",
    "Kind",
    "Offset",
    "Phase",
    "Timeline",
    "best_offset",
    "phase_times",
    "timeline",
]
