"""What one guest has to show of its agent, docker and database: a row of imagecheck/causes and shell that provokes it.

All scenes run one after the other in one boot, by a unit of their own; each puts back what it changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from boots import unit
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from overlay import Root

from imagecheck.causes.row import Place

INFO = """[DEFAULT]
guest_id=11111111-2222-4333-8444-555555555555
datastore_manager=mariadb
datastore_version=11.8
tenant_id=0123456789abcdef0123456789abcdef
"""
CONFIG = """[DEFAULT]
transport_url=rabbit://agent:none@127.0.0.1:5672/
control_exchange=trove
[mariadb]
tcp_ports=3306
"""


@dataclass(frozen=True)
class Scene:
    """``act`` provokes, ``undo`` puts back; the output of ``act`` itself is kept where ``kept`` is "", else what the
    journal has of the unit ``kept`` meanwhile. An agent is started by ``agent SECONDS`` and watched for that long."""

    id: str
    place: Place
    act: str
    undo: str = "true"
    kept: str = ""


def agent(id: str, change: str, undo: str, seconds: int = 50, place: Place = "journal") -> Scene:
    """The agent started with something changed."""
    return Scene(id, place, f"{change}; agent {seconds}", undo, "trove-guestagent")


def conf(id: str, text: str, seconds: int = 70, before: str = "true", after: str = "true") -> Scene:
    """The agent started with another trove-guestagent.conf."""
    return agent(
        id, f"{before}; printf '{text}' >/etc/trove/conf.d/trove-guestagent.conf", f"{after}; baseline", seconds
    )


def dropin(id: str, text: str, seconds: int = 12) -> Scene:
    """The agent started with another unit."""
    return agent(id, f"drop trove-guestagent '{text}'", "undrop trove-guestagent", seconds)


def python(id: str, code: str, *, user: str = "trove", undo: str = "true", before: str = "true") -> Scene:
    """What docker-py makes of docker's answer, as the agent logs it."""
    run = f"sudo -u {user} python3 -c 'import docker; c = docker.from_env(); {code}'"
    return Scene(id, "agent", f"{before}; {run}", undo)


def pull(id: str, what: str, name: str = "127.0.0.1:5050/trove/mariadb:11.9") -> Scene:
    """A pull from a registry that answers as real ones do; dockerd's words are its own."""
    serve = f"python3 /opt/provoke/servers.py registry {what}"
    return python(id, f'c.api.pull("{name.rpartition(":")[0]}", tag="{name.rpartition(":")[2]}")',
                  before=f"serve {serve}", undo="served")  # fmt: skip


def container(id: str, options: str, command: str = "", *, before: str = "true", seconds: int = 40) -> Scene:
    """The database's container as the agent starts it, with something changed; its own log is kept."""
    return Scene(id, "container", f"{before}; database '{options}' '{command}' {seconds}", "no_database")


PACKAGES = "/usr/lib/python3/dist-packages"
GOOD = "-e MYSQL_ROOT_PASSWORD=none -e MARIADB_ROOT_PASSWORD=none -v /srv/data:/var/lib/mysql"
BROKER = "[DEFAULT]\\ntransport_url=rabbit://agent:none@{}/\\n{}"
TLS = "[oslo_messaging_rabbit]\\nssl=true\\nssl_ca_file=/etc/ssl/certs/ca-certificates.crt\\n"

SCENES = (
    # ---- the agent's unit and its program
    dropin("agent-program-missing", "ExecStart=\\nExecStart=/usr/bin/trove-guest-agent"),
    dropin("agent-user-missing", "User=stack"),
    dropin("agent-folder", "WorkingDirectory=/opt/guest-agent"),
    dropin("agent-environment", "EnvironmentFile=/etc/trove/controller.conf"),
    agent("agent-dead", "drop trove-guestagent 'ExecStart=\\nExecStart=/bin/false\\nRestartSec=0\\n[Unit]\\n"
          "StartLimitIntervalSec=60\\nStartLimitBurst=3'", "undrop trove-guestagent", 12),
    agent("agent-module-missing", f"mv {PACKAGES}/oslo_messaging /opt/provoke/",
          f"mv /opt/provoke/oslo_messaging {PACKAGES}/"),
    agent("agent-crash", f"cp {PACKAGES}/trove/cmd/guest.py /opt/provoke/; "
          f"echo 'raise OverflowError(1)' >>{PACKAGES}/trove/cmd/guest.py",
          f"cp /opt/provoke/guest.py {PACKAGES}/trove/cmd/", 90),
    agent("agent-options", f"cp {PACKAGES}/trove/common/cfg.py /opt/provoke/; "
          f"sed -i \"s/'database_service_uid'/'database_uid'/\" {PACKAGES}/trove/common/cfg.py",
          f"cp /opt/provoke/cfg.py {PACKAGES}/trove/common/", 60),
    # ---- its configuration
    agent("config-missing", "mv /etc/trove/conf.d /opt/provoke/", "mv /opt/provoke/conf.d /etc/trove/", 90),
    agent("agent-no-guest-info", "rm /etc/trove/conf.d/guest_info.conf", "baseline", 100),
    conf("transport-url", "[DEFAULT]\\ntransport_url=rabit://agent:none@127.0.0.1/\\n"),
    conf("no-data-device", BROKER.format("127.0.0.1", "[mariadb]\\ndevice_path=/dev/vdz\\n"), 120),
    conf("registry-login", BROKER.format("127.0.0.1", "[guest_agent]\\ncontainer_registry=127.0.0.1:5999\\n"
         "container_registry_username=trove\\ncontainer_registry_password=none\\n")),
    Scene("data-device-format", "agent", "blockdev --setro /dev/vdb; cd /; "
          "for each in 1 2; do sudo -u trove python3 -c '"
          "import logging; logging.basicConfig(); from trove.common import cfg; from trove.guestagent import volume; "
          "volume.VolumeDevice(\"/dev/vdb\").format()'; done", "blockdev --setrw /dev/vdb"),
    # ---- the broker
    conf("broker-is-localhost", BROKER.format("localhost:5678", ""), 40),
    conf("broker-name", BROKER.format("broker.invalid:5672", ""), 90),
    conf("broker-lost", BROKER.format("127.0.0.1:5677", ""), 90,
         "serve python3 /opt/provoke/servers.py hangs-up", "served"),
    conf("broker-certificate", BROKER.format("127.0.0.1:5671", TLS), 90,
         "serve python3 /opt/provoke/servers.py tls unknown", "served"),
    conf("broker-certificate-date", BROKER.format("127.0.0.1:5671", TLS.replace(
         "/etc/ssl/certs/ca-certificates.crt", "/opt/provoke/expired.pem")), 90,
         "serve python3 /opt/provoke/servers.py tls expired", "served"),
    # ---- the rights of its user
    agent("agent-sudo", "mv /etc/sudoers.d /opt/provoke/", "mv /opt/provoke/sudoers.d /etc/", 60),
    agent("agent-uid-taken", "userdel database; groupdel database; groupadd -g 1001 other; "
          "useradd -u 1001 -g 1001 other", "userdel other", 60),
    conf("agent-denied", BROKER.format("127.0.0.1", "log_file=/root/agent.log\\n"), 60),
    # ---- the guest around it
    Scene("no-host-keys", "journal", "mkdir /opt/provoke/k; mv /etc/ssh/ssh_host_* /opt/provoke/k/; "
          "systemctl mask --runtime sshd-keygen.service; systemctl restart ssh", "mv /opt/provoke/k/* /etc/ssh/",
          "ssh"),
    Scene("network-wait", "journal", "systemd-run -u wait --wait /usr/lib/systemd/systemd-networkd-wait-online "
          "--timeout=3 -i eth7", kept="wait"),
    # the head of a program for aarch64 (elf(5))
    Scene("wrong-architecture", "journal", "printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\267\\0' "
          ">/opt/provoke/arm; chmod 755 /opt/provoke/arm; systemd-run -u arm --wait /opt/provoke/arm", kept="arm"),
    # ---- docker itself
    Scene("docker-config", "journal", "echo '{\"storage-driver\": }' >/etc/docker/daemon.json; restart_docker",
          "docker_again", "docker"),
    Scene("docker-storage", "journal", "echo '{\"storage-driver\": \"btrfs\"}' >/etc/docker/daemon.json; "
          "restart_docker", "docker_again", "docker"),
    Scene("docker-iptables", "journal", "drop docker 'RestrictAddressFamilies=AF_UNIX AF_NETLINK'; "
          "ip link del docker0; "
          "iptables -t nat -F; iptables -t nat -X; chmod 0 $(readlink -f /usr/sbin/iptables); restart_docker",
          "chmod 755 $(readlink -f /usr/sbin/iptables); undrop docker; docker_again", "docker"),
    Scene("docker-gave-up", "journal", "drop docker 'ExecStart=\\nExecStart=/bin/false\\nRestartSec=0'; "
          "systemctl stop docker.socket; restart_docker 20", "undrop docker; docker_again", "docker"),
    # as Docker's own packages start it; without the option dockerd starts a containerd of its own
    Scene("containerd-down", "journal", "drop docker 'ExecStart=\\nExecStart=/usr/sbin/dockerd "
          "--containerd=/run/containerd/containerd.sock'; systemctl mask --runtime --now containerd; "
          "restart_docker 150", "systemctl unmask --runtime containerd; undrop docker; docker_again", "docker"),
    python("docker-socket-denied", "c.ping()", user="nobody"),
    # as often as an agent that starts again and again says it
    Scene("docker-unreachable", "agent", "systemctl stop docker.socket docker; for each in 1 2 3; do "
          "sudo -u trove python3 -c 'import docker; docker.from_env().ping()'; done", "docker_again"),
    # ---- images and containers
    pull("pull-no-tag", "unknown"),
    pull("pull-denied", "denied"),
    pull("pull-rate", "rate"),
    # docker-py drops what the daemon says in the stream of a pull; the daemon's journal has it
    dataclasses.replace(pull("pull-architecture", "arm64"), place="docker", kept="docker"),
    pull("pull-insecure", "unknown", "172.17.0.1:5050/trove/mariadb:11.9"),
    python("pull-certificate", 'c.api.pull("172.17.0.1:5671/trove/mariadb", tag="11.9")',
           before="serve python3 /opt/provoke/servers.py tls unknown", undo="served"),
    python("pull-unreachable", 'c.api.pull("registry.invalid/trove/mariadb", tag="11.9")'),
    python("container-absent", 'c.containers.create("mariadb:11.9", name="database")'),
    python("container-user", 'c.containers.run("@container@", user="mysql-nobody")'),
    python("docker-hostnic", 'c.networks.create("database-net", driver="docker-hostnic")'),
    python("container-network", 't = docker.types; pool = t.IPAMPool(subnet="172.17.0.0/16"); '
           'c.networks.create("n", ipam=t.IPAMConfig(pool_configs=[pool]))'),
    python("port-taken", 'c.containers.run("@container@", command="true", entrypoint="", ports={"22/tcp": 2222})',
           before="serve python3 /opt/provoke/servers.py port 2222", undo="served"),
    python("container-mount", 'c.containers.run("@container@", volumes=["/proc/data:/data"])'),
    python("container-runtime", 'c.containers.run("@container@", entrypoint="/nowhere")'),
    python("program-missing-in-container", 'c.containers.run("@container@", entrypoint="mysqladmin-of-old")'),
    # ---- the database in its container
    container("no-root-password", "-v /srv/data:/var/lib/mysql",
              before="mkdir -p /srv/data; chown 1001:1001 /srv/data"),
    Scene("data-denied", "container", "database_made; find /srv/data -type f -exec chown 0:0 {} + -exec chmod 600 {} "
          "+; database '@good@' '' 40", "no_database; rm -rf /srv/data /srv/made"),
    container("entry-point-denied", GOOD, before="mkdir -p /srv/data; chown 0:0 /srv/data"),
    container("unknown-setting", GOOD, "--query-cache-foo=1", before="database_made"),
    container("setting-file-broken", f"{GOOD} -v /opt/provoke/broken.cnf:/etc/mysql/my.cnf "
              "-v /opt/provoke/broken.cnf:/etc/mysql/mariadb.cnf",
              before="database_made; echo innodb=1 >/opt/provoke/broken.cnf"),
    container("database-memory", GOOD, "--innodb-buffer-pool-size=4T", before="database_made"),
    container("library-missing", f"{GOOD} -v /dev/null:@library@:ro", before="database_made"),
    Scene("data-locked", "container", "database_made; docker run -d --name other -u 1001:1001 @good@ @container@ "
          "$mariadb; "
          "settle 15; database '@good@' '' 40", "no_database; docker rm -f other"),
    Scene("database-crashed", "container", "database_made; docker run -d --name database -u 1001:1001 @good@ "
          "@container@ $mariadb; settle 25; docker kill -s SEGV database; settle 10; docker logs database",
          "no_database"),
    Scene("data-damaged", "container", "database_made; dd if=/dev/urandom of=$(find /srv/data -name ibdata1) bs=16384 "
          "seek=2 count=90 conv=notrunc; database '@good@' '' 40", "no_database; rm -rf /srv/data /srv/made"),
    container("data-other-version", GOOD, before="database_made; other_format /srv/data/ib_logfile0"),
)  # fmt: skip

_HERE = Path(__file__).parent


def certificate(since: int, until: int) -> str:
    """A key and a certificate signed by itself, valid between two days from today."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=until))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (private + made.public_bytes(serialization.Encoding.PEM)).decode()


def script(root: Root, scenes: Sequence[Scene]) -> None:
    """Put the scenes into a guest that starts nothing of its own accord."""
    library = "/usr/lib/x86_64-linux-gnu/libpcre2-8.so.0"
    words = {"@container@": root.container, "@good@": GOOD, "@library@": library}
    lines = [(_HERE / "provoked_guest.sh").read_text(encoding="utf-8")]
    for scene in scenes:
        lines.append(f"echo 'scene {scene.id}' >/dev/console\nbegan=$SECONDS")
        if scene.kept:
            lines.append(
                "cursor=$(journalctl -n 0 --show-cursor -q | sed -n 's/^-- cursor: //p')\n"
                f"{{ {scene.act}; }} >/var/provoked/{scene.id}.said\njournalctl --sync\n"
                'journalctl -q --no-pager -o short-precise --after-cursor "$cursor" '
                f"-u {scene.kept} >/var/provoked/{scene.id}"
            )
        else:
            lines.append(f"{{ {scene.act}; }} >/var/provoked/{scene.id} 2>&1")
        lines.append(f"{{ {scene.undo}; }} >/dev/null")
    lines += ["sync", "systemctl --no-block poweroff", ""]
    text = "\n".join(lines)
    for word, value in words.items():
        text = text.replace(word, value)
    root.write("/opt/provoke/run", text, 0o755)
    root.write("/opt/provoke/servers.py", (_HERE / "provoked_servers.py").read_text(encoding="utf-8"))
    root.write("/opt/provoke/unknown.pem", certificate(-1, 30))
    root.write("/opt/provoke/expired.pem", certificate(-60, -30))
    root.write("/opt/provoke/guest_info.conf", INFO)
    root.write("/opt/provoke/trove-guestagent.conf", CONFIG)
    for name in (
        "cloud-init-local",
        "cloud-init-network",
        "cloud-init-main",
        "cloud-config",
        "cloud-final",
        "cloud-init",
    ):
        root.mask(f"{name}.service")
    unit("provoke", "/opt/provoke/run", "After=multi-user.target docker.service\n", kind="simple")(root)
