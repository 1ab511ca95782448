"""The files that a new datastore begins with: its element, its definition, its checks (docs/adding-a-datastore.md).

They lie in templates/datastore/ as they will lie in the user's folder, with @NAME@ in texts and file names.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from imagecheck import definition, paths
from imagecheck.errors import UsageError

TEMPLATES = Path(__file__).parent / "templates" / "datastore"
_SUFFIX = ".in"  # of what is no Python module before its placeholders are filled
# schema.NAME without '.', '_' and '+': it becomes a container's name, a folder and a package too.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


def write(name: str, into: Path) -> list[Path]:
    """Write the files below ``into`` (made when missing) and return them; all of them or none.

    Raises UsageError: no name for a datastore, one that there is already, a file in the way, a folder that cannot be
    written.
    """
    _refuse_name(name)
    files = _rendered(name)
    for inside in files:
        if _there(into / inside):
            raise UsageError(
                f"{into / inside} is there already: nothing was written; move it away or take another name"
            )
    made: list[Path] = []
    try:
        work = _new_folder(into, made)
        try:
            for inside, text in files.items():
                _write(work / inside, text)
            for inside in files:
                _move(work / inside, into / inside, made)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        for place in reversed(made):
            place.rmdir() if place.is_dir() else place.unlink()
        where = error.filename2 or error.filename or into
        raise UsageError(
            f"{where} cannot be written ({error.strerror}): nothing was written; name another folder with --into"
        ) from error
    return [into / inside for inside in files]


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"new-datastore {name[:60]!r}: a datastore's name is at most {_LONGEST} lower case letters and digits, "
            "words of them joined by '-': for example valkey"
        )
    element = paths.shipped("elements") / f"{name}-container"
    if element.is_dir() or f"{name}-debian" in definition.known():
        raise UsageError(f"new-datastore {name!r}: imagecheck has one already ({element}): take another name")


def _rendered(name: str) -> dict[Path, str]:
    """Path below the user's folder -> text."""
    words = {"@NAME@": name, "@MODULE@": name.replace("-", "_"), "@RULE@": "=" * len(f"{name}-container")}

    def fill(text: str) -> str:
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        return text

    return {
        Path(fill(file.relative_to(TEMPLATES).as_posix()).removesuffix(_SUFFIX)): fill(file.read_text(encoding="utf-8"))
        for file in sorted(TEMPLATES.rglob("*"))
        if file.is_file()
    }


def _there(place: Path) -> bool:
    return place.exists() or place.is_symlink()


def _new_folder(into: Path, made: list[Path]) -> Path:
    """A working folder in ``into``, so that moving out of it is renaming."""
    _make(into, made)
    return Path(tempfile.mkdtemp(prefix=".new-datastore-", dir=into))


def _make(folder: Path, made: list[Path]) -> None:
    if not folder.is_dir():
        _make(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    if text.startswith("#!"):  # a wheel does not keep executable bits
        place.chmod(0o755)


def _move(ready: Path, place: Path, made: list[Path]) -> None:
    _make(place.parent, made)
    place.hardlink_to(ready)  # unlike a rename it fails where somebody was faster
    made.append(place)
