"""Measuring when nobody answers any more: the start keeps what the harness saw itself, and says why it has no more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imagecheck import measure
from imagecheck.cloud import nova
from imagecheck.cloud.connection import Hiccup
from imagecheck.definition import known, load
from imagecheck.guest.ssh import NoAnswer
from imagecheck.launch import EVENTS, LAUNCH_CUTS
from imagecheck.launch.collect import Edges

REQUEST = (1_700_000_000.0, 1_700_000_000.5)


def gone(*args, **options):
    raise NoAnswer("no SSH to debian@192.0.2.7: connection lost")


def hiccup(*args, **options):
    raise Hiccup("the API answered 503")


@pytest.fixture
def nobody(monkeypatch):
    """A guest and a cloud that fall silent after the start: the real ones cannot be told to."""
    for name in ("show", "actions", "console"):
        monkeypatch.setattr(nova, name, hiccup)
    cloud = SimpleNamespace(site=SimpleNamespace(sandbox=True))
    ground = SimpleNamespace(cloud=cloud, definition=load(known()[0]))
    return measure.look(ground, SimpleNamespace(run=gone), "s-1")


def test_each_event_of_a_silent_source_has_the_reason(nobody):
    assert nobody.events == ()
    assert nobody.offsets == ()
    for name, kind in EVENTS.items():
        if kind.clock == "guest":
            assert nobody.reasons[name] == "the guest could not be asked: no SSH to debian@192.0.2.7: connection lost"
    assert "503" in nobody.reasons["scheduled"]


def test_what_the_harness_saw_itself_is_still_a_timeline(nobody):
    edges = Edges()
    edges.saw("nova_active", REQUEST[0] + 10, REQUEST[0] + 11)
    edges.saw("port_open", REQUEST[0] + 80, REQUEST[0] + 81)
    edges.saw("healthy", REQUEST[0] + 90, REQUEST[0] + 91)
    line = measure.launch(nobody, REQUEST, edges).timeline
    assert [phase.name.split(" + ")[-1] for phase in line.phases] == ["API accepted", "spawn"]
    assert line.seconds == pytest.approx(10.5)
    assert "first_query" in line.lost
    assert set(line.missing) == {cut.event for cut in LAUNCH_CUTS} - {
        "api_called", "api_accepted", "nova_active",
    }  # fmt: skip


def test_the_way_from_the_first_query_to_healthy_is_told_apart(nobody):
    edges = Edges()
    edges.saw("first_query", REQUEST[0] + 80, REQUEST[0] + 81)
    edges.saw("status_healthy", REQUEST[0] + 82, REQUEST[0] + 83)
    edges.saw("healthy", REQUEST[0] + 90, REQUEST[0] + 91)
    line = measure.healthy(nobody, edges).timeline
    assert [phase.name for phase in line.phases] == ["taskmanager's polls"]
    assert line.seconds == pytest.approx(10.0)
