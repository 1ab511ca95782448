"""What a run leaves behind: terminal lines, JUnit properties, timings.json and report.json.

Pure functions from frozen facts to text; only ``files`` writes. Everything passes redact.
"""

from imagecheck.report.facts import Check, Fault, Measured, Retry, Run
from imagecheck.report.files import Folder
from imagecheck.report.junit import properties
from imagecheck.report.schema import SCHEMA, report_table, timings_table
from imagecheck.report.terminal import fault_lines, timeline_lines

__all__ = [
    "SCHEMA",
    "Check",
    "Fault",
    "Folder",
    "Measured",
    "Retry",
    "Run",
    "fault_lines",
    "properties",
    "report_table",
    "timeline_lines",
    "timings_table",
]
