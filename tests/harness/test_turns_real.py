"""Two images at once on the real one-folder OpenStack, in a project with a quota of its own.

IMAGECHECK_TEST_SITE names the site file of a sandbox that is up already; without it one is started. The images are
mariadb-debian's from the cache (built where there is none), and its file under another name.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from imagecheck import build, definition, sandbox, site
from imagecheck.cloud import connection, inventory

pytestmark = [pytest.mark.sandbox, pytest.mark.long]
NAMES = ("mariadb-debian", "the-other")
NAMED = os.environ.get("IMAGECHECK_TEST_SITE", "")
SITE = ("tenant_cloud", "flavor", "guest_config", "guest_key", "acceleration", "registry")


@pytest.fixture(scope="module")
def place():
    return site.load(NAMED) if NAMED else sandbox.up(yes=True)


@pytest.fixture(scope="module")
def small(place, tmp_path_factory):
    """A site whose administrator's project is new, and a way to set how many servers it may have; removed at the end.

    On the shared project others may be at work.
    """
    folder, cloud = tmp_path_factory.mktemp("small"), connection.connect(place)
    identity = cloud.admin.identity
    with ExitStack() as undo:
        project = identity.create_project(name=f"imagecheck-small-{secrets.token_hex(3)}", domain_id="default")
        undo.callback(identity.delete_project, project)
        user = identity.get_user(cloud.admin.current_user_id)
        identity.assign_project_role_to_user(project, user, identity.find_role("admin"))
        table = yaml.safe_load(place.clouds_file.read_text())
        auth = table["clouds"][place.cloud]["auth"] | {"project_name": project.name}
        table["clouds"]["small"] = table["clouds"][place.cloud] | {"auth": auth}
        (clouds := folder / "clouds.yaml").write_text(yaml.safe_dump(table))
        values = {name: str(getattr(place, name) or "") for name in SITE}
        values |= {"cloud": "small", "clouds_file": str(clouds)}
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if value]
        (file := folder / "site.toml").write_text("\n".join([*lines, "sandbox = true", ""]))

        def limit(servers):
            quota = {"quota_set": {"instances": servers, "force": True}}
            cloud.admin.compute.put(f"/os-quota-sets/{project.id}", json=quota, raise_exc=True)

        def servers():
            return len(list(cloud.admin.compute.servers(all_projects=True, details=False, project_id=project.id)))

        yield file, limit, servers
        for group in cloud.admin.network.security_groups(project_id=project.id):  # its "default"
            undo.callback(cloud.admin.network.delete_security_group, group)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    one = definition.load("mariadb-debian")
    copy = tmp_path_factory.mktemp("images") / "the-other.qcow2"
    copy.symlink_to(build.build(one, yes=True).path)
    return ["--image", one.name, "--image", str(copy), "--datastore", f"{one.datastore.name}:{one.datastore.version}"]


def both(folder: Path, small, images: list[str], *options: str) -> tuple[str, int]:
    """What a run of both images in two workers printed, and how many servers there were at once."""
    file, _, servers = small
    environment = {name: value for name, value in os.environ.items() if name not in ("OS_CLOUD", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", *images, "--site", file]
    most = 0
    with (folder / "output").open("w") as output:
        running = subprocess.Popen(
            [*command, "--stage", "boot", *options], cwd=folder, env=environment, stdout=output, stderr=output
        )
        while running.poll() is None:
            most = max(most, servers())
            time.sleep(1)
    text = (folder / "output").read_text()
    assert running.returncode == 0, text
    return text, most


def tables(folder: Path) -> list[dict]:
    return [json.loads((folder / "report" / name / "report.json").read_text()) for name in NAMES]


def test_where_the_quota_holds_one_server_the_second_image_waits_for_the_first(place, small, images, tmp_path):
    small[1](1)
    text, most = both(tmp_path, small, images, "-k", "nova_boots")
    assert "2 passed" in text
    assert most == 1
    assert text.count("waits for its turn on the cloud") == 1
    # One is used by the other's server, or counted for it before it is asked for.
    assert re.search(r"instances quota of project 'imagecheck-small-\w+' \(Nova\): 1 of 1 used, this run needs 1", text)
    assert re.search(r"its turn on the cloud \S+ \S+ came after \d+ s", text)
    assert {one["verdict"] for one in tables(tmp_path)} == {"passed"}
    told = re.findall(r"^cloud     made (\d+), removed (\d+), left 0$", text, re.MULTILINE)
    assert len(told) == 2
    assert all(made == removed for made, removed in told)


def test_where_it_holds_both_they_boot_at_the_same_time_and_share_nothing(place, small, images, tmp_path):
    small[1](2)
    text, most = both(tmp_path, small, images, "-k", "nova_boots or config_drive_is_there or agent_consumes")
    assert "6 passed" in text
    assert "waits for its turn" not in text
    assert most == 2
    assert {one["verdict"] for one in tables(tmp_path)} == {"passed"}
    assert len(re.findall(r"^cloud     made (\d+), removed \1, left 0$", text, re.MULTILINE)) == 2
    runs = set(re.findall(r"imagecheck-\d{6}-\d{6}-[0-9a-f]{6}", text))
    left = [one for one in inventory.look(connection.connect(place))[0] if any(run in one.name for run in runs)]
    assert left == []
