"""The config drive as the guest has it, and which way cloud-init really took its data."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagecheck.guest.ssh import Guest

# One round trip. The drive is mounted read-only in a private mount namespace: nothing of the guest changes.
_SCRIPT = r"""
echo "device=$(readlink -f /dev/disk/by-label/config-2 /dev/disk/by-label/CONFIG-2 2>/dev/null | head -n1)"
echo "cloud_id=$(cat /run/cloud-init/cloud-id 2>/dev/null || cloud-id 2>/dev/null)"
echo "result=$(cat /run/cloud-init/result.json 2>/dev/null | tr -d '\n')"
echo "status=$(cat /run/cloud-init/status.json 2>/dev/null | tr -d '\n')"
unshare -m sh -c '
  d=$(mktemp -d) && { mount -o ro -t iso9660 LABEL=config-2 $d || mount -o ro LABEL=config-2 $d; } 2>/dev/null || exit 0
  echo "user_data=$(base64 -w0 <$d/openstack/latest/user_data 2>/dev/null)"
  echo "meta_data=$(tr -d "\n" <$d/openstack/latest/meta_data.json 2>/dev/null)"
  umount $d; rmdir $d'
"""


@dataclass(frozen=True)
class ConfigDrive:
    """What the guest holds: the drive's device and content, and cloud-init's own account of its data source."""

    device: str
    user_data: str
    instance_uuid: str
    cloud_id: str
    datasource: str  # as cloud-init prints it, e.g. "DataSourceConfigDrive [net,ver=2][source=/dev/sr0]"
    errors: tuple[str, ...]

    @property
    def carried(self) -> bool:
        """True when cloud-init took its data from the drive, and not from the metadata service."""
        return "ConfigDrive" in self.datasource


def read(guest: Guest) -> ConfigDrive:
    """Look at the drive from inside the guest. Fields are empty where there is nothing."""
    told = dict(line.split("=", 1) for line in guest.run(_SCRIPT).stdout.splitlines() if "=" in line)
    result = _json(told.get("result", "")).get("v1") or {}
    status = _json(told.get("status", "")).get("v1") or {}
    errors = result.get("errors") or []
    return ConfigDrive(
        device=told.get("device", ""),
        user_data=base64.b64decode(told.get("user_data", "") or b"").decode("utf-8", "replace"),
        instance_uuid=str(_json(told.get("meta_data", "")).get("uuid") or ""),
        cloud_id=told.get("cloud_id", ""),
        datasource=str(result.get("datasource") or status.get("datasource") or ""),
        errors=tuple(str(error) for error in errors),
    )


def cloud_config(files: Mapping[str, str], owner: str, *, permissions: str = "", extra: Sequence[str] = ()) -> str:
    """User-data that carries ``files`` as Trove's does (trove/instance/models.py, prepare_cloud_config, since 18.0).

    ``owner`` is "user:group". Without ``permissions`` cloud-init's default applies (0644), as under Trove.
    """
    lines = ["#cloud-config", "write_files:"]
    for path, content in files.items():
        coded = base64.b64encode(content.encode()).decode()
        lines += ["- encoding: b64", f"  owner: {owner}", f"  path: {path}", f"  content: {coded}"]
        lines += [f"  permissions: '{permissions}'"] if permissions else []
    return "\n".join([*lines, *extra]) + "\n"


_ENTRY = re.compile(r"^- encoding: b64\n  owner: ([^\n]*)\n  path: ([^\n]*)\n  content: ([^\n]*)$", re.MULTILINE)


def files_of(user_data: str) -> tuple[dict[str, str], str]:
    """The files that a text by `cloud_config` carries, and their owner; no files where it is no such text.

    It comes from a cloud: no YAML is read, only what was written here is taken.
    """
    entries = _ENTRY.findall(user_data)
    try:
        files = {path: base64.b64decode(content, validate=True).decode() for _, path, content in entries}
    except ValueError:
        return {}, ""
    owner = entries[0][0] if entries else ""
    return (files, owner) if cloud_config(files, owner) == user_data else ({}, "")


def guest_info(*, guest_id: str, manager: str, version: str, tenant: str) -> str:
    """A guest_info.conf with the keys of every release since Zed (trove/instance/models.py, get_injected_files)."""
    return (
        "[DEFAULT]\n"
        f"guest_id={guest_id}\n"
        f"datastore_manager={manager}\n"
        f"datastore_version={version}\n"
        f"tenant_id={tenant}\n"
    )


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
