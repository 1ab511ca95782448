"""Glance: an image file becomes an image that Nova and Trove's service project may boot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from imagecheck import progress, waits
from imagecheck.cloud.connection import Cloud, Hiccup, asking
from imagecheck.cloud.ledger import TAG, Ledger
from imagecheck.errors import StepFailed
from imagecheck.imagefile import ImageFile

STEP = "Glance image"
UPLOAD_TIMEOUT = 1800  # seconds for the answer after the last byte: some stores copy or hash then
# Trove's servers live in its service project: a private image of ours could not be booted there. "community"
# is readable by its id and in nobody's default list (Glance API v2, image visibility).
VISIBILITY = "community"


@dataclass(frozen=True)
class GlanceImage:
    """An image in Glance; ``seconds`` is what the upload took."""

    id: str
    name: str
    seconds: float


def upload(cloud: Cloud, ledger: Ledger, file: ImageFile, *, name: str, run: str) -> GlanceImage:
    """Upload ``file`` and wait until Glance calls it active. Raises StepFailed."""
    body = {
        "name": name,
        "disk_format": file.format,
        "container_format": "bare",
        "visibility": VISIBILITY,
        "tags": [TAG, run],
        "min_disk": 0,
        f"{TAG}_run": run,
        f"{TAG}_sha256": file.sha256,
    }
    entry = ledger.intend("image", name)
    began = time.monotonic()
    with asking(STEP, "create an image"):
        image_id = str(cloud.admin.image.post("/images", json=body, raise_exc=True).json()["id"])
    entry = ledger.made(entry, image_id)
    with (
        progress.phase(f"upload {file.size / 2**20:.0f} MiB to Glance", quiet=True) as shown,
        file.path.open("rb") as raw,
        asking(STEP, "take the image's data"),
    ):
        cloud.admin.image.put(
            f"/images/{image_id}/file",
            data=_Body(raw, file.size, shown),
            headers={"Content-Type": "application/octet-stream"},
            timeout=UPLOAD_TIMEOUT,
            raise_exc=True,
        )

    def active() -> waits.Ready[Mapping[str, Any]] | waits.NotYet:
        seen = show(cloud, image_id)
        if seen["status"] == "active":
            return waits.Ready(seen)
        if seen["status"] in ("killed", "deleted"):
            raise StepFailed(STEP, f"Glance gave the image the status {seen['status']}")
        return waits.NotYet(f"status {seen['status']}")

    seen = waits.until(
        active, reason="Glance to call the image active", deadline=300, interval=1, transient=(Hiccup,), step=STEP
    ).value
    if int(seen["size"] or 0) != file.size:
        raise StepFailed(STEP, f"Glance holds {seen['size']} bytes of the {file.size} that were sent")
    return GlanceImage(image_id, name, time.monotonic() - began)


def show(cloud: Cloud, image_id: str) -> Mapping[str, Any]:
    """The image as Glance shows it; Missing when there is none."""
    with asking(STEP, "show the image"):
        found: Mapping[str, Any] = cloud.admin.image.get(f"/images/{image_id}", raise_exc=True).json()
        return found


def find(cloud: Cloud, name: str) -> list[str]:
    """Ids of all images of that name."""
    with asking(STEP, "list images"):
        answer = cloud.admin.image.get("/images", params={"name": name, "visibility": "all"}, raise_exc=True).json()
        return [str(image["id"]) for image in answer["images"]]


def delete(cloud: Cloud, image_id: str) -> None:
    """Delete; Missing when it is gone already."""
    with asking(STEP, "delete the image"):
        cloud.admin.image.delete(f"/images/{image_id}", raise_exc=True)


class _Body:
    """A file that says how far it was read. ``__len__`` lets requests send a Content-Length."""

    def __init__(self, raw: IO[bytes], size: int, shown: progress.Phase) -> None:
        self._raw, self._size, self._shown, self._sent = raw, size, shown, 0

    def __len__(self) -> int:
        return self._size

    def read(self, amount: int = -1) -> bytes:
        # http.client reads 8 KiB at a time; a larger piece saves half of the time on a fast link.
        piece = self._raw.read(max(amount, 2**20) if amount >= 0 else -1)
        self._sent += len(piece)
        self._shown.update(f"{100 * self._sent // max(self._size, 1)} %")
        return piece
