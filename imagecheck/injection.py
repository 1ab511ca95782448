"""The injection matrix: what Trove's files may look like when they reach a guest, by which way, and what then happens.

Pure: contents, what the documentation says of each, and the judgement of what was seen. Since Zed all files travel as
user-data (trove/taskmanager/models.py _create_server); config drive and metadata service are the two ways of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from imagecheck.guest.config_drive import cloud_config
from imagecheck.redact import redact

Carrier = Literal["config drive", "metadata service", "both", "neither"]
CARRIERS: Final[tuple[Carrier, ...]] = ("config drive", "metadata service", "both", "neither")
# cloud-init's data sources that read Nova's metadata service (cloudinit/sources: DataSourceOpenStack, DataSourceEc2).
_BY_METADATA = frozenset({"OpenStack", "Ec2"})
TOO_LONG = 65535  # base64 characters of user-data (nova/api/openstack/compute/schemas/servers.py, maxLength)
NOBODY = "imagecheck-nobody"  # a user that no image has


@dataclass(frozen=True)
class Content:
    """One way the files may look, and what the documentation says that the agent does with it.

    ``says`` are the documented messages, as they stand in the agent's or cloud-init's words; ``cause`` is the row of
    imagecheck/causes that has to name it. ``disk`` tells that the agent gets far enough to prepare the data disk.
    """

    name: str
    what: str
    starts: bool
    source: str
    says: tuple[str, ...] = ()
    cause: str = ""
    disk: bool = False


_PARSE = "oslo.config, cfg.py ConfigFileParseError"
_MAIN = "trove/cmd/guest.py main"
NO_MANAGER = "Manager class not registered for datastore manager None"

CONTENTS: Final[tuple[Content, ...]] = (
    Content("good", "both files as Trove writes them", True, _MAIN, disk=True),
    Content("missing", "no guest_info.conf", False, _MAIN, (NO_MANAGER,), "agent-no-guest-info"),
    Content("nothing", "neither file", False, _MAIN, (NO_MANAGER,), "agent-no-guest-info"),
    Content("malformed", "guest_info.conf without a section", False, _PARSE,
            ("Section must be started before assignment",), "config-malformed"),
    Content("malformed-user-data", "user-data that is no YAML", False, "cloudinit/util.py load_yaml",
            ("Failed loading yaml blob", NO_MANAGER), "user-data-yaml"),
    Content("truncated", "guest_info.conf cut off within a line", False, _PARSE, ("No ':' or '=' found in assignment",),
            "config-malformed"),
    Content("no-guest-id", "guest_info.conf without guest_id", False, _MAIN,
            ("The guest_id parameter is not set. guest_info.conf was not injected into the guest or not read",),
            "agent-no-guest-id"),
    Content("wrong-manager", "a datastore_manager that there is not", False, _MAIN,
            ("Manager class not registered for datastore manager imagecheck",), "agent-unknown-manager"),
    # iniparser strips each line's end: a carriage return is none of its business.
    Content("crlf", "both files with CRLF line ends", True, "oslo.config, iniparser.py BaseParser.parse", disk=True),
    # cloud-init stops at the first file: the agent has its id, prepares the disk, and only then misses its broker.
    Content("owner", "an owner that is not in the image", False, "cloudinit/util.py chownbyname; Trove story 2010021",
            (f"name not found: '{NOBODY}'",), "owner-missing", disk=True),
    Content("mode", "root's, mode 0600", False, "oslo.config, cfg.py ConfigFilesPermissionDeniedError",
            ("Failed to open some config files",), "config-unreadable"),
    Content("over-long", f"user-data of more than {TOO_LONG} characters", False,
            "nova/api/openstack/compute/schemas/servers.py, maxLength", ("is too long",), "user-data-too-long"),
)  # fmt: skip
FILES_WAY: Final = "by Nova's `files`"  # a row of its own: no content, another way
BY_NAME: Final = {one.name: one for one in CONTENTS}
IN_GUEST: Final = tuple(one.name for one in CONTENTS if one.name not in ("good", "over-long"))


@dataclass(frozen=True)
class Files:
    """Two files as Trove sends them, and to whom they shall belong ("user:group")."""

    info_path: str
    info: str
    config_path: str
    config: str
    owner: str


def user_data(content: str, files: Files) -> str | None:
    """The user-data that brings ``files`` into the guest spoiled as ``content`` says; None for nothing at all."""
    both = {files.info_path: files.info, files.config_path: files.config}
    match content:
        case "good":
            return cloud_config(both, files.owner)
        case "nothing":
            return None
        case "missing":
            return cloud_config({files.config_path: files.config}, files.owner)
        case "malformed":
            return cloud_config(both | {files.info_path: files.info.replace("[DEFAULT]\n", "")}, files.owner)
        case "malformed-user-data":
            # An operator's <manager>.cloudinit put behind Trove's part, with a bracket too few (Trove story 2011309).
            return cloud_config(both, files.owner, extra=["runcmd: [unclosed", "}: {"])
        case "truncated":
            cut = files.info.index("datastore_manager") + len("datastore_man")
            return cloud_config(both | {files.info_path: files.info[:cut]}, files.owner)
        case "no-guest-id":
            return cloud_config(both | {files.info_path: _without("guest_id", files.info)}, files.owner)
        case "wrong-manager":
            wrong = _without("datastore_manager", files.info) + "datastore_manager=imagecheck\n"
            return cloud_config(both | {files.info_path: wrong}, files.owner)
        case "crlf":
            return cloud_config({path: text.replace("\n", "\r\n") for path, text in both.items()}, files.owner)
        case "owner":
            return cloud_config(both, f"{NOBODY}:{NOBODY}")
        case "mode":
            return cloud_config(both, "root:root", permissions="0600")
        case "over-long":
            # Nothing of the real configuration: Nova shows what it refuses, in base64 that no redaction sees through.
            # Little more than the limit: larger bodies than 112 KiB are cut off by oslo.middleware before Nova looks.
            return cloud_config({files.info_path: files.info, files.config_path: "#" * 40_000}, files.owner)
    raise KeyError(content)


def _without(key: str, text: str) -> str:
    return re.sub(rf"(?m)^{key}=.*\n", "", text)


@dataclass(frozen=True)
class Seen:
    """What became of one delivery. ``None`` is "not looked at".

    ``starts``: the broker counted a consumer on the agent's queue. ``says``: all documented messages were found;
    ``line`` is the deepest cause's, or the last words that look like an error. ``written``: sectors of the data disk;
    ``mounted``: the data disk.
    """

    starts: bool
    says: bool = False
    line: str = ""
    causes: tuple[str, ...] = ()
    written: int | None = None
    mounted: bool | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One field of the matrix: ``how`` it was seen, and what is not as documented (empty: all is)."""

    carrier: Carrier
    content: str
    outcome: str
    how: str
    wrong: tuple[str, ...] = ()


def wrong(content: Content, seen: Seen) -> tuple[str, ...]:
    """What of ``seen`` is not as ``content`` is documented, a sentence each."""
    found = []
    if content.starts and not seen.starts:
        found.append(f"the agent did not consume from its queue ({seen.line or 'it said nothing'})")
    if not content.starts and seen.starts:
        found.append(f"the agent consumes from its queue, with {content.what}")
    if content.says and not seen.says:
        wanted = " and ".join(repr(one) for one in content.says)
        found.append(f"nothing says {wanted} ({content.source}); last: {seen.line or 'nothing'}")
    if content.cause and content.cause not in seen.causes:
        found.append(f"the cause {content.cause!r} is not found, but {', '.join(seen.causes) or 'none'}")
    if not content.disk and (seen.mounted or seen.written):
        state = "mounted" if seen.mounted else "not mounted"
        found.append(f"the agent wrote {seen.written} sectors of the data disk ({state}) before it failed")
    return tuple(found)


def outcome(content: Content, seen: Seen) -> str:
    """The field's words: what the agent did."""
    if seen.starts:
        return "starts"
    if seen.says:
        return f"fails: {content.cause}"
    return "fails, and does not say why"


def carries(carrier: Carrier, datasources: Sequence[str], metadata: bool) -> bool:
    """Does user-data reach the guest this way? By the image's datasource_list and the cloud's metadata service.

    An empty ``datasources`` is cloud-init's own list, which has all of them.
    """
    listed = set(datasources)
    by_drive = not listed or "ConfigDrive" in listed
    by_metadata = metadata and (not listed or bool(listed & _BY_METADATA))
    return {
        "config drive": by_drive,
        "metadata service": by_metadata,
        "both": by_drive or by_metadata,
        "neither": False,
    }[carrier]


def arrived(carrier: Carrier, expected: bool, seen: Seen, *, source: bool = False) -> tuple[str, ...]:
    """What is not as it must be when good files were given to ``carrier``: ``expected`` to arrive, or not to.

    ``source``: cloud-init has a data source all the same, which brings no user-data; else it has to say so.
    """
    if expected and not seen.starts:
        return (f"the {carrier} brings the files, and the agent does not start: {seen.line or 'it said nothing'}",)
    if not expected and seen.starts:
        return (f"the agent starts though nothing was to reach it by {carrier}",)
    if not (expected or source or seen.says):
        return (f"the console does not say that cloud-init found no data source; last: {seen.line or 'nothing'}",)
    return ()


def grid(cells: Iterable[Cell]) -> dict[str, dict[str, str]]:
    """content -> carrier -> words; what was not seen is "-", what holds for a whole column stands in every row."""
    table: dict[str, dict[str, str]] = {}
    found = {(one.carrier, one.content): one for one in cells}
    for name in BY_NAME:
        row: dict[str, str] = {}
        for carrier in CARRIERS:
            one = found.get((carrier, name)) or found.get((carrier, "*"))
            row[carrier] = "-" if one is None else ("WRONG: " if one.wrong else "") + one.outcome
        table[name] = row
    for carrier, content in found:  # Nova's `files`
        if content not in BY_NAME and content != "*":
            row = table.setdefault(content, dict.fromkeys(CARRIERS, "-"))
            row[carrier] = found[carrier, content].outcome
    return table


def table_lines(cells: Sequence[Cell]) -> list[str]:
    """The matrix for a terminal: contents down, carriers across; nothing when no field was looked at."""
    if not cells:
        return []
    rows = grid(cells)
    columns = [("files", list(rows))] + [(carrier, [row[carrier] for row in rows.values()]) for carrier in CARRIERS]
    widths = [max(len(head), *(len(text) for text in texts)) for head, texts in columns]
    lines = ["  ".join(head.ljust(width) for (head, _), width in zip(columns, widths, strict=True)).rstrip()]
    for number in range(len(rows)):
        words = [texts[number].ljust(width) for (_, texts), width in zip(columns, widths, strict=True)]
        lines.append("  ".join(words).rstrip())
    return ["injection matrix", *(f"  {line}" for line in lines)]


def as_json(cells: Iterable[Cell]) -> list[Mapping[str, object]]:
    """The fields that were looked at, for report.json."""
    return [
        {
            "carrier": one.carrier,
            "content": one.content,
            "outcome": redact(one.outcome),
            "how": one.how,
            "wrong": [redact(text) for text in one.wrong],
        }
        for one in cells
    ]
