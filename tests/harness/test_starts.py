"""What one start of a series looks at. The broker is stood in for: a real one is slow or silent when it likes."""

from types import SimpleNamespace

import pytest

from imagecheck import bare
from imagecheck.broker import BrokerUnreachable
from imagecheck.errors import StepFailed
from imagecheck.launch.collect import Edges


def waited(answers, *, patience=60.0, look=lambda step: None):
    """``bare.connects`` with a broker that gives these answers, the last one again and again; and its edges."""
    left = list(answers)

    def queue(guest_id):
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return SimpleNamespace(consumers=one)

    ground = SimpleNamespace(broker=SimpleNamespace(queue=queue))
    boot = SimpleNamespace(
        injected=SimpleNamespace(guest_id="g"), watch=SimpleNamespace(look=look, ended=lambda error: error)
    )
    edges = Edges()
    return bare.connects(ground, boot, edges, patience=patience), edges


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No time between two questions."""
    until = bare.waits.until
    monkeypatch.setattr(bare.waits, "until", lambda *args, **options: until(*args, **options | {"interval": 0.001}))


def test_an_agent_that_comes_is_seen_without_a_login():
    seen, edges = waited([0, 0, 1])
    assert seen
    assert edges.has("broker_connected")


def test_an_agent_that_is_late_is_worth_a_look_inside():
    seen, edges = waited([0], patience=0.02)
    assert not seen
    assert not edges.has("broker_connected")


def test_a_broker_that_cannot_be_asked_is_no_wait_at_all():
    assert not waited([BrokerUnreachable("no road")], patience=600)[0]


def test_a_console_that_shows_why_ends_the_wait():
    def look(step):
        raise StepFailed(step, "a panic")

    with pytest.raises(StepFailed, match="a panic"):
        waited([0], look=look)
