"""What a look into a guest says as facts: each is read where it stands, and a good guest's are good."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watchdog_fixtures import GOOD, UNIT, UNITS, container

from imagecheck.causes import Facts
from imagecheck.cloud import hypervisor
from imagecheck.watchdog import of_guest


def test_a_good_guest_gives_good_facts():
    facts = of_guest(dataclasses.replace(GOOD, container=container(Running=True)), UNIT, "g-1")
    wanted = {
        "agent_active": "active", "agent_up": 10.0, "agent_restarts": 0, "agent_enabled": True, "agent_loaded": True,
        "guest_info": True, "guest_config": True, "guest_id_fits": True, "cloud_init": "done", "clock_offset": 0.0,
        "datasource": "DataSourceConfigDrive", "docker_active": "active", "container": "running", "container_up": 20.0,
        "default_routes": 1, "free": 10**9,
    }  # fmt: skip
    assert {name: facts[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"result": {"v1": {"errors": ["x"]}}}, "cloud_init", "error"),
        ({"result": None}, "cloud_init", "running"),
        ({"result": None, "stages": {}}, "cloud_init", "not run"),
        ({"disabled": True}, "cloud_init", "disabled"),
        ({"guest_id": None}, "guest_info", False),
        ({"guest_id": "other"}, "guest_id_fits", False),
        ({"guest_id": ""}, "guest_id_fits", None),
        ({"wall": 1_699_996_400.0}, "clock_offset", -3599.0),
        ({"wall": 1_700_007_201.0}, "clock_offset", 7200.0),
        ({"wall": 1_700_000_001.0}, "clock_offset", 0.0),
        ({"units": {UNIT: {"LoadState": "not-found"}}}, "agent_loaded", False),
        ({"units": {UNIT: {"LoadState": "masked", "UnitFileState": "masked"}}}, "agent_enabled", False),
        ({"units": {}}, "agent_active", ""),
        ({"prepare_start": 1_699_999_990.0}, "prepare_for", 10.0),
    ],
)
def test_each_fact_is_read_where_it_stands(change, name, value):
    assert of_guest(dataclasses.replace(GOOD, **change), UNIT, "g-1")[name] == value


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({"Running": True}, "running"),
        ({"Running": True, "Restarting": True}, "restarting"),
        ({"Running": True, "Paused": True}, "paused"),
        ({"Dead": True}, "dead"),
        ({"RemovalInProgress": True, "Dead": True}, "removing"),
        ({}, "exited"),
        ({"StartedAt": "0001-01-01T00:00:00Z"}, "created"),
    ],
)
def test_a_containers_state_has_dockers_name(state, name):
    assert of_guest(dataclasses.replace(GOOD, container=container(**state)), UNIT, "g-1")["container"] == name


def test_before_docker_is_up_its_files_tell_of_another_boot():
    starting = UNITS | {"docker.service": {"LoadState": "loaded", "ActiveState": "activating"}}
    facts = of_guest(dataclasses.replace(GOOD, container=container(), units=starting), UNIT, "g-1")
    assert "container" not in facts


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)),
    max_leaves=6,
)
NAMED = st.dictionaries(st.sampled_from(["v1", "State", "RestartCount", "errors", "StartedAt", "Running"]), ANY)


@given(NAMED, NAMED, NAMED, st.dictionaries(st.sampled_from(["NRestarts", "LoadState", "ActiveState"]), st.text()))
def test_whatever_a_guest_says_raises_nothing(result, stages, docker, unit):
    units = {UNIT: unit, "docker.service": {"LoadState": "loaded", "ActiveState": "active"}}
    look = dataclasses.replace(GOOD, result=result, stages=stages, container=docker, units=units)
    assert Facts(**of_guest(look, UNIT, "g-1")).guest_info is True


@pytest.mark.parametrize(
    ("said", "state"), [("running", "not running"), ("shutdown", "shutdown"), ("paused", "paused")]
)
def test_diagnostics_that_are_refused_say_that_a_machine_does_not_run_whatever_state_they_name(said, state):
    words = f"409: Cannot 'get_diagnostics' instance 5f0c while it is in power state {said}"
    assert hypervisor.refused_state(words) == state
    assert hypervisor.refused_state("403: Policy doesn't allow os_compute_api:os-server-diagnostics") == ""
