"""Files delivered again into a running guest, by cloud-init itself, and the agent started on them.

cloud-init reads a copy of the guest's own config drive with other user-data in it, from the seed folder that its
ConfigDrive source looks into first (cloudinit/sources/DataSourceConfigDrive.py _get_data), and runs its two early
stages with write_files as the only module. What differs from a boot: the drive is not a device, and nothing else of
the guest starts anew. The program goes in by standard input, so that no log of the guest shows what it carries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagecheck.guest.ssh import Guest, understood

TIMEOUT = 180  # seconds; both stages take about 15 s in an emulated guest
DATA_DISK = "/dev/vdb"  # device_path of every datastore by default (trove/common/cfg.py)
_COMMON = r"""
import glob, json, os, shutil, subprocess, tempfile
def run(*argv, **more):
    try: return subprocess.run(argv, capture_output=True, text=True, timeout=120, **more)
    except (OSError, subprocess.TimeoutExpired) as e: return subprocess.CompletedProcess(argv, 1, "", str(e))
def size(path):
    try: return os.stat(path).st_size
    except OSError: return 0
def tail(path, begin):
    try:
        with open(path, errors="replace") as f:
            f.seek(begin if begin <= size(path) else 0); return f.read()[-60000:]
    except OSError: return ""
def written():
    # Field 7 of the block layer's statistics: sectors written (Documentation/block/stat.rst)
    try: return int(open("/sys/block/" + os.path.basename(A["disk"]) + "/stat").read().split()[6])
    except (OSError, IndexError, ValueError): return None
def mounts():
    try: return [l.split()[1] for l in open("/proc/mounts") if l.split()[0] == A["disk"]]
    except OSError: return []
"""
_DELIVER = r"""
run("systemctl", "stop", A["unit"]); run("systemctl", "reset-failed", A["unit"])
for point in mounts(): run("umount", point)
for path in A["remove"]:
    if os.path.lexists(path): os.unlink(path)
begin, said = size("/var/log/cloud-init.log"), ""
seed = "/var/lib/cloud/seed/config_drive"
if A["user_data"] is not None:
    where = tempfile.mkdtemp()
    mounted = run("mount", "-o", "ro", "LABEL=config-2", where).returncode == 0
    shutil.rmtree(seed, ignore_errors=True)
    if mounted: shutil.copytree(where, seed); run("umount", where)
    os.rmdir(where)
    for folder in glob.glob(seed + "/openstack/*/meta_data.json"):
        with open(os.path.join(os.path.dirname(folder), "user_data"), "w", newline="") as f: f.write(A["user_data"])
    stale = ["/var/lib/cloud/instance/obj.pkl"]
    for name in ("consume_data*", "config_write_files*"): stale += glob.glob("/var/lib/cloud/instances/*/sem/" + name)
    for path in stale:
        if os.path.exists(path): os.unlink(path)
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as only:
        only.write("cloud_init_modules: [write_files]\n"); only.flush()
        for stage in (["--local"], []): said += run("cloud-init", "init", *stage, "--file", only.name).stderr
    shutil.rmtree(seed, ignore_errors=True)
os.sync()
cursor = run("journalctl", "-n", "0", "--show-cursor", "-q").stdout.partition("cursor:")[2].strip()
mark = {"cursor": cursor, "log": size(A["log"]), "written": written()}
there = [path for path in A["remove"] if os.path.exists(path)]
cloud_init = tail("/var/log/cloud-init.log", begin)
run("systemctl", "start", "--no-block", A["unit"])
print(json.dumps({"mark": mark, "there": there, "cloud_init": cloud_init + said}))
"""
_LOOK = r"""
since = ["--after-cursor", A["mark"]["cursor"]] if A["mark"]["cursor"] else ["-n", "400"]
journal = run("journalctl", "-q", "--no-pager", "-o", "short-precise", "-u", A["unit"], *since).stdout[-60000:]
now, before = written(), A["mark"]["written"]
print(json.dumps({"journal": journal, "log": tail(A["log"], A["mark"]["log"]), "mounted": bool(mounts()),
 "written": None if None in (now, before) else now - before}))
"""


@dataclass(frozen=True)
class Delivered:
    """What cloud-init made of it: which of the files are there, and what it said. ``mark`` is where `look` begins."""

    there: tuple[str, ...]
    cloud_init: str
    mark: dict[str, object]


@dataclass(frozen=True)
class Look:
    """The agent since it was started: journal and log, the data disk's mounts and written sectors (None: no disk)."""

    journal: str
    log: str
    mounted: bool
    written: int | None


def deliver(guest: Guest, user_data: str | None, *, paths: Sequence[str], unit: str, log: str) -> Delivered:
    """Stop the agent, take ``paths`` and the data disk's mount away, deliver, start the agent.

    ``user_data`` None delivers nothing. Raises NoAnswer and StepFailed.
    """
    told = _python(guest, _DELIVER, {"user_data": user_data, "remove": [*paths], "unit": unit, "log": log})
    with understood("the files that were delivered"):
        return Delivered(tuple(map(str, told["there"])), str(told["cloud_init"]), dict(told["mark"]))


def look(guest: Guest, since: Delivered, *, unit: str, log: str) -> Look:
    """What the agent has said since it was started, and what it did to the data disk. Raises NoAnswer, StepFailed."""
    told = _python(guest, _LOOK, {"mark": since.mark, "unit": unit, "log": log})
    with understood("its agent"):
        return Look(str(told["journal"]), str(told["log"]), told["mounted"], told["written"])


def _python(guest: Guest, program: str, arguments: dict[str, object]) -> Any:
    coded = json.dumps({"disk": DATA_DISK, **arguments})
    text = f"import json\nA = json.loads({coded!r})\n{_COMMON}{program}"
    said = guest.run("python3 -", input=text, check=True, timeout=TIMEOUT).stdout
    with understood("the files that were delivered"):
        return json.loads(said)
