"""The mutants: a good image broken on purpose, one edit each, with the check that must reject it and what it must name.

A row's ``edit`` gets what its ``kind`` says: the mounted root file system (tree), the whole disk as a raw file that can
be written (disk), or the overlay's qcow2 file and the good one (file).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edits import (
    ENABLED,
    EXPIRED,
    GRUB,
    INIT,
    KEY,
    Files,
    agent_program,
    blank,
    change_file,
    compressed,
    dropin,
    each,
    lost_clusters,
    python_of,
    with_data_file,
    without_line,
    without_superblocks,
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """``check`` is the check's name, or the step of the road that breaks before any check; ``says`` must be in what it
    says; ``size`` is the overlay's where it is not the good image's."""

    name: str
    what: str
    edit: Callable[[Any], None]
    check: str
    says: str
    kind: str = "tree"
    stage: str = "disk"
    size: str = ""


def _file(name: str, what: str, edit: Callable[[Files], Any], says: str, check: str = "image file") -> Mutant:
    return Mutant(name, what, edit, check, says, "file")


# ---- the image file and the disk in it

IMAGE = (
    _file("file-truncated", "the file breaks off after 64 MiB, as an interrupted download leaves it",
          change_file(lambda head: None, 64 << 20), "exceeding the end of the file",
          "test_image_is_intact"),
    _file("file-header-only", "the file breaks off inside its header", change_file(lambda head: None, 80),
          "breaks off in its header|too small|qemu-img cannot read it"),
    _file("file-wrong-magic", "the first bytes are not those of qcow2",
          change_file(lambda head: head.__setitem__(slice(0, 4), b"QFX\xfb"), 1 << 20), "is not an image"),
    _file("file-is-a-web-page", "an error page was saved in place of the image",
          lambda files: files.overlay.write_text("<!DOCTYPE html><html>404 Not Found</html>" * 40), "is not an image"),
    _file("file-compressed", "the image is still gzip-compressed", compressed, "gunzip"),
    _file("file-empty", "the file is empty", lambda files: files.overlay.write_bytes(b""), "is not an image"),
    _file("file-backing", "the image is an overlay that needs another file", lambda files: None, "a backing file"),
    _file("file-data-file", "the image's data is in another file", with_data_file, "a data file"),
    _file("file-encrypted", "the image is encrypted",
          change_file(lambda head: head.__setitem__(slice(32, 36), b"\0\0\0\1"), 1 << 20), "encrypted"),
    _file("file-lost-clusters", "the image's table of clusters is damaged", lost_clusters, "qemu-img check",
          "test_image_is_intact"),
    Mutant("disk-too-large", "the virtual disk is larger than the flavor's", lambda root: None,
           "test_image_fits_its_flavor", "flavor's disk is too small", size="40G"),
    Mutant("disk-no-partitions", "the partition table is gone", blank(446, 64), "look inside", "no partition", "disk"),
    Mutant("disk-no-file-system", "the root file system's superblock is gone", without_superblocks, "look inside",
           "no partition of the image holds an operating system", "disk"),
    Mutant("boot-no-loader", "the first sector has no boot code", blank(0, 440), "test_boot_loader",
           "no boot code", "disk"),
)  # fmt: skip

# ---- up to cloud-init

BOOT = (
    Mutant("os-another-release", "the image is of another release of the distribution",
           lambda root: root.replace(root.one("/usr/lib/os-release"), "VERSION_CODENAME=", "VERSION_CODENAME=not-"),
           "test_operating_system", "VERSION_CODENAME="),
    Mutant("boot-no-console", "the kernel writes nothing to the serial console",
           lambda root: root.replace(GRUB, "console=ttyS0,115200", ""), "test_console_on_serial_port",
           "without console=ttyS0"),
    Mutant("boot-no-menu", "GRUB has no menu", lambda root: root.remove(GRUB), "test_kernel_and_initrd",
           "names no kernel"),
    Mutant("boot-no-initrd", "the initial RAM disk is missing",
           lambda root: root.remove(root.one("/boot/initrd.img-*")), "test_kernel_and_initrd", "initrd.img-"),
    Mutant("boot-initrd-cut", "the initial RAM disk breaks off",
           lambda root: root.cut(root.one("/boot/initrd.img-*"), 0.6), "test_kernel_and_initrd",
           "initrd.img-.*: breaks off"),
    Mutant("boot-kernel-cut", "the kernel breaks off", lambda root: root.cut(root.one("/boot/vmlinuz-*"), 0.9),
           "test_kernel_and_initrd", "vmlinuz-.*: breaks off"),
    Mutant("boot-no-modules", "the kernel's modules are missing",
           lambda root: root.remove(root.one("/usr/lib/modules/*")), "test_kernel_modules",
           "no modules for the kernel"),
    Mutant("boot-no-isofs", "the kernel cannot read a config drive",
           lambda root: root.remove(root.one("/usr/lib/modules/*/kernel/fs/isofs/isofs.ko*")), "test_kernel_modules",
           "isofs: the config drive"),
    Mutant("boot-wrong-root", "the kernel is told a root file system that is not there",
           lambda root: root.replace(GRUB, "root=LABEL=", "root=LABEL=old-"), "test_volumes_exist", "LABEL=old-"),
    Mutant("boot-fstab-data-disk", "fstab mounts the data disk and waits for it",
           lambda root: root.append("/etc/fstab", "/dev/vdb /var/lib/mysql ext4 defaults 0 2\n"),
           "test_volumes_exist", "/etc/fstab: /dev/vdb"),
    Mutant("boot-full-disk", "the root file system is full", lambda root: root.fill(), "test_room_on_the_root_disk",
           "0 MiB are free"),
    Mutant("boot-unit-without-environment", "a unit that is enabled needs a file that only development images have",
           each(lambda root: root.write("/etc/systemd/system/trove-image-loader.service",
                                        "[Service]\nEnvironmentFile=/etc/trove/controller.conf\nExecStart=/bin/true\n"),
                lambda root: root.link(f"{ENABLED}/trove-image-loader.service", "../trove-image-loader.service")),
           "test_enabled_units_can_start", "trove-image-loader.service: its EnvironmentFile /etc/trove/controller"),
    Mutant("boot-unit-gone", "the boot requires a unit that was removed",
           lambda root: root.link("/etc/systemd/system/multi-user.target.requires/firewall.service",
                                  "/usr/lib/systemd/system/firewall.service"),
           "test_enabled_units_can_start", "firewall.service: is required at boot and not there"),
    Mutant("network-off", "no service brings the ports up", lambda root: root.mask("systemd-networkd.service"),
           "test_network_comes_up", "no network service"),
    Mutant("network-two-routes", "both ports get a default route",
           lambda root: root.write("/etc/systemd/network/10-ports.network",
                                   "[Match]\nName=ens*\n[Network]\nGateway=10.0.0.1\nGateway=192.168.0.1\n"),
           "test_no_default_route_is_baked_in", "10-ports.network: Gateway=10.0.0.1"),
    Mutant("clock-off", "nothing sets the clock", lambda root: root.mask("systemd-timesyncd.service"),
           "test_clock_is_set", "no time service"),
)  # fmt: skip

CLOUD_INIT = (
    Mutant("cloud-init-gone", "cloud-init is not installed", lambda root: root.remove("/usr/bin/cloud-init"),
           "test_cloud_init_is_enabled", "cloud-init is not installed"),
    Mutant("cloud-init-off-by-file", "a file switches cloud-init off",
           lambda root: root.write("/etc/cloud/cloud-init.disabled", ""), "test_cloud_init_is_enabled",
           "/etc/cloud/cloud-init.disabled"),
    Mutant("cloud-init-off-by-kernel", "the kernel's command line switches cloud-init off",
           lambda root: root.replace(GRUB, "console=ttyS0", "cloud-init=disabled console=ttyS0"),
           "test_cloud_init_is_enabled", "cloud-init=disabled on the kernel's command line"),
    Mutant("cloud-init-off-by-policy", "ds-identify's policy switches cloud-init off",
           lambda root: root.write("/etc/cloud/ds-identify.cfg", "policy: disabled\n"), "test_cloud_init_is_enabled",
           "policy: disabled"),
    Mutant("cloud-init-off-by-generator", "cloud-init's generator is masked, so nothing wants its target",
           lambda root: root.link("/etc/systemd/system-generators/cloud-init-generator", "/dev/null"),
           "test_cloud_init_is_enabled", "nothing starts cloud-init.target"),
    Mutant("cloud-init-stage-disabled", "cloud-init's init stage is not enabled",
           lambda root: root.remove("/etc/systemd/system/cloud-init.target.wants/cloud-init-network.service"),
           "test_cloud_init_is_enabled", "cloud-init-network.service is not enabled"),
    Mutant("cloud-init-stage-masked", "a stage of cloud-init is masked", lambda root: root.mask("cloud-config.service"),
           "test_cloud_init_units_are_not_masked", "cloud-config.service"),
    Mutant("cloud-init-no-config-drive", "the config drive is not among the data sources",
           lambda root: root.write("/etc/cloud/cloud.cfg.d/99-mutant.cfg", "datasource_list: [OpenStack, None]\n"),
           "test_config_drive_is_a_datasource", r"\['OpenStack', 'None'\]"),
    Mutant("cloud-init-no-datasource-code", "the config drive's data source is not installed",
           lambda root: root.remove(python_of(root, "cloudinit/sources/DataSourceConfigDrive.py")),
           "test_cloud_init_has_its_datasources", "ConfigDrive"),
    Mutant("cloud-init-broken-yaml", "a settings file of cloud-init is no YAML",
           lambda root: root.append(INIT, "\truncmd: [\n"), "test_cloud_init_reads_its_settings", "90-guest.cfg"),
    Mutant("cloud-init-no-write-files", "cloud-init does not run write_files",
           lambda root: root.replace(INIT, "  - write_files\n", ""), "test_cloud_init_has_its_modules",
           "no list has write_files"),
    Mutant("cloud-init-no-write-files-code", "write_files is not installed",
           lambda root: root.remove(python_of(root, "cloudinit/config/cc_write_files.py")),
           "test_cloud_init_has_its_modules", "write_files is listed and not installed"),
    Mutant("cloud-init-takes-data-disk", "cloud-init mounts the ephemeral disk that the agent needs",
           lambda root: root.replace(INIT, "  - write_files\n", "  - write_files\n  - mounts\n"),
           "test_ephemeral_disk_is_left_to_the_agent", "would mount the ephemeral disk"),
    Mutant("cloud-init-ran-before", "cloud-init has run in this image",
           lambda root: root.write("/var/lib/cloud/instances/i-1/sem/config_ssh", ""), "test_no_traces_of_the_build",
           "i-1"),
)  # fmt: skip

# ---- the agent

AGENT = (
    Mutant("agent-gone", "the agent's unit is not in the image",
           each(lambda root: root.remove(f"/etc/systemd/system/{root.agent}"),
                lambda root: root.remove(f"/usr/lib/systemd/system/{root.agent}")),
           "test_agent_is_enabled", "is not in the image"),
    Mutant("agent-disabled", "the agent's unit is disabled", lambda root: root.remove(f"{ENABLED}/{root.agent}"),
           "test_agent_is_enabled", "is disabled"),
    Mutant("agent-masked", "the agent's unit is masked", lambda root: root.mask(root.agent), "test_agent_is_enabled",
           "is masked"),
    Mutant("agent-before-cloud-init", "the agent starts before its settings are written",
           dropin("[Unit]\nAfter=\nAfter=network.target\nDefaultDependencies=no\n"),
           "test_agent_starts_after_injection", "an agent that starts first"),
    Mutant("agent-not-restarted", "systemd does not start the agent again", dropin("[Service]\nRestart=no\n"),
           "test_agent_is_restarted", "Restart=no"),
    Mutant("agent-given-up", "systemd gives the agent up after five quick failures",
           dropin("[Unit]\nStartLimitIntervalSec=10\n[Service]\nRestartSec=100ms\n"), "test_agent_is_restarted",
           "StartLimitIntervalSec=0"),
    Mutant("agent-dev-mode", "the agent's code is fetched from a controller at each start",
           dropin("[Service]\nExecStartPre=/usr/bin/rsync -a $CONTROLLER:/opt/stack/trove/ /home/trove/trove\n"),
           "test_agent_is_a_production_one", "dev-mode image"),
    Mutant("agent-other-folder", "the agent does not read what is injected",
           dropin("[Service]\nExecStart=\n"
                  "ExecStart=/usr/local/bin/trove-guestagent --config-file=/etc/trove/trove.conf\n"),
           "test_agent_reads_the_injected_folder", "--config-file=/etc/trove/trove.conf"),
    Mutant("agent-no-interpreter", "the agent's Python is not there",
           lambda root: root.replace(agent_program(root), root.read(agent_program(root)).splitlines()[0],
                                     "#!/opt/gone/bin/python3"),
           "test_agent_imports", "/opt/gone/bin/python3"),
    Mutant("agent-library-gone", "a Python library of the agent is missing",
           lambda root: root.remove(python_of(root, "kombu")), "test_agent_imports", "No module named 'kombu"),
    Mutant("agent-library-cut", "a Python library of the agent breaks off",
           lambda root: root.cut(python_of(root, "trove/common/cfg.py"), 0.5), "test_agent_imports", "Error: "),
    Mutant("agent-other-release", "the agent is of an older Trove",
           lambda root: root.path(python_of(root, "trove-*-info")).rename(
               root.path(python_of(root, "trove-*-info")).with_name("trove-18.0.0.egg-info")),
           "test_agent_release", "the image has Trove 18.0.0"),
    Mutant("agent-program-empty", "the agent's program is empty", lambda root: root.cut(agent_program(root), 0),
           "test_enabled_units_can_start", "its program .* is empty"),
    Mutant("agent-program-closed", "the agent's user may not run its program",
           lambda root: root.own(agent_program(root), 0, 0, 0o700), "test_agent_may_run_its_program",
           "is closed to trove"),
    Mutant("agent-folder-owner", "the agent's folder belongs to root",
           lambda root: root.own("/opt/trove-guestagent", 0, 0), "test_agent_owns_its_folders",
           "/opt/trove-guestagent belongs to uid 0"),
    Mutant("agent-no-log-folder", "the agent's log folder is missing", lambda root: root.remove("/var/log/trove"),
           "test_agent_owns_its_folders", "/var/log/trove is missing"),
    Mutant("agent-settings-closed", "the agent may not read the injected folder",
           lambda root: root.own("/etc/trove/conf.d", 0, 0, 0o700), "test_agent_may_read_what_is_injected",
           "/etc/trove/conf.d .* is closed to trove"),
    Mutant("agent-no-home", "the home that the agent starts in is missing",
           lambda root: root.remove("/var/lib/trove"), "test_agent_may_run_its_program", "/var/lib/trove is missing"),
    Mutant("agent-no-docker", "the agent's user is not in the group docker",
           lambda root: root.write("/etc/group", "".join(
               line.rpartition(":")[0] + ":\n" if line.startswith("docker:") else line
               for line in root.read("/etc/group").splitlines(keepends=True))),
           "test_agent_may_use_docker_and_sudo", "trove may not talk to Docker"),
    Mutant("agent-no-sudo", "the agent's user needs a password to become root",
           lambda root: [root.write(f"/etc/sudoers.d/{one.name}", one.read_text().replace("NOPASSWD:", ""))
                         for one in (root.place / "etc/sudoers.d").iterdir()],
           "test_agent_may_use_docker_and_sudo", "trove may not sudo"),
    Mutant("owner-gone", "the user who shall own the injected files is not in the image",
           lambda root: without_line(root, "/etc/passwd", f"{root.owner}:"), "test_injected_owner_exists",
           "no user trove"),
    Mutant("login-gone", "nobody can log in: neither image nor cloud-init knows the login user",
           each(lambda root: without_line(root, "/etc/passwd", "debian:"),
                lambda root: root.replace(INIT, "name: debian", "name: nobody-else"),
                lambda root: root.replace("/etc/cloud/cloud.cfg", "name: debian", "name: nobody-else")),
           "test_login_user_exists_without_password", "no user debian"),
    Mutant("database-uid-taken", "user id 1001 is somebody else's",
           each(lambda root: without_line(root, "/etc/passwd", "database:"),
                lambda root: root.append("/etc/passwd", "operator:x:1001:1001::/home/operator:/bin/sh\n")),
           "test_database_user_can_be_made", "operator"),
)  # fmt: skip

# ---- Docker and the database's container

DOCKER = (
    Mutant("docker-disabled", "Docker does not start with the guest",
           each(lambda root: root.remove(f"{ENABLED}/docker.service"),
                lambda root: root.remove("/etc/systemd/system/sockets.target.wants/docker.socket")),
           "test_docker_is_enabled", "docker.service and docker.socket are disabled"),
    Mutant("docker-masked", "Docker's service is masked, its socket is not", lambda root: root.mask("docker.service"),
           "test_docker_is_enabled", "docker.service is masked"),
    Mutant("docker-no-apparmor-parser", "the kernel enforces AppArmor and its parser is missing",
           lambda root: root.replace(GRUB, "apparmor=0", ""), "test_docker_can_start_containers",
           "apparmor_parser is missing"),
    Mutant("docker-settings-broken", "daemon.json is no JSON",
           lambda root: root.write("/etc/docker/daemon.json", '{"log-driver": "journald",}\n'),
           "test_docker_reads_its_settings", "/etc/docker/daemon.json"),
    Mutant("docker-other-storage", "dockerd is told a storage driver that has no images",
           lambda root: root.write("/etc/docker/daemon.json", '{"storage-driver": "vfs"}\n'),
           "test_docker_looks_where_the_container_is", "asks for vfs"),
    Mutant("docker-daemon-cut", "dockerd breaks off", lambda root: root.cut("/usr/sbin/dockerd", 0.5),
           "test_docker_is_complete", "dockerd breaks off"),
    Mutant("docker-no-runc", "runc is missing", lambda root: root.remove("/usr/sbin/runc"), "test_docker_is_complete",
           "runc is missing"),
    Mutant("docker-no-iptables", "iptables is missing", lambda root: root.remove("/usr/sbin/iptables"),
           "test_docker_is_complete", "iptables is missing"),
    Mutant("docker-no-overlay", "the kernel has no overlayfs",
           lambda root: root.remove(root.one("/usr/lib/modules/*/kernel/fs/overlayfs/overlay.ko*")),
           "test_kernel_modules", "overlay: Docker keeps"),
    Mutant("container-other-tag", "the container has another tag than the datastore version asks for",
           lambda root: root.retag(f"{root.container}.99"), "test_database_container_is_preloaded", r"\.99"),
    Mutant("container-no-record", "the store lost the record of a layer",
           lambda root: root.remove(root.one("/var/lib/docker/image/overlay2/layerdb/sha256/*")),
           "test_database_container_is_preloaded", "the store has no image"),
    Mutant("container-no-layer", "a layer's files are missing",
           lambda root: root.remove(root.one("/var/lib/docker/overlay2/*/diff")),
           "test_container_runs_for_a_plain_user", "is not in Docker's store"),
    Mutant("container-other-processor", "the container is for another processor",
           lambda root: root.reconfigure(lambda told: told.update(architecture="arm64")),
           "test_container_is_for_this_architecture", "the container is for arm64"),
    Mutant("container-entrypoint-closed", "the container's entrypoint is only root's to run",
           lambda root: root.own(root.entrypoint(), 0, 0, 0o700), "test_container_runs_for_a_plain_user",
           "not executable for everybody"),
    Mutant("container-entrypoint-gone", "the container's entrypoint is missing",
           lambda root: root.remove(root.entrypoint()), "test_container_runs_for_a_plain_user",
           "is in none of its layers"),
    Mutant("container-entrypoint-shell", "the entrypoint's shell is not in the container",
           lambda root: root.replace(root.entrypoint(), root.read(root.entrypoint()).splitlines()[0], "#!/opt/bin/sh"),
           "test_container_runs_for_a_plain_user", "/opt/bin/sh"),
    Mutant("container-no-entrypoint", "the container's configuration names no program",
           lambda root: root.reconfigure(lambda told: told["config"].update(Entrypoint=None, Cmd=None)),
           "test_container_runs_for_a_plain_user", "neither an entrypoint nor a command"),
)  # fmt: skip

# ---- what guests must not share

HYGIENE = (
    Mutant("left-host-key", "an ssh host key is baked in",
           lambda root: root.write("/etc/ssh/ssh_host_ed25519_key", KEY, 0o600), "test_no_host_keys",
           "ssh_host_ed25519_key"),
    Mutant("left-private-key", "a private key of the build is left",
           lambda root: root.write("/root/.ssh/id_rsa", KEY, 0o600), "test_no_keys_inside", "/root/.ssh/id_rsa"),
    Mutant("left-authorized-key", "somebody's key opens every guest",
           lambda root: root.write("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA builder\n", 0o600),
           "test_no_keys_inside", "/root/.ssh/authorized_keys"),
    Mutant("left-password", "root has a password",
           lambda root: root.write("/etc/shadow", "".join(
               "root:$6$salt$hash:19000:0:99999:7:::\n" if line.startswith("root:") else line
               for line in root.read("/etc/shadow").splitlines(keepends=True)), 0o640),
           "test_login_user_exists_without_password", "root"),
    Mutant("left-cloud-password", "cloud-init gives every guest the same password",
           lambda root: root.write("/etc/cloud/cloud.cfg.d/99-login.cfg", "password: secret\nssh_pwauth: true\n"),
           "test_no_credentials", "a password that cloud-init would set"),
    Mutant("left-history", "a shell history of the build is left",
           lambda root: root.write("/root/.bash_history", "apt-get install vim\n"), "test_no_traces_of_the_build",
           "/root/.bash_history"),
    Mutant("left-broker", "the broker's password is baked in",
           lambda root: root.write("/etc/trove/trove-guestagent.conf",
                                   "[DEFAULT]\ntransport_url = rabbit://trove:secret@10.0.0.5:5672/\n"),
           "test_no_credentials", "trove-guestagent.conf: the message broker's password"),
    Mutant("left-service-credentials", "Trove's own password is baked in",
           lambda root: root.write("/etc/trove/service.conf", "[service_credentials]\npassword = secret\n"),
           "test_no_credentials", "service.conf: an OpenStack password"),
    Mutant("left-registry-login", "a login to a registry is baked in",
           lambda root: root.write("/root/.docker/config.json", '{"auths": {"example.org": {"auth": "dTpw"}}}'),
           "test_no_credentials", "config.json: a login to a container registry"),
    Mutant("left-guest-info", "another guest's settings are baked in",
           lambda root: root.write("/etc/trove/conf.d/guest_info.conf", "[DEFAULT]\nguest_id = 1234\n"),
           "test_no_injected_file_is_baked_in", "guest_info.conf"),
    Mutant("left-machine-id", "the machine id is baked in",
           lambda root: root.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"), "test_no_machine_id",
           "/etc/machine-id is 0123"),
    Mutant("left-random-seed", "all guests begin with one random seed",
           lambda root: root.write("/var/lib/systemd/random-seed", "x" * 512, 0o600), "test_no_identity",
           "random-seed"),
    Mutant("left-expired-certificate", "a certificate of the image's own has expired",
           lambda root: root.write("/usr/local/share/ca-certificates/broker.crt", EXPIRED),
           "test_no_expired_certificate", "broker.crt: expired on 2020-01-01"),
)  # fmt: skip

MUTANTS = (*IMAGE, *BOOT, *CLOUD_INIT, *AGENT, *DOCKER, *HYGIENE)
