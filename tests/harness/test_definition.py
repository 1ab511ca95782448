"""Definitions: what is accepted, and that every mistake is one sentence naming file, key and remedy."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import definition, paths, schema
from imagecheck.errors import UsageError

SHIPPED = sorted(paths.shipped("images").glob("*.toml"))
GOOD = """
description = "Debian guest with MariaDB"
os = "debian"
release = "trixie"
elements = [
    "debian-minimal",
    "vm",
]
login = "debian"
injected_owner = "trove"

[environment]
DIB_GRUB_TIMEOUT = "0"

[agent]
release = 23
unit = "trove-guestagent.service"
log = "/var/log/trove/trove-guestagent.log"

[datastore]
name = "mariadb"
version = "11.8"
manager = "mariadb"
container = "mariadb:11.8"

[needs]
vcpus = 1
ram_mib = 1536
disk_gib = 3
ephemeral_gib = 1
"""
FILE = Path("images/mine.toml")
DOCKER = {"postgresql": "postgres"}  # Trove's docker_image where it is not the datastore's own name


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_definition_is_valid_and_named_after_its_file(file):
    loaded = definition.load(file.stem)
    assert loaded.name == file.stem
    assert loaded.source == file
    assert loaded == definition.load(str(file))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_container_tag_is_what_trove_will_ask_docker_for(file):
    store = definition.load(file.stem).datastore
    # <docker_image>:<version>, docker_image by default
    assert store.container == f"{DOCKER.get(store.name, store.name)}:{store.version}"


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
    text = GOOD[: GOOD.index("[environment]")] + GOOD[GOOD.index("[agent]") :]
    assert definition.parse(text, FILE).environment == {}


KEYS = [
    (table, key)
    for table, keys in {"": schema.TOP, **schema.TABLES}.items()
    for key, rule in keys.items()
    if rule.default is ...
]


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_each_missing_key_is_named_with_an_example(table, key):
    changed = _without(table, key)
    dotted = f"{table}.{key}" if table else key
    with pytest.raises(UsageError, match=rf"mine\.toml: '{dotted}' is missing: add it, for example {key} = "):
        definition.parse(changed, FILE)


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_every_example_is_one_that_would_be_taken(table, key):
    rule = (schema.TABLES[table] if table else schema.TOP)[key]
    if not rule.example.startswith("["):  # a table's head
        rule.read(tomllib.loads(f"x = {rule.example}")["x"])


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
                ('"vm",', '"../../etc",', r"'elements' must be a list of element names"),
        ('log = "/var', 'log = "var', r"'agent.log' must be an absolute path"),
        ("[needs]", '[[known_failures]]\ncheck = "x"\n[needs]', r"'known_failures.reason' is missing"),
        ("[needs]", 'carried = "pushed"\n[needs]', r"'datastore.carried' must be one of packages"),
        ("[needs]", 'carried = "registry"\n[needs]', r"datastore.carried = \"registry\" and 'datastore.reference'"),
        ("[needs]", 'archive = "x.tar"\n[needs]', r"datastore.carried = \"archive\" and 'datastore.archive'"),
        ('login = "debian"', 'login = "debian"\nsource = "x.qcow2"', r"'source' says where the image is"),
        ('login = "debian"', 'login = "debian"\nbuilder = "command"', r"builder = \"command\" takes 'command'"),
        ('login = "debian"', 'login = "debian"\nbuilder = "packer"', r"'builder' must be one of diskimage-builder"),
        ('login = "debian"', f'login = "debian"\nsha256 = "{"0" * 64}"', r"'sha256' is that of a fetched image"),
        ('login = "debian"', 'login = "debian"\nuse = ["nowhere"]', r"'use' names 'nowhere', which is no part"),
        ('login = "debian"', 'login = "debian"\nuse = "debian"', r"'use' must be a list of parts"),
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


@given(key=st.sampled_from(sorted([*schema.TOP, "use"])), value=VALUES)
def test_any_value_of_any_key_gives_a_definition_or_one_sentence(key, value):
    table = tomllib.loads(GOOD)
    table[key] = value
    _sentence_or_definition(table)


@given(table=st.sampled_from(sorted(schema.TABLES)), key=st.text(max_size=12), value=VALUES)
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


# ---- composition


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts").mkdir()

    def write(name, text):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def test_a_definition_stands_on_its_parts_and_has_the_last_word(folder):
    folder("parts/base.toml", GOOD)
    folder("parts/more.toml", 'elements = ["docker-debian", "vm"]\nlogin = "ada"\n[environment]\nA = "1"\n')
    found = definition.load(
        folder("mine.toml", 'use = ["base", "more"]\nlogin = "bob"\nelements = ["own"]\n[needs]\nvcpus = 4\n')
    )
    assert found.elements == ("debian-minimal", "vm", "docker-debian", "own")
    assert found.login == "bob"
    assert found.environment == {"DIB_GRUB_TIMEOUT": "0", "A": "1"}
    assert (found.needs.vcpus, found.needs.ram_mib) == (4, 1536)


def test_a_mistake_in_a_part_names_the_part(folder):
    folder("parts/base.toml", GOOD.replace("vcpus = 1", "vcpus = 0"))
    with pytest.raises(UsageError, match=r"parts/base\.toml: 'needs.vcpus' must be"):
        definition.load(folder("mine.toml", 'use = ["base"]'))
    folder("parts/base.toml", GOOD.replace("vcpus", "cpus"))
    with pytest.raises(UsageError, match=r"parts/base\.toml: unknown key 'needs.cpus': did you mean 'needs.vcpus'"):
        definition.load(folder("mine.toml", 'use = ["base"]'))


def test_parts_that_use_each_other_in_a_circle_are_refused(folder):
    folder("parts/one.toml", 'use = ["two"]')
    folder("parts/two.toml", 'use = ["one"]')
    with pytest.raises(UsageError, match=r"'use' goes in a circle over 'one'"):
        definition.load(folder("mine.toml", 'use = ["one"]'))


def test_paths_begin_at_the_file_that_says_them(folder, tmp_path):
    folder("parts/base.toml", GOOD.replace("[needs]", 'carried = "archive"\narchive = "db.tar"\n[needs]'))
    trees = '["../elements", "/opt/x", "$TREE/elements", "pypi:trove==23.0.0:elements"]'
    found = definition.load(folder("mine.toml", f'use = ["base"]\nelements_path = {trees}'))
    assert found.datastore.archive == str(tmp_path / "parts" / "db.tar")
    assert found.elements_path == (
        str(tmp_path / ".." / "elements"), "/opt/x", "$TREE/elements", "pypi:trove==23.0.0:elements",
    )  # fmt: skip


def test_every_shipped_part_is_used():
    used = set()
    for file in [*SHIPPED, *paths.shipped("images").glob("parts/*.toml")]:
        used |= set(tomllib.loads(file.read_text()).get("use", []))
    assert used == {file.stem for file in paths.shipped("images").glob("parts/*.toml")}
