"""--attach on the real one-folder OpenStack: a bare boot and an instance are kept, gone on with twice, and removed.

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
from imagecheck.cloud import cleanup, connection, ledger, nova, trove
from imagecheck.cloud.connection import Missing

pytestmark = [pytest.mark.sandbox, pytest.mark.long]
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
    """A run that kept its bare boot and its instance: its name, and the ids of both."""
    folder = tmp_path_factory.mktemp("kept")
    text, ended = run(folder, "--keep", "always", "-k", "nova_boots or instance_is_healthy")
    name = re.search(r"^go on .* --attach (imagecheck-\S+)$", text, re.MULTILINE)[1]
    things = dict(re.findall(rf"^kept      (server|instance) {name} (\S+) until ", text, re.MULTILINE))
    try:
        assert ended == 0, text
        yield name, things["server"], things["instance"]
    finally:
        for one in ledger.everyone()[0]:
            if one.owner.run == name:
                assert cleanup.clean(cloud, one) == []
                one.retire()


def test_checks_run_on_the_kept_server_and_instance_and_nothing_is_made(cloud, kept, tmp_path):
    name, server, instance = kept
    folder = cleanup.kept_folder() / name
    assert {one.stat().st_mode & 0o077 for one in (folder, *folder.iterdir())} == {0}
    before = sorted(one.id for one in nova.find(cloud, name))
    text, ended = run(
        tmp_path, "--attach", name, "-rs", "-k",
        "nova_boots or carries_the_files or equals_the_injected or agent_consumes or boot_was or instance_is_healthy "
        "or guest_id_is or writes_a_row or launch_was or delete_removes",
    )  # fmt: skip
    assert ended == 0, text
    assert "7 passed, 3 skipped" in text
    for reason in (
        "not reached: boot timings: the boot was not seen by this run (--attach)",
        "not reached: launch timings: the launch was not seen by this run (--attach)",
        "not reached: delete: what was attached stays (--attach without --keep never)",
    ):
        assert re.search(rf"SKIPPED.*{re.escape(reason)}", text), reason
    told = r"^cloud     attached (\d+), made 0, removed 0, left \1 \(kept until \S+\)$"
    assert re.search(told, text, re.MULTILINE), text
    assert server in before
    assert sorted(one.id for one in nova.find(cloud, name)) == before
    assert trove.show(cloud, instance).healthy


def test_by_an_id_alone_and_with_keep_never_all_of_it_goes(cloud, kept, tmp_path):
    name, server, instance = kept
    words = ("--keep", "never", "-rs", "-k", "nova_boots or delete_removes or delete_leaves")
    text, ended = run(tmp_path, "--attach", instance, *words)
    assert ended == 0, text
    assert "2 passed, 1 skipped" in text
    assert f"not reached: Nova server: {name} has no server that was kept" in text
    assert re.search(r"^cloud     attached (\d+), made 0, removed \1, left 0$", text, re.MULTILINE), text
    for show, id in ((nova.show, server), (trove.show, instance)):
        with pytest.raises(Missing):
            show(cloud, id)
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
