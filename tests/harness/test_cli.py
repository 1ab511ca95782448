"""The command line: thin, one sentence for what is wrong, and exit codes that scripts can rely on."""

import json
import subprocess
import sys

import pytest

from imagecheck import cli, definition
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import StepFailed, UsageError
from imagecheck.site import Site


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path))
    return tmp_path


def test_images_lists_every_definition(capsys):
    assert cli.main(["images"]) == 0
    told = capsys.readouterr().out
    for name in definition.known():
        assert name in told


def test_an_unknown_image_is_one_sentence_and_exit_code_2(capsys):
    assert cli.main(["build", "mariadb-debain"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("imagecheck: ")
    assert "did you mean 'mariadb-debian'" in told.err
    assert "Traceback" not in told.err


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("x"), 2), (StepFailed("s", "x"), 1), (KeyboardInterrupt(), 130)]
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code):
    def fail(name):
        raise error

    monkeypatch.setattr(definition, "load", fail)
    assert cli.main(["build", "x"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_sandbox_is_handed_on_whole(monkeypatch):
    from imagecheck.sandbox import cli as sandbox_cli

    seen = []
    monkeypatch.setattr(sandbox_cli, "main", lambda words: seen.append(words) or 0)
    assert cli.main(["sandbox", "up", "--yes"]) == 0
    assert seen == [["up", "--yes"]]


def test_gc_without_anything_to_do(capsys):
    assert cli.main(["gc"]) == 0
    assert capsys.readouterr().out == "removed 0, left 0\n"


def dead_ledger(home, *, sandbox):
    site = Site(cloud="gone", tenant_cloud="gone", clouds_file=home / "clouds.yaml", sandbox=sandbox)
    ledger = Ledger.new("imagecheck-dead", site, home / "ledger")
    ledger.made(ledger.intend("server", "imagecheck-dead"), "id-1")
    head, *rest = ledger.path.read_text().splitlines()
    table = json.loads(head)
    table["owner"]["started"] = "1"  # our pid, but another process's birth: its owner is dead
    ledger.path.write_text("\n".join([json.dumps(table), *rest]) + "\n")
    return ledger


def test_gc_dry_run_names_things_and_touches_nothing(home, capsys):
    ledger = dead_ledger(home, sandbox=False)
    assert cli.main(["gc", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "server imagecheck-dead id-1 (run imagecheck-dead)" in told
    assert "would remove 1" in told
    assert ledger.path.exists()


def test_gc_says_what_it_cannot_remove(home, capsys):
    """A cloud that cannot be reached: the ledger stays, and so does the exit code."""
    ledger = dead_ledger(home, sandbox=False)
    assert cli.main(["gc"]) == 1
    assert "left 1" in capsys.readouterr().out
    assert ledger.path.exists()


def test_what_was_in_a_sandbox_that_is_gone_is_gone(home, capsys):
    ledger = dead_ledger(home, sandbox=True)
    assert cli.main(["gc"]) == 0
    assert "removed 1, left 0" in capsys.readouterr().out
    assert not ledger.path.exists()


def test_nobody_waits_for_clients_that_he_does_not_use():
    """A run that only looks inside an image, and every command's help: a second less each."""
    clients = {"openstack", "troveclient", "pg8000", "pymysql", "cyclonedx"}
    asked = (
        "import sys; import imagecheck.diff, imagecheck.report.html; before = set(sys.modules);"
        "import imagecheck.doctor, imagecheck.sandbox.cli, imagecheck.session;"
        f"print('requests' in before, sorted({clients!r} & set(sys.modules)), 'keystoneauth1' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "False [] True\n"
