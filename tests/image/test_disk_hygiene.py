"""The image, looked into: what the build left behind and guests must not share."""

import datetime

import pytest

from imagecheck import hygiene

pytestmark = pytest.mark.stage("disk")


def test_no_credentials(disk):
    """No password, key or login for a broker, a cloud, a registry or a package source is in a settings file."""
    assert hygiene.leftovers(disk.tree) == [], "remove it at the end of the build, and change what was in it"


def test_no_identity(disk):
    """Nothing that makes a guest itself is baked in: a random seed, a credential key, D-Bus's machine id."""
    assert hygiene.identities(disk.tree) == [], "remove them at the end of the build"


def test_no_expired_certificate(disk):
    """The image's own certificates are valid today."""
    today = datetime.datetime.now(datetime.UTC)
    assert hygiene.certificates(disk.tree, today) == [], "renew them: TLS with the broker or registry would fail"
