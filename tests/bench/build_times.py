"""How long a build takes against plain disk-image-create, in one run: `./dev python tests/bench/build_times.py`.

Prints seconds and ratios for docs/performance.md. Needs root, a Debian archive and about seven minutes; everything is
made below one temporary folder, which is removed. Nothing is cached before the run, for either side.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from imagecheck import definition, mirror, paths
from imagecheck.build import cleanup, dib, elements, layers

NAME = sys.argv[1] if len(sys.argv) > 1 else "mariadb-debian"
IMAGECHECK = [str(Path(sys.executable).parent / "imagecheck"), "build"]


def plain(known, work):
    """The same elements by disk-image-create alone: one call, compressed as it does by default."""
    whole = dataclasses.replace(known, elements=(*known.elements, *known.disk), disk=())
    (layer,) = layers.layers(whole)
    for folder in ("tmp", "cache", "home"):
        (work / folder).mkdir(parents=True)
    dib._private_programs(work / "bin")  # stand-ins where the kernel has no device mapper; else DIB cannot run here
    archive = mirror.archive(known.os)
    env = {
        **os.environ, **layer.environment, "DIB_RELEASE": known.release, "DIB_DISTRIBUTION_MIRROR": archive,
        "DIB_APT_SOURCES_CONF": f"default:deb {archive} {known.release} main", "TMP_DIR": str(work / "tmp"),
        "ELEMENTS_PATH": str(paths.shipped("elements")), "DIB_IMAGE_CACHE": str(work / "cache"), "TMPDIR": "",
        "HOME": str(work / "home"), "PATH": f"{work / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DIB_PYTHON_EXEC": sys.executable,
    }  # fmt: skip
    command = ["disk-image-create", "-n", "-o", str(work / "image"), *layer.names]
    return timed(command, env, work / "log")


def timed(command, env, log):
    """Seconds of one command; its output goes to ``log``."""
    began = time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(command, env=env, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed ({done.returncode}):\n" + "\n".join(log.read_text().splitlines()[-20:]))
    return time.monotonic() - began


def main():
    known = definition.load(NAME)
    with tempfile.TemporaryDirectory(prefix="imagecheck-bench-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        try:
            ours = {**os.environ, "IMAGECHECK_HOME": str(work / "home-ours"), "CI": "true"}
            took = {"plain disk-image-create": plain(known, work / "plain")}
            took["cold"] = timed([*IMAGECHECK, NAME], ours, work / "cold.log")
            took["unchanged"] = timed([*IMAGECHECK, NAME], ours, work / "unchanged.log")
            changed = work / "changed.toml"
            source = Path(known.source)
            text = source.read_text() + '\n[datastore.environment]\nIMAGECHECK_BENCH = "changed"\n'
            changed.write_text(text)
            (work / "parts").symlink_to(source.parent / "parts")
            took["database layer changed"] = timed([*IMAGECHECK, str(changed)], ours, work / "changed.log")
            for what, kept in (("container", "*-packages-*"), ("container's packages", "")):
                for cached in (work / "home-ours/images/cache").glob("container-*"):
                    if not (kept and cached.match(kept)):
                        cached.unlink()
                changed.write_text(text.replace("changed", f"changed with its {what}"))
                took[f"database layer and {what} changed"] = timed([*IMAGECHECK, str(changed)], ours, work / "more.log")
        finally:
            cleanup.sweep(work)
    print(f"{NAME}, diskimage-builder {elements.dib_version()}, {os.cpu_count()} cores")
    for what, seconds in took.items():
        against = seconds / took["plain disk-image-create"] if what == "cold" else seconds / took["cold"]
        share = "" if what.startswith("plain") else f"  {against:.2f} of {'plain' if what == 'cold' else 'cold'}"
        print(f"{what:<40}{seconds:8.1f} s{share}")


if __name__ == "__main__":
    main()
