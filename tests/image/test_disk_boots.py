"""The image, looked into: would it boot, and would cloud-init do there what Trove asks it for?"""

import pytest

from imagecheck import bootable, cloudinit, inside, runtime, selfcheck

pytestmark = pytest.mark.stage("disk")


def test_boot_loader(disk):
    """The disk begins with boot code, or has a partition for UEFI's loader."""
    assert bootable.boots_by_itself(disk.boot_sector, disk.volumes), (
        "the first sector has no boot code and there is no EFI partition: install the boot loader (grub-install)"
    )


def test_kernel_and_initrd(disk):
    """Every kernel and initial RAM disk that the boot menu names is there and whole."""
    assert bootable.boot_files(disk.tree), "the boot menu names no kernel: is there a grub.cfg?"
    found = bootable.broken_boot_files(disk.tree)
    assert not found, f"{'; '.join(found)}. Run update-initramfs -u and update-grub at the end of the build"


def test_kernel_modules(disk):
    """The kernel that boots has the modules that a guest of Nova's with Docker needs, the config drive's included."""
    found = bootable.missing_modules(disk.tree)
    assert not found, f"{'; '.join(found)}. Install the modules of that kernel, all of them"


def test_volumes_exist(disk):
    """The boot menu and /etc/fstab name no volume that the image does not have: the boot would wait for it in vain."""
    found = bootable.missing_volumes(disk.tree, disk.volumes)
    assert not found, f"{'; '.join(found)}: the image has no such volume; the ephemeral disk is the agent's to mount"


def test_root_can_be_written(disk):
    """/etc/fstab does not leave the root file system read-only: cloud-init could write nothing there."""
    found = bootable.read_only_root(disk.tree)
    assert not found, f"/etc/fstab: {found}: mount the root rw"


def test_kernel_may_use_the_memory(disk, definition):
    """The kernel's command line lets the guest have the memory that the definition asks the flavor for."""
    limit, needed = bootable.memory_limit(disk.tree), definition.needs.ram_mib
    assert limit is None or limit >= needed << 20, (
        f"mem= on the kernel's command line leaves {(limit or 0) >> 20} MiB of the {needed} that are needed: remove it"
    )


def test_room_on_the_root_disk(disk):
    """The root file system has room for what cloud-init, the journal and Docker write before anything can grow it."""
    free, inodes = bootable.room(disk.root)
    assert free >= bootable.ROOM, f"{free >> 20} MiB are free: build with a larger DIB_IMAGE_SIZE, or clean up"
    assert inodes >= bootable.INODES, f"{inodes} inodes are free: build with a larger DIB_IMAGE_SIZE, or clean up"


def test_enabled_units_can_start(disk):
    """Every unit that starts at boot is there, and so are its program and its environment file."""
    found = runtime.unit_flaws(disk.tree)
    assert not found, f"{'; '.join(found)}. Disable or complete it: systemd would call the guest degraded"


def test_cloud_init_reads_its_settings(disk):
    """Every settings file of cloud-init is YAML: one that is not is left out, with what it says."""
    _, broken = cloudinit.settings(disk.tree)
    assert not broken, f"cloud-init skips {', '.join(broken)}: correct it (cloud-init schema -c FILE)"


def test_cloud_init_has_its_modules(disk):
    """cloud-init runs the modules that Trove's user-data and key pair need."""
    found = cloudinit.module_flaws(disk.tree)
    assert not found, f"{'; '.join(found)}. Put it into cloud_init_modules of cloud.cfg"


def test_cloud_init_has_its_datasources(disk):
    """The programs of the data sources that cloud-init is told to look for are installed."""
    found = cloudinit.missing_datasources(disk.tree)
    assert not found, f"cloud-init has no program for {', '.join(found)}: install it again"


def test_boot_ends_in_a_running_system(disk):
    """There is an init, and neither the kernel's command line nor default.target ends the boot in a rescue shell."""
    found = runtime.start_flaws(disk.tree)
    assert not found, f"{'; '.join(found)}: no guest of it comes up by itself"


def test_login_by_ssh(disk):
    """An ssh server starts with the guest, and nothing keeps everybody out."""
    found = runtime.login_flaws(disk.tree)
    assert not found, f"{'; '.join(found)}: nobody could look into a guest that fails"


def test_sshd_takes_its_settings(disk):
    """sshd takes its settings (sshd -t): otherwise it does not start, and nobody can look into the guest."""
    found = selfcheck.sshd(disk)
    assert not found, f"{found}: correct /etc/ssh/sshd_config and its drop-ins"


def test_network_comes_up(disk):
    """A network service is enabled and somebody tells it the ports: without, the agent never reaches the broker."""
    assert not runtime.network_unsettled(disk.tree), "cloud-init leaves the network alone, and nothing else settles it"
    assert runtime.network_service(disk.tree), f"no network service is enabled: {', '.join(runtime.NETWORKS)}"


def test_no_default_route_is_baked_in(disk):
    """No default route is written into the image: beside Neutron's it would be a second one (Trove change 02efba18)."""
    found = runtime.gateways(disk.tree)
    assert not found, f"{'; '.join(found)}. Leave routes to DHCP: the broker would be lost now and then"


def test_clock_is_set(disk):
    """A time service is enabled: heartbeats of a clock that is set back are dropped, and certificates fail."""
    units = [inside.unit(disk.tree, name) for name in runtime.CLOCKS]
    assert any(unit is not None and unit.enabled for unit in units), (
        f"no time service is enabled: {', '.join(runtime.CLOCKS)}"
    )
