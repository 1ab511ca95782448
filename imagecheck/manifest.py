"""What is in an image, read from the image itself; the manifest and the SBOM that lie beside it (docs/manifest.md).

Nothing read from an image is trusted: every name and version must look like one, a file that does not make sense
leaves its part empty.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from imagecheck import __version__, inside
from imagecheck.definition import Definition
from imagecheck.disk import Disk
from imagecheck.imagefile import ImageFile
from imagecheck.redact import HIDDEN, redact
from imagecheck.tree import Tree

SCHEMA = 2  # of manifest.json
SBOM = "sbom.cdx.json"  # *.cdx.json is CycloneDX's recommendation

T = TypeVar("T")

_NAME = r"[a-z0-9][a-z0-9+.-]*"  # Debian policy 5.6.1
_PACKAGE = re.compile(_NAME, re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:!_-]{0,199}", re.ASCII)  # Debian's and PEP 440's
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_PYTHON = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,198}[A-Za-z0-9])?", re.ASCII)
_UNIT = re.compile(
    r"[A-Za-z0-9:_.\\@-]{1,200}\.(service|socket|timer|target|mount|automount|path|swap|slice|scope|device)", re.ASCII
)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?", re.ASCII)
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,127}", re.ASCII)  # of a kernel
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,254}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_FIELDS = ("Package", "Status", "Version", "Architecture")

_STAMP = "/etc/imagecheck/agent.json"  # an element of ours may say there what it installed


@dataclass(frozen=True)
class Package:
    """One package of the distribution."""

    version: str
    architecture: str


@dataclass(frozen=True)
class Agent:
    """Trove's guest agent: ``install`` is package, pypi, source or empty; ``ref`` the package's version or a commit."""

    release: str = ""
    install: str = ""
    ref: str = ""


@dataclass(frozen=True)
class Container:
    """A container image in Docker's store: its id, bytes of all layers, and the registry's digest if it had one."""

    id: str
    size: int
    digest: str = ""


@dataclass(frozen=True)
class FileSystem:
    """The root file system; bytes."""

    size: int = 0
    used: int = 0


@dataclass(frozen=True)
class Contents:
    """What an image holds. ``packages_from``: dpkg, or why the list is empty."""

    os: Mapping[str, str] = field(default_factory=dict)  # id, version, codename, name
    packages_from: str = "unknown"
    packages: Mapping[str, Package] = field(default_factory=dict)  # "name", or "name:arch" of a foreign architecture
    python: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # folder -> name -> version
    units_enabled: tuple[str, ...] = ()
    units_masked: tuple[str, ...] = ()
    kernel: str = ""  # the release that the boot menu's first entry starts
    kernels: tuple[str, ...] = ()  # all that are installed
    command_line: str = ""
    agent: Agent = Agent()
    containers: Mapping[str, Container] = field(default_factory=dict)  # by tag
    users: Mapping[str, int] = field(default_factory=dict)  # name -> uid
    file_system: FileSystem = FileSystem()

    def as_json(self) -> dict[str, Any]:
        """The same as plain dicts, lists, strings and numbers."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def contents(disk: Disk) -> Contents:
    """Read it all from an opened image, in a tenth of a second; runs nothing of the image. Raises nothing."""
    tree = disk.tree
    nothing = Contents()
    packages = _part(lambda: _packages(tree), nothing.packages)
    python = _part(lambda: _python(tree), nothing.python)
    enabled, masked = _part(lambda: _units(tree), (nothing.units_enabled, nothing.units_masked))
    kernels = _part(lambda: _kernels(tree), nothing.kernels)
    kernel, command_line = _part(lambda: _boots(tree, kernels), ("", ""))
    return Contents(
        os=_part(lambda: _os(tree), nothing.os),
        packages_from=_part(lambda: _packages_from(tree), nothing.packages_from),
        packages=packages,
        python=python,
        units_enabled=enabled,
        units_masked=masked,
        kernel=kernel,
        kernels=kernels,
        command_line=command_line,
        agent=_part(lambda: _agent(tree, packages, python), nothing.agent),
        containers=_part(lambda: _containers(tree), nothing.containers),
        users=_part(lambda: _users(tree), nothing.users),
        file_system=_part(lambda: _file_system(tree.root), nothing.file_system),
    )


def _part(read: Callable[[], T], empty: T) -> T:
    """One part; wild bytes may break any parser on the way, and must not take the other parts with them."""
    try:
        return read()
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return empty


def _fields(text: str, separator: str) -> dict[str, str]:
    """KEY<separator>VALUE lines; continuation lines are left out, the first of a key wins."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, there, value = line.partition(separator)
        if there and name and not name[0].isspace():
            found.setdefault(name, value.strip().strip("\"'"))
    return found


def _os(tree: Tree) -> Mapping[str, str]:
    told = _fields(tree.text("/etc/os-release") or tree.text("/usr/lib/os-release"), "=")
    keys = {"id": "ID", "version": "VERSION_ID", "codename": "VERSION_CODENAME"}
    found = {ours: told.get(theirs, "") for ours, theirs in keys.items() if _WORD.fullmatch(told.get(theirs, ""))}
    return found | {"name": shown(told.get("PRETTY_NAME", ""))[:100]} if found else {}


def shown(text: str) -> str:
    """``text`` with nothing in it that a terminal would act on, secrets hidden."""
    return redact("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _packages_from(tree: Tree) -> str:
    if tree.text("/var/lib/dpkg/status"):
        return "dpkg"
    if tree.names("/var/lib/rpm") or tree.names("/usr/lib/sysimage/rpm"):
        return "unknown: rpm's database is not read"
    return "unknown"


def _packages(tree: Tree) -> Mapping[str, Package]:
    """What dpkg calls installed (deb822(5), /var/lib/dpkg/status)."""
    rows = []
    for stanza in tree.text("/var/lib/dpkg/status").split("\n\n"):
        told = _fields(stanza, ":")
        name, status, version, architecture = (told.get(key, "") for key in _FIELDS)
        if (
            status.endswith(" installed")
            and _PACKAGE.fullmatch(name)
            and _VERSION.fullmatch(version)
            and _ARCHITECTURE.fullmatch(architecture)
        ):
            rows.append((name, Package(version, architecture)))
    native = {next((one.architecture for name, one in rows if name == "dpkg"), ""), "all"}
    found = {name: one for name, one in rows if one.architecture in native}
    found |= {
        name if name not in found and len(native) == 1 else f"{name}:{one.architecture}": one
        for name, one in rows
        if one.architecture not in native
    }
    return dict(sorted(found.items()))


def _python(tree: Tree) -> Mapping[str, Mapping[str, str]]:
    """Virtual environments below /opt and what pip put into /usr/local; the distribution's are packages already."""
    found = {}
    for top in [*tree.glob("/opt/*"), "/usr/local"]:
        here: dict[str, str] = {}
        for python in tree.glob(f"{top}/lib/python*"):
            for place in ("site-packages", "dist-packages"):
                for folder in tree.glob(f"{python}/{place}/*.dist-info"):
                    here |= _distribution(tree, folder)
        if here and shown(top) == top:
            found[top] = dict(sorted(here.items()))
    return found


def _distribution(tree: Tree, folder: str) -> dict[str, str]:
    """Core metadata (METADATA), or the folder's own name where that is missing (PEP 376: name-version.dist-info)."""
    told = _fields(tree.text(f"{folder}/METADATA").partition("\n\n")[0], ":")
    called, _, numbered = folder.rpartition("/")[2].removesuffix(".dist-info").partition("-")
    name, version = told.get("Name", called), told.get("Version", numbered)
    if not _PYTHON.fullmatch(name) or not _VERSION.fullmatch(version):
        return {}
    return {re.sub(r"[-_.]+", "-", name).lower(): version}  # PEP 503


def _units(tree: Tree) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(enabled, masked): systemd.unit(5). The first folder that has a unit decides what it is."""
    known: dict[str, bool] = {}  # unit -> masked
    wanted: set[str] = set()
    for folder in inside.UNIT_FOLDERS:
        place = tree.path(folder)
        for name in tree.names(folder) if place else ():
            if place and _UNIT.fullmatch(name):
                known.setdefault(name, _is_null(place / name))
            elif name.endswith((".wants", ".requires")):
                wanted |= set(tree.names(f"{folder}/{name}"))
    enabled = {
        name
        for name in wanted
        if _UNIT.fullmatch(name)
        and not known.get(name, False)
        and (name in known or re.sub(r"@.*\.", "@.", name) in known)
    }
    return tuple(sorted(enabled)), tuple(sorted(name for name, masked in known.items() if masked))


def _is_null(entry: Path) -> bool:
    return entry.is_symlink() and os.readlink(entry) == "/dev/null"  # noqa: PTH115 - a string of the guest


def _kernels(tree: Tree) -> tuple[str, ...]:
    names = (file.rpartition("/")[2].removeprefix("vmlinuz-") for file in tree.glob("/boot/vmlinuz-*"))
    return tuple(name for name in names if _RELEASE.fullmatch(name))


def _boots(tree: Tree, kernels: tuple[str, ...]) -> tuple[str, str]:
    """(kernel release, command line) of the menu's first entry."""
    words = next(iter(inside.kernel_lines(tree)), "").split()
    release = kernels[-1] if kernels else ""
    arguments = words[1:]
    if words and words[0] != "options":
        named = words[1].rpartition("/")[2].removeprefix("vmlinuz-") if len(words) > 1 else ""
        release = named if _RELEASE.fullmatch(named) else release
        arguments = words[2:]
    return release, shown(" ".join(arguments))[:4096]  # the kernel's own COMMAND_LINE_SIZE is 2048


def _agent(tree: Tree, packages: Mapping[str, Package], python: Mapping[str, Mapping[str, str]]) -> Agent:
    """What the element that installed it says, else the distribution's package, else Trove in a Python folder."""
    told: dict[str, Any] = _part(lambda: dict(json.loads(tree.text(_STAMP) or "{}")), {})
    if _VERSION.fullmatch(str(told.get("release", ""))):
        return Agent(str(told["release"]), *(shown(str(told.get(key, "")))[:200] for key in ("install", "ref")))
    if package := packages.get("trove-guestagent"):
        upstream = package.version.rpartition(":")[2].partition("-")[0]
        return Agent(upstream, "package", f"trove-guestagent {package.version}")
    found = next((names["trove"] for names in python.values() if "trove" in names), "")
    return Agent(found, "pypi", f"trove=={found}") if found else Agent()


def _containers(tree: Tree) -> Mapping[str, Container]:
    """Docker's classic store, as `inside.docker_images` reads it; sizes from layerdb (moby, layer/filestore.go)."""
    references = inside.docker_images(tree)
    digests = {(name.partition("@")[0], one): name.partition("@")[2] for name, one in references.items() if "@" in name}
    layers: dict[str, int] = {}
    rootfs: dict[str, list[str]] = {}
    for driver in tree.names("/var/lib/docker/image"):
        store = f"/var/lib/docker/image/{driver}"
        for layer in tree.names(f"{store}/layerdb/sha256"):
            size = tree.text(f"{store}/layerdb/sha256/{layer}/size").strip()
            diff = tree.text(f"{store}/layerdb/sha256/{layer}/diff").strip()
            layers[diff] = int(size) if _COUNT.fullmatch(size) else 0
        for one in set(references.values()):
            if text := tree.text(f"{store}/imagedb/content/{one.replace(':', '/')}"):
                rootfs[one] = json.loads(text)["rootfs"]["diff_ids"]
    found = {}
    for tag, one in sorted(references.items()):
        if _REFERENCE.fullmatch(tag) and _DIGEST.fullmatch(one):
            digest = digests.get((tag.rpartition(":")[0], one), "")
            size_of_all = sum(layers.get(layer, 0) for layer in rootfs.get(one, ()))
            found[tag] = Container(one, size_of_all, digest if _DIGEST.fullmatch(digest) else "")
    return found


def _users(tree: Tree) -> Mapping[str, int]:
    return {name: one.uid for name, one in sorted(tree.accounts().items()) if _USER.fullmatch(name)}


def _file_system(root: Path) -> FileSystem:
    told = os.statvfs(root)
    return FileSystem(told.f_blocks * told.f_frsize, (told.f_blocks - told.f_bfree) * told.f_frsize)


def document(
    definition: Definition,
    image: ImageFile,
    *,
    key: str,
    began: float,
    seconds: float,
    phases: Mapping[str, float],
    hooks: Mapping[str, float],
    builder: str,
    elements: Mapping[str, str],
    packages: Mapping[str, str],
    held: Contents | None = None,
) -> dict[str, Any]:
    """manifest.json. ``began`` in seconds since the epoch; ``builder`` is diskimage-builder's version; ``packages``
    what it says that it installed, used where ``held`` does not know; hooks under 0.1 s are left out."""
    listed = {name: one.version for name, one in held.packages.items()} if held else {}
    return {
        "schema": SCHEMA,
        "name": definition.name,
        "key": key,
        "description": definition.description,
        "sha256": image.sha256,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "built": _moment(began).isoformat(),
        "seconds": round(seconds, 1),
        "phases": dict(phases),
        "hooks": {hook: took for hook, took in hooks.items() if took >= 0.1},
        "diskimage-builder": builder,
        "elements": dict(elements),
        "environment": {name: _safe(name, value) for name, value in definition.environment.items()},
        "packages": listed or dict(packages),
        "contents": held.as_json() if held else None,
    }


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _safe(name: str, value: str) -> str:
    """The value of a variable, hidden where its name or its look says that it is a secret."""
    return HIDDEN if redact(f"{name}=x") != f"{name}=x" else redact(value)


def sbom(held: Contents, *, name: str, sha256: str, built: float) -> str:
    """What is in the image as CycloneDX 1.6 (JSON). The same image gives the same text: the serial number comes from
    its ``sha256`` (hexadecimal), the time is ``built`` (seconds since the epoch)."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def part(purl: PackageURL) -> Component:
        kind = ComponentType.CONTAINER if purl.type == "docker" else ComponentType.LIBRARY
        return Component(name=purl.name, version=purl.version, type=kind, purl=purl, bom_ref=str(purl))

    distro, where = held.os.get("id", ""), held.os.get("codename") or held.os.get("version", "")
    purls = {PackageURL(*one) for one in _purls(held, distro, where)}
    whole = Component(
        name=name, type=ComponentType.FILE, bom_ref="image", version=sha256[:12],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
    )  # fmt: skip
    tool = Component(name="imagecheck", version=__version__, type=ComponentType.APPLICATION, bom_ref="imagecheck")
    kind, version = ComponentType.OPERATING_SYSTEM, held.os.get("version")
    system = Component(name=distro, version=version, type=kind, bom_ref="os")
    parts = [*map(part, sorted(purls, key=str)), *([system] if distro else [])]
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, sha256),
        metadata=BomMetaData(component=whole, timestamp=_moment(built), tools=ToolRepository(components=[tool])),
        components=parts,
    )
    bom.register_dependency(whole, parts)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _purls(held: Contents, distro: str, where: str) -> Iterator[tuple[str, str | None, str, str, dict[str, str]]]:
    """(type, namespace, name, version, qualifiers): purl-spec's types deb, pypi and docker."""
    for name, one in held.packages.items():
        qualifiers = {"arch": one.architecture} | ({"distro": where} if where else {})
        yield "deb", distro or None, name.partition(":")[0], one.version, qualifiers
    for names in held.python.values():
        for name, version in names.items():
            yield "pypi", None, name, version, {}
    for tag, image in held.containers.items():
        repository, _, label = tag.rpartition(":")
        folder, _, name = repository.rpartition("/")
        yield "docker", folder or None, name, image.digest or image.id, {"tag": label}
