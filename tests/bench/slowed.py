"""A copy of an image that starts slower: `./dev python tests/bench/slowed.py OUT.qcow2 [--seconds 10]`.

An ordinary unit sleeps, and the agent is ordered after it: what somebody adds who wants something done "before the
agent". It costs the sleep and the early start, as the agent loads its modules only then. The copy is for a series that
has to end with REGRESSED and name the phases (docs/performance.md). Needs root and the built image.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "mutants")]

import overlay  # noqa: E402

from imagecheck import build, definition  # noqa: E402

AGENT = "trove-guestagent.service"
UNIT = f"""[Unit]
Before={AGENT}
[Service]
Type=oneshot
ExecStart=/usr/bin/sleep {{seconds}}
"""


def slow(root: Path, seconds: float) -> None:
    """Put the unit into the mounted root."""
    units = root / "etc/systemd/system"
    if not (units / AGENT).exists():
        raise SystemExit(f"the image has no {AGENT} in /etc/systemd/system: it is not of trove-guest-agent")
    (units / "slowed.service").write_text(UNIT.format(seconds=f"{seconds:g}"))
    required = units / f"{AGENT}.requires"
    required.mkdir(exist_ok=True)
    (required / "slowed.service").symlink_to("../slowed.service")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--image", default="mariadb-debian", help="definition (default: %(default)s)")
    option = parser.parse_args()
    good = build.build(definition.load(option.image)).path
    with tempfile.TemporaryDirectory(prefix="slowed-") as name:
        work, disk = Path(name), Path(name) / "disk.qcow2"
        overlay.create(good, disk)
        with overlay.exported(good, disk, work) as raw, overlay.mounted(raw, work) as root:
            slow(root, option.seconds)
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", disk, option.out], check=True)
    print(option.out)


if __name__ == "__main__":
    main()
