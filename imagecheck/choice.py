"""From what the user typed to an image's definition and a site: every mistake is one sentence."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from imagecheck import build, fetch, sandbox, site
from imagecheck import definition as definitions
from imagecheck.definition import Definition
from imagecheck.errors import UsageError
from imagecheck.imagefile import ImageFile, inspect
from imagecheck.site import Site

SITE_FILE = "imagecheck.toml"  # an operator's site, in the folder where pytest starts


FETCHED = ("http://", "https://", "glance:")


@dataclass(frozen=True)
class Choice:
    """One image to check; ``file`` is given when the user named one, else it is built or fetched."""

    name: str
    definition: Definition
    file: ImageFile | None

    def words(self) -> list[str]:
        """The options of pytest that mean this image, from any folder."""
        wanted = self.definition
        store = ["--datastore", f"{wanted.datastore.name}:{wanted.datastore.version}"]
        if self.file is not None:
            return ["--image", str(self.file.path.resolve()), *store]
        if wanted.source is None:
            return ["--image", wanted.image_source, *store, *(["--sha256", wanted.sha256] if wanted.sha256 else [])]
        named = wanted.name if wanted.name in definitions.known() else str(wanted.source.resolve())
        return ["--image", named, *(store if definitions.load(named).datastore != wanted.datastore else [])]

    def builds(self) -> bool:
        """Whether a build of minutes stands between this image and its first check."""
        if self.file is not None or self.definition.image_source or build.obstacle(self.definition):
            return False
        return build.cached(self.definition) is None


def image(named: str, datastore: str = "", sha256: str = "") -> Choice:
    """``named`` is a known definition, the path of one (.toml), an image file, its address, or an image in Glance.

    An image that no definition describes needs ``datastore`` ("mariadb:11.8"); a file or address is held to ``sha256``
    (hexadecimal), which an address must have. Raises UsageError.
    """
    path = Path(named).expanduser()
    if (named.endswith(".toml") and not named.startswith(FETCHED)) or named in definitions.known():
        known = definitions.load(named)
        return Choice(known.name, _with_datastore(known, datastore) if datastore else known, None)
    if named.startswith(FETCHED):
        _said(named, datastore)
        source = fetch.parse(named, sha256)
        name = re.sub(r"[^a-z0-9._+-]+", "-", named.rstrip("/").rpartition("/")[2].lower()).strip("-.") or "image"
        like = _like(name.removesuffix(".qcow2"), named, datastore)
        return Choice(like.name, dataclasses.replace(like, image_source=named, sha256=source.sha256), None)
    if path.exists() or "/" in named or path.suffix in (".qcow2", ".img", ".raw"):
        _said(named, datastore)
        like, file = _like(path.stem, str(path), datastore), inspect(path)
        if sha256 and file.sha256 != sha256.lower():
            raise UsageError(f"--sha256 {sha256}: {named} has {file.sha256}: fetch the image again, or correct the sum")
        return Choice(path.stem, like, file)
    names = definitions.known()
    near = difflib.get_close_matches(named, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names) or 'none'}, or give a file's path"
    raise UsageError(f"--image {named}: there is no such definition and no such file: {hint}")


def file_of(named: str) -> ImageFile:
    """The image file that ``named`` is, or that was built of the definition with that name.

    Raises UsageError where there is none yet: nothing is built.
    """
    if named in definitions.known() or named.endswith(".toml"):
        known = definitions.load(named)
        if found := build.cached(known):
            return found
        raise UsageError(f"{named} is not built in its present form: run `imagecheck build {named}` first")
    return inspect(named)


def _said(named: str, datastore: str) -> None:
    if not datastore:
        raise UsageError(
            f"--image {named}: what it serves is not known: say it with --datastore NAME:VERSION "
            "(the version is the tag of the database's container image)"
        )


def split_datastore(text: str) -> tuple[str, str]:
    """("mariadb", "11.8") from "mariadb:11.8". Raises UsageError."""
    name, separator, version = text.partition(":")
    if not separator or not name.strip() or not version.strip():
        raise UsageError(f"--datastore {text}: give NAME:VERSION, for example mariadb:11.8")
    return name.strip(), version.strip()


def _with_datastore(known: Definition, text: str) -> Definition:
    name, version = split_datastore(text)
    if name != known.datastore.name:
        raise UsageError(f"--datastore {text}: the definition {known.name!r} is for {known.datastore.name}")
    container = f"{known.datastore.container.rpartition(':')[0] or name}:{version}"
    return dataclasses.replace(
        known, datastore=dataclasses.replace(known.datastore, name=name, version=version, container=container)
    )


def _like(name: str, where: str, text: str) -> Definition:
    """A foreign image is asked what the shipped definition of its datastore is asked (login, agent unit, needs)."""
    served, _ = split_datastore(text)
    for known in map(definitions.load, definitions.known()):
        if known.datastore.name == served and not known.image_source:
            like = _with_datastore(known, text)
            # Nobody said how its database gets there, nor what it is known to fail at.
            datastore = dataclasses.replace(like.datastore, carried="none", elements=())
            return dataclasses.replace(
                like, name=name, source=None, description=where, datastore=datastore, elements=(), disk=(),
                known_failures=(),
            )  # fmt: skip
    names = sorted({definitions.load(one).datastore.name for one in definitions.known()})
    raise UsageError(f"--datastore {text}: no definition serves {served!r} (there are: {', '.join(names) or 'none'})")


def elsewhere(cloud: str, site_file: str) -> bool:
    """Whether another cloud than the sandbox was named: by option, by $OS_CLOUD or by a site file."""
    return bool(cloud or site_file or os.environ.get("OS_CLOUD")) or Path(SITE_FILE).is_file()


def place(cloud: str = "", site_file: str = "", release: str = sandbox.releases.DEFAULT, *, yes: bool = False) -> Site:
    """The site to use: a site file, an entry of clouds.yaml (also $OS_CLOUD), or else the sandbox, started on demand.

    Raises UsageError, and StepFailed when the sandbox does not come up.
    """
    entry = cloud or os.environ.get("OS_CLOUD", "")
    file = Path(site_file) if site_file else Path(SITE_FILE)
    if site_file or file.is_file():
        found = site.load(file)
        return dataclasses.replace(found, cloud=entry) if cloud else found
    if entry:
        return Site(cloud=entry, tenant_cloud=entry)
    return sandbox.up(release, yes=yes)


def where(cloud: str, site_file: str, release: str) -> list[str]:
    """The options of pytest that mean the place that `place` gives for these, from any folder."""
    file = Path(site_file or SITE_FILE)
    entry = cloud or ("" if site_file or file.is_file() else os.environ.get("OS_CLOUD", ""))
    words = ["--site", str(file.resolve())] if site_file or file.is_file() else []
    words += ["--cloud", entry] if entry else []
    return words or (["--release", release] if release != sandbox.releases.DEFAULT else [])


def standing(cloud: str = "", site_file: str = "") -> Site | None:
    """The same without starting anything: None where no cloud is named and no sandbox is up."""
    return place(cloud, site_file) if elsewhere(cloud, site_file) or sandbox.running() else None
