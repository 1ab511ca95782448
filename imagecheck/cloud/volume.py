"""Cinder, where a cloud has it: only to find and remove the volume that Trove made for an instance."""

from __future__ import annotations

from imagecheck.cloud.connection import Cloud, asking

STEP = "volume"


def there(cloud: Cloud) -> bool:
    """Whether the cloud has a Cinder in its catalogue."""
    return bool(cloud.admin.has_service("block-storage"))


def find(cloud: Cloud, name: str) -> list[str]:
    """Ids of the volumes of exactly that name, in all projects; none where there is no Cinder."""
    if not there(cloud):
        return []
    with asking(STEP, "list volumes"):
        listed = cloud.admin.block_storage.volumes(details=False, all_projects=True, name=name)
        return [str(one.id) for one in listed if one.name == name]


def delete(cloud: Cloud, volume_id: str) -> None:
    """Delete; Missing when it is gone already."""
    with asking(STEP, "delete the volume"):
        cloud.admin.block_storage.delete_volume(volume_id, ignore_missing=False)
