"""How the guest's clock stands to ours: several round trips over one open connection, the shortest one counts."""

from __future__ import annotations

import subprocess
import time

from imagecheck.guest.ssh import Guest, NoAnswer
from imagecheck.launch import Offset, best_offset

ROUNDS = 5
TIMEOUT = 30  # seconds for the whole conversation
# One process for all rounds: starting one costs more than the network under emulation.
_ECHO = "python3 -uc 'import sys,time\nfor _ in sys.stdin: print(repr(time.time()))'"


def offset(guest: Guest, rounds: int = ROUNDS) -> Offset | None:
    """harness = guest + offset ± uncertainty, in seconds; None when the guest gives no answer."""
    try:
        guest.run("true", sudo=False)  # the kept connection is there, no round pays for it
    except NoAnswer:
        return None
    trips = []
    with subprocess.Popen(
        guest.argv(_ECHO),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    ) as talk:
        assert talk.stdin is not None
        assert talk.stdout is not None
        deadline = time.monotonic() + TIMEOUT
        try:
            for _ in range(rounds + 1):  # the first one waits for the interpreter
                sent = time.time()
                talk.stdin.write("\n")
                talk.stdin.flush()
                there = talk.stdout.readline()
                received = time.time()
                if not there or time.monotonic() > deadline:
                    break
                trips.append((sent, float(there), received))
        except (OSError, ValueError):
            pass
        finally:
            talk.kill()
    return best_offset("guest", trips)
