"""The injection matrix's walk: when a wait is over, and what becomes a field. Guest, Nova and broker are stand-ins."""

import base64
import types

import pytest

from imagecheck import bare, injection, matrix, waits
from imagecheck.broker import Address, BrokerUnreachable
from imagecheck.cloud import nova, offers
from imagecheck.guest import redeliver
from imagecheck.guest.agent import Connection
from imagecheck.guest.config_drive import ConfigDrive
from imagecheck.outcomes import Agent, Injected

INFO, CONFIG = "/etc/trove/conf.d/guest_info.conf", "/etc/trove/conf.d/trove-guestagent.conf"
NO_SOURCE = "cloud-init[300]: 2026-11-23 - util.py[WARNING]: No instance datasource found! Likely bad things to come!\n"


class Ledger:
    def __init__(self):
        self.open = []

    def intend(self, kind, name):
        self.open.append(types.SimpleNamespace(kind=kind, name=name, id=""))
        return self.open[-1]

    def made(self, entry, id):
        entry.id = id

    def removed(self, entry):
        self.open.remove(entry)


@pytest.fixture
def ground(monkeypatch):
    store = types.SimpleNamespace(manager="mariadb", version="11.8")
    about = types.SimpleNamespace(unit="an-agent.service", log="/a.log")
    network = types.SimpleNamespace(id="n", name="n")
    one = types.SimpleNamespace(
        cloud=types.SimpleNamespace(tenant_project="p"), ledger=Ledger(), run="imagecheck-1",
        definition=types.SimpleNamespace(datastore=store, agent=about),
        brokers=(Address("b", 5672, "u", "", "/", False),),
        where=types.SimpleNamespace(management=network, tenant=network, flavor=network),
    )  # fmt: skip
    injected = Injected("an-id", {INFO: "x", CONFIG: "[DEFAULT]\n"}, "trove", "trove", INFO, CONFIG)
    monkeypatch.setattr(bare, "inject", lambda _: injected)
    monkeypatch.setattr(bare, "access", lambda *_: None)
    monkeypatch.setattr(matrix, "WORD_DEADLINE", 0.05)
    monkeypatch.setattr(matrix, "SILENCE", 0.05)
    monkeypatch.setattr(matrix, "BOOT_DEADLINE", 0.5)
    # Beats of milliseconds.
    until = waits.until
    monkeypatch.setattr(waits, "until", lambda probe, **how: until(probe, **{**how, "interval": 0.005}))
    return one


# ---- contents


@pytest.fixture
def contents(ground, monkeypatch):
    agent = Agent(unit=None, seconds=1, brokers=(), dials=(), connections=(), queue=None, unasked="")
    drive = ConfigDrive("/dev/sr0", "", "", "", "DataSourceConfigDrive [net]", ())
    monkeypatch.setattr(redeliver, "deliver", lambda *_, **__: redeliver.Delivered((), ground.cloud_init, {}))
    monkeypatch.setattr(
        redeliver, "look", lambda *_, **__: ground.looks.pop(0) if ground.looks[1:] else ground.looks[0]
    )
    monkeypatch.setattr(bare, "consumers", lambda *_: ground.consumers)
    ground.cloud_init, ground.consumers, ground.looks = "", 0, []
    server = types.SimpleNamespace(injected=bare.inject(ground))
    return matrix.Contents(ground, server, None, agent, drive, [])


def words(journal="", mounted=False, written=0):
    return redeliver.Look(journal, "", mounted, written)


def test_the_wait_is_over_when_the_documented_message_is_there(contents, ground):
    ground.looks = [words(), words(f"RuntimeError: {injection.NO_MANAGER}\n"), words("later")]
    cell = contents.walk("missing")
    assert (cell.outcome, cell.wrong) == ("fails: agent-no-guest-info", ())
    assert ground.looks == [words("later")]
    assert [one.kind for one in ground.ledger.open] == ["queue"]


def test_the_word_of_cloud_init_alone_does_not_end_the_wait_for_the_agents(contents, ground):
    ground.cloud_init = "util.py[WARNING]: Failed loading yaml blob. Invalid format at line 3\n"
    ground.looks = [words()]
    cell = contents.walk("malformed-user-data")
    assert cell.outcome == "fails, and does not say why"
    ground.looks = [words(f"RuntimeError: {injection.NO_MANAGER}\n")]
    assert contents.walk("malformed-user-data").wrong == ()


def test_an_agent_without_a_broker_is_waited_for_until_it_has_its_disk(contents, ground):
    ground.cloud_init = f"OSError: Unknown user or group: \"getpwnam(): name not found: '{injection.NOBODY}'\"\n"
    ground.looks = [words(), words(), words(mounted=True, written=99)]
    assert contents.walk("owner").wrong == ()
    assert len(ground.looks) == 1


def test_a_silent_agent_and_a_touched_disk_are_wrong(contents, ground):
    ground.looks = [words(mounted=True, written=8)]
    cell = contents.walk("truncated")
    assert len(cell.wrong) == 3
    assert "8 sectors" in cell.wrong[-1]


def test_an_agent_that_starts_is_told_whatever_was_expected(contents, ground):
    ground.consumers, ground.looks = 1, [words()]
    assert contents.walk("crlf").wrong == ()
    assert contents.walk("mode").wrong != ()


def test_where_the_broker_cannot_be_asked_the_agents_connections_count(contents, ground, monkeypatch):
    def unreachable(*_):
        raise BrokerUnreachable("no")

    monkeypatch.setattr(bare, "consumers", unreachable)
    monkeypatch.setattr(matrix.inside, "connections", lambda *_: [Connection("a", "b", 5672)])
    ground.looks = [words()]
    assert contents.walk("crlf").outcome == "starts"


def test_the_boot_itself_is_good_only_when_the_agent_came_up(contents):
    assert contents.good().wrong != ()


# ---- carriers


class Cloud:
    """Nova as far as the carriers see it; the metadata boot shows ``console``, everything longer is refused."""

    def __init__(self, ground, monkeypatch):
        self.asked, self.deleted, self.console, self.drive, self.agent = [], [], NO_SOURCE, False, 0
        monkeypatch.setattr(offers, "boot", self.boot)
        for name in ("wait_active", "show"):
            monkeypatch.setattr(nova, name, lambda _, id, **__: types.SimpleNamespace(id=id, config_drive=self.drive))
        monkeypatch.setattr(nova, "console", lambda *_: self.console)
        monkeypatch.setattr(nova, "delete", lambda _, id: self.deleted.append(id))
        monkeypatch.setattr(bare, "consumers", lambda *_: self.agent)

    def boot(self, cloud, ledger, offer, *, name, **_):
        self.asked.append((name, offer))
        if len(base64.b64encode(offer.user_data.encode())) > injection.TOO_LONG:
            return offers.Refused(400, "Invalid input for field/attribute user_data. … is too long")
        ledger.made(ledger.intend("server", name), name)
        return types.SimpleNamespace(id=name)


@pytest.fixture
def cloud(ground, monkeypatch):
    return Cloud(ground, monkeypatch)


@pytest.fixture
def carriers(ground, cloud, monkeypatch):
    one = matrix.Carriers(ground, image="i", public_key="k", datasources=["ConfigDrive", "None"], cells=[])
    way = matrix.FilesWay((INFO, CONFIG), (INFO, CONFIG), False, "root:root 660, the agent fails: config-unreadable")
    monkeypatch.setattr(one, "_look_into", lambda *_: (way, matrix.Metadata(False, "no URLError")))
    return one


def test_a_cloud_without_metadata_service_shows_every_carrier_but_both(carriers, cloud, ground):
    found = carriers.walk()
    assert {name: cell.wrong for name, cell in found.cells.items()} == dict.fromkeys(
        ("metadata service", "both", "neither"), ()
    )
    assert found.cells["both"].outcome.startswith("not shown")
    assert [cell.outcome for cell in found.refused] == ["refused by Nova"] * 2
    assert [way.outcome for way in found.files] == ["injected", "discarded"]
    assert cloud.deleted == ["imagecheck-1-files", "imagecheck-1-metadata", "imagecheck-1-neither"]
    assert [one.kind for one in ground.ledger.open if one.kind != "queue"] == []
    offered = dict(cloud.asked)
    assert not offered["imagecheck-1-neither"].user_data
    assert not offered["imagecheck-1-metadata"].config_drive


def test_an_agent_that_starts_without_a_carrier_is_wrong(carriers, cloud):
    cloud.agent = 1
    found = carriers.walk()
    assert found.cells["metadata service"].wrong != ()
    assert found.cells["neither"].outcome.startswith("not shown")
    assert found.files[1].outcome == "injected"


def test_a_cloud_that_forces_the_drive_cannot_show_what_happens_without(carriers, cloud):
    cloud.drive = True
    found = carriers.walk()
    assert "every server a config drive" in found.cells["metadata service"].outcome
    assert "every server a config drive" in found.files[1].outcome
    assert len(cloud.deleted) == 3


def test_a_boot_whose_console_says_nothing_of_a_missing_source_is_wrong(carriers, cloud):
    cloud.console = "cloud-init[300]: Cloud-init v. 25.1.4 finished at Mon. Datasource DataSourceConfigDrive\n"
    assert "does not say" in carriers.walk().cells["neither"].wrong[0]


def test_files_that_arrive_in_part_are_neither_injected_nor_discarded():
    assert matrix.FilesWay((INFO, CONFIG), (INFO,), False, "").outcome == "in part"
    assert matrix.FilesWay((INFO, CONFIG), (), False, "").outcome == "discarded"
