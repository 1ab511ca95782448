"""The Debian archive that this host already uses: no mirror is named in the project itself."""

from __future__ import annotations

import os
import shutil
import subprocess

from imagecheck.errors import UsageError

VARIABLE = "IMAGECHECK_DEBIAN_MIRROR"


def debian() -> str:
    """The base URI of a Debian archive, from $IMAGECHECK_DEBIAN_MIRROR or the host's apt sources.

    Raises UsageError where neither knows one (an Ubuntu host without the variable, say).
    """
    named = os.environ.get(VARIABLE, "")
    if named:
        return named.rstrip("/")
    if shutil.which("apt-get"):
        listing = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"],
            capture_output=True, text=True, check=False, timeout=60,
        ).stdout  # fmt: skip
        for line in listing.splitlines():
            origin, label, uri = (line.split(" ", 2) + ["", ""])[:3]
            if (origin, label) == ("Debian", "Debian") and uri:
                return uri.rstrip("/")
    raise UsageError(
        f"no Debian archive is known on this host: set {VARIABLE} to the base URI of a Debian mirror "
        "(on Debian, run 'apt-get update' once)"
    )
