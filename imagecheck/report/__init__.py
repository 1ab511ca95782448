"""What a run leaves behind: terminal lines, JUnit properties, timings.json, report.json, report.html, evidence pages.

Pure functions from frozen facts to text; only ``files`` writes. Everything passes redact.
"""

from imagecheck.report.facts import Check, Fault, Measured, Node, Piece, Retry, Run
from imagecheck.report.files import Folder, folders
from imagecheck.report.junit import properties
from imagecheck.report.page import index_page, node_page
from imagecheck.report.schema import SCHEMA, report_table, timings_table
from imagecheck.report.series import series_properties, series_table
from imagecheck.report.terminal import fault_lines, timeline_lines

__all__ = [
    "SCHEMA",
    "Check",
    "Fault",
    "Folder",
    "Measured",
    "Node",
    "Piece",
    "Retry",
    "Run",
    "fault_lines",
    "folders",
    "index_page",
    "node_page",
    "properties",
    "report_table",
    "series_properties",
    "series_table",
    "timeline_lines",
    "timings_table",
]
