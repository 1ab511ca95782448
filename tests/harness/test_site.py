"""site.py: a site file is read as it is meant, or refused in one sentence."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import redact, site
from imagecheck.errors import UsageError
from imagecheck.site import Site

GOOD = 'cloud = "admin"\ntenant_cloud = "demo"\n'


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "imagecheck.toml"
        file.write_text(text)
        return file

    return write


def test_two_names_are_enough(write):
    loaded = site.load(write(GOOD))
    assert loaded == Site(cloud="admin", tenant_cloud="demo")
    assert (loaded.management_network, loaded.sandbox) == ("mgmt", False)


def test_relative_paths_start_at_the_file(write, tmp_path):
    (tmp_path / "key").write_text("x")
    assert site.load(write(GOOD + 'guest_key = "key"\n')).guest_key == tmp_path / "key"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + 'flavour = "m1"\n', ["unknown key 'flavour'", "did you mean 'flavor'?"]),
        (GOOD + "zzzzzz = 1\n", ["unknown key 'zzzzzz'", "the keys are cloud,"]),
        (GOOD + "flavor = 3\n", ["'flavor' is 3", "a string in quotes"]),
        (GOOD + "sandbox = 1\n", ["'sandbox' is 1", "true or false"]),
        (GOOD + 'acceleration = "fast"\n', ["'acceleration' is 'fast'", "'kvm', 'tcg'"]),
        (GOOD + "registry = 5000\n", ["'registry' is 5000", "a string in quotes"]),
        (GOOD + 'registry = "http://10.0.0.1:5000"\n', ["'registry' is 'http://10.0.0.1:5000'", "host:port"]),
        (GOOD + 'registry = "10.0.0.1"\n', ["'registry' is '10.0.0.1'", "host:port"]),
        (GOOD + 'guest_config = "none.conf"\n', ["'guest_config' names", "No such file", "correct the path"]),
        (GOOD + 'guest_config = "."\n', ["'guest_config' names", "Is a directory"]),
        (GOOD + "guest_key = true\n", ["'guest_key' is True", "the path of a file"]),
        (GOOD + 'guest_key = ""\n', ["'guest_key' is ''", "the path of a file"]),
        ('cloud = "admin"\n', ["'tenant_cloud' is missing", "clouds.yaml"]),
        ('cloud = ""\ntenant_cloud = "demo"\n', ["'cloud' is missing"]),
        ("cloud =\n", ["not valid TOML", "line 1"]),
    ],
)
def test_a_bad_file_is_one_sentence_with_file_key_and_remedy(write, text, words):
    file = write(text)
    with pytest.raises(UsageError) as caught:
        site.load(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file}: ")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("registry", ["", "10.77.3.2:5001", "mirror.example.org:80", "[fd00::1]:5000"])
def test_a_registry_is_a_host_with_a_port_or_nothing(write, registry):
    assert site.load(write(GOOD + f'registry = "{registry}"\n')).registry == registry


def test_a_missing_file_and_a_binary_file_are_one_sentence_each(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        site.load(tmp_path / "none.toml")
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        site.load(binary)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_guest_config_is_one_sentence(write, tmp_path):
    config = tmp_path / "guest.conf"
    config.write_text("x")
    config.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        site.load(write(GOOD + 'guest_config = "guest.conf"\n'))


def test_the_brokers_password_is_secret_from_the_moment_the_site_is_known(write, tmp_path):
    (tmp_path / "guest.conf").write_text("[DEFAULT]\ntransport_url = rabbit://trove:n0tForEyes@h:5672/\n")
    site.load(write(GOOD + 'guest_config = "guest.conf"\n'))
    assert "n0tForEyes" not in redact.redact("argv: n0tForEyes")


text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@given(st.builds(Site, cloud=text, tenant_cloud=text, flavor=text, jump=text, sandbox=st.booleans()))
def test_what_is_dumped_is_what_is_loaded(wanted):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "new" / "site.toml"
        site.dump(wanted, file)
        assert site.load(file) == wanted


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.text()))))
def test_wild_tables_are_refused_in_one_sentence(table):
    with pytest.raises(UsageError) as caught:
        site._site({**table, "cloud": "a", "tenant_cloud": 5}, Path("f.toml"))
    assert "f.toml" in str(caught.value)
