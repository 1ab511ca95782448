"""Why image builds fail: what a failed hook's last lines say, what that means and what to do. A table; pure.

Trove's own list of build failures is row 13 of its known launch failures: Python too old for the agent, the
add-apt-repository prompt, proxies, unset variables, unreachable git and Docker archives, a disk too small.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """``sentence`` is the cause, ``remedy`` what to do, ``line`` what it was told by, ``source`` who says so."""

    name: str
    sentence: str
    remedy: str
    source: str
    line: str = ""


@dataclass(frozen=True)
class Row:
    """``pattern`` is searched in each line; its named groups fill ``sentence`` and ``remedy``.

    ``where`` is a pattern for "phase.d/hook" and limits the row to what ran there.
    """

    name: str
    pattern: str
    sentence: str
    remedy: str
    source: str
    where: str = ""


# The first row that fits wins, so what is special, and what makes others fail, comes first.
# Lines of commands in the chroot may begin with "> " (DIB's package-installs).
TABLE = (
    Row("image too small",
        r"No space left on device|Filesystem too small|Not enough space to build proposed filesystem"
        r"|error writing .* disk full",
        "the system is larger than the disk that the definition gives it",
        "make DIB_IMAGE_SIZE (GiB; --image-size) larger or leave it out, and [needs] disk_gib with it; if df shows "
        "that this host is full, free room below IMAGECHECK_HOME",
        "diskimage-builder, doc/source/user_guide/building_an_image.rst: --image-size", r"^block-device"),
    Row("no space", r"No space left on device|Disk quota exceeded|You don't have enough free space in",
        "this host has no room left for the build",
        "free room below IMAGECHECK_HOME and /tmp, a build needs 5 GB", "write(2): ENOSPC, EDQUOT"),
    Row("out of memory",
        r"^(> )?(\S+: line \d+: +\d+ )?Killed\b|[Cc]annot allocate memory|MemoryError|virtual memory exhausted"
        r"|was ended by SIGKILL",
        "the kernel ended a program of the build, or gave it no memory",
        "give this host more memory, or set DIB_NO_TMPFS = \"1\" in [environment]: the build then lies on the disk",
        "Linux, Documentation/admin-guide/mm/concepts.rst: OOM killer"),
    Row("Python too old",
        r"Package '?(?P<what>[\w.-]+)'? requires a different Python: (?P<has>[\d.]+\w*) not in '(?P<wants>[^']+)'",
        "{what} wants Python {wants}, the guest has {has}",
        "choose an operating system with a newer Python, or an older [agent] release that runs on {has}",
        "pip, _internal/resolution/resolvelib/candidates.py; Trove 26 on Ubuntu jammy"),
    Row("Python too old",
        r"Ignored the following versions that require a different python version: (?P<what>.+)",
        "the guest's Python fits none of the versions asked for ({what})",
        "choose an operating system with a newer Python, or an older [agent] release",
        "pip, _internal/resolution/resolvelib/factory.py"),
    Row("packages locked",
        r"Could not get lock (?P<what>\S+?)\.?( |$)|dpkg frontend lock was locked by another process"
        r"|Unable to (acquire the dpkg frontend lock|lock the administration directory)",
        "another apt or dpkg works on the same folder", "wait for it to end (ps -C apt-get,apt,dpkg), then build again",
        "apt-get(8); dpkg, lib/dpkg/dbmodify.c"),
    Row("Release file expired",
        r"Release file for (?P<what>\S+) is (expired|not valid yet|not yet valid)|is no longer valid",
        "the archive's index is past its date, or this host's clock is wrong",
        "compare the clock; use a fresher archive (IMAGECHECK_DEBIAN_MIRROR); for a snapshot of one, switch "
        "Acquire::Check-Valid-Until off",
        "apt-secure(8); apt.conf(5): Check-Valid-Until"),
    Row("no network: git",
        r"unable to access '(?P<what>[^']+)': .*(Could not resolve|Failed to connect|Connection|timed out|SSL)",
        "{what} is not reached", "look at the network and proxy (https_proxy), or give a repository that this host "
        "reaches (DIB_REPOLOCATION_<name>)", "git-clone(1); element source-repositories"),
    Row("no network: names",
        r"Temporary failure (resolving|in name resolution)|Could not resolve ('|host:? ?)(?P<what>[\w.-]+)"
        r"|Name or service not known|No address associated with hostname",
        "names are not resolved", "look at this host's /etc/resolv.conf, its network and its proxy (http_proxy)",
        "getaddrinfo(3): EAI_AGAIN, EAI_NONAME"),
    Row("Docker's archive",
        r"(Could not connect|Failed to (connect|fetch)|Err:\d+) .*\bdocker\.\w+/linux/(debian|ubuntu)",
        "Docker's package archive is not reached", "use an element that takes the distribution's own Docker "
        "(docker-debian), or give this host a way there", "Trove, integration/scripts/files/elements/ubuntu-docker"),
    Row("no network",
        r"Could not connect to (?P<what>\S+)|[Cc]onnection (timed out|refused)|Network is unreachable"
        r"|No route to host|Failed to establish a new connection|^(> )?E: Failed to fetch",
        "a server is not reached or does not answer",
        "check that this host reaches its archive (apt-get update), and its proxy (http_proxy, https_proxy)",
        "connect(2); apt-get(8)"),
    Row("not signed",
        r"NO_PUBKEY|is not signed|signatures couldn't be verified|no longer signed|EXPKEYSIG|Missing key [0-9A-F]+",
        "the archive's signature cannot be verified with the keys that this host and the guest have",
        "install a current debian-archive-keyring (ubuntu-keyring) on this host, or name the key (DIB_APT_KEYRING)",
        "apt-secure(8); diskimage-builder's elements debian-minimal, ubuntu-minimal"),
    Row("no such suite", r"The repository '(?P<what>[^']+)' does not have a Release file",
        "the archive has no {what}", "change the definition's release, or IMAGECHECK_DEBIAN_MIRROR", "apt-secure(8)"),
    Row("package missing",
        r"E: (Unable to locate package (?P<what>\S+)|Package '(?P<other>[^']+)' has no installation candidate)",
        "the suite has no package {what}{other}",
        "change the element's package-installs.yaml, its pkg-map, or the definition's release", "apt-get(8)"),
    Row("packages do not fit",
        r"(?P<who>\S+) : Depends: (?P<what>.+?) but (it is not (installable|going to be installed)|\S+ is to be)",
        "{who} asks for {what}, which the suite does not have", "take packages that were made for the definition's "
        "release; a folder given as DATASTORE_PKG_LOCATION must hold what the archive has not", "apt-get(8)"),
    Row("packages do not fit", r"E: Unable to correct problems, you have held broken packages",
        "packages ask for others that the suite does not have", "take packages that were made for the definition's "
        "release", "apt-get(8)"),
    Row("hash mismatch", r"THESE PACKAGES DO NOT MATCH THE HASHES|Hash Sum mismatch|hash mismatch",
        "what was downloaded is not what was promised",
        "build again later; if it stays, the constraints or the mirror are wrong: do not switch the check off",
        "pip, Secure installs; apt-secure(8)"),
    Row("constraints do not fit", r"ResolutionImpossible|conflicting dependencies",
        "the versions asked for contradict each other", "take the upper constraints of the same Trove release",
        "pip, Dependency Resolution"),
    Row("no such version", r"No matching distribution found for (?P<what>\S+)",
        "the package index has no {what}, or is not reached",
        "compare [agent] release with what is published, and the index that pip uses (PIP_INDEX_URL)",
        "pip, _internal/resolution/resolvelib/factory.py"),
    Row("git reference",
        r"couldn't find remote ref (?P<what>\S+)|Remote branch (?P<other>\S+) not found"
        r"|pathspec '(?P<path>[^']+)' did not match any|ambiguous argument '(?P<rev>[^']+)': unknown revision"
        r"|reference is not a tree|not our ref|Needed a single revision",
        "the git repository has no reference {what}{other}{path}{rev}", "name a tag, branch or commit that it has "
        "(DIB_REPOREF_<name>; git ls-remote shows them); old stable branches end as tags", "git-fetch(1); "
        "element source-repositories"),
    Row("git repository",
        r"'(?P<what>[^']+)' does not appear to be a git repository|repository '(?P<other>[^']+)' not found"
        r"|Could not read from remote repository|Authentication failed for",
        "{what}{other} is no git repository that may be read here", "correct DIB_REPOLOCATION_<name>", "git-clone(1)"),
    Row("question", r"Press \[?ENTER\]? to continue|Do you want to continue\? \[Y/n\]|EOF when reading a line",
        "a program asked a question, and nobody is there to answer",
        "give it its option for yes (add-apt-repository --yes, apt-get --yes) or DEBIAN_FRONTEND=noninteractive",
        "add-apt-repository(1); Trove's notes on its image build"),
    Row("variable not set",
        r"(?:line )?\d+: (?P<what>\w+): (unbound variable|parameter (not set|null or not set)|.*\bmust be set)",
        "{what} is not set, and the hook needs it",
        "set {what} in the definition's [environment] (the element's README says to what)",
        "bash(1), dash(1): set -u; Trove's hooks want GUEST_USERNAME, DEV_MODE and others"),
    Row("loop devices", r"losetup: .*(failed to set up loop device|cannot find an unused loop device|not find any)"
        r"|failed to setup loop device",
        "this host gives the build no loop device",
        "free one (losetup --list shows them); in a container, pass /dev/loop-control and /dev/loop* in", "losetup(8)"),
    Row("apparmor", r"apparmor_parser|AppArmor .*(not|fail|unable)|apparmor: .*(not|fail)",
        "Docker wants AppArmor's parser, and the guest has none",
        "boot with apparmor=0 (DIB_BOOTLOADER_DEFAULT_CMDLINE) or add the package apparmor",
        "docker.io only recommends apparmor; DIB installs without recommends"),
    Row("container does not load",
        r"docker-preload: .*(does not load|does not take|there is no)|Error processing tar file"
        r"|invalid diffID|invalid manifest|open .*/(json|manifest\.json): no such file",
        "Docker does not take the container archive",
        "make it again with `docker save IMAGE` or `skopeo copy ... docker-archive:FILE`, for the guest's architecture",
        "moby, image/tarexport/load.go"),
    Row("dockerd does not start", r"docker-preload: dockerd does not start|failed to start daemon: (?P<what>.+)",
        "Docker does not run in the build's chroot {what}",
        "give the build cgroups and overlay mounts (a privileged container), or carry the container as \"pulled\"",
        "element docker-preload"),
    Row("licensed database", r"datastore-package: (?P<what>.+)", "{what}", "see the README of datastore-package",
        "element datastore-package"),
    Row("container version", r"the tag asks for \S+ (?P<wants>.+), the suite has (?P<has>.+?)(: change .*)?$",
        "the tag asks for {wants}, the suite has {has}",
        "change [datastore] version and container, or the definition's release", "element container-from-packages"),
    Row("may not mount",
        r"(mount|losetup|chroot|mknod|unshare): .*([Pp]ermission denied|Operation not permitted|must be superuser)"
        r"|mount: .*only root can",
        "the build may not mount, make devices or change its root here",
        "run as root; in a container give it CAP_SYS_ADMIN and CAP_MKNOD, and no seccomp or AppArmor profile that "
        "forbids mount", "capabilities(7)"),
    Row("program missing",
        r"(?:\d+|env|sudo|exec): '?(?P<what>[\w./+-]+)'?: (command not found|not found|No such file or directory)$"
        r"|qcow2 output format specified but (?P<other>qemu-img) executable not found",
        "the program {what}{other} is not there",
        "install it on this host (root.d, extra-data.d, block-device.d, cleanup.d) or add it to the element's "
        "package-installs.yaml (all other hooks)", "bash(1), dash(1)"),
    # Not apt's remark on its own sandbox, which every build in a chroot has.
    Row("permission", r"^(?!.*_apt).*([Pp]ermission denied|Operation not permitted|Read-only file system)",
        "something may not be written or run", "run as root; is IMAGECHECK_HOME on a file system mounted noexec, "
        "nodev or read-only?", "errno(3): EACCES, EPERM, EROFS"),
)  # fmt: skip
_COMPILED = tuple((row, re.compile(row.pattern), re.compile(row.where)) for row in TABLE)


def explain(phase: str, hook: str, lines: Sequence[str]) -> Cause | None:
    """The most special cause that ``lines`` (a failed hook's output, the last last) tell of, or None.

    ``phase`` is diskimage-builder's ("install"), ``hook`` the script's name, "" between hooks.
    """
    place = f"{phase}.d/{hook}" if hook else phase
    for row, pattern, where in _COMPILED:
        if not where.search(place):
            continue
        for line in reversed(lines):
            if match := pattern.search(line.rstrip()):
                groups = {name: value or "" for name, value in match.groupdict().items()}
                return Cause(
                    row.name,
                    row.sentence.format(**groups).strip(),
                    row.remedy.format(**groups),
                    row.source,
                    line.strip(),
                )
    return None
