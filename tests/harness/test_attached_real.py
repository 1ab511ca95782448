"""--attach on the real one-folder OpenStack: a bare boot is kept, gone on with twice, and removed.

IMAGECHECK_TEST_SITE names the site file of a sandbox that is up already; without it one is started. The image is
mariadb-debian's from the cache, and built where there is none.
"""

import os
import re
import subprocess
import sys
import time

import pytest

from imagecheck import sandbox, site
from imagecheck.cloud import cleanup, connection, ledger, nova
from imagecheck.cloud.connection import Missing

pytestmark = pytest.mark.sandbox
NAMED = os.environ.get("IMAGECHECK_TEST_SITE", "")


@pytest.fixture(scope="module")
def cloud():
    return connection.connect(site.load(NAMED) if NAMED else sandbox.up(yes=True))


def run(folder, *options):
    """pytest on mariadb-debian in a folder of its own; its output and how it ended."""
    where = ["--site", NAMED] if NAMED else []
    environment = {name: value for name, value in os.environ.items() if name not in ("OS_CLOUD", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--image", "mariadb-debian", *where, *options],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
    )  # fmt: skip
    return done.stdout, done.returncode


@pytest.fixture(scope="module")
def kept(cloud, tmp_path_factory):
    """A run that kept its bare boot: its name, its server and what it printed."""
    text, ended = run(tmp_path_factory.mktemp("kept"), "--stage", "boot", "--keep", "always", "-k", "nova_boots")
    assert ended == 0, text
    name = re.search(r"^go on .* --stage boot --attach (imagecheck-\S+)$", text, re.MULTILINE)[1]
    server = re.search(rf"^kept      server {name} (\S+) until ", text, re.MULTILINE)[1]
    yield name, server, text
    for one in ledger.everyone()[0]:
        if one.owner.run == name:
            assert cleanup.clean(cloud, one) == []
            one.retire()


def servers(cloud, name):
    return [one.id for one in nova.find(cloud, name)]


def test_checks_of_the_boot_stage_run_on_the_kept_server(cloud, kept, tmp_path):
    name, server, _ = kept
    folder = cleanup.kept_folder() / name
    assert {one.stat().st_mode & 0o077 for one in (folder, *folder.iterdir())} == {0}
    text, ended = run(
        tmp_path, "--attach", name, "-rs", "-k",
        "nova_boots or carries_the_files or equals_the_injected or agent_consumes or boot_was or datastore_version",
    )  # fmt: skip
    assert ended == 0, text
    assert "4 passed, 2 skipped" in text
    assert re.search(r"SKIPPED.*not reached: boot timings: the boot was not seen by this run \(--attach\)", text)
    assert re.search(rf"SKIPPED.*not reached: datastore version: {name} has registered none", text)
    assert re.search(r"^cloud     attached 6, made 0, removed 0, left 6 \(kept until \S+\)$", text, re.MULTILINE)
    assert servers(cloud, name) == [server]


def test_by_the_servers_id_and_with_keep_never_all_of_it_goes(cloud, kept, tmp_path):
    name, server, _ = kept
    text, ended = run(tmp_path, "--attach", server, "--stage", "boot", "--keep", "never", "-k", "agent_runs")
    assert ended == 0, text
    assert "cloud     attached 6, made 0, removed 6, left 0" in text
    with pytest.raises(Missing):
        nova.show(cloud, server)
    assert not (cleanup.kept_folder() / name).exists()
    text, ended = run(tmp_path, "--attach", name)
    assert ended == 4
    assert f"--attach {name}: is no kept run" in text
    assert "Traceback" not in text


def test_what_is_gone_from_the_cloud_is_one_sentence(cloud, tmp_path):
    """A ledger whose server nobody has: as after somebody's `openstack server delete`."""
    there = ledger.Ledger.new("imagecheck-260101-000000-abcdef", cloud.site)
    folder = cleanup.kept_folder() / there.owner.run
    try:
        there.made(there.intend("server", there.owner.run), "00000000-0000-4000-8000-000000000000")
        there.keep(time.time() + 600)
        folder.mkdir(parents=True)
        text = '{"image": "mariadb-debian", "sha256": "", "datastore": "mariadb:11.8", "words": [], "password": ""}'
        (folder / "run.json").write_text(text)
        own = there.owner.started
        there.path.write_text(there.path.read_text().replace(f'"started": "{own}"', '"started": "1"'))
        text, ended = run(tmp_path, "--attach", there.owner.run, "--stage", "boot")
        assert ended == 4, text
        assert "its server 00000000-0000-4000-8000-000000000000 is gone from the cloud: `imagecheck gc --run" in text
        assert "Traceback" not in text
    finally:
        there.path.unlink()
        (folder / "run.json").unlink(missing_ok=True)
        folder.rmdir()
