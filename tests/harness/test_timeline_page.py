"""docs/timeline.md and the tables of imagecheck/launch say the same, line by line."""

from pathlib import Path

import pytest

from imagecheck.launch import BOOT_CUTS, EVENTS, FLOORS, HEALTHY_CUTS, LAUNCH_CUTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "timeline.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs a checkout")


def tables() -> dict[str, list[str]]:
    """The page's three tables by what their heads begin with, as the code has them."""
    boot = {cut.event for cut in BOOT_CUTS}
    phases = [
        f"| {cut.phase} | `{cut.event}` | {'boot, launch' if cut.event in boot else 'launch'} "
        f"| {cut.waiting or 'work'} |"
        for cut in LAUNCH_CUTS[1:]
    ]
    phases += [f"| {cut.phase} | `{cut.event}` | after it | {cut.waiting or 'work'} |" for cut in HEALTHY_CUTS[1:]]
    events = [
        f"| `{name}` | {kind.what} | {kind.source} | {kind.clock} | {kind.resolution} | {kind.absent} |"
        for name, kind in EVENTS.items()
    ]
    floors = [f"| `{one.option}` | {one.default} | {one.what} | {one.source} |" for one in FLOORS.values()]
    return {"| phase |": phases, "| event |": events, "| option |": floors}


def on_the_page(head: str) -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(head))
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        found.append(line)
    return found


@pytest.mark.parametrize("head", tables())
def test_the_page_has_each_row_of_the_table(head):
    assert on_the_page(head) == tables()[head]
