"""Rows of the table of causes against what real boots of broken guests printed (docs/mutants.md), as Nova has it.

A file's name is ROW.PLACE.txt: the cause that its text must be given, and where the text comes from.
"""

from pathlib import Path

import pytest

from imagecheck.causes import TABLE, Evidence, Watch, verdict

FILES = sorted((Path(__file__).parent / "fixtures" / "causes" / "broken").glob("*.txt"))
ROWS = {row.id: row for row in TABLE}


def parts(file):
    row, place, _ = file.name.split(".")
    return row, place, file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_broken_guest_printed_is_given_its_cause(file):
    row, place, text = parts(file)
    assert verdict(Evidence({place: (text,)})).id == row
    assert ROWS[row].proven


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_wait_ends_with_that_cause(file):
    row, place, text = parts(file)
    watch = Watch()
    now = 0.0
    for line in text.splitlines(keepends=True):  # ten seconds apart: longer than any grace after a few of them
        watch.feed(place, line, now)
        now += 10.0
    found = watch.verdict(now + 100.0)
    assert (found is not None and found.id == row) or not ROWS[row].fatal


def test_the_texts_are_small():
    assert all(file.stat().st_size <= 20_000 for file in FILES)
