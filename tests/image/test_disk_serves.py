"""The image, looked into: could the agent, Docker and the database's container do their work?"""

import pytest

from imagecheck import container, inside, packages, runtime, selfcheck

pytestmark = pytest.mark.stage("disk")
DATABASE_UID = 1001  # trove/common/cfg.py, database_service_uid


def test_agent_release(disk, definition, agent_unit):
    """The agent is of the release that the definition says: another one fails the control plane's calls."""
    found = runtime.agent_release(disk.tree, inside.interpreter(disk.tree, agent_unit))
    assert found, "no metadata of Trove where the agent's Python looks: is it installed there?"
    assert found.split(".")[0] == str(definition.agent.release), f"the image has Trove {found}"


def test_agent_may_read_what_is_injected(disk, agent_unit):
    """The agent's user may enter /etc/trove/conf.d and list it: otherwise it dies with ConfigFilesPermissionDenied."""
    user = agent_unit.last("Service.User") or "root"
    found = runtime.denied(disk.tree, user, "/etc/trove/conf.d", 5)
    assert not found, f"{found}: chown {user} and chmod 0755 it"


def test_agent_may_run_its_program(disk, agent_unit):
    """The agent's user may run the program of its unit, and has the home that the unit starts in."""
    user = agent_unit.last("Service.User") or "root"
    program = agent_unit.last("Service.ExecStart").lstrip("@-:+!").partition(" ")[0]
    found = runtime.denied(disk.tree, user, program, 5)
    assert not found, f"{found}: chmod 0755 it"
    account = disk.tree.accounts().get(user)
    if agent_unit.last("Service.WorkingDirectory") == "~" and account is not None:
        found = runtime.denied(disk.tree, user, account.home, 1)
        assert not found, f"{found}: make the home of {user}, owned by it"


def test_agent_finds_its_programs(disk, agent_unit):
    """The programs that the agent calls to format and mount the data disk and to make users are there and whole."""
    found = runtime.agent_flaws(disk.tree, root=agent_unit.last("Service.User") in ("", "root"))
    assert not found, f"{'; '.join(found)}. Install the package that has it"


def test_sudo_lets_the_agent_in(disk, agent_unit):
    """sudo itself lets the agent's user become root: PAM and the owner of its files have a say in that too."""
    found = selfcheck.sudo(disk, agent_unit.last("Service.User") or "root")
    assert not found, f"{found}: correct /etc/pam.d/sudo, /etc/sudoers or the account"


def test_sudoers_are_sound(disk):
    """visudo finds nothing wrong with /etc/sudoers and what it includes."""
    found = selfcheck.sudoers(disk)
    assert not found, f"{found}: correct it (visudo -c)"


def test_packages_are_whole(disk):
    """The files of the packages that the guest lives by are there, whole, and Python where they should be."""
    found = packages.damage(disk.tree)
    assert not found.broken, f"{'; '.join(found.broken[:5])}. Install the package again"
    if found.changed:  # patched by whoever built the image, or broken: Python itself tells
        said = disk.host.run("/usr/bin/python3 -B -c %s " + "%s " * len(found.changed), packages.READ, *found.changed)
        assert said.rc == 0, f"{said.stderr.strip()}. Install the package again"


def test_docker_is_complete(disk):
    """Docker's programs are there and whole, and so is what they call."""
    found = runtime.docker_flaws(disk.tree)
    assert not found, f"{'; '.join(found)}. Install docker with what it depends on"


def test_docker_reads_its_settings(disk):
    """/etc/docker/daemon.json is a JSON object, or is not there: otherwise dockerd does not start."""
    assert container.settings(disk.tree) is not None, "correct /etc/docker/daemon.json: dockerd refuses it"


def test_docker_takes_its_settings(disk):
    """dockerd takes the options of its unit and the keys of daemon.json (--validate)."""
    found = selfcheck.dockerd(disk)
    assert not found, f"{found}: correct the unit's drop-ins and /etc/docker/daemon.json"


def test_docker_looks_where_the_container_is(disk, preloaded):
    """dockerd uses the storage driver in whose store the database's container lies: another one sees no image."""
    wanted = container.driver_wanted(disk.tree)
    assert wanted in ("", preloaded.driver), (
        f"daemon.json asks for {wanted}, the container is stored by {preloaded.driver}"
    )


def test_container_is_for_this_architecture(disk, preloaded):
    """The database's container is for the guest's processor and for Linux."""
    own = container.architecture(disk.tree)
    told = preloaded.settings.get("architecture")
    assert preloaded.settings.get("os") == "linux", "rebuild it for Linux"
    assert not own or told == own, f"the container is for {told}, the guest is {own}"


def test_container_runs_for_a_plain_user(preloaded):
    """The container's layers are whole and everybody may run its entrypoint: Trove starts it as user 1001."""
    found = preloaded.cannot_run()
    assert not found, f"{found}: build or load the container again"


def test_database_user_can_be_made(disk):
    """User id 1001 is free, or is called database: otherwise the agent cannot make the database's user and exits."""
    holders = [name for name, account in disk.tree.accounts().items() if account.uid == DATABASE_UID]
    assert holders in ([], ["database"]), f"give {', '.join(holders)} another id: the agent's create_user wants 1001"
