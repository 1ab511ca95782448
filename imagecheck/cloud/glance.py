"""Glance: an image file becomes an image that Nova and Trove's service project may boot; and the other way round."""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

from imagecheck import download as downloads
from imagecheck import progress, waits
from imagecheck.cloud.connection import Cloud, Hiccup, Missing, asking
from imagecheck.cloud.ledger import Ledger
from imagecheck.cloud.marks import TAG
from imagecheck.cloud.retry import once
from imagecheck.errors import StepFailed, UsageError
from imagecheck.imagefile import ImageFile

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
STEP = "Glance image"
UPLOAD_TIMEOUT = 1800  # seconds for the answer after the last byte: some stores copy or hash then
# Trove's servers live in its service project: a private image of ours could not be booted there. "community"
# is readable by its id and in nobody's default list (Glance API v2, image visibility).
VISIBILITY = "community"
LISTED = 1000  # images that a list is read to: enough to guess at a misspelt name
PATIENCE = 60.0  # seconds for questions that a busy Glance does not answer at once
_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
# os_hash_algo is any name that the operator gave to hashlib; these give a digest of a fixed length.
_HASHES = ("sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s", "sha1", "md5")
# Image status (Glance API v2) -> what to do about it.
_STATES = {
    "queued": "upload its data first",
    "saving": "wait for its upload to end",
    "uploading": "wait for its upload to end",
    "importing": "wait for its import to end",
    "deactivated": "reactivate it (openstack image set --activate)",
}


@dataclass(frozen=True)
class GlanceImage:
    """An image in Glance; ``seconds`` is what the upload took."""

    id: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Found:
    """An image that is in Glance already: ``size`` in bytes, ``algorithm`` and ``digest`` "" where Glance has none."""

    id: str
    name: str
    format: Literal["qcow2", "raw"]
    size: int
    algorithm: str
    digest: str

    @property
    def shown(self) -> str:
        """For people: name and id."""
        return f"Glance image {self.name!r} ({self.id})" if self.name else f"Glance image {self.id}"


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
        **ledger.marks(),
    }
    entry = ledger.intend("image", name)
    began = time.monotonic()

    def make() -> str:
        with asking(STEP, "create an image"):
            return str(cloud.admin.image.post("/images", json=body, raise_exc=True).json()["id"])

    image_id = once(cloud.tally, "glance", make, lambda: next(iter(find(cloud, name)), None))
    entry = ledger.made(entry, image_id)

    def send() -> Mapping[str, Any]:
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
        return {}

    def arrived() -> Mapping[str, Any] | None:
        # Glance puts an image back to "queued" when its data did not arrive whole (glance/api/v2/image_data.py).
        seen = show(cloud, image_id)
        return None if seen["status"] in ("queued", "saving") else seen

    once(cloud.tally, "glance", send, arrived)

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


def mark(cloud: Cloud, image_id: str, key: str, value: str) -> None:
    """Set one property that the image has (Glance API v2, JSON patch)."""
    with asking(STEP, "set the image's property"):
        cloud.admin.image.patch(
            f"/images/{image_id}",
            json=[{"op": "replace", "path": f"/{key}", "value": value}],
            headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
            raise_exc=True,
        )


# ---- an image that is there already


def look_up(cloud: Cloud, text: str) -> Found:
    """The image with the id ``text``, else that name; with "tag:NAME", the only one with that tag.

    "glance:" before it is allowed. Raises UsageError: none (with similar names), several (with their ids and dates),
    not active, neither qcow2 nor raw.
    """
    text = text.strip().removeprefix("glance:").strip()
    if text.startswith("tag:"):
        tag = text.removeprefix("tag:")
        tagged = [image for image in _list(cloud, {"tag": tag}) if tag in image.get("tags", ())]
        return described(choose(text, tagged, lambda: sorted({t for i in _list(cloud, {}) for t in i.get("tags", ())})))
    if _ID.fullmatch(text):
        try:
            return described(_patiently(lambda: show(cloud, text.lower())))
        except Missing:
            pass  # a name may look like an id
    # Glance reads operators ("in:a,b") in a name filter: only equal names count.
    same = [image for image in _list(cloud, {"name": text}) if image.get("name") == text]
    return described(choose(text, same, lambda: [str(image.get("name") or "") for image in _list(cloud, {})]))


def choose(text: str, images: Sequence[Mapping[str, Any]], others: Callable[[], Sequence[str]]) -> Mapping[str, Any]:
    """The one of ``images`` that ``text`` means: the only active one, or the only one at all. Pure.

    ``others`` gives the names (or tags) that exist, to guess at a misspelt one. Raises UsageError.
    """
    active = [image for image in images if image.get("status") == "active"]
    candidates = active or images
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        prefix = "tag:" if text.startswith("tag:") else ""
        near = difflib.get_close_matches(text.removeprefix("tag:"), [name for name in others() if name], n=3)
        hint = (
            f"did you mean {' or '.join(repr(prefix + name) for name in near)}?"
            if near
            else "see: openstack image list"
        )
        raise UsageError(f"source glance:{text}: Glance has no such image that this login may see: {hint}")
    newest = sorted(candidates, key=lambda image: str(image.get("created_at")), reverse=True)
    listed = ", ".join(
        f"{image['id']} (of {image.get('created_at')}, {image.get('visibility')})" for image in newest[:8]
    )
    more = f" and {len(newest) - 8} more" if len(newest) > 8 else ""
    raise UsageError(
        f"source glance:{text} means {len(newest)} images: {listed}{more}: give glance: and one of the ids"
    )


def described(image: Mapping[str, Any]) -> Found:
    """What matters of an image as Glance shows it. Pure; UsageError where it cannot be checked."""
    name, status, format_ = str(image.get("name") or ""), str(image.get("status")), image.get("disk_format")
    who = f"source glance:{image['id']} ({name or 'no name'})"
    if status != "active":
        raise UsageError(f"{who} is {status}, not active: {_STATES.get(status, 'choose another image')}")
    if format_ != "qcow2" and format_ != "raw":
        raise UsageError(
            f"{who} has the disk format {format_}, not qcow2 or raw: convert it with 'qemu-img convert -O qcow2' and "
            "upload that"
        )
    algorithm, digest = str(image.get("os_hash_algo") or ""), str(image.get("os_hash_value") or "")
    if not digest or algorithm not in _HASHES:
        digest = str(image.get("checksum") or "")
        algorithm = "md5" if digest else ""
    return Found(str(image["id"]), name, format_, int(image.get("size") or 0), algorithm, digest.lower())


def download(cloud: Cloud, found: Found, cache: Path, sha256: str = "", *, deadline: float | None = None) -> ImageFile:
    """The image as a file below ``cache``: resumed, verified against Glance's digest (and ``sha256``), kept by it.
    ``deadline`` in seconds.

    Raises UsageError (another digest or format than Glance says, not allowed) and StepFailed (network, room).
    """
    algorithm, digest = (found.algorithm, found.digest) if found.digest else ("sha256", sha256)
    if not digest:
        raise UsageError(f"{found.shown} has no digest in Glance: give its sha256, downloads are verified")

    def ask(headers: Mapping[str, str]) -> requests.Response:
        try:
            with asking(STEP, "send the image's data"):
                answer: requests.Response = cloud.admin.image.get(
                    f"/images/{found.id}/file", headers=dict(headers), stream=True, raise_exc=False
                )
                return answer
        except Hiccup as error:
            raise downloads.Transient(str(error)) from error

    file = downloads.take(downloads.Wanted(found.shown, algorithm, digest, ask), cache, deadline)
    if file.format != found.format:
        raise UsageError(
            f"{found.shown} is {file.format} inside, but Glance calls it {found.format}, so no server can boot it: "
            "upload it with its real disk format"
        )
    return downloads.held_to(file, sha256, found.shown)


def every(cloud: Cloud) -> list[Mapping[str, Any]]:
    """All images that this login may see, as Glance shows them, however many there are."""
    return _list(cloud, {}, limit=sys.maxsize)


def _list(cloud: Cloud, filters: Mapping[str, str], limit: int = LISTED) -> list[Mapping[str, Any]]:
    """All images that this login may see, also other projects' if it is an admin's; at most about ``limit``."""
    found: list[Mapping[str, Any]] = []
    query: dict[str, str] = {"visibility": "all", "limit": "200", **filters}

    def page() -> Mapping[str, Any]:
        with asking(STEP, "list images"):
            answer: Mapping[str, Any] = cloud.admin.image.get("/images", params=query, raise_exc=True).json()
            return answer

    while len(found) < limit:
        answer = _patiently(page)
        found += answer["images"]
        if not answer.get("next") or not answer["images"]:
            break
        query["marker"] = str(answer["images"][-1]["id"])
    return found


def _patiently(ask: Callable[[], T]) -> T:
    return waits.until(
        lambda: waits.Ready(ask()),
        reason="Glance to answer",
        deadline=PATIENCE,
        interval=2,
        transient=(Hiccup,),
        step=STEP,
    ).value


class _Body:
    """A file that says how far it was read. ``__len__`` lets requests send a Content-Length; it is asked for once per
    request, so that a second one (keystoneauth's, after a 401) has the whole file again."""

    def __init__(self, raw: IO[bytes], size: int, shown: progress.Phase) -> None:
        self._raw, self._size, self._shown, self._sent = raw, size, shown, 0

    def __len__(self) -> int:
        self._raw.seek(0)
        self._sent = 0
        return self._size

    def read(self, amount: int = -1) -> bytes:
        # http.client reads 8 KiB at a time; a larger piece saves half of the time on a fast link.
        piece = self._raw.read(max(amount, 2**20) if amount >= 0 else -1)
        self._sent += len(piece)
        self._shown.update(f"{100 * self._sent // max(self._size, 1)} %")
        return piece
