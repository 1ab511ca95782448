"""The choice of a flavor, and the sentences when there is none."""

from dataclasses import dataclass

import pytest

from imagecheck.cloud.nova import Flavor, epoch
from imagecheck.cloud.preflight import choose
from imagecheck.errors import UsageError


@dataclass(frozen=True)
class Needs:
    ram_mib: int = 1024
    disk_gib: int = 3
    ephemeral_gib: int = 1
    vcpus: int = 1


FLAVORS = [
    Flavor("1", "tiny", 512, 1, 0, 1),
    Flavor("2", "plain", 2048, 10, 0, 1),
    Flavor("3", "db", 2048, 5, 2, 1),
    Flavor("4", "large", 8192, 5, 2, 2),
]


def test_the_smallest_that_satisfies():
    assert choose(FLAVORS, Needs()).name == "db"


def test_the_image_itself_has_to_fit():
    with pytest.raises(UsageError, match="6 GiB of disk"):
        choose(FLAVORS, Needs(), virtual_size=5 * 2**30 + 1)


def test_disk_zero_grows_with_the_image():
    volume = Flavor("5", "volume", 2048, 0, 1, 1)
    assert choose([volume], Needs(), virtual_size=50 * 2**30) is volume


def test_a_named_flavor_is_taken_by_name_or_id():
    assert choose(FLAVORS, Needs(), named="large").id == "4"
    assert choose(FLAVORS, Needs(), named="4").name == "large"


def test_a_named_flavor_that_is_too_small_says_what_it_lacks():
    with pytest.raises(UsageError, match=r"'plain' is too small.*0 of 1 GiB of ephemeral disk"):
        choose(FLAVORS, Needs(), named="plain")


def test_an_unknown_flavor_lists_the_known():
    with pytest.raises(UsageError, match="no flavor 'x'.*tiny, plain, db, large"):
        choose(FLAVORS, Needs(), named="x")


def test_none_fits():
    with pytest.raises(UsageError, match="no flavor has 99999 MiB"):
        choose(FLAVORS, Needs(ram_mib=99999))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-01T00:00:10.500000", 10.5), ("1970-01-01T00:00:10Z", 10.0), (None, 0.0), ("", 0.0)],
)
def test_times_of_apis_are_utc(text, seconds):
    assert epoch(text) == seconds
