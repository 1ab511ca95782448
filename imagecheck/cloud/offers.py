"""Servers offered their data otherwise than by Trove: without a drive, without data, by Nova's old `files`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imagecheck.cloud import nova
from imagecheck.cloud.connection import Cloud, asking
from imagecheck.cloud.ledger import Ledger
from imagecheck.cloud.marks import TAG
from imagecheck.cloud.nova import STEP
from imagecheck.cloud.retry import once

# The last microversion whose servers take `personality` (nova/api/openstack/rest_api_version_history.rst, 2.57).
WITH_FILES = "2.56"
SHOWN = 200  # characters of a refusal


@dataclass(frozen=True)
class Offer:
    """What a server is given. ``files`` (path -> text) travel as `personality`, which Nova calls deprecated."""

    config_drive: bool
    user_data: str = field(default="", repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Refused:
    """Nova did not take the offer: the HTTP status, and its words without the data they repeat."""

    status: int
    said: str


def boot(
    cloud: Cloud,
    ledger: Ledger,
    offer: Offer,
    *,
    name: str,
    run: str,
    image: str,
    flavor: str,
    networks: Sequence[str],
    group: str,
    keypair: str,
) -> nova.Server | Refused:
    """Ask for a server that is given ``offer``; a refusal (400, 413) is told, not raised.

    The microversion is the last one that has `files`, so that all offers are asked for alike.
    """
    body: dict[str, object] = {
        "name": name,
        "imageRef": image,
        "flavorRef": flavor,
        "networks": [{"uuid": one} for one in networks],
        "security_groups": [{"name": group}],
        "key_name": keypair,
        "config_drive": offer.config_drive,
        "metadata": {TAG: run} | ledger.marks(),
    }
    if offer.user_data:
        body["user_data"] = _coded(offer.user_data)
    if offer.files:
        body["personality"] = [{"path": path, "contents": _coded(text)} for path, text in offer.files.items()]
    entry = ledger.intend("server", name)

    def make() -> str | Refused:
        from openstack.exceptions import raise_from_response

        with asking(STEP, "create a server"):
            answer = cloud.admin.compute.post("/servers", json={"server": body}, microversion=WITH_FILES)
            if answer.status_code in (400, 413):
                return Refused(answer.status_code, refusal(answer.text))
            raise_from_response(answer)
        return str(answer.json()["server"]["id"])

    def there() -> str | None:
        return next((one.id for one in nova.find(cloud, name) if one.metadata.get(TAG) == run), None)

    made = once(cloud.tally, "nova", make, there)
    if isinstance(made, Refused):
        ledger.removed(entry)
        return made
    ledger.made(entry, made)
    return nova.show(cloud, made)


def refusal(text: str) -> str:
    """Nova's words, without the value that it repeats: that holds what was to be injected, in base64."""
    try:
        table = json.loads(text)
        words = next(str(one["message"]) for one in table.values() if isinstance(one, dict) and "message" in one)
    except (ValueError, StopIteration, AttributeError):
        words = text
    return re.sub(r"\S{80,}", "…", words)[:SHOWN]


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
