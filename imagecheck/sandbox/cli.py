"""``imagecheck sandbox …``: thin; every verb is one call into the sandbox."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from imagecheck import sandbox
from imagecheck.errors import ImagecheckError
from imagecheck.sandbox import releases, services
from imagecheck.sandbox.folder import REGISTRY, REGISTRY_LISTENS, REGISTRY_PORT, Folder


def main(argv: Sequence[str]) -> int:
    """Run one verb; returns the exit code (0 well, 1 not running or unwell). Errors pass as ImagecheckError."""
    options = _parser().parse_args(argv)
    verb: str = options.verb
    release: str = options.release
    match verb:
        case "up":
            sandbox.up(release, yes=options.yes)
        case "down":
            print("stopped" if sandbox.down(release) else "it was not running")
        case "reset":
            sandbox.down(release)
            sandbox.up(release, yes=options.yes)
        case "destroy":
            sandbox.destroy(release)
            print("removed")
        case "status":
            return _status(release)
        case "shell":
            _shell(release)
        case "logs":
            print(services.log(sandbox.require_running(release), options.unit, options.lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imagecheck sandbox", description=sandbox.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("up", "make it if need be, start it, wait for every service"),
        ("down", "stop it and drop what was written since 'up'"),
        ("status", "its services, memory, disk"),
        ("shell", "a root shell inside"),
        ("logs", "the last lines of one service"),
        ("reset", "down, then up: pristine"),
        ("destroy", "stop it and remove its folder"),
    ):
        one = verbs.add_parser(verb, help=text, description=text)
        one.add_argument("--release", default=releases.DEFAULT, help=f"one of {', '.join(releases.RELEASES)}")
        if verb in ("up", "reset"):
            one.add_argument("--yes", action="store_true", help="install the host packages that are missing")
        if verb == "logs":
            one.add_argument("unit", choices=sorted(services.UNITS), metavar="UNIT", help=", ".join(services.UNITS))
            one.add_argument("--lines", type=int, default=40)
    return parser


def _status(release: str) -> int:
    folder = Folder.of(releases.get(release))
    live = sandbox.running(release)
    row = folder.release
    print(f"release   {row.name}: OpenStack {row.openstack}, Trove {row.trove}, Debian {row.suite}")
    print(f"folder    {folder.path}" + ("" if folder.ready.exists() else " (not made yet)"))
    if live is None:
        print("state     down")
        return 1
    addresses, _ = folder.load_plan()
    states = services.states(live)
    unwell = {unit: state for unit, state in states.items() if not state.startswith("active")}
    print(f"state     up, {len(states) - len(unwell)} of {len(states)} services active")
    for unit, state in unwell.items():
        print(f"          {unit}: {state}")
    print(f"identity  http://{addresses.sandbox}:5000/v3")
    print(f"clients   export OS_CLIENT_CONFIG_FILE={folder.clouds} OS_CLOUD={sandbox.objects.TENANT}")
    print(f"registry  http://{addresses.sandbox}:{REGISTRY_LISTENS}, for guests http://{REGISTRY}:{REGISTRY_PORT}")
    print(f"guests    {(folder.path / 'acceleration').read_text()}")
    print(f"memory    {_memory(live.leader.pid) / 2**30:.1f} GiB (proportional set size of its processes)")
    print(f"disk      {_size(folder.root) / 2**30:.1f} GiB, since up {_size(folder.layer / 'upper') / 2**30:.1f} GiB")
    return 1 if unwell else 0


def _shell(release: str) -> None:
    live = sandbox.require_running(release)
    argv = live.enter("bash", "-l")
    os.execvp(argv[0], argv)  # noqa: S606 - the shell takes this process's place and terminal


def _memory(leader: int) -> int:
    """Bytes: the proportional set sizes of all processes in the leader's PID namespace."""
    namespace = Path(f"/proc/{leader}/ns/pid").readlink()
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() == namespace:
                rollup = (process / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            continue  # it ended meanwhile, or is a kernel thread
    return total


def _size(path: Path) -> int:
    """Bytes on disk below ``path``."""
    total = 0
    for where, _, files in os.walk(path):
        for name in files:
            try:
                total += Path(where, name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # how `Beginning.abandon` asks; SIGINT may be ignored in a background job
    try:
        sys.exit(main(sys.argv[1:]))
    except ImagecheckError as error:
        sys.exit(str(error))
