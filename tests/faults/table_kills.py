"""kill -9 of the runner's whole process group at every step of the road; `imagecheck gc` follows."""

from __future__ import annotations

from row import Moment, Row
from ways import Kill

_GONE = r"removed [1-9]\d*, left 0"
_ANY = r"removed \d+, left 0"


def _ledger(what: str, after: float = 0.0) -> Moment:
    return Moment("ledger", what, after)


def _step(name: str, after: float = 0.0) -> Moment:
    """When the road begins a step, as the terminal shows it."""
    return Moment("says", rf": {name} \d+ s", after, f"{name} begins")


def _mount(after: float = 0.0) -> Moment:
    return Moment("mount", "/proc ", after, "proc is mounted in it")


KILLS = (
    Row("kill-build", "kill", "the build of an image is killed", "build",
        Kill((Moment("says", "build ", 0.5, "it begins"), _mount(), _mount(4), _mount(8), _mount(12))), "killed", _GONE,
        times=5),
    Row("kill-upload", "kill", "the run is killed while it uploads the image", "upload",
        Kill((_ledger("intend image"), _ledger("made image"), _ledger("made image", 0.3), _ledger("made image", 0.6),
              _ledger("made image", 1))), "killed", _ANY, times=5),
    Row("kill-boot", "kill", "the run is killed while Nova boots its server", "boot",
        Kill((_ledger("intend server"), _ledger("made server"), _ledger("made server", 1), _ledger("made server", 4),
              _ledger("made server", 8))), "killed", _GONE, times=5),
    Row("kill-register", "kill", "the run is killed while it registers the datastore version", "register",
        Kill((_ledger("intend datastore_version"), _ledger("intend datastore_version", 0.01),
              _ledger("intend datastore_version", 0.03), _ledger("intend datastore_version", 0.06),
              _ledger("made datastore_version"))), "killed", _ANY, times=5),
    Row("kill-ledger-lost", "kill", "the run is killed while Nova boots its server, and its ledger is lost", "boot",
        Kill((_ledger("made server"), _ledger("made server", 6))), "killed", _GONE, times=2, lost=True),
    Row("kill-create", "kill", "the run is killed while Trove makes its instance", "create",
        Kill((_ledger("intend instance"), _ledger("made instance", 60))), "killed", _GONE, times=2, patience=600),
    Row("kill-stop", "kill", "the run is killed while Trove stops the database", "stop",
        Kill((_step("stop", 0.5), _step("stop", 8))), "killed", _GONE, times=2, patience=900),
    Row("kill-start", "kill", "the run is killed while Trove starts the database again", "start",
        Kill((_step("start", 0.5), _step("start", 3))), "killed", _GONE, times=2, patience=900),
    Row("kill-delete", "kill", "the run is killed while Trove deletes the instance", "delete",
        Kill((_step("delete", 0.5), _step("delete", 6))), "killed", _ANY, times=2, patience=900),
)  # fmt: skip
