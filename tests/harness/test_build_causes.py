# ruff: noqa: E501 - what programs print is as long as it is
"""Why builds fail: for every row of the table an excerpt that ends in it, and nothing that a good build prints."""

import re
from pathlib import Path

import pytest

from imagecheck.build import output
from imagecheck.build.causes import TABLE, explain

# Marked "real": what the program printed on a Debian 12 machine (paths shortened). The others are from the sources
# or from reports that the table names.
EXCERPTS = [
    # real: cp to a full tmpfs
    ("no space", "install", "01-package-installs", "cp: error writing 'small/bash': No space left on device"),
    # real: tar into a full tmpfs
    ("no space", "root", "08-debootstrap", """
tar: ./usr/bin/zmore: Cannot write: No space left on device
tar: Exiting with failure status due to previous errors"""),
    # real: qemu-img onto a full tmpfs
    ("no space", "convert", "", "qemu-img: error while writing at byte 0: No space left on device"),
    # the same words where the image's own file system is filled
    ("image too small", "block-device", "", "cp: error writing '/mnt/usr/lib/x.so': No space left on device"),
    # real: a program of a hook that is sent SIGKILL
    ("out of memory", "install", "60-agent", '/tmp/in_target.d/install.d/60-agent: line 3:  8502 Killed   pip install .'),
    ("out of memory", "root", "08-debootstrap", "dpkg: unrecoverable fatal error, aborting:\n fork failed: Cannot allocate memory"),
    # real: pip of a package with requires-python above
    ("Python too old", "install", "31-guest-agent-install", """
INFO: pip is looking at multiple versions of trove to determine which version is compatible with other requirements.
ERROR: Package 'trove' requires a different Python: 3.10.12 not in '>=3.11'"""),
    ("Python too old", "install", "31-guest-agent-install", """
ERROR: Ignored the following versions that require a different python version: 26.0.0 Requires-Python >=3.11
ERROR: Could not find a version that satisfies the requirement trove==26.0.0 (from versions: 18.0.0)
ERROR: No matching distribution found for trove==26.0.0"""),
    # real: apt-get update beside a process that holds the lock
    ("packages locked", "install", "01-package-installs", """
E: Could not get lock /var/lib/apt/lists/lock. It is held by process 6149 (python3)
E: Unable to lock directory /var/lib/apt/lists/"""),
    # real: dpkg beside a process that holds the lock
    ("packages locked", "install", "01-package-installs", """
dpkg: error: dpkg frontend lock was locked by another process with pid 6287
Note: removing the lock file is always wrong, can damage the locked area"""),
    ("Release file expired", "root", "08-debootstrap", """
E: Release file for http://archive.invalid/debian/dists/trixie/InRelease is expired (invalid since 5d 2h 3min 4s). Updates for this repository will not be applied."""),
    # real: git clone of a host without a name
    ("no network: git", "extra-data", "98-source-repositories", """
Cloning into 'trove'...
fatal: unable to access 'https://git.invalid/openstack/trove/': Could not resolve host: git.invalid"""),
    # real: apt-get update of a host without a name
    ("no network: names", "root", "75-debian-minimal-baseinstall", """
W: Failed to fetch http://archive.invalid/debian/dists/trixie/InRelease  Could not resolve 'archive.invalid'
W: Some index files failed to download. They have been ignored, or old ones used instead."""),
    ("no network: names", "install", "60-agent", """
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError': Failed to establish a new connection: [Errno -3] Temporary failure in name resolution
ERROR: No matching distribution found for trove==23.0.0"""),
    ("Docker's archive", "pre-install", "10-docker", """
E: Failed to fetch https://docker.invalid/linux/ubuntu/dists/noble/InRelease  Connection timed out"""),
    # real: apt-get update of a port where nobody listens
    ("no network", "root", "75-debian-minimal-baseinstall", """
W: Failed to fetch http://127.0.0.1:1/debian/dists/trixie/InRelease  Could not connect to 127.0.0.1:1 (127.0.0.1). - connect (111: Connection refused)
W: Some index files failed to download. They have been ignored, or old ones used instead."""),
    # real: apt-get update of an archive without a signature
    ("not signed", "pre-install", "99-apt-get-update", """
Reading package lists...
E: The repository 'file:/srv/repo trixie Release' is not signed."""),
    ("not signed", "root", "08-debootstrap", """
W: GPG error: http://archive.invalid trixie InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131"""),
    # real: mmdebstrap of a suite that is not there
    ("no such suite", "root", "08-debootstrap", """
E: The repository 'file:/srv/repo nosuite Release' does not have a Release file.
E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed
E: mmdebstrap failed to run"""),
    # real: apt-get install; inside package-installs
    ("package missing", "install", "01-package-installs", """
> Reading state information...
> E: Unable to locate package trove-guestagnet"""),
    ("package missing", "install", "01-package-installs", "E: Package 'mysql-server' has no installation candidate"),
    # real: a build with a .deb that asks for what is nowhere
    ("packages do not fit", "install", "70-datastore-package", """
 acme-bad : Depends: libnosuch1 (>= 2) but it is not installable
E: Unable to correct problems, you have held broken packages.
E: The following information from --solver 3.0 may provide additional context:"""),
    # real: pip install --require-hashes with another hash
    ("hash mismatch", "install", "60-agent", """
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, please update the hashes.
    foo==1.0 from file:///wh/foo-1.0-py3-none-any.whl (from -r req.txt (line 1)):
        Expected sha256 0000000000000000000000000000000000000000000000000000000000000000"""),
    # real: pip install with a constraint that contradicts
    ("constraints do not fit", "install", "60-agent", "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/"),
    # real: pip install of a version that the index has not
    ("no such version", "install", "60-agent", """
ERROR: Could not find a version that satisfies the requirement trove==99 (from versions: none)
ERROR: No matching distribution found for trove==99"""),
    # real, all four: fetch, clone -b, checkout, reset
    ("git reference", "extra-data", "98-source-repositories", "fatal: couldn't find remote ref stable/9999.1"),
    ("git reference", "extra-data", "98-source-repositories", "fatal: Remote branch stable/9999.1 not found in upstream origin"),
    ("git reference", "extra-data", "98-source-repositories", "error: pathspec 'stable/9999.1' did not match any file(s) known to git"),
    ("git reference", "extra-data", "98-source-repositories", """
fatal: ambiguous argument 'stable/9999.1': unknown revision or path not in the working tree.
Use '--' to separate paths from revisions, like this:"""),
    # real: git clone of a folder that is not there
    ("git repository", "extra-data", "98-source-repositories", """
fatal: '/nonexistent/trove' does not appear to be a git repository
fatal: Could not read from remote repository.

Please make sure you have the correct access rights"""),
    ("question", "pre-install", "10-docker", """
 More info: https://launchpad.net/~x/+archive/ubuntu/y
Press [ENTER] to continue or Ctrl-c to cancel."""),
    # real: bash and dash with set -u
    ("variable not set", "install", "31-guest-agent-install", "./hook: line 3: GUEST_USERNAME: unbound variable"),
    ("variable not set", "install", "31-guest-agent-install", "./hook: 3: GUEST_USERNAME: parameter not set"),
    # the first is real: losetup of a file that is not there
    ("loop devices", "block-device", "", "losetup: /x/disk: failed to set up loop device: No such file or directory"),
    ("loop devices", "block-device", "", "losetup: cannot find an unused loop device"),
    ("apparmor", "finalise", "40-docker-preload", """
docker: Error response from daemon: AppArmor enabled on system but the docker-default profile could not be loaded: running `apparmor_parser apparmor_parser --version` failed with output:
error: exec: "apparmor_parser": executable file not found in $PATH."""),
    ("container does not load", "finalise", "40-docker-preload", """
open /var/lib/docker/tmp/docker-import-2384/repositories: no such file or directory
docker-preload: container.tar does not load"""),
    ("container does not load", "finalise", "40-docker-preload", 'invalid diffID for layer 0: expected "sha256:1", got "sha256:2"'),
    ("dockerd does not start", "finalise", "40-docker-preload", """
failed to start daemon: Devices cgroup isn't mounted
docker-preload: dockerd does not start"""),
    # real: a build with a path that is not there
    ("licensed database", "extra-data", "60-datastore-package",
     "datastore-package: /srv/acme (DATASTORE_PKG_LOCATION) is not there or cannot be read"),
    ("container version", "root", "02-container-from-packages",
     "container-from-packages: the tag asks for version 11.4, the suite has 11.8.3: change DIB_CONTAINER"),
    # real, all three: without the right to it
    ("may not mount", "root", "08-debootstrap", "mount: /x/small: must be superuser to use mount."),
    ("may not mount", "root", "08-debootstrap", "mount: /x/small: permission denied."),
    ("may not mount", "root", "08-debootstrap", "mknod: n: Operation not permitted"),
    # real, both: bash and dash
    ("program missing", "extra-data", "50-x", "./hook: line 3: skopeo: command not found"),
    ("program missing", "install", "50-x", "./hook: 2: crudini: not found"),
    ("permission", "install", "50-x", "cp: cannot create regular file '/x': Permission denied"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "phase", "hook", "text"), EXCERPTS, ids=lambda value: str(value)[:40])
def test_a_failure_that_is_known_is_named_with_its_remedy(name, phase, hook, text):
    found = explain(phase, hook, text.strip("\n").splitlines())
    assert found is not None
    assert found.name == name
    assert found.line in text
    for said in (found.sentence, found.remedy):
        assert said
        assert not re.search(r"\{\w*\}", said)


def test_every_row_has_an_excerpt():
    assert {row.name for row in TABLE} == {name for name, *_ in EXCERPTS}


def test_every_row_says_who_says_so_and_fills_only_what_it_finds():
    for row in TABLE:
        groups = set(re.compile(row.pattern).groupindex)
        assert set(re.findall(r"\{(\w+)\}", row.sentence + row.remedy)) <= groups
        assert row.source


def test_row_13_names_the_versions_on_both_sides():
    found = explain("install", "31-x", ["ERROR: Package 'trove' requires a different Python: 3.10.12 not in '>=3.11'"])
    assert found.sentence == "trove wants Python >=3.11, the guest has 3.10.12"
    assert "older [agent] release that runs on 3.10.12" in found.remedy


def test_what_makes_others_fail_is_named_before_them():
    lines = ["E: Failed to fetch http://x  No space left on device", "E: Unable to locate package bc"]
    assert explain("install", "01-package-installs", lines).name == "no space"


@pytest.mark.parametrize("lines", [[], [""], ["something else broke"], ["Setting up libapparmor1:amd64 (4.1.0-1) ..."]])
def test_what_is_not_known_is_not_guessed(lines):
    assert explain("install", "50-x", lines) is None


# ---- the lines that matter


def failed(*said):
    seen = output.Progress()
    for line in ["dib-run-parts Running /x/hooks/install.d/70-x", *said]:
        seen.line(line)
    return seen


def test_the_line_that_names_the_cause_is_shown_however_much_was_said_after_it():
    seen = failed("E: Unable to locate package bc", *(f"line {number}" for number in range(50)))
    cause = explain(seen.phase, seen.hook, seen.lines)
    shown = output.evidence(seen.lines, cause.line)
    assert shown[:2] == ["E: Unable to locate package bc", "…"]
    assert shown[-1] == "line 49"
    assert len(shown) == output.TAIL
    assert output.evidence(seen.lines[:3], cause.line) == seen.lines[:3]


def test_what_apt_got_and_unpacked_is_no_evidence():
    # real, shortened: a build with a .deb that asks for what is nowhere
    seen = failed(
        "Reading package lists...",
        "Building dependency tree...",
        "Some packages could not be installed. This may mean that you have",
        "The following packages have unmet dependencies:",
        " acme-bad : Depends: libnosuch1 (>= 2) but it is not installable",
        "E: Unable to correct problems, you have held broken packages.",
        "Unmount /x/mnt/tmp/in_target.d",
        "Unmount /x/mnt/proc",
        "INFO diskimage_builder.block_device.blockdevice [-] State already cleaned - no way to do anything here",
    )
    assert len(seen.tail) == 4
    assert seen.tail[-1] == "E: Unable to correct problems, you have held broken packages."
    found = explain(seen.phase, seen.hook, seen.lines)
    assert found.sentence == "acme-bad asks for libnosuch1 (>= 2), which the suite does not have"


def test_a_hook_that_said_nothing_else_shows_what_it_said():
    assert failed("Get:1 http://archive.invalid x", "").tail == ["Get:1 http://archive.invalid x"]
    assert failed().tail == []


def test_a_line_that_is_repeated_is_shown_once():
    assert failed("a", "again", "again", "again").tail == ["a", "again"]


LOGS = sorted(Path("~/.cache/imagecheck/images").expanduser().glob("*/build.log"))


@pytest.mark.skipif(not LOGS, reason="no image was built on this machine")
@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.parent.name)
def test_hooks_of_builds_that_went_well_hold_no_line_that_could_mislead(log):
    for line in log.read_text().splitlines():
        if not line.startswith("dib-run-parts") and not line.startswith("+") and (found := explain("x", "y", [line])):
            raise AssertionError(f"{found.name}: {line}")
