"""Where one run of a row takes place: folders of its own, the cloud, its secrets; all of it goes at the end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import things
import yaml

from imagecheck import occupied, site
from imagecheck.cloud import connection
from imagecheck.sandbox import releases
from imagecheck.sandbox.folder import Folder

if TYPE_CHECKING:
    from child import Child
    from proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "report" / "faults"


class Stand:
    """``work`` has the run's home and folder for temporary files; ``private`` is the runner's own and not searched."""

    child: Child
    before_quota = 0

    def __init__(self, name: str) -> None:
        self.name = name
        self.work = Path(tempfile.mkdtemp(prefix="fault-")).resolve()
        self.home, self.private = self.work / "home", self.work / "private"
        for folder in (self.home, self.private, self.work / "tmp"):
            folder.mkdir(mode=0o700)
        self.report = REPORT / name
        shutil.rmtree(self.report, ignore_errors=True)
        self.report.mkdir(parents=True)
        self.proxy: Proxy | None = None
        self.folder = Folder.of(releases.get(releases.DEFAULT))
        self.site_file = self.folder.site
        self.connect()
        left_out = ("proxy", "ci", "imagecheck_home", "os_cloud", "os_client_config_file")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith(left_out)
        } | {
            "IMAGECHECK_HOME": str(self.home), "TMPDIR": str(self.work / "tmp"), "TERM": "xterm", "COLUMNS": "200",
            things.MARK: self.work.name,
        }  # fmt: skip

    def connect(self) -> None:
        """Log in (again)."""
        self.cloud = connection.connect(site.load(self.site_file))

    def secrets(self) -> dict[str, str]:
        """Name -> value of every secret that a run here is given or gets, as far as it can be known from outside."""
        words = {}
        for name, entry in yaml.safe_load(self.folder.clouds.read_text(encoding="utf-8"))["clouds"].items():
            words[f"password of {name}"] = entry["auth"]["password"]
        for key, value in vars(self.folder.load_plan()[1]).items():
            words[f"sandbox's {key}"] = value
        config = self.folder.guest_config.read_text(encoding="utf-8")
        for key, value in re.findall(r"^(\w*(?:key|password)\w*) *= *(\S+)$", config, re.M):
            words[f"guest's {key}"] = value
        lines = self.folder.guest_key.read_text(encoding="utf-8").split("\n")
        words["guest_key"] = lines[len(lines) // 2]
        for number, token in enumerate(self.proxy.tokens if self.proxy else []):
            words[f"token {number}"] = token
        return {name: word for name, word in words.items() if len(word) >= 8}

    def close(self) -> None:
        """Remove it; a file system that was mounted for it too."""
        with contextlib.suppress(Exception):
            occupied.vacate(self.report, "fault")
        occupied.remove(self.work, "fault")
