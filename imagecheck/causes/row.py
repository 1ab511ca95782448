"""What a row of the table of causes is, and the facts that its conditions look at. Data types only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["disk", "boot", "service"]
Fault = Literal["image", "cloud", "network", "harness"]
Confidence = Literal["certain", "likely"]
# Where a text comes from. "journal" is the guest's journal or one unit's part of it, "agent" the agent's own log,
# "container" the database container's log, "nova" and "trove" what these say in a fault or refuse a request with.
Place = Literal["console", "journal", "agent", "cloud-init", "docker", "container", "nova", "trove", "build"]
PLACES: tuple[Place, ...] = (
    "console", "journal", "agent", "cloud-init", "docker", "container", "nova", "trove", "build",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What was found out otherwise than by reading; None (and "") is "not looked at" and never counts as evidence.

    Seconds everywhere. ``dials`` and ``logins`` go from broker ("host:port") to what was said instead of yes;
    "" is yes.
    """

    # the broker, from inside the guest and from its own side
    dials: Mapping[str, str] = field(default_factory=dict)
    logins: Mapping[str, str] = field(default_factory=dict)
    queue: bool | None = None
    consumers: int | None = None
    exchanges: tuple[str, str] | None = None  # control_exchange of the guest and of the cloud
    # the agent, as systemd tells it
    agent_loaded: bool | None = None
    agent_enabled: bool | None = None
    agent_active: str = ""  # ActiveState
    agent_result: str = ""  # Result
    agent_restarts: int | None = None  # NRestarts
    agent_up: float | None = None  # since its last start
    agent_release: str = ""
    cloud_release: str = ""  # of Trove in the cloud
    # files and stages in the guest
    guest_info: bool | None = None
    guest_config: bool | None = None
    guest_id_fits: bool | None = None
    cloud_init: str = ""  # "done", "running", "error", "disabled", "not run"
    datasource: str = ""
    prepare_started: bool | None = None
    prepare_ended: bool | None = None
    prepare_for: float | None = None  # since prepare began, while it has not ended
    # machine and network of the guest
    clock_offset: float | None = None  # guest minus harness
    default_routes: int | None = None
    free: int | None = None  # bytes left on the root file system
    data_mounted: bool | None = None  # is the data directory on the device that Trove gave?
    # docker
    docker_active: str = ""  # ActiveState of docker.service
    container: str = ""  # State.Status of "database"
    container_exit: int | None = None
    container_oom: bool | None = None
    container_restarts: int | None = None  # by its restart policy, since it was started
    container_up: float | None = None  # since its last start, while it runs
    images: tuple[str, ...] | None = None  # tags in docker's store
    wanted_image: str = ""
    # Nova and Trove
    server_status: str = ""
    power: str = ""  # of the machine, by its hypervisor, where that is not running though Nova still says ACTIVE
    status: str = ""
    operating_status: str = ""
    told: str = ""  # the agent's last word to Trove: "new", "building", "healthy", ...
    heartbeat_age: float | None = None
    rebooted: bool | None = None
    console_bytes: int | None = None
    up: float | None = None  # since Nova called the server ACTIVE


Condition = Callable[[Facts], str]  # what it rests on in a few words; "" when it does not hold


@dataclass(frozen=True)
class Row:
    """evidence -> cause -> remedy -> source.

    The evidence is a line that ``pattern`` is found in, in one of ``places``, or facts that ``holds`` says yes to.
    Named groups of the pattern fill ``sentence`` and ``remedy``. A line that holds one of ``cleared`` in the same place
    takes back what was seen before it; facts that ``unless`` says yes to take the row out altogether.

    ``rank``: of several causes that show, the one with the greatest rank is told (10 a symptom, 20 where it stopped,
    30 a program's own words, 40 why the program says so, 50 and more what lies beneath it all).
    A ``fatal`` row ends a wait once it was seen ``times`` times with ``grace`` seconds between the first and the last;
    a prompt (a line without an end) and facts must stay as they are for ``grace`` seconds.
    ``retry`` says that the same again may pass; only for faults of the cloud.
    ``proven`` turns True when the fixture is an excerpt of a boot that really went this way. A pattern that is not
    names a cause that is likely at most, and ends no wait: what it stands for was read in the source alone.
    """

    id: str
    stage: Stage
    fault: Fault
    rank: int
    sentence: str
    remedy: str
    source: str
    places: tuple[Place, ...] = ()
    keys: tuple[str, ...] = ()  # every line that matches holds one of these, as it stands
    pattern: str = ""
    holds: Condition | None = None
    cleared: tuple[str, ...] = ()
    unless: Condition | None = None
    prompt: bool = False
    confidence: Confidence = "likely"
    fatal: bool = False
    times: int = 1
    grace: float = 0.0
    retry: bool = False
    known: tuple[int, ...] = ()  # numbers of Trove's twenty known launch failures (docs/causes.md)
    proven: bool = False
