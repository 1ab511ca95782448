"""What an image's files say about the guest it will be: units, Docker's store, cloud-init, kernel, secrets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagecheck.tree import Tree

# systemd.unit(5), "Unit file load path": the first wins.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)


_IMAGES, _LAYERS = 200, 2000  # of Docker's store that are looked at; a guest has one image of some ten layers


@dataclass(frozen=True)
class Unit:
    """A unit as systemd would read it: its settings, drop-ins applied, as "Section.Key" -> values in order."""

    name: str
    enabled: bool
    masked: bool
    settings: Mapping[str, list[str]]

    def words(self, key: str) -> set[str]:
        """All words of a setting that holds a list ("Unit.After")."""
        return {word for line in self.settings.get(key, []) for word in line.split()}

    def last(self, key: str) -> str:
        """The value of a setting that holds one; empty where it is not set."""
        return self.settings.get(key, [""])[-1]


def unit(tree: Tree, name: str) -> Unit | None:
    """The unit ``name``, None where the tree has none."""
    places = [f"{folder}/{name}" for folder in UNIT_FOLDERS]
    first = next((place for place in places if tree.exists(place)), None)
    masked = any(_is_null(tree, place) for place in places)
    if first is None and not masked:
        return None
    texts = [tree.text(first)] if first else []
    dropins: dict[str, str] = {}
    for folder in reversed(UNIT_FOLDERS):
        dropins |= {file.rpartition("/")[2]: file for file in tree.glob(f"{folder}/{name}.d/*.conf")}
    texts += [tree.text(dropins[file]) for file in sorted(dropins)]
    return Unit(name, not masked and _is_wanted(tree, name), masked, _settings(texts))


def _is_null(tree: Tree, inside: str) -> bool:
    entry = tree.root / inside.lstrip("/")
    parent = tree.path(inside.rpartition("/")[0])
    if parent is not None:
        entry = parent / entry.name
    return entry.is_symlink() and os.readlink(entry) == "/dev/null"  # noqa: PTH115


def _is_wanted(tree: Tree, name: str) -> bool:
    """Something below a .wants or .requires folder of the administrator's or the distribution's units names it."""
    for folder in UNIT_FOLDERS:
        for place in tree.names(folder):
            if place.endswith((".wants", ".requires")) and name in tree.names(f"{folder}/{place}"):
                return True
    return False


def _settings(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
            elif "=" in line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                values = found.setdefault(f"{section}.{key.strip()}", [])
                if value.strip():
                    values.append(value.strip())
                else:
                    values.clear()  # an empty value resets a list
    return {key: values for key, values in found.items() if values}


def docker_images(tree: Tree) -> dict[str, str]:
    """Tag -> image id, of all images in Docker's store whose content is there too.

    Docker's classic store (moby/image/tag/store.go, image/store.go): repositories.json names tags, imagedb holds
    each image's configuration, layerdb its layers. All drivers are looked at. Images of the containerd store
    (Docker 29's default) are not seen.
    """
    found: dict[str, str] = {}
    for driver in tree.names("/var/lib/docker/image"):
        place = f"/var/lib/docker/image/{driver}"
        stored = set(docker_layers(tree, place))
        for tag, identifier in docker_tags(tree, place).items():
            config = json_of(tree, f"{place}/imagedb/content/{identifier.replace(':', '/')}")
            layers = strings(table(config.get("rootfs")).get("diff_ids"))
            if layers and set(layers) <= stored:
                found[tag] = identifier
    return found


def docker_tags(tree: Tree, place: str) -> dict[str, str]:
    """Tag -> image id, as one driver's repositories.json in ``place`` names them."""
    repositories = table(json_of(tree, f"{place}/repositories.json").get("Repositories"))
    tags = [pair for one in repositories.values() for pair in table(one).items()]
    return {tag: identifier for tag, identifier in tags[:_IMAGES] if isinstance(identifier, str)}


def docker_layers(tree: Tree, place: str) -> dict[str, str]:
    """Layer (its diff id) -> chain, the name of its folder in one driver's layerdb."""
    folder = f"{place}/layerdb/sha256"
    return {tree.text(f"{folder}/{chain}/diff").strip(): chain for chain in tree.names(folder)[:_LAYERS]}


def json_of(tree: Tree, inside: str) -> dict[str, Any]:
    """A file's JSON object; empty where it is none."""
    try:
        return table(json.loads(tree.text(inside) or "{}"))
    except (ValueError, RecursionError):
        return {}


def table(value: object) -> dict[str, Any]:
    """A JSON object as it is; empty where it is something else. What an image says has whatever shape it likes."""
    return value if isinstance(value, dict) else {}


def strings(value: object) -> list[str]:
    """The strings of a JSON list; empty where it is something else."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def cloud_settings(tree: Tree) -> str:
    """The text of all of cloud-init's configuration files, later ones (which win) last."""
    parts = ["/etc/cloud/cloud.cfg", *tree.glob("/etc/cloud/cloud.cfg.d/*.cfg")]
    return "\n".join(tree.text(part) for part in parts)


def datasources(tree: Tree) -> list[str]:
    """cloud-init's datasource_list, the last one that is set; empty: cloud-init's own long list."""
    found: list[str] = []
    for line in cloud_settings(tree).splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip() == "datasource_list" and not line.startswith((" ", "#")):
            found = [name.strip(" '\"") for name in value.partition("#")[0].strip(" []").split(",") if name.strip()]
    return found


def kernel_lines(tree: Tree) -> list[str]:
    """The kernel command lines of the boot loader's menu (GRUB's, or boot loader entries), without recovery modes."""
    text = tree.text("/boot/grub/grub.cfg") + tree.text("/boot/grub2/grub.cfg")
    lines = [line.strip() for line in text.splitlines()]
    entries = [tree.text(entry) for entry in tree.glob("/boot/loader/entries/*.conf")]
    found = [line for line in lines if line.startswith(("linux ", "linux\t", "linux16 ", "linuxefi "))]
    found += [line for entry in entries for line in entry.splitlines() if line.startswith("options ")]
    return [line for line in found if "single" not in line.split()]


# Units of which any, when the agent starts after it, means that write_files is done: cloud-init's init stage since
# 24.3, the same before 24.3, and all that is ordered after it (cloud-init's own systemd/*.service and *.target).
FILES_WRITTEN = (
    "cloud-init-network.service",
    "cloud-init.service",
    "cloud-config.target",
    "cloud-config.service",
    "cloud-final.service",
    "cloud-init.target",
)


def after_injection(tree: Tree, agent: Unit) -> str:
    """The unit because of which ``agent`` starts only after cloud-init has written its files; empty: there is none.

    Either the agent names it (After=), or it comes before sysinit.target, after which systemd starts every service
    with default dependencies (systemd.service(5)). Or the agent starts before, to load its modules, and its program
    waits for a file below /run that a unit of that sort makes.
    """
    found = _writer_before(tree, agent)
    program = tree.text(agent.last("Service.ExecStart").lstrip("@-:+!").partition(" ")[0])
    for name in sorted(agent.words("Unit.Wants") | agent.words("Unit.Requires")):
        gate = None if found else unit(tree, name)
        made = re.fullmatch(r"(?:/usr)?/bin/touch (/run/\S+)", gate.last("Service.ExecStart")) if gate else None
        if gate and made and not gate.masked and f'"{made[1]}"' in program:
            found = _writer_before(tree, gate)
    return found


def _writer_before(tree: Tree, later: Unit) -> str:
    for name in FILES_WRITTEN:
        writer = unit(tree, name)
        if writer is None or writer.masked:
            continue
        if name in later.words("Unit.After"):
            return name
        implied = later.last("Unit.DefaultDependencies") not in ("no", "false", "off", "0")
        if implied and "sysinit.target" in writer.words("Unit.Before"):
            return name
    return ""


_KEY_FOLDERS = ("/etc/ssh", "/etc/trove", "/opt", "/root", "/home", "/var/lib/cloud", "/var/lib/trove")
_KEY = "PRIVATE KEY-----"


def homes(tree: Tree) -> list[str]:
    """Folders that users call home."""
    found = {"/root", *(f"/home/{name}" for name in tree.names("/home"))}
    return sorted(found | {account.home for account in tree.accounts().values() if len(account.home) > 1})


def private_keys(tree: Tree) -> list[str]:
    """Files with a private key in the places where images were seen to carry one."""
    found = []
    for folder in _KEY_FOLDERS:
        for file in tree.files(folder):
            seen = tree.stat(file)
            # A key is a short text; longer files that mention one are programs and documents.
            if (
                seen
                and 0 < seen.st_size < 20_000
                and tree.text(file).lstrip().startswith("-----BEGIN")
                and _KEY in tree.text(file)
            ):
                found.append(file)
    return sorted(found)


def authorized_keys(tree: Tree) -> list[str]:
    """Files that let somebody in by key."""
    names = ("authorized_keys", "authorized_keys2")
    return [
        file for home in homes(tree) for file in (f"{home}/.ssh/{name}" for name in names) if tree.text(file).strip()
    ]


def histories(tree: Tree) -> list[str]:
    """What somebody typed while the image was made."""
    return [file for home in homes(tree) for file in tree.glob(f"{home}/.*_history") if tree.text(file).strip()]


def passwords(tree: Tree) -> list[str]:
    """Accounts that can log in with a password (a hash, or none at all, in /etc/shadow)."""
    fields = (line.split(":") for line in tree.text("/etc/shadow").splitlines())
    return [parts[0] for parts in fields if len(parts) > 1 and not parts[1].startswith(("!", "*"))]


def interpreter(tree: Tree, agent: Unit) -> str:
    """The Python that the agent's program asks for in its first line, following wrappers no further."""
    command = agent.last("Service.ExecStart").lstrip("@-:+!").split()
    for word in command[:2]:  # "python /path/guest-agent" or "/path/guest-agent"
        first = tree.text(word).partition("\n")[0]
        if first.startswith("#!") and "python" in first:
            parts = first[2:].split()
            return f"/usr/bin/{parts[1]}" if parts[0].endswith("/env") and len(parts) > 1 else parts[0]
    return command[0] if command and "python" in command[0] else ""


CLOUD_INIT_UNITS = (
    "cloud-init-main.service",
    "cloud-init-local.service",
    "cloud-init-network.service",
    "cloud-init.service",
    "cloud-config.service",
    "cloud-final.service",
)


def mounts_ephemeral(tree: Tree) -> bool:
    """Would cloud-init mount the first ephemeral disk on /mnt (its default for OpenStack, cc_mounts)?"""
    if not any(module in ("mounts", "cc_mounts") for module in _modules(tree, "cloud_init_modules")):
        return False
    text = " ".join(cloud_settings(tree).split())
    return not re.search(r"\[ ?['\"]?ephemeral0['\"]?, ?(null|~|None)|- ephemeral0 - (null|~)", text)


def _modules(tree: Tree, stage: str) -> list[str]:
    """The modules of one of cloud-init's stages; the last list that is set replaces the others."""
    found: list[str] = []
    inside = False
    for line in cloud_settings(tree).splitlines():
        if line.startswith(f"{stage}:"):
            rest = line.partition(":")[2].partition("#")[0].strip(" []")
            found, inside = [name.strip(" '\"") for name in rest.split(",") if name.strip()], True
        elif inside and line.strip().startswith("- "):
            found.append(line.strip()[2:].partition("#")[0].strip(" '\"[]").partition(",")[0].strip())
        elif line.strip() and not line.lstrip().startswith("#"):
            inside = False
    return found


# systemd.time(7), as far as units use it: the factor of each suffix in seconds.
_SPANS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0, "infinity": 0.0}


def seconds(span: str) -> float:
    """A time span of a unit in seconds; systemd's default for RestartSec (0.1) where nothing is set."""
    total = 0.0
    for number, suffix in re.findall(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([a-z]{0,9})", span):
        total += float(number) * _SPANS.get(suffix, 1.0)
    return total if span else 0.1


def may_sudo(tree: Tree, user: str) -> bool:
    """May ``user`` run anything as root without a password, by a line of its own or of one of its groups?"""
    groups = {f"%{group}" for group, members in tree.groups().items() if user in members}
    text = "\n".join(tree.text(file) for file in ["/etc/sudoers", *tree.glob("/etc/sudoers.d/*")])
    lines = (line.split() for line in text.splitlines())
    return any(
        words and words[0] in {user, *groups} and "NOPASSWD:" in " ".join(words).replace(":", ": ") for words in lines
    )
