"""The agent's launcher: what it puts off, it puts off without a difference that anybody could see."""

import functools
import importlib
import inspect
import re
import sys

import oslo_utils.strutils
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagecheck import paths

SOURCE = paths.shipped("elements") / "trove-guest-agent-early/trove-guestagent-early"


@functools.cache
def launcher():
    """Its functions, without what it does by them: that needs a guest."""
    names = {}
    defined, _, _ = SOURCE.read_text().partition("# Some of the thousand")
    exec(compile(defined, str(SOURCE), "exec"), names)
    return names


@functools.cache
def put_off():
    """oslo_utils.strutils as the launcher loads it, beside the real one."""
    real = sys.modules.pop("oslo_utils.strutils")
    compiled, re.compile = re.compile, launcher()["compiled_late"]
    try:
        return importlib.import_module("oslo_utils.strutils")
    finally:
        re.compile = compiled
        sys.modules["oslo_utils.strutils"] = oslo_utils.strutils = real


HIDING = st.sampled_from(["password", "adminPass", "auth_token", "secret", "x"])
SAID = st.sampled_from(["{}={}", '"{}": "{}"', "<{0}>{1}</{0}>", "--{} '{}'", "u'{}': u'{}'", "{} = {}\n", "{} {}"])


@given(st.lists(st.builds(str.format, SAID, HIDING, st.text("aB3'\"\n <>", max_size=6)), max_size=4).map(" ".join))
@example("mysql --password 'hunter2' --PASSWORD=hunter2")
def test_patterns_that_are_made_late_hide_the_same_secrets(text):
    assert put_off().mask_password(text) == oslo_utils.strutils.mask_password(text)


def test_patterns_are_made_late():
    late = [one for found in put_off()._SANITIZE_PATTERNS_2.values() for one in found]
    assert late
    assert all(isinstance(one, str) for one in late)
    assert all(isinstance(one, re.Pattern) for one in oslo_utils.strutils._SANITIZE_PATTERNS_2["password"])


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that is put off; it counts in ``sys.loads`` how often it is loaded."""
    (tmp_path / "put_off_here.py").write_text("import sys\nsys.loads += 1\nclass Client:\n    kind = 'real'\n")
    monkeypatch.setattr(sys, "loads", 0, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    launcher()["later"]("put_off_here")
    yield "put_off_here"
    sys.modules.pop("put_off_here", None)


def test_a_module_that_is_put_off_is_loaded_once_when_it_is_used(module):
    from put_off_here import Client

    inspect.stack()  # looks at every module's names
    assert sys.loads == 0
    assert isinstance(Client(), sys.modules[module].Client)
    assert Client.kind == "real"
    assert importlib.import_module(module).Client.kind == "real"
    assert sys.loads == 1


def test_a_client_that_is_put_off_is_made_once_when_it_is_asked():
    made = []
    client = launcher()["Later"](lambda: made.append(1) or "a client")
    assert client, "who asks whether there is one already makes none"
    assert made == []
    assert client.upper() == "A CLIENT"
    assert client.title() == "A Client"
    assert made == [1]


def test_a_client_that_cannot_be_made_is_tried_again():
    answers = iter([OSError("dockerd does not answer"), "a client"])

    def make():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = launcher()["Later"](make)
    with pytest.raises(OSError, match="does not answer"):
        client.upper()
    assert client.upper() == "A CLIENT"
