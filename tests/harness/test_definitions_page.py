"""docs/definitions.md and the schema say the same: every key has its line, and no line is about anything else."""

import re
import tomllib
from pathlib import Path

import pytest

from imagecheck import definition, paths, schema

PAGE = Path(__file__).resolve().parents[2] / "docs" / "definitions.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs a checkout")
KEYS = schema.TOP | {
    f"{table}.{name}": key
    for table, keys in {**schema.TABLES, "known_failures": schema.KNOWN_FAILURE}.items()
    for name, key in keys.items()
}


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def rows(heads):
    """The first column's code -> the other columns, of every table that has these heads."""
    found = {}
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if cells(line) == heads:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            name, *rest = cells(line)
            assert len(rest) == len(heads) - 1, line
            assert name not in found, f"{name} stands there twice"
            found[name.strip("`")] = rest
    return found


def lines():
    return rows(["key", "type", "default", "meaning", "example"])


def written(default):
    """A default as TOML."""
    if isinstance(default, str):
        return f'`"{default}"`'
    return {(): "`[]`"}[default] if isinstance(default, tuple) else "`{}`"


def test_the_page_has_a_line_for_every_key_and_for_nothing_else():
    assert list(lines()) == list(KEYS)


@pytest.mark.parametrize("name", KEYS)
def test_the_page_gives_each_keys_default_and_example(name):
    kind, default, meaning, example = lines()[name]
    key = KEYS[name]
    assert default == ("required" if key.default is ... else written(key.default))
    assert example == f"`{key.example}`"
    assert kind
    assert len(meaning) > 3


@pytest.mark.parametrize("name", KEYS)
def test_each_keys_example_is_one_that_it_takes(name):
    example = KEYS[name].example
    if name in (*schema.TABLES, "known_failures"):
        assert example.strip("[]") == name
    else:
        KEYS[name].read(tomllib.loads(f"x = {example}")["x"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("builder", schema.BUILDERS),
        ("agent.install", schema.INSTALLS),
        ("datastore.carried", tuple(schema.CARRIED)),
    ],
)
def test_the_page_lists_every_word_that_a_key_takes(name, words):
    assert re.findall(r"`([^`]+)`", lines()[name][0]) == list(words)


def test_the_page_explains_every_way_of_carrying_a_container():
    assert list(rows(["`datastore.carried`", "what happens", "elements"])) == list(schema.CARRIED)


def test_the_page_lists_every_reserved_variable():
    assert {name: why for name, (why,) in rows(["variable", "why"]).items()} == {
        name: f"it {why}" for name, why in schema.RESERVED.items()
    }


def test_the_page_says_which_lists_are_added_to():
    text = PAGE.read_text(encoding="utf-8")
    said = re.search(r"These lists are added .*?: (.*?)\. Every other", text, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", said[1])) == schema.ADDED


def test_the_pages_first_example_is_a_whole_definition(tmp_path):
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    known = definition.parse(example, tmp_path / "example.toml")
    assert known.datastore.container == "mariadb:11.8"
    assert known.elements == definition.load("mariadb-debian").elements


def test_the_page_names_only_elements_and_parts_that_there_are():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)*-container|container-[a-z-]+|datastore-package|docker-[a-z]+)`", text))
    named |= set(re.findall(r"[Ee]lement `([a-z-]+)`", text))
    assert named
    assert {name for name in named if not (paths.shipped("elements") / name).is_dir()} == set()


def test_the_pages_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / target).exists(), target
