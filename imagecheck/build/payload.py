"""A licensed database that the person brings (DATASTORE_PKG_LOCATION), looked at before anything is built.

Whatever it is, it is not trusted: nothing is unpacked to disk or run, and what is read has a limit.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagecheck import hostcmd
from imagecheck.build import container_archive
from imagecheck.build.container_archive import Bad
from imagecheck.errors import StepFailed, UsageError

VARIABLE = "DATASTORE_PKG_LOCATION"
Kind = Literal["deb", "debs", "container"]
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".oci")  # names of container archives in a folder; the element's too
MOST_FILES = 500
MOST_MEMBERS = 1_000_000  # files in one package; the largest in Debian has under 100,000
LARGEST = 32 << 30  # bytes of one file
_CONTROL = 64 << 20  # bytes that dpkg-deb may write while it reads the control file
_AGAIN = "get it from its vendor again"
_WANTED = "give a .deb, a folder of .debs, or a container archive (docker save, OCI)"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*")  # deb-control(5)
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]*")


@dataclass(frozen=True)
class Payload:
    """What the person brings: ``names`` is package -> version, for a container tag -> configuration's digest.

    ``digests`` (file name -> SHA-256) decide what the image is, so they belong into the key of the cache.
    """

    path: Path
    kind: Kind
    files: tuple[Path, ...]
    digests: Mapping[str, str]
    names: Mapping[str, str]


def key(location: str, *, where: str = VARIABLE) -> dict[str, str]:
    """File name -> SHA-256 of what ``location`` names, without looking into it (for an image that is in the cache).

    Raises UsageError as `check` does for what is missing, unreadable or empty.
    """
    _, _, files = _find(location, where)
    return {file.name: _digest(file, where) for file in files}


def check(location: str, *, arch: str = "amd64", where: str = VARIABLE) -> Payload:
    """Look into the file or folder ``location``; ``where`` says who named it, for the sentence.

    Raises UsageError, one sentence naming ``where``, the file and the remedy, for whatever could not be installed:
    missing, unreadable, empty, of another architecture than ``arch`` (Debian's name), corrupt, mixed.
    """
    path, kind, files = _find(location, where)
    digests = {file.name: _digest(file, where) for file in files}
    names: dict[str, str] = {}
    owner: dict[str, Path] = {}
    for file in files:
        try:
            found = container_archive.look(file, arch) if kind == "container" else _package(file, arch)
        except Bad as bad:
            raise _refused(where, file, bad.what, bad.remedy or _AGAIN) from bad
        except OSError as error:
            raise _refused(where, file, f"cannot be read ({error.strerror or error})", "check its disk") from error
        for name, version in found.items():
            if name in owner:
                raise _refused(where, file, f"is the package {name} as {owner[name].name} is", "leave one of them")
            owner[name] = file
            names[name] = version
    return Payload(path, kind, files, digests, names)


def _refused(where: str, path: Path | str, what: str, remedy: str) -> UsageError:
    shown = str(path) if str(path).isprintable() else ascii(str(path))
    return UsageError(f"{where}: {shown} {what}: {remedy}")


# ---- which files


def _find(location: str, where: str) -> tuple[Path, Kind, tuple[Path, ...]]:
    if not location.strip():
        raise UsageError(f"{where}: is empty: {_WANTED}")
    if _URL.match(location):
        raise _refused(where, location, "is a URL", "download it, compare its checksum, and give the file's path")
    try:
        path = Path(location).expanduser().absolute().resolve(strict=True)
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _refused(where, location, "does not exist", _WANTED) from None
    except (OSError, RuntimeError, ValueError) as error:  # no permission, a circle of links, a NUL
        why = getattr(error, "strerror", None) or error
        raise _refused(where, location, f"cannot be read ({why})", "change its permissions, or the path") from error
    if stat.S_ISDIR(mode):
        kind, files = _in_folder(path, where)
        return path, kind, files
    _readable(path, where)
    return path, "deb" if _is_deb(path) else "container", (path,)


def _in_folder(folder: Path, where: str) -> tuple[Kind, tuple[Path, ...]]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _refused(where, folder, f"cannot be read ({error.strerror})", "change its permissions") from error
    if not entries:
        raise _refused(where, folder, "is empty", _WANTED)
    debs = [file for file in entries if file.name.endswith(".deb")]
    archives = [file for file in entries if file.name.endswith(ARCHIVES)]
    if not debs and not archives:
        if (folder / "oci-layout").exists():
            raise _refused(
                where, folder, "is an unpacked OCI layout", "put it into an archive: tar -C FOLDER -cf x.tar ."
            )
        some = ", ".join(file.name for file in entries[:3])
        raise _refused(where, folder, f"holds no .deb and no container archive (but {some})", _WANTED)
    if debs and archives:
        raise _refused(
            where, folder, f"mixes packages ({debs[0].name}) and containers ({archives[0].name})", "give one kind"
        )
    if len(archives) > 1:
        raise _refused(where, folder, f"holds {len(archives)} container archives", "leave the one of the database")
    if len(debs) > MOST_FILES:
        raise _refused(where, folder, f"holds {len(debs)} packages, more than {MOST_FILES}", "leave the needed ones")
    for file in debs + archives:
        try:
            inside = file.resolve(strict=True).is_relative_to(folder)
        except (OSError, RuntimeError):
            raise _refused(where, file, "is a link to nothing", "copy the file itself") from None
        if not inside:
            raise _refused(where, file, "is a link that leads out of the folder", "copy the file itself")
        _readable(file, where)
    return ("debs", tuple(debs)) if debs else ("container", tuple(archives))


def _readable(file: Path, where: str) -> None:
    told = file.stat()
    if not stat.S_ISREG(told.st_mode):
        raise _refused(where, file, "is neither a file nor a folder", _WANTED)
    if told.st_size == 0:
        raise _refused(where, file, "is empty", _AGAIN)
    if told.st_size > LARGEST:
        raise _refused(where, file, f"is larger than {LARGEST >> 30} GiB", "no image has room for it")
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise _refused(where, file, f"cannot be read ({error.strerror})", "change its permissions") from error


def _digest(file: Path, where: str) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise _refused(where, file, f"cannot be read ({error.strerror})", "check its disk") from error


# ---- Debian packages


def _is_deb(file: Path) -> bool:
    # By its name too, so that a broken one is not called a broken container.
    with file.open("rb") as opened:
        return opened.read(8) == b"!<arch>\n" or file.name.endswith(".deb")


def _package(file: Path, arch: str) -> dict[str, str]:
    """Package -> version of one .deb (deb(5)); read to its end, because a cut one fails only there."""
    with file.open("rb") as opened:
        if opened.read(8) != b"!<arch>\n":
            raise Bad("is no Debian package")
    if not file.name.endswith(".deb"):
        raise Bad("is a Debian package by another name", "rename it to .deb, apt takes no other")
    hostcmd.require("dpkg-deb", "prlimit")
    try:
        # dpkg-deb unpacks the control file to a temporary folder: not more of it than this.
        told = hostcmd.run(
            ["prlimit", f"--fsize={_CONTROL}", "dpkg-deb", "--field", file, "Package", "Version", "Architecture"],
            check=False,
            timeout=60,
        )
    except StepFailed as failed:
        raise Bad("takes dpkg-deb longer than a minute to read") from failed
    fields = dict(line.split(": ", 1) for line in told.stdout.splitlines() if ": " in line)
    package, version = fields.get("Package", ""), fields.get("Version", "")
    if told.rc != 0:
        raise Bad(f"is corrupt ({_reason(told.stderr)})")
    if not _PACKAGE.fullmatch(package) or not _VERSION.fullmatch(version):
        raise Bad("is corrupt (its control file names no package and version)")
    if (its := fields.get("Architecture", "")) not in (arch, "all"):
        raise Bad(f"is for {its or 'no architecture'}, the image is for {arch}", f"give the {arch} package")
    _contents(file)
    return {package: version}


def _contents(file: Path) -> None:
    last = ""
    members = 0

    def line(text: str) -> None:
        nonlocal last, members
        last = text
        members += 1
        columns = text.split(None, 5)
        name = re.split(r" -> | link to ", columns[5])[0] if len(columns) == 6 else ""
        if ".." in name.split("/"):
            raise Bad(f"holds a member that leads outside ({name!a})")
        if members > MOST_MEMBERS:
            raise Bad(f"holds more than {MOST_MEMBERS} files")

    try:
        code = hostcmd.stream(["dpkg-deb", "--contents", file], line, check=False, timeout=900)
    except StepFailed as failed:
        raise Bad("takes dpkg-deb longer than 15 minutes to read") from failed
    if code != 0:
        raise Bad(f"is corrupt ({_reason(last)})")


def _reason(said: str) -> str:
    """dpkg-deb's last words, without its name and the file's."""
    last = said.strip().splitlines()[-1] if said.strip() else "dpkg-deb cannot read it"
    last = re.sub(r"^(dpkg-deb|tar|prlimit): (error: )?", "", last)
    return ascii(last)[1:-1] if not last.isprintable() else last
