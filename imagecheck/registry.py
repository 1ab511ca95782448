"""A container image from an archive into a plain-http registry, where a mirror of Docker Hub would have it.

Images whose database is pulled at launch ask a mirror; what they are to find there is put there before the launch.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import lzma
import re
import tarfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

from imagecheck import hostcmd, hostpackages, progress
from imagecheck.errors import StepFailed, UsageError
from imagecheck.hostpackages import HostPackage
from imagecheck.redact import redact

PACKAGES = (HostPackage("skopeo", "skopeo", "pushes a container image into a registry"),)
DEADLINE = 900.0  # seconds for a push; a 126 MiB archive took 1.6 s on two cores, compression included
_STEP = "registry"
_ANSWER = 10.0  # seconds for one answer of the registry
_LARGEST = 4 << 20  # bytes of a manifest or configuration: what Docker's own registry takes
# Docker's own format and OCI's (distribution's manifest-v2-2.md; OCI image-spec), single images before lists
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
# distribution's reference grammar, one component of a path and a tag
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# what reading an archive of something else ends in
_NO_ARCHIVE = (
    tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, LookupError, ValueError, TypeError, AttributeError,
    RecursionError, OverflowError,
)  # fmt: skip
_HUB = ("docker.io", "index.docker.io")


@dataclass(frozen=True)
class Published:
    """What the registry has now. ``digest`` is the image's ID, as ``docker image inspect`` shows it in a guest."""

    reference: str  # "host:port/library/mariadb:11.8"
    digest: str  # of the image's configuration: "sha256:…"
    size: int  # bytes that a guest pulls: the compressed layers
    pushed: bool  # False: it was there already


@dataclass(frozen=True)
class _Archived:
    """One image in a docker-archive: its place in it and the digest of its configuration."""

    index: int
    digest: str


@dataclass(frozen=True)
class _Found:
    """What a registry has under a name: the digest of its configuration, the bytes of its layers."""

    digest: str = ""
    size: int = 0


def publish(archive: Path, tag: str, registry: str, *, yes: bool = False, deadline: float = DEADLINE) -> Published:
    """Put the image in ``archive`` (as ``docker save`` writes it) into ``registry`` (host:port) as ``tag``.

    ``mariadb:11.8`` becomes ``library/mariadb:11.8``, Docker Hub's own path of official images. Nothing is pushed
    when that image is there already. ``deadline`` in seconds; ``yes`` installs skopeo where it is missing. Raises
    UsageError (tag, archive, skopeo missing) and StepFailed (the registry does not answer, the push fails).
    """
    repository, version = path_of(tag)
    image = _archived(archive, tag)
    reference = f"{registry}/{repository}:{version}"
    there = _found(registry, tag)
    if there.digest == image.digest:
        progress.note(f"{reference} is in the registry already")
        return Published(reference, image.digest, there.size, pushed=False)
    hostpackages.ensure(PACKAGES, what="an image that is pulled at launch", yes=yes)
    with progress.phase(f"push {tag} into the registry {registry}") as phase:
        hostcmd.stream(
            # the host's policy is about what the host runs; a colon in the archive's path would end it, so it is
            # named from its own folder
            ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-no-creds",
             f"docker-archive:{archive.name}:@{image.index}", f"docker://{reference}"],
            lambda line: phase.update(redact(line)),
            cwd=archive.absolute().parent, timeout=deadline, step=_STEP, env=_no_proxy(registry),
        )  # fmt: skip
        there = _found(registry, tag)
        if there.digest != image.digest:
            raise StepFailed(
                _STEP, f"{reference} was pushed, but the registry has another image", seen=there.digest or "nothing",
                remedy="look whether something else pushes there at the same time",
            )  # fmt: skip
        phase.update(f"{there.size / 2**20:.1f} MiB compressed")
    return Published(reference, image.digest, there.size, pushed=True)


def present(registry: str, tag: str) -> str:
    """The digest ("sha256:…") of the configuration of what ``registry`` has as ``tag``; "" where it has nothing.

    A multi-platform list has no configuration: its own digest is given. StepFailed when the registry does not answer.
    """
    return _found(registry, tag).digest


def path_of(tag: str) -> tuple[str, str]:
    """Repository and tag that Docker asks a mirror of Docker Hub for; UsageError where it would not ask one."""
    head, _, last = tag.rpartition("/")
    name, colon, version = last.partition(":")
    version = version if colon else "latest"
    first, *rest = [*head.split("/"), name] if head else [name]
    if rest and first in _HUB:
        first, *rest = rest
    if rest and (set(".:") & set(first) or first == "localhost"):
        raise UsageError(f"{tag}: is of the registry {first}, and Docker asks a mirror only for Docker Hub's images")
    path = [first, *rest] if rest else ["library", first]
    if not all(_COMPONENT.fullmatch(part) for part in path) or not _TAG.fullmatch(version):
        raise UsageError(f"{tag!r}: is not the tag of a container image: give NAME:VERSION, such as mariadb:11.8")
    return "/".join(path), version


def _archived(archive: Path, tag: str) -> _Archived:
    """The image that ``archive`` holds; of several, the one that is called ``tag`` there."""
    what = "give a docker-archive, as 'docker save' writes it"
    if ":" in archive.name:
        raise UsageError(f"{archive}: skopeo takes no colon in a file's name: rename it")
    try:
        with tarfile.open(archive) as tar:
            images = json.loads(_member(tar, "manifest.json"))
            mine = [index for index, image in enumerate(images) if tag in (image.get("RepoTags") or ())]
            if len(images) != 1 and len(mine) != 1:
                raise UsageError(f"{archive}: holds {len(images)} images, and not one of them is {tag}: {what}")
            index = mine[0] if mine else 0
            config = _member(tar, images[index]["Config"])
    except OSError as error:
        raise UsageError(f"{archive}: cannot be read ({error.strerror or error}): {what}") from error
    except _NO_ARCHIVE as error:
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise UsageError(f"{archive}: holds no container image ({said}): {what}") from error
    return _Archived(index, "sha256:" + hashlib.sha256(config).hexdigest())


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None:
        raise ValueError(f"{name} is not a file")
    content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST >> 20} MiB")
    return content


def _found(registry: str, tag: str) -> _Found:
    """What the registry has as ``tag``; nothing of it where the registry does not know the tag."""
    repository, version = path_of(tag)
    url = f"http://{registry}/v2/{repository}/manifests/{version}"
    # the standard library will do: one GET, without the environment's proxies
    request = urllib.request.Request(url, headers={"Accept": ", ".join(_MANIFESTS)})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ANSWER) as got:
            text = got.read(_LARGEST)
            own = got.headers.get("Docker-Content-Digest") or "sha256:" + hashlib.sha256(text).hexdigest()
        manifest = json.loads(text)
        if not isinstance(manifest, dict):
            raise ValueError("the manifest is not a table")
        if "config" not in manifest:
            return _Found(own)
        return _Found(str(manifest["config"]["digest"]), sum(int(layer["size"]) for layer in manifest["layers"]))
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode("utf-8", "replace")
        if error.code == 404 and ("MANIFEST_UNKNOWN" in said or "NAME_UNKNOWN" in said):
            return _Found()
        raise _no_answer(registry, url, f"HTTP {error.code}: {said.strip()}") from error
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _no_answer(registry, url, str(reason) or type(reason).__name__) from error


def _no_answer(registry: str, url: str, seen: str) -> StepFailed:
    return StepFailed(
        _STEP, f"the registry {registry} does not answer as a registry at {url}", seen=redact(seen),
        remedy="correct 'registry' in the site file, or look at the sandbox's with 'imagecheck sandbox status'",
    )  # fmt: skip


def _no_proxy(registry: str) -> dict[str, str]:
    """skopeo's only peer is this registry: it is reached without a proxy, as `present` does."""
    host = registry.rsplit(":", 1)[0].strip("[]")
    return {"NO_PROXY": host, "no_proxy": host}
