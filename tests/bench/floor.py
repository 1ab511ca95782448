"""The floor of a first boot, and what the image adds to it: `./dev python tests/bench/floor.py [--rounds 3]`.

Boots the built image under QEMU alone, in turns:

* the floor: the same kernel, initramfs and systemd to multi-user.target with nothing of ours enabled (no cloud-init,
  agent, Docker, sshd, network), and then, alone, `python3 -c "import …"` of the agent's modules;
* the image as it is, with a config drive, until its agent speaks to its broker.

Prints seconds from power-on, medians and their ratio for docs/performance.md. Needs root, QEMU and the built image. The
guest's network is QEMU's own, closed; the one connection that it may make ends at a program that notes the moment.
"""

import argparse
import contextlib
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "mutants")]

import overlay  # noqa: E402

from imagecheck import build, definition, imagefile, inside, tree  # noqa: E402
from imagecheck.guest import config_drive  # noqa: E402

BROKER = "10.0.2.100"
DEADLINE = 600.0  # seconds for one boot
IMPORTS = "trove.cmd.guest, kombu.transport.pyamqp, trove.guestagent.datastore.mariadb.manager"
OURS = ("trove-guestagent*", "cloud-*", "docker.*", "containerd.service", "guest-grow-root.service", "ssh*.service",
        "systemd-networkd*", "systemd-resolved.service", "systemd-timesyncd.service")  # fmt: skip
MARK = re.compile(r"FLOOR ([\d.]+) ([\d.]+)")
UNIT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/floor
[Install]
WantedBy=graphical.target
"""
SCRIPT = """#!/bin/bash
read -r up rest < /proc/uptime
began=$EPOCHREALTIME
EVENTLET_NO_GREENDNS=yes {python} -c 'import {imports}'
took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN {{ print b - a }}')
echo "FLOOR $up $took" > /dev/ttyS0
"""


def undress(root: Path, agent: str) -> None:
    """Nothing of ours starts; what multi-user.target and the import took is told on the console."""
    units = root / "etc/systemd/system"
    for pattern in OURS:
        for folder in (units, root / "usr/lib/systemd/system"):
            for one in (found for found in folder.glob(pattern) if found.suffix in (".service", ".socket", ".target")):
                with contextlib.suppress(FileNotFoundError):
                    (units / one.name).unlink()
                (units / one.name).symlink_to("/dev/null")
    found = inside.unit(tree.Tree(root), agent)
    python = "/opt/guest-agent-venv/bin/python3" if (root / "opt/guest-agent-venv").exists() else "/usr/bin/python3"
    if found is not None and not found.masked:
        raise SystemExit(f"{agent} is still enabled: add its name to OURS")
    (root / "usr/local/sbin/floor").write_text(SCRIPT.format(python=python, imports=IMPORTS))
    (root / "usr/local/sbin/floor").chmod(0o755)
    (units / "floor.service").write_text(UNIT)
    wants = units / "graphical.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "floor.service").symlink_to("../floor.service")


def drive(work: Path, like: definition.Definition) -> Path:
    """What Trove injects, on a disk with the label that cloud-init looks for."""
    latest = work / "drive/openstack/latest"
    latest.mkdir(parents=True)
    info = config_drive.guest_info(guest_id="floor", manager=like.datastore.manager, version=like.datastore.version,
                                   tenant="floor")  # fmt: skip
    settings = (
        f"[DEFAULT]\ntransport_url = rabbit://floor:floor@{BROKER}:5672/\nlog_dir = /var/log/trove\n"
        "log_file = trove-guestagent.log\n"
    )
    files = {"/etc/trove/conf.d/guest_info.conf": info, "/etc/trove/conf.d/trove-guestagent.conf": settings}
    (latest / "user_data").write_text(config_drive.cloud_config(files, f"{like.injected_owner}:{like.injected_owner}"))
    (latest / "meta_data.json").write_text(json.dumps({"uuid": "floor", "hostname": "floor", "name": "floor"}))
    link = {"id": "tap", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1500}
    network = {"id": "n", "network_id": "n", "type": "ipv4_dhcp", "link": "tap"}
    (latest / "network_data.json").write_text(json.dumps({"links": [link], "networks": [network], "services": []}))
    image = work / "drive.img"
    subprocess.run(["truncate", "-s", "8M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-L", "config-2", "-d", work / "drive", image], check=True)
    return image


def boot(disk: Path, work: Path, ended, *options: str) -> float:
    """Seconds from power-on until ``ended()`` is not None."""
    data = work / "data.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", data, "1G"], check=True)
    began = time.monotonic()
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-smp", "2", "-m", "2048", "-display", "none", "-nodefaults",
         "-no-reboot", "-serial", f"file:{work / 'console'}", *options,
         "-drive", f"file={disk},format=qcow2,if=virtio,cache=unsafe",
         "-drive", f"file={data},format=qcow2,if=virtio,cache=unsafe"],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while time.monotonic() < began + DEADLINE and process.poll() is None:
            if ended():
                return time.monotonic() - began
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    text = (work / "console").read_text(errors="replace")
    raise SystemExit("the boot did not end:\n" + "\n".join(text.splitlines()[-15:]))


def floor(good: Path, like: definition.Definition, work: Path) -> tuple[float, float]:
    """(power-on -> multi-user.target, the bare import)"""
    disk = work / "disk.qcow2"
    overlay.create(good, disk)
    with overlay.exported(good, disk, work) as raw, overlay.mounted(raw, work) as root:
        undress(root, like.agent.unit)
    told = []

    def ended() -> bool:
        console = work / "console"
        told[:] = MARK.findall(console.read_text(errors="replace")) if console.exists() else []
        return bool(told)

    whole = boot(disk, work, ended, "-nic", "none")
    # The import ends with the mark, so that multi-user.target lies as much before it.
    return whole - float(told[0][1]), float(told[0][1])


def connected(good: Path, like: definition.Definition, work: Path) -> float:
    """power-on -> the agent's first bytes to its broker"""
    disk, seen = work / "disk.qcow2", work / "seen"
    overlay.create(good, disk)
    note = work / "note"
    note.write_text(f"#!/bin/sh\nhead -c 4 > {shlex.quote(str(seen))}\nsleep 5\n")
    note.chmod(0o755)
    network = f"user,model=virtio-net-pci,restrict=on,guestfwd=tcp:{BROKER}:5672-cmd:{note}"
    given = f"file={drive(work, like)},format=raw,if=none,id=config,readonly=on"

    def ended() -> bool:
        return seen.exists() and seen.read_bytes() == b"AMQP"

    return boot(disk, work, ended, "-nic", network, "-drive", given, "-device", "virtio-blk-pci,drive=config,addr=0x10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", default="mariadb-debian", help="definition (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="its file, when not the built one")
    option = parser.parse_args()
    like = definition.load(option.image)
    good = (imagefile.inspect(option.file) if option.file else build.build(like)).path
    rows = []
    for number in range(option.rounds):
        row = {}
        for kind in ("floor", "image") if number % 2 == 0 else ("image", "floor"):
            with tempfile.TemporaryDirectory(prefix="floor-") as name:
                row[kind] = floor(good, like, Path(name)) if kind == "floor" else connected(good, like, Path(name))
        rows.append((*row["floor"], row["image"]))
        print(
            "to multi-user.target {:.1f} s, bare import {:.1f} s; agent connected {:.1f} s".format(*rows[-1]),
            flush=True,
        )
    bottom = statistics.median(up + took for up, took, _ in rows)
    top = statistics.median(row[2] for row in rows)
    print(
        f"medians of {len(rows)}: floor {bottom:.1f} s, agent connected {top:.1f} s, {top / bottom:.2f} × of the floor"
    )


if __name__ == "__main__":
    main()
