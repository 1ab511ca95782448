"""Mutants that only a boot can tell: nothing on the disk is wrong, what it does at boot is. For rows see mutant.py."""

from __future__ import annotations

from collections.abc import Callable

from edits import ENABLED, GRUB, dropin, each, python_of
from mutant import BootMutant
from overlay import Root

ETC = "/etc/systemd/system"
# Takes all blocks, root's own share included.
FILL = """#!/bin/sh
set -- $(stat -f -c '%f %S' /)
size=$(($1 * $2))
until [ "$size" -le 0 ] || fallocate -l "$size" /var/cache/filler; do size=$((size - 1048576)); done
cat /dev/zero >/var/cache/filler-too
true
"""
UNBIND = """#!/bin/sh
for card in /sys/bus/virtio/drivers/virtio_net/virtio*; do
    echo "${card##*/}" >/sys/bus/virtio/drivers/virtio_net/unbind
done
"""


def unit(name: str, command: str, more: str = "", kind: str = "oneshot", want: str = ENABLED) -> Callable[[Root], None]:
    """A unit that every boot starts; ``more`` are lines of its [Unit] section, ``want`` the folder that wants it."""
    text = f"[Unit]\nDescription=Site policy\n{more}[Service]\nType={kind}\nExecStart={command}\n"

    def edit(root: Root) -> None:
        root.write(f"{ETC}/{name}.service", text)
        root.link(f"{want}/{name}.service", f"{ETC}/{name}.service")

    return edit


def early(before: str) -> str:
    """Lines of a unit that runs before sysinit.target is reached."""
    return f"DefaultDependencies=no\nAfter=systemd-remount-fs.service\nBefore={before}\n"


def of_service(name: str, text: str) -> Callable[[Root], None]:
    """A drop-in of a unit."""
    return lambda root: root.write(f"{ETC}/{name}.service.d/50-mutant.conf", f"[Service]\n{text}\n")


BOOTS = (
    BootMutant("boot-init-ends", "the first process is a script that comes to its end",
               each(lambda root: root.replace(GRUB, "console=ttyS0", "init=/usr/local/sbin/first-boot console=ttyS0"),
                    lambda root: root.write("/usr/local/sbin/first-boot", "#!/bin/sh\nexit 0\n", 0o755)),
               "panic-init", "Attempted to kill init", shows="Attempted to kill init"),
    BootMutant("boot-root-elsewhere", "root= names a device that this cloud does not give",
               lambda root: root.replace(GRUB, "root=LABEL=cloudimg-rootfs", "root=/dev/vdb1"),
               "root-missing", "no root file system", shows="/dev/vdb1 does not exist|Gave up waiting for root"),
    BootMutant("boot-emergency", "a unit that the local file systems need fails",
               unit("data-policy", "/bin/false", early("local-fs.target"), want=f"{ETC}/local-fs.target.requires"),
               "local-fs-failed", "emergency mode", shows="Dependency failed for local-fs.target"),
    BootMutant("boot-no-memory", "a unit eats all memory", unit("cache-warmer", "/usr/bin/tail /dev/zero", kind="exec"),
               "out-of-memory", r"killed tail\b", shows="ut of memory: Killed process"),
    BootMutant("boot-fills-disk", "a unit fills the root disk before cloud-init writes",
               each(lambda root: root.write("/usr/local/sbin/fill", FILL, 0o755),
                    unit("cache-filler", "/usr/local/sbin/fill",
                         "After=cloud-init-local.service\n" + early("cloud-init-network.service"),
                         want=f"{ETC}/sysinit.target.wants")),
               "disk-full", "a disk of the guest is full", shows="No space left on device"),
    BootMutant("boot-powers-off", "a unit switches the guest off",
               unit("licence-check", "/usr/bin/systemctl --no-block poweroff", "After=basic.target\n"),
               "powered-off", "switched itself off", shows="Powering off|Power down"),
    BootMutant("boot-ordering-cycle", "two units wait for each other, and systemd leaves the agent out",
               each(unit("agent-policy", "/bin/true",
                         "Before=trove-guestagent.service\nAfter=trove-guestagent.service\n",
                         want=f"{ETC}/multi-user.target.requires")),
               "ordering-cycle", "trove-guestagent.service", shows="[Oo]rdering cycle"),
    BootMutant("network-no-cards", "the network cards lose their driver",
               each(lambda root: root.write("/usr/local/sbin/card-policy", UNBIND, 0o755),
                    unit("card-policy", "/usr/local/sbin/card-policy",
                         early("network-pre.target cloud-init-local.service"), want=f"{ETC}/sysinit.target.wants")),
               "no-nic", "no network card", shows="Unable to find a system nic"),
    BootMutant("network-firewall", "a firewall in the guest drops what goes to the broker",
               unit("firewall-policy", "/usr/sbin/iptables -I OUTPUT -p tcp --dport 5672 -j DROP",
                    "Before=trove-guestagent.service\n"),
               "broker-timeout", "get no answer", shows=r"AMQP server on \S+ is unreachable|Connection failed: "),
    BootMutant("login-dies", "the ssh server's unit fails at each start",
               of_service("ssh", "ExecStartPre=/usr/bin/test -e /run/site/ssh-policy"),
               "ssh-down", "ssh server did not start", shows="Failed to start ssh.service"),
    BootMutant("clock-past", "a unit sets the clock years back",
               unit("clock-policy", '/usr/bin/date -s "2020-01-01 00:00:00"',
                    "After=cloud-init-network.service\nBefore=trove-guestagent.service\n"),
               "test_clock_is_right", "off"),
    BootMutant("cloud-init-fails", "cloud-init's write_files has a bug",
               lambda root: root.replace(python_of(root, "cloudinit/config/cc_write_files.py"),
                                         '    file_list = cfg.get("write_files", [])\n',
                                         '    file_list = cfg.get("write_files", []).items()\n'),
               "files-not-written", "did not write all injected files", shows="Running module write_files"),
    BootMutant("agent-bug", "a module that the agent imports late has a bug",
               lambda root: root.append(python_of(root, "trove/guestagent/datastore/mariadb/manager.py"),
                                        "\n\nManager.volume_do_not_start_on_reboot = unfinished_merge\n"),
               "agent-code", "NameError: name 'unfinished_merge'", shows="NameError: name 'unfinished_merge'"),
    BootMutant("agent-killed", "systemd ends the agent after two seconds, each time",
               dropin("[Service]\nRuntimeMaxSec=2\n"),
               "agent-storm", "starts again and again", shows=r"restart counter is at 5\."),
    BootMutant("agent-other-id", "a unit changes guest_info.conf after it was written",
               unit("id-policy", "/usr/bin/sed -i s/^guest_id=.*/guest_id=golden-image/ "
                    "/etc/trove/conf.d/guest_info.conf",
                    "After=cloud-init-network.service\nBefore=trove-guestagent.service\n"),
               "guest-id-differs", "of another instance", shows="Finished id-policy"),
    BootMutant("docker-read-only", "dockerd may not write to its store",
               of_service("docker", "ReadOnlyPaths=/var/lib/docker"),
               "docker-down", "read-only file system", shows="failed to start daemon"),
)  # fmt: skip
