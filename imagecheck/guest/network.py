"""A guest's networks as it sees them itself: routes, MTUs, names, and a login at its broker. One round trip."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from imagecheck.guest.ssh import Guest, understood
from imagecheck.redact import redact

TIMEOUT = 180  # seconds for everything
PATIENCE = 5.0  # seconds for one connection, login or answer of a name server

# Run by the agent's own interpreter, with the configuration that its command line names: what it can do, the agent can.
# Read from standard input, and the password stays in the guest.
_PROGRAM = r"""
import configparser, glob, json, os, random, socket, struct, subprocess, sys, time
from urllib.parse import unquote
WAIT = __PATIENCE__
def ip(*argv):
    try: return json.loads(subprocess.run(["ip", "-j", *argv], capture_output=True, timeout=20).stdout or b"[]")
    except (OSError, ValueError, subprocess.TimeoutExpired): return []
def words(e): return f"{type(e).__name__}: {e}"[:300]
def timed(what):
    began = time.monotonic()
    try: said = what() or ""
    except Exception as e: said = words(e)
    return round(time.monotonic() - began, 3), said
def settings():
    files = []
    for word in sys.argv[1:]:
        flag, _, path = word.partition("=")
        files += {"--config-dir": sorted(glob.glob(path + "/*.conf")), "--config-file": [path]}.get(flag, [])
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    for path in files:
        try: parser.read(path)
        except (configparser.Error, UnicodeDecodeError): pass
    return parser
def brokers(parser):
    rest = parser.defaults().get("transport_url", "").partition("://")[2].partition("?")[0]
    hosts, _, path = rest.partition("/")
    for one in filter(None, hosts.split(",")):
        user, _, where = one.rpartition("@")
        name, _, password = user.partition(":")
        host, _, port = where[1:].partition("]") if where.startswith("[") else where.partition(":")
        yield host, int(port.lstrip(":") or 5672), unquote(name), unquote(password), unquote(path) or "/"
def login(host, port, user, password, vhost, tls):
    try: import amqp
    except ImportError: return None
    made = amqp.Connection(host=f"{host}:{port}", userid=user, password=password, virtual_host=vhost, ssl=tls,
                           connect_timeout=WAIT, read_timeout=WAIT, write_timeout=WAIT)
    try:
        made.connect()
        return made.transport.sock.getsockname()[0]
    finally:
        try: made.close()
        except Exception: pass
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 65535) + (total >> 16)
    return ~total & 65535
def echo(host, size):
    "One ICMP echo of size bytes, headers and all, that nobody may take apart (IP_MTU_DISCOVER 10, IP_PMTUDISC_DO 2)."
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.setsockopt(socket.IPPROTO_IP, 10, 2); s.settimeout(2)
        number = random.randrange(65536)
        body = bytes(size - 28)
        head = struct.pack("!BBHHH", 8, 0, 0, number, 1)
        head = struct.pack("!BBHHH", 8, 0, checksum(head + body), number, 1)
        for _ in range(2):
            try:
                s.sendto(head + body, (host, 0))
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    got, peer = s.recvfrom(65535)
                    if got[20] == 0 and struct.unpack("!H", got[24:26])[0] == number: return "yes"
            except TimeoutError: continue
            except OSError as e: return words(e)
    return "no answer"
def ask(server):
    "One question for a name that nobody has, by UDP."
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(WAIT)
        name = b"".join(bytes([len(p)]) + p for p in (ABSENT.encode().split(b"."))) + b"\0"
        s.sendto(struct.pack("!HHHHHH", 7, 256, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1), (server, 53))
        s.recvfrom(4096)
# Not .invalid or .test: systemd-resolved answers for these by itself.
ABSENT = "imagecheck-%08x.example.com" % random.randrange(2**32)
def lookup():
    try: socket.getaddrinfo(ABSENT, 80)
    except socket.gaierror: return ""
    return "it has an address"
links = ip("address")
found = []
parser = settings()
tls = parser.get("oslo_messaging_rabbit", "ssl", fallback="").lower() in ("1", "yes", "true", "on")
for host, port, user, password, vhost in brokers(parser):
    local = None
    def go():
        global local
        local = login(host, port, user, password, vhost, tls)
    seconds, said = timed(go)
    try: address = socket.gethostbyname(host)
    except OSError: address = host
    way = (ip("route", "get", address) or [{}])[0]
    mtu = next((link.get("mtu") for link in links if link.get("ifname") == way.get("dev")), 0) or 0
    found.append({"host": host, "port": port, "local": local or "", "said": said, "seconds": seconds,
      "asked": local is not None or bool(said), "device": way.get("dev", ""), "source": way.get("prefsrc", ""),
      "mtu": mtu, "small": echo(address, 84), "full": echo(address, mtu) if mtu else ""})
try: lines = open("/etc/resolv.conf").read().splitlines()
except OSError: lines = []
servers = [l.split()[1] for l in lines if l.startswith("nameserver") and len(l.split()) > 1]
absent, said = timed(lookup)
print(json.dumps({"brokers": found, "absent": absent, "absent_said": said,
 "resolvers": [[s, *timed(lambda: ask(s.partition("%")[0]))] for s in servers],
 "defaults": [f"via {r.get('gateway', '')} dev {r.get('dev', '')}" for r in ip("-4", "route", "show", "default")],
 "mtus": {a["local"]: [link["ifname"], link.get("mtu", 0)] for link in links for a in link.get("addr_info", [])}}))
""".replace("__PATIENCE__", str(PATIENCE))

# The agent's interpreter and its --config-dir from its process; without one, the system's and the usual folder.
_AS_AGENT = r"""
import os, subprocess, sys
told = subprocess.run(["systemctl", "show", "-p", "MainPID", "--value", sys.argv[1]], capture_output=True, text=True)
try: words = open("/proc/%s/cmdline" % (told.stdout.strip() or 0)).read().split("\0")
except OSError: words = []
python = words[0] if words and "python" in os.path.basename(words[0]) else "python3"
where = [word for word in words if word.startswith("--config-")] or ["--config-dir=/etc/trove/conf.d"]
os.execvp(python, [python, "-", *where])
"""


@dataclass(frozen=True)
class Login:
    """One broker of the agent's transport_url, tried from inside: ``said`` is "" when it took the login.

    ``local`` is the address that the login went out from, ``source`` the one that the routes give for the broker.
    ``asked`` is False where the agent's interpreter has no AMQP library. ``small`` and ``full`` are what came of an
    echo of 84 and of ``mtu`` bytes that must not be fragmented: "yes" or why not.
    """

    host: str
    port: int
    local: str
    said: str
    seconds: float
    asked: bool
    device: str
    source: str
    mtu: int
    small: str
    full: str

    @property
    def shown(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Resolver:
    """A name server of resolv.conf: how long it took to answer, and what went wrong ("": it answered)."""

    address: str
    seconds: float
    said: str


@dataclass(frozen=True)
class Port:
    """An interface with one of its addresses."""

    name: str
    mtu: int


@dataclass(frozen=True)
class GuestNetwork:
    """What a guest's networks are like from inside. Seconds everywhere; ``ports`` by address.

    ``absent`` is how long the lookup of a name took that nobody has.
    """

    logins: tuple[Login, ...]
    defaults: tuple[str, ...]
    ports: dict[str, Port]
    resolvers: tuple[Resolver, ...]
    absent: float
    absent_said: str
    wanted_mtu: dict[str, int]  # by address: what Neutron says of its network


def look(guest: Guest, unit: str, wanted_mtu: dict[str, int]) -> GuestNetwork:
    """Ask the guest. Raises NoAnswer and StepFailed."""
    command = f"python3 -c {shlex.quote(_AS_AGENT)} {shlex.quote(unit)}"
    done = guest.run(command, input=_PROGRAM, timeout=TIMEOUT, check=True)
    with understood("its networks"):
        return parse(json.loads(done.stdout), wanted_mtu)


def parse(told: dict[str, Any], wanted_mtu: dict[str, int]) -> GuestNetwork:
    """What the guest told, redacted where it is free text."""
    return GuestNetwork(
        logins=tuple(Login(**{**one, "said": redact(one["said"])}) for one in told["brokers"]),
        defaults=tuple(told["defaults"]),
        ports={address: Port(name, mtu) for address, (name, mtu) in told["mtus"].items()},
        resolvers=tuple(Resolver(*one) for one in told["resolvers"]),
        absent=told["absent"],
        absent_said=told["absent_said"],
        wanted_mtu=wanted_mtu,
    )
