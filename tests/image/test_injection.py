"""The injection matrix: Trove's files spoiled in each documented way, and offered by each way that Nova has."""

import pytest

from imagecheck.injection import IN_GUEST

pytestmark = [pytest.mark.stage("boot"), pytest.mark.qualify]


def test_injection_good(contents):
    """Files as Trove writes them, by the config drive: the agent starts."""
    assert contents.good().wrong == ()


@pytest.mark.parametrize("content", IN_GUEST)
def test_injection(contents, content):
    """Files that reach the guest spoiled make the agent do what is documented, and leave the data disk alone."""
    assert contents.walk(content).wrong == ()


def test_injection_over_long(carriers):
    """Nova refuses user-data beyond its limit, and says so."""
    assert [cell.wrong for cell in carriers.refused] == [(), ()]


@pytest.mark.parametrize("carrier", ["metadata service", "both", "neither"])
def test_injection_carrier(carriers, carrier):
    """The agent starts where the image's data sources and the cloud let its files arrive, and nowhere else."""
    cell = carriers.cells[carrier]
    if cell.outcome.startswith("not shown"):
        pytest.skip(cell.outcome)
    assert cell.wrong == ()


def test_injection_by_files(carriers):
    """This cloud discards or injects Nova's `files` as a whole, and the report tells which of the two."""
    with_drive, alone = carriers.files
    for way in (with_drive, alone):
        assert way.outcome in ("injected", "discarded") or way.outcome.startswith(("refused", "not shown"))
