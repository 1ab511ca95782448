"""Are the files of the packages that a guest lives by still those that dpkg unpacked? Other formats are not read."""

from __future__ import annotations

import fnmatch
import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from imagecheck.tree import Tree, breaks_off

# Names as patterns of fnmatch: small packages, which are read whole; Docker's programs have a check of their own.
LIVES_BY = (
    "cloud-init", "cloud-init-base", "systemd", "libsystemd-shared*", "systemd-resolved", "udev", "libudev1*", "sudo",
    "openssh-server", "libc6*", "libssl3*", "python3.*-minimal*", "libpython3.*-minimal*", "trove-*", "python3-trove",
    "python3-docker", "python3-oslo*", "python3-kombu", "python3-amqp", "python3-eventlet", "e2fsprogs", "passwd",
    "netplan.io", "mount", "util-linux",
)  # fmt: skip
# What images are commonly freed of, by dpkg's path-exclude or by hand.
_SPARED = ("/usr/share/*", "*/tests/*", "*/test/*", "*.pyc")

# For the image's own Python: does it read the files it is given, and do they still define what the other files of
# their package take from them? A file that breaks off between two functions is Python too. Says nothing of modules
# that make their names at run time, and of names that somebody is prepared to miss.
READ = """\
import ast, os, sys

def bound(node, found):
    for one in ast.iter_child_nodes(node):
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(one.name)
            found.update(name for part in ast.walk(one) if isinstance(part, ast.Global) for name in part.names)
            continue
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name).split(".")[0] for alias in one.names)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            found.add(one.id)
        elif isinstance(one, ast.Name) and one.id in ("globals", "vars", "exec", "modules"):
            found.add("*")
        elif isinstance(one, ast.Attribute) and one.attr == "modules":
            found.add("*")
        elif isinstance(one, ast.ExceptHandler) and one.name:
            found.add(one.name)
        bound(one, found)
    return found

def dotted(file):
    parts = [os.path.basename(file)[:-3]]
    folder = os.path.dirname(file)
    while os.path.exists(folder + "/__init__.py"):
        parts.insert(0, os.path.basename(folder))
        folder = os.path.dirname(folder)
    return (parts[:-1] if parts[-1] == "__init__" else parts), folder

def taken(tree, package, name):
    # what a file takes from the module: (name, line)
    spared = {id(part) for one in ast.walk(tree) if isinstance(one, ast.Try) for part in ast.walk(one)}
    called = {}
    stored = {one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)}
    stored |= {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg)}
    for one in ast.walk(tree):
        if id(one) in spared:
            continue
        if isinstance(one, ast.ImportFrom):
            base = package[: len(package) - one.level + 1] if one.level else []
            source = base + (one.module.split(".") if one.module else [])
            for alias in one.names:
                if source == name and alias.name != "*":
                    yield alias.name, one.lineno
                elif source + [alias.name] == name:
                    called[alias.asname or alias.name] = 1
        elif isinstance(one, ast.Import):
            for alias in one.names:
                if alias.asname and alias.name.split(".") == name:
                    called[alias.asname] = 1
    for one in ast.walk(tree):
        if (isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id in called
                and one.value.id not in stored and not one.attr.startswith("__") and id(one) not in spared):
            yield one.attr, one.lineno

for file in sys.argv[1:]:
    try:
        offered = bound(ast.parse(open(file, "rb").read()), set())
    except SyntaxError as error:
        sys.exit(f"{file} is not Python any more: {error}")
    name, site = dotted(file)
    if "*" in offered or "__getattr__" in offered or not name or not os.path.exists(f"{site}/{name[0]}/__init__.py"):
        continue
    if file.endswith("/__init__.py"):
        offered |= {entry.split(".")[0] for entry in os.listdir(os.path.dirname(file))}
    for folder, _, entries in os.walk(f"{site}/{name[0]}"):
        for entry in entries:
            user = f"{folder}/{entry}"
            if not entry.endswith(".py") or "/test" in user[len(site):] or user == file:
                continue
            text = open(user, "rb").read()
            if name[-1].encode() not in text and not file.endswith("/__init__.py"):
                continue  # whoever takes from a module names it; only a package can be "from ."
            try:
                tree = ast.parse(text)
            except SyntaxError:
                continue
            where, _ = dotted(user)
            package = where if entry == "__init__.py" else where[:-1]
            for wanted, line in taken(tree, package, name):
                if wanted not in offered:
                    sys.exit(f"{file} lacks {wanted}, which {user} takes from it (line {line})")
"""


_BUDGET = 16 << 30  # bytes that are compared; sparse files of any size cost an image nothing


@dataclass(frozen=True)
class Damage:
    """``broken`` is "file (package): what"; ``changed`` are Python files that dpkg did not unpack."""

    broken: tuple[str, ...]
    changed: tuple[str, ...]


def damage(tree: Tree) -> Damage:
    """Compare with /var/lib/dpkg/info/*.md5sums (deb-md5sums(5)); conffiles are not in there."""
    broken, changed, budget = [], [], _BUDGET
    for package, file, digest in _files(tree):
        place = tree.path(file)
        if place is None:
            if not any(fnmatch.fnmatch(file, pattern) for pattern in _SPARED):
                broken.append(f"{file} ({package}): is missing")
            continue
        seen = place.lstat()
        if not stat.S_ISREG(seen.st_mode):
            continue
        budget -= seen.st_size
        if budget < 0:
            broken.append(f"{file} ({package}): is one of files of more than {_BUDGET >> 30} GiB, and not compared")
            break
        with place.open("rb") as stream:
            same = hashlib.file_digest(stream, _md5).hexdigest() == digest
        if same:
            continue
        if not seen.st_size:
            broken.append(f"{file} ({package}): is empty")
        elif breaks_off(place):
            broken.append(f"{file} ({package}): breaks off")
        elif file.endswith(".py"):
            changed.append(file)
    return Damage(tuple(broken), tuple(changed))


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _files(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """(package, file, MD5), files that dpkg diverted left out."""
    moved = set(tree.text("/var/lib/dpkg/diversions").splitlines())
    for list_ in tree.glob("/var/lib/dpkg/info/*.md5sums"):
        package = list_.rpartition("/")[2].removesuffix(".md5sums").partition(":")[0]
        if any(fnmatch.fnmatch(package, pattern) for pattern in LIVES_BY):
            for line in tree.text(list_).splitlines():
                digest, _, name = line.partition("  ")
                if name and f"/{name}" not in moved:
                    yield package, f"/{name}", digest
