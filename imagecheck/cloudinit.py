"""What cloud-init would do in the guest: its settings, modules and data sources, and what switches it off."""

from __future__ import annotations

import re
import stat
from typing import Any

import yaml

from imagecheck import inside
from imagecheck.tree import Tree

# cloud-init's module -> what of a Trove guest it does (cloudinit/config/cc_*.py).
MODULES = {
    "write_files": "writes what Trove injects (trove/taskmanager/models.py, prepare_settings)",
    "users_groups": "makes the login user",
    "ssh": "installs Nova's key pair and makes the host keys",
}


def settings(tree: Tree) -> tuple[dict[str, Any], list[str]]:
    """(cloud-init's settings, files that it cannot read). A file that is no YAML mapping is left out, with a warning
    in a log that nobody reads (cloudinit/util.py, read_conf); of each key the last file wins."""
    merged: dict[str, Any] = {}
    broken = []
    for file in ["/etc/cloud/cloud.cfg", *tree.glob("/etc/cloud/cloud.cfg.d/*.cfg")]:
        try:
            text = tree.text(file)
            _bounded(text)
            told = yaml.load(text, Loader=_Loader)  # noqa: S506 - SafeLoader, or its twin in C
        except (yaml.YAMLError, ValueError, RecursionError, ArithmeticError, TypeError, LookupError, AttributeError):
            broken.append(file)
            continue
        if isinstance(told, dict):
            merged |= told
        elif told is not None:
            broken.append(file)
    return merged, broken


_DEEPEST = 50  # lists and tables in each other; the loader in C ends the process some thousands deep
_EVENTS = 100_000  # values, and begins and ends of lists and tables; cloud.cfg has some hundreds
_MERGED = 100_000  # keys that "<<" may bring together in one file: a few lines of it can stand for billions


def _bounded(text: str) -> None:
    """YAMLError for what no settings of cloud-init are like, found without building anything of it."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or number > _EVENTS:
            raise yaml.YAMLError("it is nested too deeply or has too many values")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    _merged = 0

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > _MERGED:
            raise yaml.YAMLError("its merge keys stand for too much")


def _package(tree: Tree) -> str:
    places = ["/usr/lib/python3/dist-packages"]
    for top in ("/usr/lib", "/usr/local/lib"):
        for python in tree.glob(f"{top}/python3*"):
            places += [f"{python}/site-packages", f"{python}/dist-packages"]
    return next((f"{place}/cloudinit" for place in places if tree.exists(f"{place}/cloudinit")), "")


def module_flaws(tree: Tree) -> list[str]:
    """Which of `MODULES` no list of cloud-init's has, or is not installed. Of others it only warns."""
    told, _ = settings(tree)
    stages = {stage: _names(told.get(f"cloud_{stage}_modules")) for stage in ("init", "config", "final")}
    listed = [name for names in stages.values() for name in names]
    found = [f"no list has {name}, which {why}" for name, why in MODULES.items() if name not in listed]
    package = _package(tree)
    if not package:
        return found
    return found + [
        f"{name} is listed and not installed; it {why}"
        for name, why in MODULES.items()
        if name in listed and not tree.stat(f"{package}/config/cc_{name}.py")
    ]


def _names(listed: Any) -> list[str]:
    """A module stands in a list by its name, or with its frequency in a list of its own."""
    names = [one[0] if isinstance(one, list) and one else one for one in (listed if isinstance(listed, list) else [])]
    # Nothing else is made text: aliases may stand for billions of elements.
    return [name.removeprefix("cc_").replace("-", "_") for name in names if isinstance(name, str)]


def missing_datasources(tree: Tree) -> list[str]:
    """Data sources that cloud-init is told to look for and has no program for."""
    package = _package(tree)
    if not package:
        return []
    listed = inside.datasources(tree) or ["ConfigDrive"]
    return [
        name
        for name in ("ConfigDrive", "OpenStack")
        if name in listed and not tree.exists(f"{package}/sources/DataSource{name}.py")
    ]


def switched_off(tree: Tree) -> list[str]:
    """What keeps cloud-init from starting, apart from its units' masks (docs: "How to disable cloud-init")."""
    found = []
    if tree.exists("/etc/cloud/cloud-init.disabled"):
        found.append("the file /etc/cloud/cloud-init.disabled")
    if any("cloud-init=disabled" in line for line in inside.kernel_lines(tree)):
        found.append("cloud-init=disabled on the kernel's command line")
    for file in ("/etc/environment", "/etc/systemd/system.conf", *tree.glob("/etc/systemd/system.conf.d/*.conf")):
        lines = [line for line in tree.text(file).splitlines() if not line.lstrip().startswith("#")]
        if any("cloud-init=disabled" in line for line in lines):
            found.append(f"cloud-init=disabled in {file}")
    policy = re.search(r"^[ \t]*policy[ \t]*:[ \t]*(\S+)", tree.text("/etc/cloud/ds-identify.cfg"), re.M)
    if policy and policy[1] == "disabled":
        found.append("policy: disabled in /etc/cloud/ds-identify.cfg")
    folders = ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
    generators = (f"{folder}/systemd/system-generators/cloud-init-generator" for folder in folders)
    first = next((one for one in generators if tree.exists(one) or _is_link(tree, one)), "")
    seen = tree.stat(first) if first else None
    generated = bool(seen and seen.st_mode & 0o111 and stat.S_ISREG(seen.st_mode))
    target = inside.unit(tree, "cloud-init.target")
    if not generated and not (target and target.enabled):
        found.append("nothing starts cloud-init.target: its generator is off and no unit wants it")
    # The init stage's two units; cloud-init.service is the second one's name before 24.3.
    for names in (("cloud-init-local.service",), ("cloud-init-network.service", "cloud-init.service")):
        units = [unit for unit in (inside.unit(tree, name) for name in names) if unit]
        if not any(unit.enabled for unit in units):
            found.append(f"{names[0]} is not enabled")
    return found


def _is_link(tree: Tree, inside_: str) -> bool:
    folder, _, name = inside_.rpartition("/")
    place = tree.path(folder)
    return place is not None and (place / name).is_symlink()
