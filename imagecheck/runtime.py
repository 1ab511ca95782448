"""What the guest's services need when they start: programs, folders, network, time."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from imagecheck import cloudinit, container, inside
from imagecheck.tree import Tree, breaks_off

PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

RUNC = "runc"  # dockerd's default runtime; daemon.json may name another one
# Program -> who asks for it. Source: moby's and containerd's own documentation of what they run.
DOCKER = {
    "dockerd": "it is Docker",
    "containerd": "dockerd runs containers through it",
    "containerd-shim-runc-v2": "containerd starts each container with it",
    RUNC: "the shim starts the container's process with it",
    "iptables": 'dockerd publishes ports with it (daemon.json: "iptables": false does without)',
}

# Program -> when the guest needs it. Source: what trove/guestagent/volume.py and common/operating_system.py execute;
# mkfs is called as "mkfs --type ext3", the default of volume_fstype, or ext4.
AGENT = {
    "sudo": "the agent runs all that follows through it",
    "blkid": "the agent looks whether the data disk has a file system",
    "mkfs": "the agent formats the data disk",
    "mkfs.ext3": "the agent formats the data disk",
    "mkfs.ext4": "the agent formats the data disk",
    "mount": "the agent mounts the data disk",
    "blockdev": "the agent asks for the data disk's size",
    "groupadd": "the agent makes the database's user",
    "useradd": "the agent makes the database's user",
    "install": "the agent makes its folders",
}
LOGIN = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "dropbear.service")

# Any of these sets the clock. The conductor drops heartbeats that come from a clock that was set back
# (trove/conductor/manager.py, _message_too_old), and TLS fails with one that is years off.
CLOCKS = ("systemd-timesyncd.service", "chrony.service", "chronyd.service", "ntp.service", "ntpd.service",
          "ntpsec.service", "openntpd.service")  # fmt: skip
# Any of these brings the ports up; so do netplan's generator (with systemd-networkd) and DIB's dhcp-all-interfaces.
NETWORKS = ("systemd-networkd.service", "NetworkManager.service", "networking.service", "network.service",
            "wicked.service")  # fmt: skip

# ---- programs and units


def program(tree: Tree, name: str) -> str:
    """Where a program lies on root's PATH; empty: nowhere."""
    return next((f"{folder}/{name}" for folder in PATH if tree.exists(f"{folder}/{name}")), "")


def flaw(tree: Tree, file: str) -> str:
    """Why the system cannot start ``file``; empty: nothing is known against it."""
    place = tree.path(file)
    if place is None:
        return "is missing"
    seen = place.lstat()
    if not stat.S_ISREG(seen.st_mode) or not seen.st_mode & 0o111:
        return "is not executable"
    if not seen.st_size:
        return "is empty"
    return "breaks off" if breaks_off(place) else ""


def docker_flaws(tree: Tree) -> list[str]:
    """ "program flaw: why it is needed" for each of `DOCKER` that cannot start."""
    found = []
    settings = container.settings(tree) or {}
    for name, why in DOCKER.items():
        if name == "iptables" and settings.get("iptables") is False:
            continue
        needed = (container.runtime(settings) or RUNC) if name == RUNC else name
        place = needed if needed.startswith("/") else program(tree, needed) or f"/usr/bin/{needed}"
        if wrong := flaw(tree, place):
            found.append(f"{needed} {wrong}: {why}")
    return found


def agent_flaws(tree: Tree, *, root: bool) -> list[str]:
    """ "program flaw: why it is needed" for each of `AGENT`; an agent that is root needs no sudo."""
    found = []
    for name, why in AGENT.items():
        if name == "sudo" and root:
            continue
        if wrong := flaw(tree, program(tree, name) or f"/usr/bin/{name}"):
            found.append(f"{name} {wrong}: {why}")
    return found


def login_flaws(tree: Tree) -> list[str]:
    """What keeps everybody from logging in over ssh (pam_nologin(8), systemd's units of sshd)."""
    units = [unit for unit in (inside.unit(tree, name) for name in LOGIN) if unit]
    found = []
    if not units:
        found.append("no ssh server is installed")
    elif not any(unit.enabled for unit in units):
        found.append(f"{units[0].name} is {'masked' if units[0].masked else 'disabled'}")
    found += [f"{file} lets nobody in" for file in ("/etc/nologin", "/run/nologin") if tree.exists(file)]
    return found


# Words of the kernel's command line after which no guest comes up by itself (kernel-command-line(7), dracut.cmdline(7),
# initramfs-tools(7)).
_NO_GUEST = re.compile(
    r"(?:systemd\.unit=(?:rescue|emergency)\S*|init=\S*sh|rd\.break\S*|break(?:=\S*)?|emergency|rescue|-b|single|[1Ss])$"
)


def start_flaws(tree: Tree) -> list[str]:
    """What keeps the boot from ending in a running system: no init, another default target, a rescue mode."""
    found = []
    if wrong := flaw(tree, "/sbin/init"):
        found.append(f"/sbin/init {wrong}")
    found += [
        f"{word} on the kernel's command line"
        for word in dict.fromkeys(word for line in inside.kernel_lines(tree) for word in line.split())
        if _NO_GUEST.match(word)
    ]
    for folder in inside.UNIT_FOLDERS:
        place = tree.path(folder)
        if place is not None and (place / "default.target").is_symlink():
            named = os.readlink(place / "default.target").rpartition("/")[2]  # noqa: PTH115 - a string of the guest
            if named in ("null", "rescue.target", "emergency.target"):
                found.append(f"default.target is {named}")
            break
    return found


_TARGETS = ("default", "multi-user", "graphical", "basic", "sysinit", "sockets", "cloud-init", "network-online")


def unit_flaws(tree: Tree) -> list[str]:
    """ "unit: what it lacks" for each unit that starts at boot and would fail: no unit file, program or environment.

    A program behind "-" may fail, and a unit with a condition on a path that is not there does not start at all
    (systemd.exec(5), systemd.service(5), systemd.unit(5)).
    """
    found = []
    for name, required in sorted(_wanted(tree).items()):
        unit = inside.unit(tree, name) or inside.unit(tree, re.sub(r"@[^.]*\.", "@.", name))
        if unit is None:
            if required:  # what is only wanted may be missing
                found.append(f"{name}: is required at boot and not there")
            continue
        if unit.masked or _is_conditional(tree, unit):
            continue
        for file in unit.settings.get("Service.EnvironmentFile", []):
            if file.startswith("/") and not set("%$*?[") & set(file) and not tree.exists(file):
                found.append(f"{name}: its EnvironmentFile {file} is missing")
        for key in ("ExecStartPre", "ExecStart"):
            for line in unit.settings.get(f"Service.{key}", []):
                prefix, file = re.match(r"([@\-:+!|]*)(\S*)", line).groups()  # type: ignore[union-attr]
                if "-" in prefix or set("%$") & set(file):
                    continue
                place = file if file.startswith("/") else program(tree, file) or f"/usr/bin/{file}"
                if wrong := flaw(tree, place):
                    found.append(f"{name}: its program {file} {wrong}")
    return found


def _wanted(tree: Tree) -> dict[str, bool]:
    """Services and sockets that the targets of every boot start -> whether one of them fails without it."""
    found: dict[str, bool] = {}
    for kind in ("wants", "requires"):
        for target in _TARGETS:
            for name in tree.names(f"/etc/systemd/system/{target}.target.{kind}"):
                if name.endswith((".service", ".socket")):
                    found[name] = kind == "requires"
    return found


def _is_conditional(tree: Tree, unit: inside.Unit) -> bool:
    """May a condition keep it from starting? One that is not about a path's existence is taken to do so."""
    for key, values in unit.settings.items():
        if key == "Unit.ConditionPathExists":
            if any(value.lstrip("|").startswith("!") == tree.exists(value.lstrip("|!")) for value in values):
                return True
        elif key.startswith(("Unit.Condition", "Unit.Assert")):
            return True
    return False


# ---- the agent


def agent_release(tree: Tree, python: str) -> str:
    """Trove's version in the first folder where that Python would find it (importlib.metadata); empty: none."""
    found = re.match(r"(/.+)/bin/python[\d.]*$", python)
    prefix = found[1] if found else "/usr"
    folders = [f"{prefix}/lib/python3/dist-packages"] if prefix == "/usr" else []
    if prefix == "/usr":
        prefix = "/usr/local"
    for version in tree.glob(f"{prefix}/lib/python3*"):
        folders = [f"{version}/site-packages", f"{version}/dist-packages", *folders]
    for folder in folders:
        for entry in [*tree.glob(f"{folder}/trove-*.dist-info"), *tree.glob(f"{folder}/trove-*.egg-info")]:
            if told := re.search(r"/trove-(\d[^-]*?)(?:-py3[\d.]*)?\.(?:dist|egg)-info$", entry):
                return told[1]
    return ""


def denied(tree: Tree, user: str, inside_: str, want: int) -> str:
    """What keeps ``user`` from using a path (``want``: 4 read, 2 write, 1 enter or run, added up); empty: nothing.

    Access lists (acl(5)) are not read: a folder that only they open counts as closed.
    """
    account = tree.accounts().get(user)
    if account is None:
        return f"there is no user {user}"
    if account.uid == 0:
        return "" if tree.exists(inside_) else f"{inside_} is missing"
    groups = {account.gid} | {gid for gid, members in group_ids(tree) if user in members}
    whole = ""
    parts = [part for part in inside_.split("/") if part]
    for number, part in enumerate(parts):
        whole += f"/{part}"
        seen = tree.stat(whole)
        if seen is None:
            return f"{whole} is missing"
        needed = want if number == len(parts) - 1 else 1
        shift = 6 if seen.st_uid == account.uid else 3 if seen.st_gid in groups else 0
        if (seen.st_mode >> shift) & needed != needed:
            whose = f"uid {seen.st_uid}, gid {seen.st_gid}, mode {stat.S_IMODE(seen.st_mode):04o}"
            return f"{whole} ({whose}) is closed to {user}"
    return ""


def group_ids(tree: Tree) -> Iterator[tuple[int, set[str]]]:
    """(gid, members that /etc/group names) of every group."""
    for line in tree.text("/etc/group").splitlines():
        parts = line.split(":")
        if len(parts) == 4 and re.fullmatch(r"[0-9]{1,10}", parts[2], re.ASCII):
            yield int(parts[2]), set(parts[3].split(","))


# ---- the network


_PORTS = ("/etc/systemd/network/*.network", "/etc/netplan/*.yaml", "/etc/network/interfaces.d/*",
          "/etc/NetworkManager/system-connections/*", "/etc/sysconfig/network-scripts/ifcfg-*",
          "/etc/udev/rules.d/*dhcp-all-interfaces.rules")  # fmt: skip


def network_unsettled(tree: Tree) -> bool:
    """cloud-init is told to leave the network alone, and nothing else says how ports come up (cloud-init's docs,
    "Network configuration", disabling); NetworkManager asks DHCP by itself."""
    told = cloudinit.settings(tree)[0].get("network")
    off = isinstance(told, dict) and told.get("config") == "disabled"
    own = any(tree.glob(pattern) for pattern in _PORTS) or "dhcp" in tree.text("/etc/network/interfaces")
    return off and not own and network_service(tree) != "NetworkManager.service"


def network_service(tree: Tree) -> str:
    """What brings the ports up; empty: nothing that is known."""
    for name in NETWORKS:
        unit = inside.unit(tree, name)
        if unit is not None and unit.enabled:
            return name
    networkd = inside.unit(tree, "systemd-networkd.service")
    if networkd and not networkd.masked and tree.exists("/usr/lib/systemd/system-generators/netplan"):
        return "netplan"
    return next(iter(tree.glob("/etc/udev/rules.d/*dhcp-all-interfaces.rules")), "")


def gateways(tree: Tree) -> list[str]:
    """ "file: line" of default routes that are written into the image; ports get theirs from Neutron (DHCP)."""
    debian = r"^[ \t]*(gateway[ \t]+\S+|(?:up|post-up)[ \t]+ip[ \t]+(?:-\d[ \t]+)?route[ \t]+add[ \t]+default\b.*)"
    signs = {
        "/etc/network/interfaces": debian,
        "/etc/network/interfaces.d/*": debian,
        "/etc/systemd/network/*.network": r"^[ \t]*(Gateway[ \t]*=[ \t]*[^\s_]\S*)",
        "/etc/netplan/*.yaml": r"^[ \t]*(gateway[46]:[ \t]*\S+|-?[ \t]*to:[ \t]*['\"]?(?:default|0\.0\.0\.0/0|::/0))",
        "/etc/NetworkManager/system-connections/*": r"^[ \t]*(gateway[ \t]*=[ \t]*\S+|address1=\S+,\S+)",
        "/etc/sysconfig/network-scripts/ifcfg-*": r"^[ \t]*(GATEWAY[ \t]*=[ \t]*\S+)",
    }
    return [
        f"{file}: {line.strip()}"
        for pattern, sign in signs.items()
        for file in tree.glob(pattern)
        for line in re.findall(sign, tree.text(file), re.M)
    ]
