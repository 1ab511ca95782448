"""Causes that dockerd tells of, in its journal or through the agent that asked it. Data only; Docker 26 (moby)."""

from __future__ import annotations

from imagecheck.causes.row import Facts, Place, Row

_ALL: tuple[Place, ...] = ("docker", "journal", "agent", "console")
_PULL = "preload the container in the image, or let the guest reach a registry that has it"


def _absent(facts: Facts) -> str:
    if not facts.wanted_image or facts.images is None or facts.wanted_image in facts.images:
        return ""
    there = ", ".join(facts.images[:5]) or "nothing"
    return f"asked for {facts.wanted_image}, docker's store has {there}" if facts.container == "" else ""


def _restarting(facts: Facts) -> str:
    """Three times is no accident; one that has run for a while since is past it. Docker's pauses grow to a minute."""
    restarts = facts.container_restarts or 0
    young = facts.container == "restarting" or (facts.container_up is not None and facts.container_up < 30)
    return f"docker: {restarts} restarts, exit code {facts.container_exit}" if restarts >= 3 and young else ""


ROWS = (
    Row("pull-no-tag", "service", "image", 60, "the registry has no {what}",
        "the tag is the datastore version's number: correct the version or [<datastore>] docker_image; " + _PULL,
        "distribution, registry/api/errcode; moby, distribution/errors.go", _ALL, ("manifest unknown", "manifest for "),
        r"manifest for (?P<what>\S{1,160}) not found|manifest unknown", confidence="certain", fatal=True, known=(6,),
        proven=True),
    Row("pull-denied", "service", "cloud", 59, "the registry does not give the container to this guest ({what})",
        "name an existing image in [<datastore>] docker_image, or give [guest_agent] container_registry_username; with "
        "network_isolation the agent's own pull uses no credentials", "moby, distribution/errors.go; "
        "trove/guestagent/utils/docker.py _create_container_with_low_level_api", _ALL,
        ("pull access denied for ", "unauthorized: ", '("unauthorized")', "no basic auth credentials",
         "denied: requested access"),
        r"pull access denied for (?P<what>[^\s,]{1,160})|unauthorized: (?:authentication required|incorrect username)"
        r"|Error \(\"unauthorized\"\)|no basic auth credentials|denied: requested access to the resource is denied",
        confidence="certain", fatal=True, known=(6, 7), proven=True),
    Row("pull-rate", "service", "cloud", 60, "the registry's rate limit is used up", _PULL,
        "distribution, registry/api/errcode (TOOMANYREQUESTS)", _ALL,
        ("toomanyrequests", "You have reached your pull rate limit"),
        r"toomanyrequests|You have reached your pull rate limit", confidence="certain", fatal=True, retry=True,
        known=(6,), proven=True),
    Row("pull-insecure", "service", "cloud", 60, "the registry speaks plain HTTP and docker was not told so",
        "name it in docker_insecure_registries of trove.conf, or in the image's daemon.json",
        "moby, registry; Go, net/http, crypto/tls", _ALL,
        ("server gave HTTP response to HTTPS client", "tls: first record does not look like a TLS handshake"),
        r"server gave HTTP response to HTTPS client|tls: first record does not look like a TLS handshake",
        confidence="certain", fatal=True, known=(6,), proven=True),
    Row("pull-certificate", "service", "cloud", 60, "docker does not trust the registry's certificate: {what}",
        "put the CA into the image (/etc/docker/certs.d), renew the certificate, compare the guest's clock",
        "Go, crypto/x509/verify.go", _ALL, ("x509: certificate",), r"x509: (?P<what>certificate .{1,140})",
        confidence="certain", fatal=True, known=(6,), proven=True),
    Row("pull-unreachable", "service", "network", 57, "the guest does not reach the container registry: {what}",
        _PULL + "; it goes out over the management network's default route", "moby, distribution; Go, net", _ALL,
        ("dial tcp", "Client.Timeout exceeded", "TLS handshake timeout", "request canceled while waiting"),
        r"(?:Get|Head|pull|fetch)\b.{0,300}(?P<what>dial tcp[: ].{1,120}"
        r"|Client\.Timeout exceeded while awaiting headers|TLS handshake timeout"
        r"|request canceled while waiting for connection)", fatal=True, times=1, known=(6,), proven=True),
    Row("pull-architecture", "service", "image", 61, "the container is not made for this machine ({what})",
        "take a container built for the guest's architecture", "moby, distribution/pull_v2.go", _ALL,
        ("no matching manifest for ",), r"no matching manifest for (?P<what>\S{1,40})", confidence="certain",
        fatal=True, proven=True),
    Row("container-absent", "service", "image", 50, "docker's store has no {what}",
        "the tag must be the datastore version's number: preload exactly that", "moby, daemon/images/image.go; "
        "trove/guestagent/datastore/mysql_common/service.py start_db, 2025.1", _ALL, ("No such image: ",),
        r"No such image: (?P<what>[^\s\"')]{1,160})", known=(6,), proven=True),
    Row("container-other-tag", "service", "image", 29, "docker's store does not have the container that is asked for",
        "the tag must be the datastore version's number: preload exactly that, or register another version",
        "trove/guestagent/datastore/mysql_common/service.py start_db, 2025.1", holds=_absent, known=(6,)),
    Row("container-user", "service", "image", 58, "the container cannot run as the agent's user {what}",
        "the container must run as 1001:1001 (database_service_uid), by number", "moby, libcontainer user.go", _ALL,
        ("unable to find user",), r"unable to find user (?P<what>\S{1,60}): no matching entries", confidence="certain",
        fatal=True, proven=True),
    Row("docker-storage", "service", "image", 66, "docker cannot use its storage driver: {what}",
        "name one that the kernel has in daemon.json (overlay2; fuse-overlayfs or vfs without it), the same that "
        "preloaded the containers", "moby, daemon/graphdriver/driver.go", _ALL,
        ("graphdriver", "driver not supported"),
        r"(?P<what>error initializing graphdriver.{0,120}|driver not supported: \S{1,30}"
        r"|\[graphdriver\] ERROR: .{1,120})", confidence="certain", fatal=True, times=1, proven=True),
    Row("docker-apparmor", "service", "image", 64, "docker wants AppArmor's parser and the image has none",
        "install apparmor, or boot with apparmor=0", "moby, profiles/apparmor; docker.io only recommends apparmor",
        _ALL, ('apparmor_parser": executable file not found', "apparmor_parser: executable file not found",
               "docker-default profile could not be loaded"),
        r"apparmor_parser\\?\"?: executable file not found|docker-default profile could not be loaded",
        confidence="certain"),
    Row("docker-cgroups", "service", "image", 64, "docker finds no usable cgroups: {what}",
        "systemd of the image must mount them (cgroup v2 wants docker 20.10 or newer)", "moby, daemon/daemon_unix.go",
        _ALL, ("Devices cgroup isn't mounted", "cgroup mountpoint does not exist"),
        r"(?P<what>Devices cgroup isn't mounted|cgroup mountpoint does not exist)", confidence="certain", fatal=True),
    Row("docker-iptables", "service", "image", 46, "docker cannot set up its network: {what}",
        "install iptables with the backend that the kernel has (nf_tables modules), or set iptables=false",
        "moby, libnetwork/iptables, libnetwork/drivers/bridge", _ALL,
        ("iptables failed", "failed to create NAT chain", "Failed to program NAT chain", "Failed to Setup IP tables",
         "Failed to create bridge docker0"),
        r"(?P<what>iptables failed: .{1,120}|failed to create NAT chain .{1,100}|Failed to program NAT chain.{0,100}"
        r"|Failed to Setup IP tables.{0,100}|Failed to create bridge docker0.{0,100})", known=(10,), proven=True),
    Row("docker-config", "service", "image", 65, "docker cannot use its daemon.json: {what}",
        "`dockerd --validate` names the key; a flag of the unit and the same key in the file exclude each other",
        "moby, cmd/dockerd/daemon.go", _ALL, ("unable to configure the Docker daemon with file",),
        r"unable to configure the Docker daemon with file (?P<what>.{1,160})", confidence="certain", fatal=True,
        proven=True),
    Row("docker-down", "service", "image", 45, "docker does not start: {what}",
        "`journalctl -u docker` has the lines before it", "moby, cmd/dockerd/docker.go", _ALL,
        ("failed to start daemon: ", "Error starting daemon: ", "dockerd["),
        r"(?:failed to start daemon|Error starting daemon): (?P<what>.{1,160})"
        # Before the daemon is made its errors come bare: what was tried, on what, and the system's own word.
        r"|dockerd\[\d+\]: (?P<bare>[a-z]{1,20} /[^:]{1,160}: (?:read-only file system|permission denied"
        r"|not a directory|input/output error|no such file or directory|file exists))", cleared=("API listen on",),
        confidence="certain", fatal=True, times=2, proven=True),
    Row("docker-gave-up", "service", "image", 26, "systemd gave up on {what} after too many quick failures",
        "`journalctl -u docker -u containerd` says why it ends", "systemd, src/core/unit.c", _ALL,
        ("docker.service: Start request repeated", "containerd.service: Start request repeated"),
        r"(?P<what>docker|containerd)\.service: Start request repeated too quickly", confidence="certain", fatal=True,
        holds=lambda f: "docker.service" if f.docker_active == "failed" else "", proven=True),
    Row("containerd-down", "service", "image", 47, "docker does not reach containerd", "is containerd in the image and "
        "enabled? `journalctl -u containerd`", "moby, libcontainerd/supervisor", _ALL,
        ('failed to dial "/run/containerd', "timeout waiting for containerd to start", "containerd.sock: connect:"),
        r"failed to dial \\?\"/run/containerd/containerd\.sock|timeout waiting for containerd to start"
        r"|containerd\.sock: connect: (?:connection refused|no such file)", cleared=("API listen on",), proven=True),
    Row("docker-socket-denied", "service", "image", 58, "the agent may not talk to docker",
        "put the agent's user into the group docker", "docker-py, docker/api/client.py; moby, docker.socket",
        ("agent", "journal"), ("PermissionError(13", "permission denied while trying to connect to the Docker"),
        r"Connection aborted\.'?, PermissionError\(13, |permission denied while trying to connect to the Docker",
        confidence="certain", fatal=True, proven=True),
    Row("docker-unreachable", "service", "image", 42, "the agent finds no docker: {what}",
        "docker must be installed, enabled and started before the agent", "docker-py, docker/api/client.py",
        ("agent", "journal"), ("Error while fetching server API version",),
        r"Error while fetching server API version: (?P<what>.{1,120})", cleared=("Starting datastore prepare",),
        confidence="certain", fatal=True, times=3, grace=15, proven=True),
    Row("docker-hostnic", "service", "image", 63, "docker has no network plugin docker-hostnic",
        "the control plane isolates the database's network: build the image with the plugin (Trove 20 and newer), or "
        "set [network] network_isolation = False", "moby, libnetwork; Trove, network_isolation.rst; LP#2157547", _ALL,
        ("docker-hostnic",),
        r"(?:could not find plugin docker-hostnic|plugin \\?\"?docker-hostnic\\?\"? not found"
        r"|error looking up (?:network )?plugin docker-hostnic|docker-hostnic\.sock: .{0,60}(?:timeout|refused|no such"
        r" file))", confidence="certain", fatal=True, known=(10,), proven=True),
    Row("container-network", "service", "image", 54, "docker cannot make the container's network: {what}",
        "a subnet of docker's overlaps with one of the guest's (docker_bridge_network_ip), or an old network is left",
        "moby, libnetwork/ipam; daemon/network.go", _ALL,
        ("Pool overlaps with other one", "could not find an available, non-overlapping", "failed to set up container"),
        r"(?P<what>Pool overlaps with other one on this address space"
        r"|could not find an available, non-overlapping.{0,60}"
        r"|failed to set up container networking: .{1,120})", confidence="certain", fatal=True, known=(9, 10),
        proven=True),
    Row("port-taken", "service", "image", 60, "port {what} is taken in the guest: another database runs there",
        "do not install or enable a database server in the guest itself", "moby, libnetwork/portallocator", _ALL,
        ("port is already allocated", "address already in use"),
        r"Bind for \S{1,60}:(?P<what>\d{1,5}) failed: port is already allocated"
        r"|listen tcp\d? \S{1,40}:(?P<tcp>\d{1,5}): "
        r"bind: address already in use", confidence="certain", fatal=True, proven=True),
    Row("container-mount", "service", "image", 52, "docker cannot give the container its folders: {what}",
        "the folder must be on a file system that is mounted and writable", "moby, volume/mounts; runc", _ALL,
        ("error while creating mount source path", "error mounting "),
        r"(?P<what>error while creating mount source path .{1,120}|error mounting \\?\".{1,120})", fatal=True,
        proven=True),
    Row("container-runtime", "service", "image", 41, "the container cannot be started: {what}",
        "`docker start -a database` in the guest shows it again", "runc; containerd, runtime", _ALL,
        ("OCI runtime create failed",), r"OCI runtime create failed: (?P<what>.{1,160})", fatal=True, proven=True),
    Row("container-out-of-memory", "service", "image", 56, "the database's container was killed: out of memory",
        "give the definition's [needs] ram_mib more, or the flavor", "moby, container/state.go (OOMKilled)",
        holds=lambda f: "docker: OOMKilled" if f.container_oom else "", confidence="certain", fatal=True, known=(15,)),
    Row("container-restarting", "service", "image", 24, "the database's container starts again and again",
        "`docker logs database` says why", "moby, container/state.go",
        holds=_restarting, confidence="certain", fatal=True),
    Row("container-dead-after-reboot", "service", "image", 38, "the database did not come back with the reboot",
        "a folder that the container mounts lay on tmpfs (agents before 21.0.0), or it was stopped before "
        "(unless-stopped)", "Trove story 2010599; trove/guestagent/utils/docker.py start_container",
        holds=lambda f: f"rebooted, container {f.container}" if f.rebooted and f.container in ("exited", "dead") else
        "",
        fatal=True, grace=20, known=(17,)),
    Row("container-exited", "service", "image", 23, "the database's container has ended",
        "`docker logs database` says why", "moby, container/state.go",
        holds=lambda f: f"docker: {f.container}, exit code {f.container_exit}"
        if f.container in ("exited", "dead") and f.told not in ("shutdown", "healthy") else "", fatal=True, grace=20),
)  # fmt: skip
