"""A real OpenStack with Trove in one folder, for those who have none.

``up`` makes the folder once (packages, schemas, accounts, networks), then boots it under a throw-away layer: every
``up`` is the same pristine cloud. Nothing is installed into the host but the packages that ``host.py`` names, and
nothing listens on it: all ports live in the sandbox's own network namespace.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from imagecheck import __version__, occupied, progress, site, waits
from imagecheck.errors import StepFailed, UsageError
from imagecheck.sandbox import acceleration, container, host, objects, provision, releases, rootfs, services
from imagecheck.sandbox.container import Container
from imagecheck.sandbox.folder import REGISTRY_LISTENS, Folder, Secrets, free_plan, write_private
from imagecheck.site import Site
from imagecheck.waits import NotYet, Ready

_UNKNOWN = {"keypair": objects.KEYPAIR, "mgmt_network_id": "", "mgmt_security_group_id": ""}


def up(release: str = releases.DEFAULT, *, yes: bool = False) -> Site:
    """A running sandbox of ``release``; makes the folder first when there is none.

    Raises UsageError (no rights, packages missing, unknown release) and StepFailed (which unit, its last lines).
    """
    folder = Folder.of(releases.get(release))
    host.ensure(yes=yes)
    with _locked(folder):
        if (live := container.running(folder)) and folder.site.exists():
            progress.note(f"the sandbox {release} is up already")
            live.plug()
            return site.load(folder.site)
        if folder.plan.exists():
            container.discard(folder)
        if not _made_by_this_version(folder):
            _create(folder)
        return _boot(folder)


def begin(release: str = releases.DEFAULT, *, yes: bool = False) -> Beginning | None:
    """Start `up` in a process of its own, to work beside something else; None when the sandbox is up already.

    `up` joins it. Raises UsageError at once for what can be known at once.
    """
    folder = Folder.of(releases.get(release))
    host.ensure(yes=yes)
    if running(release):
        return None
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with folder.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "imagecheck.sandbox.cli", "up", f"--release={release}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return Beginning(folder, process)


@dataclass
class Beginning:
    """An `up` at work in the background."""

    folder: Folder
    process: subprocess.Popen[bytes]

    def join(self) -> None:
        """Wait until it has ended; StepFailed with its own last lines when it failed."""

        def ended() -> Ready[int] | NotYet:
            code = self.process.poll()
            return NotYet(_last_line(self.folder.log)) if code is None else Ready(code)

        code = waits.until(ended, reason="the sandbox, made beside the image", deadline=1800, interval=0.5).value
        if code:
            lines = self.folder.log.read_text(errors="replace").splitlines()
            raise StepFailed("sandbox", "it did not come up", seen="\n".join(lines[-12:]))

    def abandon(self) -> None:
        """Interrupt it if it still works: it removes what it has begun."""
        if self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # the next `up` or `down` clears up after it


def down(release: str = releases.DEFAULT) -> bool:
    """Stop the sandbox and drop all that was written since ``up``. False when none was running."""
    folder = Folder.of(releases.get(release))
    if not folder.plan.exists():
        return False
    with _locked(folder):
        was_up = container.running(folder) is not None
        with progress.phase(f"stop the sandbox {release}"):
            folder.load_plan()
            container.discard(folder)
            folder.site.unlink(missing_ok=True)
        return was_up


def destroy(release: str = releases.DEFAULT) -> None:
    """Stop the sandbox and remove its folder."""
    folder = Folder.of(releases.get(release))
    down(release)
    with _locked(folder):
        occupied.remove(folder.path, "sandbox")


def running(release: str = releases.DEFAULT) -> Container | None:
    """The running container, or None."""
    folder = Folder.of(releases.get(release))
    return container.running(folder) if folder.plan.exists() else None


def require_running(release: str) -> Container:
    """The running container; UsageError with the command to start it otherwise."""
    found = running(release)
    if found is None:
        raise UsageError(f"the sandbox {release} is not running: start it with 'imagecheck sandbox up'")
    found.folder.load_plan()
    return found


def _create(folder: Folder) -> None:
    """Make the folder anew; what an interrupted attempt left is removed first, a failed one is kept for a look."""
    release = folder.release
    if not release.proven:
        progress.note(f"the release {release.name} ({release.openstack}) has not been proven end to end")
    began = time.monotonic()
    occupied.remove(folder.path, "sandbox")  # one that was killed may have mounts in it
    folder.path.mkdir(parents=True, mode=0o700)
    folder.save_plan(free_plan(folder.path, host.routed_networks()), Secrets.fresh())
    with progress.phase(f"make the sandbox {release.name} (once)"):
        rootfs.make(folder)
        rootfs.configure(folder, _UNKNOWN | _virtualization(_accelerate(folder)))
        rootfs.choose_units(folder)
        live = container.start(folder, pristine=False, target="imagecheck-base.target")
        try:
            provision.databases(live)
            provision.schemas(live)
            provision.bootstrap(live)
            made = _objects(live)
            provision.close(live)
        finally:
            container.discard(folder)
        known = {"mgmt_network_id": made.mgmt_network_id, "mgmt_security_group_id": made.mgmt_security_group_id}
        rootfs.configure(folder, _UNKNOWN | known | _virtualization(_accelerate(folder)))
        write_private(folder.guest_config, (folder.root / "etc/trove/trove-guestagent.conf").read_text())
        write_private(
            folder.ready,
            json.dumps({"imagecheck": __version__, "recipe": rootfs.recipe(release), "openstack": release.openstack,
                        "seconds": round(time.monotonic() - began, 1)}),
        )  # fmt: skip


def _objects(live: Container) -> objects.Objects:
    folder = live.folder
    with progress.phase("services, accounts, networks") as phase:
        live.run(["systemctl", "--no-block", "isolate", "multi-user.target"])
        services.wait_identity(live)
        admin = objects.connect(folder)
        phase.update("accounts and endpoints")
        objects.accounts(folder, admin)
        services.wait_apis(live)
        phase.update("networks, flavors, keypair")
        made = objects.networks(folder)
        objects.compute(folder)
        provision.discover_hosts(live)
        return made


def _boot(folder: Folder) -> Site:
    """Start the provisioned folder under a fresh layer and wait for every service."""
    container.require_free(folder)
    began = time.monotonic()
    with progress.phase(f"start the sandbox {folder.release.name}"):
        live = container.start(folder, pristine=True)
        try:
            services.wait_apis(live)
            admin = objects.connect(folder)
            services.wait_compute(live, admin)
            services.wait_trove(live)
        except StepFailed as error:
            # what is wrong was said with its log; the container stays for 'imagecheck sandbox shell'
            error.remedy = error.remedy or "look inside with 'imagecheck sandbox shell', then 'imagecheck sandbox down'"
            raise
        except BaseException:
            container.discard(folder)
            raise
    write_private(folder.clouds, yaml.safe_dump({"clouds": objects.clouds(folder)}))
    here = Site(
        cloud=objects.ADMIN,
        tenant_cloud=objects.TENANT,
        clouds_file=folder.clouds,
        management_network="mgmt",
        tenant_network="tenant",
        flavor=objects.FLAVOR,
        guest_config=folder.guest_config,
        guest_key=folder.guest_key,
        injected_owner="trove",
        injected_group="trove",
        sandbox=True,
        acceleration=_accelerate(folder),
        registry=f"{folder.load_plan()[0].sandbox}:{REGISTRY_LISTENS}",
    )
    site.dump(here, folder.site)
    progress.note(
        f"OpenStack {folder.release.openstack} is up in {time.monotonic() - began:.0f} s: "
        f"OS_CLIENT_CONFIG_FILE={folder.clouds} OS_CLOUD={objects.TENANT}"
    )
    return here


def _accelerate(folder: Folder) -> str:
    """What guests run on, found out once for a folder."""
    known = folder.path / "acceleration"
    if not known.exists():
        known.write_text(acceleration.detect(folder.root))
    return known.read_text()


def _virtualization(found: str) -> dict[str, str]:
    """Nova's [libvirt] for it; without hardware help no CPU model is better than QEMU's own."""
    if found == "kvm":
        return {"virt_type": "kvm", "cpu_mode": "host-model"}
    return {"virt_type": "qemu", "cpu_mode": "none"}


def _made_by_this_version(folder: Folder) -> bool:
    try:
        made = bool(json.loads(folder.ready.read_text())["recipe"] == rootfs.recipe(folder.release))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    if not made:
        progress.note(f"the sandbox {folder.release.name} was made by another imagecheck: it is made anew")
    return made


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")[-2:]
    return lines[0].strip(" …") or "it has not said anything yet"


@contextmanager
def _locked(folder: Folder) -> Iterator[None]:
    """One command at a time on a folder; the lock goes with its process."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("w") as file:

        def mine() -> Ready[None] | NotYet:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return NotYet(f"another imagecheck works on the sandbox {folder.release.name}")
            return Ready(None)

        waits.until(mine, reason="the sandbox's lock", deadline=1800, interval=0.5, step="sandbox")
        yield
