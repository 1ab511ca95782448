"""From recorded answers of a cloud (the sandbox's, Epoxy; shortened) to sentences a person can act on."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecheck import cli, doctor, finding
from imagecheck.cloud import examine
from imagecheck.cloud.answers import ABSENT, QUESTIONS, SILENT, Account, Answer
from imagecheck.cloud.examine import Usage
from imagecheck.errors import StepFailed, UsageError
from imagecheck.finding import Finding

ADMIN = Account("prod", "admin", "u1", "admin", "p1", ("admin", "member", "reader"))
TENANT = Account("prod-tenant", "imagecheck", "u2", "imagecheck", "p2", ("member", "reader"))
OK = {name: Answer(200) for name in QUESTIONS}
NOVA_REFUSAL = {"forbidden": {"code": 403, "message": "Policy doesn't allow os_compute_api:os-hypervisors:list"}}
TROVE_REFUSAL = {"unauthorized": {"code": 401, "message": "User does not have admin privileges."}}
NOVA_QUOTA = {
    "quota_set": {
        "id": "7bf95a17b7b64d099d1e592e60f660fa",
        "cores": {"limit": 20, "in_use": 4, "reserved": 0},
        "instances": {"limit": 10, "in_use": 10, "reserved": 0},
        "key_pairs": {"limit": 100, "in_use": 0, "reserved": 0},
        "ram": {"limit": 51200, "in_use": 49152, "reserved": 1024},
        "server_groups": {"limit": -1, "in_use": 0, "reserved": 0},
    }
}
NEUTRON_QUOTA = {"quota": {"port": {"limit": 3, "used": 2, "reserved": 0}, "router": {"limit": 10, "used": 1}}}
TROVE_QUOTA = {
    "quotas": [
        {"resource": "instances", "in_use": 5, "reserved": 0, "limit": 5},
        {"resource": "ram", "in_use": 0, "reserved": 0, "limit": -1},
        {"resource": "volumes", "in_use": 0, "reserved": 0, "limit": 40},
    ]
}
NOVA = {"version": {"id": "v2.1", "status": "CURRENT", "version": "2.100", "min_version": "2.1"}}


def only(found):
    (one,) = found
    return one


# ---- roles


def test_roles_that_are_there_are_one_line():
    assert only(examine.rights(ADMIN, TENANT, OK)).level == "ok"


def test_a_missing_role_says_what_does_not_work_and_the_command():
    told = OK | {"instances": Answer(401, TROVE_REFUSAL), "servers": Answer(403, NOVA_REFUSAL)}
    seen = only(examine.rights(ADMIN, TENANT, told))
    assert seen.level == "stop"
    assert "may not see all of Trove's instances, so a launch can be neither followed nor stopped" in seen.sentence
    assert "servers of all projects" in seen.sentence
    assert "`openstack role add --user admin --project admin admin`" in seen.remedy


def test_what_works_without_a_role_is_degraded_with_its_reason():
    seen = only(examine.rights(ADMIN, TENANT, OK | {"hypervisors": Answer(403, NOVA_REFUSAL)}))
    assert (seen.level, "evidence does not say where a server lies" in seen.sentence) == ("degraded", True)


def test_servers_without_their_host_are_degraded():
    hidden = Answer(200, {"servers": [{"id": "x", "status": "ACTIVE"}]})
    shown = Answer(200, {"servers": [{"id": "x", "OS-EXT-SRV-ATTR:host": "epoxy"}]})
    assert "os-extended-server-attributes" in only(examine.rights(ADMIN, TENANT, OK | {"servers": hidden})).remedy
    assert only(examine.rights(ADMIN, TENANT, OK | {"servers": shown})).level == "ok"


def test_a_tenant_with_rights_proves_nothing():
    seen = only(examine.rights(ADMIN, ADMIN, OK))
    assert (seen.level, "tenant_cloud" in seen.remedy) == ("degraded", True)


def test_every_right_asks_a_question_and_names_its_source():
    assert all(one.question in QUESTIONS and one.source for one in examine.RIGHTS)
    assert all(one.source for one in examine.FLOORS)


# ---- the catalogue


def test_a_service_that_the_region_lacks_is_told_with_the_region():
    told = OK | {"networks": Answer(ABSENT, said="no endpoint")}
    seen = only(examine.services("RegionTwo", told, Answer(200)))
    assert seen.sentence == "region 'RegionTwo' has no service of type 'network'"
    assert "OS_REGION_NAME" in seen.remedy


@pytest.mark.parametrize("cinder", [Answer(ABSENT), Answer(SILENT, said="refused"), Answer(503)])
def test_without_cinder_a_run_is_degraded(cinder):
    seen = only(examine.services("R", OK, cinder))
    assert (seen.level, "Cinder" in seen.sentence) == ("degraded", True)


def test_a_cinder_that_only_refuses_is_there():
    assert only(examine.services("R", OK, Answer(403))).level == "ok"


def test_a_trove_that_answers_500_stops():
    told = OK | {"instances": Answer(500)}
    assert only(examine.services("R", told, Answer(200))).sentence.endswith("does not answer: HTTP 500")


# ---- quotas


def test_the_quotas_of_four_services_are_read_alike():
    assert examine.usage(Answer(200, NOVA_QUOTA))["ram"] == Usage(50176, 51200)
    assert examine.usage(Answer(200, NEUTRON_QUOTA)) == {"port": Usage(2, 3), "router": Usage(1, 10)}
    assert examine.usage(Answer(200, TROVE_QUOTA))["instances"] == Usage(5, 5)
    assert examine.usage(Answer(404)) == {}


def test_a_quota_that_is_used_up_says_used_limit_need_and_command():
    there = examine.usage(Answer(200, NOVA_QUOTA))
    instances, ram = examine.quotas("Nova", "admin", there, {"instances": 2, "cores": 2, "ram": 2048})
    assert instances.sentence == "instances quota of project 'admin' (Nova): 10 of 10 used, this run needs 2"
    assert instances.remedy == "raise it with `openstack quota set --instances 12 admin` or free some"
    assert ram.sentence.startswith("ram quota")


def test_troves_quota_has_a_command_of_its_own():
    seen = only(examine.quotas("Trove", "p2", examine.usage(Answer(200, TROVE_QUOTA)), {"instances": 1}, trove=True))
    assert seen.remedy == "raise it with `openstack database quota update p2 instances 6` or free some"


@given(st.integers(0, 99), st.integers(-1, 99), st.integers(0, 99))
def test_a_quota_stops_exactly_when_used_and_planned_are_more_than_the_limit(used, limit, wanted):
    found = examine.quotas("Neutron", "p", {"port": Usage(used, limit)}, {"port": wanted})
    assert bool(found) == (limit >= 0 and used + wanted > limit)


# ---- networks


def test_networks_that_overlap_are_told_with_both_ranges():
    seen = only(examine.overlaps(("mgmt", ["10.0.0.0/16"]), ("tenant", ["192.168.0.0/24", "10.0.7.0/24"])))
    assert seen.level == "stop"
    assert "'mgmt' (10.0.0.0/16) and the tenant network 'tenant' (10.0.7.0/24) overlap" in seen.sentence


def test_networks_apart_are_fine_and_versions_of_ip_do_not_mix():
    assert only(examine.overlaps(("m", ["10.0.0.0/24", "fd00::/64"]), ("t", ["10.0.1.0/24", "::/0"]))).level == "stop"
    assert only(examine.overlaps(("m", ["10.0.0.0/24"]), ("t", ["fd00::/64"]))).level == "ok"


def test_a_network_in_dockers_range_is_degraded():
    seen = only(examine.overlaps(("m", ["172.17.4.0/24"]), ("t", ["10.0.0.0/24"])))
    assert (seen.level, "docker_bridge_network_ip" in seen.remedy) == ("degraded", True)


RANGES = st.lists(st.ip_addresses(v=4).map(lambda ip: f"{ip}/32"), max_size=3)


@given(RANGES, RANGES)
def test_overlap_does_not_depend_on_who_is_who(one, two):
    levels = [{f.level for f in examine.overlaps(("a", a), ("b", b))} for a, b in ((one, two), (two, one))]
    assert levels[0] == levels[1]
    assert ("stop" in levels[0]) == bool(set(one) & set(two))


# ---- keypair, drive, disk, clock, versions


def test_a_keypair_belongs_to_troves_user():
    ours = "ssh-ed25519 AAAAC3 me@here"
    assert examine.keypair("trove", False, ["ssh-ed25519 AAAAC3 other"], ours).level == "ok"
    wrong = examine.keypair("trove", True, ["ssh-ed25519 AAAAXX"], ours)
    assert (wrong.level, "a keypair belongs to a user" in wrong.sentence) == ("stop", True)
    assert examine.keypair("trove", False, [], ours).level == "degraded", "that it is Trove's user is a guess"
    assert "guest_key" in examine.keypair("trove", True, [], "").remedy
    assert "not known" in examine.keypair("", False, [], ours).sentence


def test_what_a_server_of_troves_shows():
    assert examine.carrier({"config_drive": "True"}).sentence == "Trove boots with a config drive"
    assert examine.carrier({"config_drive": ""}).sentence == "Trove boots with the metadata service"
    assert "not known" in examine.carrier(None).sentence


@pytest.mark.parametrize(
    ("server", "ephemeral", "cinder", "level"),
    [
        (None, 1, True, "ok"),
        (None, 0, True, "degraded"),
        ({}, 0, True, "stop"),
        ({}, 1, False, "ok"),
        ({"os-extended-volumes:volumes_attached": [{"id": "v"}]}, 0, True, "ok"),
        ({"os-extended-volumes:volumes_attached": [{"id": "v"}]}, 0, False, "stop"),
    ],
)
def test_the_disk_of_the_data(server, ephemeral, cinder, level):
    assert examine.data_disk(server, ephemeral, cinder).level == level


def test_clocks():
    assert examine.clock((100.0, 100.6, 100.2)).level == "ok"
    late = examine.clock((100.0, 92.0, 100.2))
    assert (late.level, "8 s behind this host's" in late.sentence) == ("degraded", True)
    assert examine.clock((100.0, 94.6, 100.2)).level == "ok", "5 s within what the header can tell"
    assert examine.clock(None).level == "ok"


def test_versions():
    assert (
        only(examine.versions(Answer(200, NOVA), 23)).sentence == "Nova 2.1 to 2.100: 2025.1 Epoxy or 2025.2 Flamingo"
    )
    other, _ = examine.versions(Answer(200, NOVA), 26)
    assert "agent of Trove 26" in other.sentence
    assert "Trove 23 or 24" in other.sentence


def test_an_old_nova_says_what_is_missing():
    *lacking, last = examine.versions(Answer(200, {"version": {"version": "2.42", "min_version": "2.1"}}))
    assert {one.level for one in lacking} == {"degraded"}
    assert "diagnostics" in lacking[0].sentence
    assert "does not know" in last.sentence


@given(st.text(max_size=12))
def test_no_microversion_breaks_it(text):
    assert examine.microversion(text) >= (0, 0)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["quota_set", "quota", "quotas", "limit", "used", "version", "servers", "resource", "x"]),
            inner, max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["quota_set", "quota", "quotas", "version", "servers"]), ANYTHING))
def test_an_answer_of_another_shape_breaks_nothing(table):
    wild = Answer(200, table)
    examine.usage(wild)
    examine.versions(wild)
    examine.rights(ADMIN, TENANT, dict.fromkeys(QUESTIONS, wild))


# ---- how it is told


FOUND = [
    Finding("ok", "clock", "0.1 s apart " + "x" * 90),
    Finding("degraded", "role", "may not list hypervisors, so evidence does not say where a server lies", "ask"),
    Finding("stop", "quota", "instances quota of project 'admin' (Nova): 10 of 10 used, this run needs 2", "raise it"),
]


def test_findings_fit_a_terminal_of_80_columns():
    told = list(finding.lines(FOUND))
    assert all(len(line) <= 80 for line in told)
    assert sum(line.startswith("ok ") for line in told) == 1
    assert "try: raise it" in "\n".join(told)
    assert told[-1] == "1 ok, 1 degraded, 1 stop"


@given(st.lists(st.builds(Finding, st.sampled_from(["ok", "degraded", "stop"]), st.text(max_size=9), st.text())))
def test_every_finding_is_told_whatever_its_words(found):
    told = list(finding.lines(found))
    assert len(told) >= len(found) + 1
    assert all(line.isprintable() for line in told)
    assert json.dumps(finding.as_json(found))


def test_a_mistake_becomes_a_finding_with_its_remedy():
    assert finding.of("x", UsageError("a: b is missing: add it")) == Finding("stop", "x", "a: b is missing", "add it")
    assert finding.of("x", StepFailed("s", "broke", remedy="mend it")) == Finding("stop", "x", "broke", "mend it")
    assert finding.of("x", UsageError("plain")).sentence == "plain"


# ---- the command


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A host without a cloud of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OS_CLOUD", raising=False)
    monkeypatch.setenv("IMAGECHECK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))


def test_without_a_cloud_the_host_is_looked_at_and_nothing_is_made(nowhere, tmp_path, capsys):
    code = cli.main(["doctor", "--json"])
    told = {one["subject"]: one for one in json.loads(capsys.readouterr().out)}
    assert "sandbox" in told["cloud"]["sentence"]
    assert {"programs", "disk stage", "image builds", "room", "versions"} <= set(told)
    assert code == (1 if any(one["level"] == "stop" for one in told.values()) else 0)
    assert list((tmp_path / "home").iterdir()) == []


def test_bad_input_is_exit_2(nowhere, capsys):
    assert cli.main(["doctor", "--cloud", "nosuch"]) == 2
    assert cli.main(["doctor", "--image", "nosuch"]) == 2
    assert cli.main(["doctor", "--site", "nosuch.toml"]) == 2
    assert re.search(r"no entry 'nosuch'", capsys.readouterr().err)


def test_a_cloud_that_is_not_there_stops_with_a_sentence(nowhere, tmp_path, capsys):
    (tmp_path / "clouds.yaml").write_text(
        "clouds: {gone: {auth: {auth_url: 'http://127.0.0.1:9/v3', username: u, password: pass-of-nobody, "
        "project_name: p}}}"
    )
    assert cli.main(["doctor", "--cloud", "gone"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "cannot be reached" in told
    assert "pass-of-nobody" not in told


def test_too_little_room_is_degraded(monkeypatch, nowhere):
    monkeypatch.setattr(doctor, "ROOM", 2**60)
    assert next(one for one in doctor.host() if one.subject == "room").level == "degraded"
