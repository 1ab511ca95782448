"""A place on the sandbox's tenant network and on no other: where a tenant's server would stand.

A network namespace inside the sandbox, plugged into the tenant's bridge by a veth pair, with an address of the
tenant's subnet outside its pool and the tenant's router as its way out. The sandbox itself will not do: it has an
address on both networks.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagecheck.errors import StepFailed
from imagecheck.sandbox.container import Container

_STEP = "place on the tenant network"
_NAME = "imgchk-tenant"
_LINK = "imgchk-t"
_LAST = 5  # the address's last number; the pool begins at 10 (objects.networks)
_DIAL = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def go(where):
    try: socket.create_connection(where, timeout=4).close(); return True, ""
    except OSError as e: return False, str(e)
asked = json.load(sys.stdin)
with ThreadPoolExecutor(len(asked)) as pool: print(json.dumps(list(pool.map(go, asked))))
"""
_MAKE = f"""
set -eu
ip netns add {_NAME}
ip link add {_LINK}0 type veth peer name {_LINK}1 netns {_NAME}
ovs-vsctl --may-exist add-port br-tenant {_LINK}0
ip link set {_LINK}0 up
ip -n {_NAME} link set lo up
ip -n {_NAME} address add "$1" dev {_LINK}1
ip -n {_NAME} link set {_LINK}1 up
ip -n {_NAME} route add default via "$2"
"""
_REMOVE = f"""
ovs-vsctl --if-exists del-port br-tenant {_LINK}0
ip link delete {_LINK}0 2>/dev/null
ip netns delete {_NAME} 2>/dev/null
true
"""


@dataclass(frozen=True)
class Try:
    """An attempt at a TCP connection; ``said`` is why not."""

    reached: bool
    said: str


@dataclass(frozen=True)
class Place:
    """The namespace, while it is there."""

    live: Container

    def dial(self, targets: Mapping[str, tuple[str, int]]) -> dict[str, Try]:
        """Open a TCP connection to each (host, port) from there, all at once; 4 s are given to them."""
        asked = json.dumps(list(targets.values()))
        done = self.live.run(["ip", "netns", "exec", _NAME, "python3", "-c", _DIAL], input=asked, step=_STEP)
        return {name: Try(*told) for name, told in zip(targets, json.loads(done.stdout), strict=True)}


@contextlib.contextmanager
def on_tenant(live: Container) -> Iterator[Place]:
    """Make the place, and take it away again. Raises StepFailed."""
    addresses, _ = live.folder.load_plan()
    network = addresses.tenant
    live.run(["sh", "-c", _REMOVE], check=False, step=_STEP)  # what a killed run left
    try:
        live.run(
            ["sh", "-c", _MAKE, "sh", f"{network[_LAST]}/{network.prefixlen}", str(addresses.tenant_router)],
            step=_STEP,
        )
        yield Place(live)
    finally:
        with contextlib.suppress(StepFailed):
            live.run(["sh", "-c", _REMOVE], check=False, step=_STEP)
