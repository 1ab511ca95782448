"""The image, looked into without booting it: what can be known in seconds need not be found out in minutes."""

import stat

import pytest

from imagecheck import cloudinit, imagefile, inside, runtime

pytestmark = pytest.mark.stage("disk")


def test_image_is_intact(image_file):
    """The image file is intact: no cluster is lost, shared or beyond its end."""
    found = imagefile.check(image_file)
    assert found.sound, f"fetch or build the image again; qemu-img check: {found.said[:300]}"


def test_image_fits_its_flavor(image_file, definition):
    """The image's virtual disk fits the smallest flavor that the definition asks for."""
    room = definition.needs.disk_gib << 30
    assert image_file.virtual_size <= room, (
        f"the virtual disk has {image_file.virtual_size / (1 << 30):.1f} GiB, so Nova refuses it (flavor's disk is too "
        "small): raise needs.disk_gib"
    )


def test_operating_system(disk, definition):
    """The operating system and release are those of the definition."""
    told = disk.tree.text("/etc/os-release").splitlines()
    named = [line for line in told if line.startswith(("ID=", "VERSION_CODENAME="))]
    assert f"ID={definition.os}" in told, f"/etc/os-release says {named}: correct the definition's os"
    assert f"VERSION_CODENAME={definition.release}" in told, f"/etc/os-release says {named}: correct its release"


def test_console_on_serial_port(disk):
    """The kernel writes to the serial console: without it a guest that hangs tells nothing."""
    lines = inside.kernel_lines(disk.tree)
    assert lines, "no boot loader menu found: GRUB's grub.cfg or boot loader entries"
    silent = [line for line in lines if "console=ttyS0" not in line]
    assert not silent, "boot entries without console=ttyS0: set it on the kernel's command line"


def test_cloud_init_is_enabled(disk):
    """cloud-init is installed and nothing keeps it from starting."""
    assert disk.tree.exists("/usr/bin/cloud-init"), "cloud-init is not installed: nothing can be injected"
    found = cloudinit.switched_off(disk.tree)
    assert not found, f"{'; '.join(found)}: nothing would be injected"


def test_cloud_init_units_are_not_masked(disk):
    """No unit of cloud-init is masked: its single process waits for each stage, and the boot with it."""
    units = [inside.unit(disk.tree, name) for name in inside.CLOUD_INIT_UNITS]
    masked = [unit.name for unit in units if unit is not None and unit.masked]
    assert not masked, f"{', '.join(masked)}: unmask it; modules that are not wanted belong out of cloud.cfg's lists"


def test_config_drive_is_a_datasource(disk):
    """cloud-init looks for the config drive: it is in the list of data sources, or there is no list."""
    listed = inside.datasources(disk.tree)
    assert not listed or "ConfigDrive" in listed, f"add ConfigDrive to datasource_list (it is {listed})"


def test_ephemeral_disk_is_left_to_the_agent(disk):
    """cloud-init does not mount the ephemeral disk, which the agent would take for its own mount."""
    assert not inside.mounts_ephemeral(disk.tree), (
        "cloud-init would mount the ephemeral disk, and the database's files end up on the root disk: leave 'mounts' "
        "out of cloud_init_modules, or set mounts: [[ephemeral0, null]]"
    )


def test_agent_is_enabled(disk, definition):
    """The guest agent's unit is there, enabled and not masked."""
    agent = inside.unit(disk.tree, definition.agent.unit)
    assert agent is not None, f"{definition.agent.unit} is not in the image: is the agent installed?"
    assert not agent.masked, f"{agent.name} is masked: systemctl unmask it"
    assert agent.enabled, f"{agent.name} is disabled: systemctl enable it"


def test_agent_starts_after_injection(disk, agent_unit):
    """The agent starts only after cloud-init has written guest_info.conf."""
    assert inside.after_injection(disk.tree, agent_unit), (
        "an agent that starts first finds no guest_id and exits: "
        "add After=cloud-init-network.service (cloud-init.service before 24.3)"
    )


def test_agent_is_restarted(agent_unit):
    """systemd starts the agent again when it fails, and never gives it up."""
    restart = agent_unit.last("Service.Restart") or "no"
    assert restart in ("always", "on-failure"), f"the agent's unit has Restart={restart}: set Restart=always"
    patient = agent_unit.last("Unit.StartLimitIntervalSec") == "0"
    slow = inside.seconds(agent_unit.last("Service.RestartSec")) >= 2.5  # five starts in ten seconds is the limit
    assert patient or slow, "five failures within ten seconds end it for ever: StartLimitIntervalSec=0 or RestartSec=5"


def test_agent_is_a_production_one(agent_unit):
    """The agent's code is in the image and not fetched from a controller at each start (dev mode)."""
    before = " ".join(agent_unit.settings.get("Service.ExecStartPre", []))
    assert "rsync" not in before, "a dev-mode image: build it with dev_mode=false"
    assert "pip install" not in before, "a dev-mode image: build it with dev_mode=false"


def test_agent_reads_the_injected_folder(agent_unit):
    """The agent reads /etc/trove/conf.d, where the control plane puts its files."""
    command = agent_unit.last("Service.ExecStart")
    assert "/etc/trove/conf.d" in command, f"the agent starts as {command}: add --config-dir=/etc/trove/conf.d"


def test_agent_imports(disk, agent_unit):
    """The agent and the libraries it talks to Docker and the broker with can be imported by its own Python."""
    python = inside.interpreter(disk.tree, agent_unit)
    assert python, "the agent's ExecStart names no Python program"
    said = disk.host.run("%s -B -c 'import trove.cmd.guest, trove.rpc, docker, kombu'", python)
    assert said.rc == 0, f"{python} says: {' '.join(said.stderr.strip().splitlines()[-1:])}"


def test_injected_owner_exists(disk, definition):
    """The user who shall own the injected files exists: otherwise cloud-init writes none after the first."""
    assert definition.injected_owner in disk.tree.accounts(), (
        f"there is no user {definition.injected_owner} (injected_config_owner of trove.conf): create it in the image"
    )


def test_login_user_exists_without_password(disk, definition):
    """The login user is known to cloud-init or to the image, and nobody can log in with a password."""
    known = definition.login in disk.tree.accounts() or f"name: {definition.login}" in inside.cloud_settings(disk.tree)
    assert known, f"no user {definition.login}: set system_info.default_user in cloud.cfg"
    found = inside.passwords(disk.tree)
    assert not found, f"lock these accounts: {', '.join(found)}; cloud-init installs a key at first boot"


def test_agent_owns_its_folders(disk, agent_unit):
    """The agent's user owns the folders it writes to; where it does not, prepare fails."""
    user = agent_unit.last("Service.User") or "root"
    account = disk.tree.accounts().get(user)
    assert account is not None, f"{agent_unit.name} runs as {user}, who is not in /etc/passwd"
    for folder in ("/opt/trove-guestagent", "/var/log/trove"):
        found = disk.tree.stat(folder)
        assert found is not None, f"{folder} is missing: create it, owned by {user}"
        assert stat.S_ISDIR(found.st_mode), f"{folder} is not a folder"
        assert account.uid in (0, found.st_uid), f"{folder} belongs to uid {found.st_uid}: give it to {user}"
    closed = runtime.denied(disk.tree, user, "/tmp", 7)
    assert not closed, f"{closed}: chmod 1777 /tmp"


def test_agent_may_use_docker_and_sudo(disk, agent_unit):
    """The agent's user may talk to Docker and become root without a password."""
    user = agent_unit.last("Service.User") or "root"
    assert user == "root" or user in disk.tree.groups().get("docker", set()), (
        f"{user} may not talk to Docker: usermod -aG docker it"
    )
    assert user == "root" or inside.may_sudo(disk.tree, user), f"{user} may not sudo without password: NOPASSWD"


def test_docker_is_enabled(disk):
    """Docker starts with the guest, by itself or when the agent asks for it."""
    service, socket = (inside.unit(disk.tree, name) for name in ("docker.service", "docker.socket"))
    assert service is not None, "docker.service is not in the image: install docker"
    assert not service.masked, "docker.service is masked, and its socket alone starts nothing: systemctl unmask it"
    needed = service.words("Unit.Requires") | service.words("Unit.Wants")
    masked = [one.name for one in (inside.unit(disk.tree, name) for name in sorted(needed)) if one and one.masked]
    assert "containerd.service" not in masked, "containerd.service is masked, and dockerd waits for it: unmask it"
    assert service.enabled or (socket and socket.enabled), (
        "docker.service and docker.socket are disabled: systemctl enable docker.service"
    )


def test_docker_can_start_containers(disk):
    """Where the kernel enforces AppArmor, its parser is there: otherwise no container starts."""
    enforced = [line for line in inside.kernel_lines(disk.tree) if "apparmor=0" not in line]
    parser = any(disk.tree.exists(f"{folder}/apparmor_parser") for folder in ("/usr/sbin", "/sbin"))
    assert parser or not enforced, (
        "the kernel enforces AppArmor and apparmor_parser is missing: install apparmor, or boot apparmor=0"
    )


def test_database_container_is_preloaded(disk, definition):
    """The database's container image is in Docker's store, under the tag that the agent will ask for."""
    found = inside.docker_images(disk.tree)
    if definition.datastore.container not in found and definition.datastore.carried in ("pulled", "none"):
        pytest.skip(f"{definition.datastore.container} is pulled at launch")
    assert definition.datastore.container in found, f"the store has {sorted(found) or 'no image'}: preload or tag it"
    assert definition.datastore.carried != "pulled", "the definition says that it is pulled at launch"


def test_no_host_keys(disk):
    """No ssh host key is baked in: guests would share it, and whoever has the image could pose as any of them."""
    found = disk.tree.glob("/etc/ssh/ssh_host_*_key")
    assert not found, f"{', '.join(found)}: remove it at the end of the build"


def test_no_machine_id(disk):
    """The machine id is empty, so that each guest makes its own (two equal ids mean two equal DHCP clients)."""
    found = disk.tree.text("/etc/machine-id").strip()
    assert found in ("", "uninitialized"), f"/etc/machine-id is {found[:32]}: truncate it at the end of the build"


def test_no_keys_inside(disk):
    """No private key and no authorized key is left from the build."""
    found = inside.private_keys(disk.tree) + inside.authorized_keys(disk.tree)
    assert not found, f"{', '.join(found)}: remove it at the end of the build"


def test_no_traces_of_the_build(disk):
    """Nobody's shell history and no earlier run of cloud-init is in the image."""
    typed, instances = inside.histories(disk.tree), disk.tree.names("/var/lib/cloud/instances")
    assert not typed, f"{', '.join(typed)}: remove it at the end of the build"
    assert not instances, f"cloud-init clean: it ran as {', '.join(instances)} and would not do everything again"


def test_no_injected_file_is_baked_in(disk):
    """/etc/trove/conf.d holds no setting: one that is baked in would hide that injection does not work."""
    files = disk.tree.glob("/etc/trove/conf.d/*")
    found = [file for file in files if disk.tree.text(file).strip()]
    assert not found, f"{', '.join(found)}: remove it at the end of the build"
