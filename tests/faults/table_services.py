"""Services of the cloud killed under a run, its quota taken away, and no room left on this host."""

from __future__ import annotations

from row import Moment, Row
from ways import Deleted, Full, Power, Quota, Service

_LOGIN = Moment("says", r": cloud \d+ s", 0, "it logs in")
_ASKED = Moment("ledger", "made datastore_version", 20)
_IMAGE, _SERVER = Moment("ledger", "made image"), Moment("ledger", "made server", 1)

SERVICES = (
    Row("quota", "service", "the quota of servers is used up before the server is asked for", "boot",
        Quota((_IMAGE,)), "cloud", "[Qq]uota"),
    Row("service-rabbitmq", "service", "RabbitMQ is killed before the server is asked for, for 15 s", "boot",
        Service("rabbitmq-server", (_LOGIN,), down=15), "passed", ""),
    Row("service-mariadb", "service", "MariaDB is killed before anything is made, for 15 s", "boot",
        Service("mariadb", (_LOGIN,), down=15), "refused", "cannot be reached"),
    Row("service-mariadb-works", "service", "MariaDB is killed while Nova boots the server, for 15 s", "boot",
        Service("mariadb", (_SERVER,), down=15), "cloud", r"stays at BUILD|ERROR"),
    Row("image-deleted", "service", "somebody deletes the image while it is used", "boot",
        Deleted((_IMAGE,)), "cloud", "it was not this run that removed it|does not find the image"),
    Row("service-nova-compute", "service", "nova-compute is killed while it boots the server, for 15 s", "boot",
        Service("nova-compute", (_SERVER,), down=15), "cloud", "ERROR"),
    Row("service-taskmanager", "service", "trove-taskmanager is killed before the instance is asked for, for 40 s",
        "create", Service("trove-taskmanager", (_IMAGE,), down=40), "passed", "", patience=900),
    Row("service-taskmanager-works", "service", "trove-taskmanager is killed while it works on the instance, for 20 s",
        "create", Service("trove-taskmanager", (_ASKED,), down=20), "again", "stays at BUILD", patience=1200),
    Row("service-sandbox", "service", "the whole sandbox is killed while it boots the server", "boot",
        Power((_SERVER,)), "cloud", "could not|cannot", patience=600),
    Row("full-ledger", "service", "no room for the ledger", "boot",
        Full("home", "1m", (_LOGIN,)), "harness", "cannot be written.*no .* that could be lost"),
    Row("full-report", "service", "no room for the report", "boot",
        Full("report", "1m", (_IMAGE,)), "failed", r"report.json: cannot be written \(No space left on device\)"),
    Row("full-build", "service", "no room for the image that is built", "build",
        Full("home/images", "200m", (Moment("begin"),)), "failed",
        "have enough free space.*free room below IMAGECHECK_HOME"),
)  # fmt: skip
