"""Two images at once on the real one-folder OpenStack, in a project with a quota of its own.

IMAGECHECK_TEST_SITE names the site file of a sandbox that is up already; without it one is started. The images are
mariadb-debian's from the cache (built where there is none), and a copy of its file.
"""

import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from imagecheck import build, definition, sandbox, site
from imagecheck.cloud import connection, inventory

pytestmark = pytest.mark.sandbox
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
        values = {name: str(getattr(place, name) or "") for name in SITE} | {
            "cloud": "small",
            "clouds_file": str(clouds),
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if value]
        (file := folder / "site.toml").write_text("\n".join([*lines, "sandbox = true", ""]))

        def limit(servers):
            quota = {"quota_set": {"instances": servers, "force": True}}
            cloud.admin.compute.put(f"/os-quota-sets/{project.id}", json=quota, raise_exc=True)

        yield file, limit
        for group in cloud.admin.network.security_groups(project_id=project.id):  # its "default"
            undo.callback(cloud.admin.network.delete_security_group, group)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    one = definition.load("mariadb-debian")
    copy = tmp_path_factory.mktemp("images") / "the-other.qcow2"
    os.link(build.build(one, yes=True).path, copy)
    return ["--image", one.name, "--image", str(copy), "--datastore", f"{one.datastore.name}:{one.datastore.version}"]


def both(folder: Path, file: Path, images: list[str], *options: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("OS_CLOUD", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", *images, "--site", file]
    done = subprocess.run(
        [*command, "--stage", "boot", *options], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def tables(folder: Path) -> list[dict]:
    return [json.loads((folder / "report" / name / "report.json").read_text()) for name in NAMES]


def test_where_the_quota_holds_one_server_the_second_image_waits_for_the_first(place, small, images, tmp_path):
    file, limit = small
    limit(1)
    text = both(tmp_path, file, images, "-k", "nova_boots")
    assert "2 passed" in text
    assert text.count("waits for its turn on the cloud") == 1
    assert re.search(r"instances quota of project 'imagecheck-small-\w+' \(Nova\): [01] of 1 used, this run needs 1|"
                     r"instances quota of project 'imagecheck-small-\w+' \(Nova\): 1 of 1 used", text)  # fmt: skip
    assert re.search(r"its turn on the cloud \S+ \S+ came after \d+ s", text)
    assert {one["verdict"] for one in tables(tmp_path)} == {"passed"}
    told = re.findall(r"^cloud     made (\d+), removed (\d+), left 0$", text, re.MULTILINE)
    assert len(told) == 2
    assert all(made == removed for made, removed in told)


def test_where_it_holds_both_they_boot_at_the_same_time_and_share_nothing(place, small, images, tmp_path):
    file, limit = small
    limit(2)
    text = both(tmp_path, file, images, "-k", "nova_boots or config_drive_is_there or agent_consumes")
    assert "6 passed" in text
    assert "waits for its turn" not in text
    began, ended = zip(*((one["started"], one["ended"]) for one in tables(tmp_path)), strict=True)
    assert max(began) < min(ended)
    assert len(re.findall(r"^cloud     made (\d+), removed \1, left 0$", text, re.MULTILINE)) == 2
    runs = set(re.findall(r"imagecheck-\d{6}-\d{6}-[0-9a-f]{6}", text))
    left = [one for one in inventory.look(connection.connect(place))[0] if any(run in one.name for run in runs)]
    assert left == []
