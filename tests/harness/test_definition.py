"""Definitions: what is accepted, and that every mistake is one sentence naming file, key and remedy."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import definition, paths
from imagecheck.errors import UsageError

SHIPPED = sorted(paths.shipped("images").glob("*.toml"))
GOOD = (paths.shipped("images") / "mariadb-debian.toml").read_text()
FILE = Path("images/mine.toml")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_definition_is_valid_and_named_after_its_file(file):
    loaded = definition.load(file.stem)
    assert loaded.name == file.stem
    assert loaded.source == file
    assert loaded == definition.load(str(file))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_container_tag_is_what_trove_will_ask_docker_for(file):
    store = definition.load(file.stem).datastore
    assert store.container == f"{store.name}:{store.version}"  # <docker_image>:<version>, docker_image by default


def test_an_unknown_name_gets_the_nearest_one_and_the_list():
    with pytest.raises(UsageError, match=r"'mariadb-debain'.*did you mean 'mariadb-debian'.*known are") as error:
        definition.load("mariadb-debain")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.toml: cannot be read \(No such file"):
        definition.load(tmp_path / "gone.toml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.toml: is not UTF-8"):
        definition.load(file)


def test_the_environment_may_be_left_out():
    text = GOOD[: GOOD.index("[environment]")] + GOOD[GOOD.index("[datastore]") :]
    assert definition.parse(text, FILE).environment == {}


KEYS = [*(("", key) for key in definition.TOP), *(("datastore", key) for key in definition.DATASTORE),
        *(("needs", key) for key in definition.NEEDS)]  # fmt: skip


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_each_missing_key_is_named_with_an_example(table, key):
    if key in ("environment",):
        pytest.skip("optional")
    changed = _without(table, key)
    dotted = f"{table}.{key}" if table else key
    with pytest.raises(UsageError, match=rf"mine\.toml: '{dotted}' is missing: add it, for example {key} = "):
        definition.parse(changed, FILE)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('login = "debian"', 'logon = "debian"', r"unknown key 'logon': did you mean 'login'"),
        ('manager = "mariadb"', 'manger = "mariadb"', r"unknown key 'datastore.manger': did you mean"),
        ("ram_mib = 1536", "ram_mib = true", r"'needs.ram_mib' must be a whole number"),
        ("ram_mib = 1536", 'ram_mib = "1536"', r"'needs.ram_mib' must be a whole number"),
        ("vcpus = 1", "vcpus = 0", r"'needs.vcpus' must be a whole number from 1"),
        ('release = "trixie"', "release = 13", r"'release' must be a short name"),
        ('version = "11.8"', "version = 11.8", r"'datastore.version' must be a version in quotes"),
        ('container = "mariadb:11.8"', 'container = "mariadb"', r"'datastore.container' must be .*name:tag"),
        ('"vm",', '"vm", "vm",', r"'elements' must be each element once"),
        ('"vm",', '"../../etc",', r"'elements' must be a list of element names"),
        ('agent_log = "/var', 'agent_log = "var', r"'agent_log' must be an absolute path"),
        ("[environment]", '[environment]\nPATH = "/tmp"', r"'environment' must be no PATH, which is the builder's"),
        ("[environment]", "[environment]\nA = 1", r"'environment' must be text \(in quotes\) for A"),
        ('login = "debian"', 'login = "root; rm"', r"'login' must be a user's name"),
        ('login = "debian"', "login = ", r"is not valid TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_key_and_remedy(before, after, said):
    assert before in GOOD
    with pytest.raises(
        UsageError, match=rf"mine\.toml: .*{said}" if "TOML" in said else rf"mine\.toml: {said}"
    ) as error:
        definition.parse(GOOD.replace(before, after, 1), FILE)
    assert "\n" not in str(error.value)


def test_a_file_name_that_cannot_be_an_image_name_is_refused():
    with pytest.raises(UsageError, match="the file's name is the image's name"):
        definition.parse(GOOD, Path("images/My Image.toml"))


VALUES = st.recursive(
    st.none().map(lambda _: "x") | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(definition.TOP)), value=VALUES)
def test_any_value_of_any_key_gives_a_definition_or_one_sentence(key, value):
    table = tomllib.loads(GOOD)
    table[key] = value
    _sentence_or_definition(table)


@given(table=st.sampled_from(["datastore", "needs"]), key=st.text(max_size=12), value=VALUES)
def test_any_key_in_a_table_gives_a_definition_or_one_sentence(table, key, value):
    whole = tomllib.loads(GOOD)
    whole[table] = {**whole[table], key: value}
    _sentence_or_definition(whole)


@given(st.text())
def test_any_text_gives_a_definition_or_one_sentence(text):
    said = refused(lambda: definition.parse(text, FILE))
    assert said == "" or said.startswith("images/mine.toml: ")


def _sentence_or_definition(table):
    said = refused(lambda: definition.from_table(table, FILE))
    assert said == "" or said.startswith("images/mine.toml: ")
    assert len(said) < 600


def refused(call):
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


def _without(table, key):
    kept = []
    inside, dropping = "", False
    for line in GOOD.splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
            dropping = not table and inside == key
        elif inside == table and line.startswith(f"{key} ="):
            dropping = True
        elif dropping and inside == table and "=" in line and not line.startswith((" ", "#")):
            dropping = False
        if not dropping:
            kept.append(line)
    return "\n".join(kept)
