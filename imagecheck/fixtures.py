"""The steps of an image's road as pytest fixtures: what a check asks for, walked when the first one asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from imagecheck.errors import NotReached

if TYPE_CHECKING:
    from imagecheck.cloud.connection import Cloud
    from imagecheck.definition import Definition
    from imagecheck.disk import Disk
    from imagecheck.imagefile import ImageFile
    from imagecheck.outcomes import Series
    from imagecheck.run import Road
    from imagecheck.session import Session

T = TypeVar("T")
KEY: pytest.StashKey[Session] = pytest.StashKey()
"""Where pytest's configuration keeps the session of a run with ``--image``."""


def _reach(step: Callable[[], T]) -> T:
    try:
        return step()
    except NotReached as earlier:
        pytest.skip(str(earlier))


@pytest.fixture(scope="session")
def imagecheck_road(request: pytest.FixtureRequest) -> Road:
    """The way of one image; checks ask for its steps below instead (the long name is nobody else's)."""
    found: Road = request.config.stash[KEY].road(request.param)
    return found


@pytest.fixture
def definition(imagecheck_road: Road) -> Definition:
    """What the image is said to be."""
    return imagecheck_road.choice.definition


@pytest.fixture
def image_file(imagecheck_road: Road) -> ImageFile:
    """The image file, built or taken from the cache."""
    return _reach(imagecheck_road.image_file)


@pytest.fixture
def disk(imagecheck_road: Road) -> Disk:
    """The image opened read-only: ``disk.host`` (testinfra) and ``disk.root``."""
    return _reach(imagecheck_road.disk)


@pytest.fixture
def walked(imagecheck_road: Road) -> Road:
    """The road once its image is there and its cloud is reached: what every step in a cloud begins with."""
    _reach(imagecheck_road.image_file)  # no cloud is bothered, no sandbox started, for an image that there is not
    _reach(imagecheck_road.cloud)
    return imagecheck_road


@pytest.fixture
def cloud(walked: Road) -> Cloud:
    """Connections to the cloud, as administrator and as an ordinary project."""
    return walked.cloud().cloud


def _step(name: str, what: str) -> Any:
    """The fixture for one step of the road; ``name`` is the step's method, or function in looks: there is its type."""

    def step(walked: Road) -> Any:
        from imagecheck import looks

        return _reach(getattr(walked, name, None) or (lambda: getattr(looks, name)(walked)))

    step.__doc__ = what
    return pytest.fixture(step)


server = _step("server", "outcomes.BareBoot: a server that the harness booted through Nova, with what it was given.")
guest = _step("guest", "guest.ssh.Guest: SSH to that server; ``guest.host`` is a testinfra host with sudo.")
console = _step("console", "str: that server's serial console once it was up.")
config_drive = _step("config_drive", "guest.config_drive.ConfigDrive: the drive, and cloud-init's data source.")
agent = _step("agent", "outcomes.Agent: the guest agent, watched from inside and from the broker.")
boot_times = _step("boot_times", "report.Measured: where the time of the bare boot went.")
network = _step("network", "guest.network.GuestNetwork: routes, MTUs, names and a login at the broker, from inside.")
contents = _step(
    "contents", "matrix.Contents: Trove's files, spoiled in each documented way, in the bare boot's guest."
)
carriers = _step("carriers", "matrix.Columns: what came of booting with the data offered in each other way.")
version = _step("version", "cloud.datastore.Version: the image as a registered datastore version.")
instance = _step("launch", "outcomes.Launch: a Trove instance as it was when it became ACTIVE and HEALTHY.")
database = _step("serving", "outcomes.Serving: SQL over the tenant network, with one row written.")
launch = _step("launch_times", "report.Measured: where the time of the Trove launch went.")
instance_network = _step("instance_network", "guest.network.GuestNetwork: the same in the guest of the Trove instance.")
reach = _step("reach", "networks.Reach: who reaches what of the instance, from every side that there is.")
stopped = _step("stopped", "outcomes.Operation: what came of stopping the database through Trove.")
started = _step("started", "outcomes.Operation: what came of starting it again.")
restarted = _step("restarted", "outcomes.Operation: what came of restarting the database through Trove.")
rebooted = _step("rebooted", "outcomes.Operation: what came of rebooting the server through Trove.")
nova_rebooted = _step("nova_rebooted", "outcomes.Operation: what came of a reboot by Nova, behind Trove's back.")
deleted = _step("deleted", "outcomes.Gone: what is left after the instance was deleted.")


@pytest.fixture
def series(walked: Road, request: pytest.FixtureRequest) -> Series:
    """outcomes.Series: N launches of the image (--launches), in turns with another's, and the judgement."""
    return _reach(lambda: request.config.stash[KEY].series(walked.choice.name))
