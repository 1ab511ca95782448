"""A failure that a definition is known for: told with its tracker, strict, and only until it expires."""

import datetime
import json

import pytest

from imagecheck import options
from imagecheck.definition import KnownFailure

pytest_plugins = ["pytester"]
KNOWN = KnownFailure("test_size*", "the tool cuts it off", "https://tracker.invalid/7", datetime.date(2030, 1, 31))


SMALL = """
description = "A small file"
source = "small.raw"
os = "debian"
release = "trixie"
login = "debian"
injected_owner = "trove"
agent = { release = 23, unit = "a.service", log = "/var/log/a" }
datastore = { name = "mariadb", version = "11.8", manager = "mariadb", container = "mariadb:11.8" }
needs = { vcpus = 1, ram_mib = 512, disk_gib = 1, ephemeral_gib = 1 }
"""


@pytest.mark.parametrize(
    ("check", "today", "known"),
    [
        ("test_size", datetime.date(2030, 1, 31), True),
        ("test_size_of_all", datetime.date(2029, 1, 1), True),
        ("test_sum", datetime.date(2029, 1, 1), False),
        ("test_size", datetime.date(2030, 2, 1), False),
    ],
)
def test_a_failure_is_known_by_its_checks_name_until_its_last_day(check, today, known):
    assert (options.known_failure([KNOWN], check, today) is KNOWN) == known


def test_an_expired_failure_is_named_with_its_tracker():
    assert options.expired([KNOWN], datetime.date(2030, 1, 31)) == []
    (line,) = options.expired([KNOWN], datetime.date(2030, 2, 1))
    assert "test_size*: known failure expired on 2030-01-31" in line
    assert "https://tracker.invalid/7" in line


@pytest.fixture
def run(pytester, tmp_path, monkeypatch):
    """pytest over an image file whose definition knows failures; what it says, and the report."""
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OS_CLOUD", raising=False)
    (tmp_path / "small.raw").write_bytes(bytes(510) + b"\x55\xaa" + bytes(2**20 - 512))

    def start(check, expires):
        file = tmp_path / "small.toml"
        file.write_text(
            f'''{SMALL}
[[known_failures]]
check = "{check}"
reason = "the tool cuts it off"
tracker = "https://tracker.invalid/7"
expires = {expires}
'''
        )
        pytester.makepyfile(
            """
            def test_sum(image_file): assert len(image_file.sha256) == 64
            def test_size(image_file): assert image_file.size == 1
            """
        )
        done = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "--image", str(file), "--stage", "disk", "--report", str(tmp_path / "report"),
            *pytester.path.glob("*.py"),
        )  # fmt: skip
        return done, json.loads((tmp_path / "report" / "small" / "report.json").read_text())

    return start


def test_a_known_failure_is_no_failure_and_no_pass_and_says_why(run):
    done, report = run("test_size", "2999-01-01")
    done.assert_outcomes(passed=1, xfailed=1)
    assert done.ret == 0
    done.stdout.fnmatch_lines(["known *test_size*: known: the tool cuts it off (https://tracker.invalid/7)*"])
    assert report["verdict"] == "known to fail"
    assert report["counts"] == {"passed": 1, "known": 1}


def test_a_known_failure_that_has_gone_has_to_leave_the_definition(run):
    done, report = run("test_sum", "2999-01-01")
    done.assert_outcomes(failed=2)
    assert report["verdict"] == "failed"


def test_an_expired_known_failure_is_a_failure_again(run):
    done, report = run("test_size", "2020-01-01")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["expired *test_size: known failure expired on 2020-01-01*"])
    assert report["verdict"] == "failed"
