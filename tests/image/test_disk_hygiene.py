"""The image, looked into: what the build left behind and guests must not share."""

import datetime

import pytest

from imagecheck import hygiene

pytestmark = pytest.mark.stage("disk")


def test_no_credentials(disk):
    """No password, key or login for a broker, a cloud, a registry or a package source is in a settings file."""
    found = hygiene.leftovers(disk.tree)
    assert not found, f"{'; '.join(found)}. Remove it at the end of the build, and change what was in it"


def test_no_identity(disk):
    """Nothing that makes a guest itself is baked in: a random seed, a credential key, D-Bus's machine id."""
    found = hygiene.identities(disk.tree)
    assert not found, f"{', '.join(found)}: remove it at the end of the build"


def test_no_expired_certificate(disk):
    """The image's own certificates are valid today."""
    today = datetime.datetime.now(datetime.UTC)
    found = hygiene.certificates(disk.tree, today)
    assert not found, f"{'; '.join(found)}. Renew it: TLS with the broker or the registry would fail"
