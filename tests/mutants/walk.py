"""Walk the real road (pytest --image) with one image; read from what it leaves what was told, and when."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consoles import Consoles
from mutant import BootMutant
from results import plain

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "report" / "mutants"
# journalctl's short-precise and short-iso-precise, and oslo.log's; guests have UTC.
_STAMP = re.compile(
    r"^(?:(?P<day>[A-Z][a-z]{2} [ \d]\d) |(?P<date>\d{4}-\d\d-\d\d)[T ])(?P<time>\d\d:\d\d:\d\d)(?P<part>[.,]\d{1,6})?"
)
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


@dataclass
class Walked:
    """What one run told. Times are epoch seconds; None: not known."""

    report: dict[str, Any]
    folder: Path
    consoles: Consoles
    code: int
    seconds: float
    fault: dict[str, Any] = field(default_factory=dict)
    cause: str = ""  # id of the row that was told; "" without a fault, "unknown" where none fits
    verdict_at: float | None = None

    def failed(self, stage: str = "") -> list[str]:
        """Checks of a stage that failed or could not be asked."""
        return [
            check["id"].partition("[")[0]
            for check in self.report.get("checks", [])
            if check["outcome"] in ("failed", "error") and stage in ("", check["stage"])
        ]

    def passed(self) -> int:
        return int(self.report.get("counts", {}).get("passed", 0))

    @property
    def told(self) -> str:
        """The words that the run showed of its fault."""
        parts = (self.fault.get("sentence", ""), self.fault.get("seen", ""), self.fault.get("cause", ""))
        return " ".join(" ".join(part for part in parts if part).split())


def walk(named: str, options: Sequence[str], stage: str) -> Walked:
    """One run of the image ``named``, a definition or a file; everything that it makes it removes itself."""
    name = Path(named).stem
    folder = REPORT / name
    shutil.rmtree(folder, ignore_errors=True)
    began = datetime.now(UTC)
    with Consoles() as consoles:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=line", "--image", named, "--stage",
             stage, "--report", str(REPORT), *options],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    seconds = (datetime.now(UTC) - began).total_seconds()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = {}
    walked = Walked(report, folder, consoles, done.returncode, seconds)
    if fault := report.get("fault"):
        walked.fault = fault
        place = folder / fault["evidence"]
        walked.cause = (fault["known"] or {}).get("id", "unknown")
        if (place / "fault.txt").exists():  # the first file that is saved once something is known to be wrong
            walked.verdict_at = (place / "fault.txt").stat().st_mtime
    return walked


def first_sign(walked: Walked, pattern: str) -> float | None:
    """When what gives a mutant away first existed in its guest: on the console, or by the stamp of a saved log."""
    if not pattern:
        return None
    times = [walked.consoles.first(pattern)]
    place = walked.folder / walked.fault.get("evidence", "") if walked.fault else walked.folder
    for file in sorted(place.glob("*")):
        if file.is_file() and file.suffix in (".txt", ".log") and file.name != "fault.txt":
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            times += [stamp(line) for line in lines if re.search(pattern, line)]
    return min((one for one in times if one is not None), default=None)


def stamp(line: str) -> float | None:
    """A line's own time in epoch seconds; None where it carries none with a day."""
    found = _STAMP.match(line)
    if not found:
        return None
    day, part = found["date"] or "", (found["part"] or ".0").replace(",", ".")
    if not day:
        month = (_MONTHS.find(found["day"][:3]) + 3) // 3
        day = f"{datetime.now(UTC).year}-{month:02}-{int(found['day'][3:]):02}"
    return datetime.fromisoformat(f"{day}T{found['time']}+00:00").timestamp() + float(part)


def power_on(walked: Walked) -> float | None:
    """When the hypervisor switched the guest on: by its console's file, else as Nova has it, to the second."""
    if walked.consoles.power_on is not None:
        return walked.consoles.power_on
    place = walked.folder / walked.fault.get("evidence", "") if walked.fault else walked.folder
    try:
        text = (place / "nova-server.json").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r'"(?:OS-SRV-USG:)?launched_at": "([\d:T.-]+)"', text)
    return datetime.fromisoformat(f"{found[1]}+00:00").timestamp() if found else None


def judged(mutant: BootMutant, walked: Walked, when: str) -> dict[str, Any]:
    """The row of a mutant's run: rejected with the right cause, in which words, how soon."""
    disk, boot = walked.failed("disk"), walked.failed("boot")
    told = mutant.check if mutant.check in boot[:1] else walked.cause
    on, sign, verdict = power_on(walked), first_sign(walked, mutant.shows), walked.verdict_at
    rejected = bool(walked.fault or disk or boot)
    right = rejected and not disk and told == mutant.check and bool(re.search(mutant.says, walked.told, re.S))
    return {
        "run": when,
        "rejected": rejected,
        "right": right,
        "disk": disk,
        "told": told,
        "step": walked.fault.get("step", ""),
        "words": plain(walked.fault.get("sentence", ""), ROOT),
        "cause": plain(walked.fault.get("cause", ""), ROOT),
        "verdict": None if verdict is None or on is None else round(verdict - on, 1),
        "after": None if verdict is None or sign is None else round(verdict - sign, 1),
        "seconds": round(walked.seconds),
    }
