"""Which databases are spoken to and how; that they answer is proven by every run's service stage."""

import socket

import pytest

from imagecheck import database, definition
from imagecheck.errors import UsageError


@pytest.mark.parametrize("name", definition.known())
def test_every_shipped_definition_serves_a_database_that_can_be_asked(name):
    database.dialect(definition.load(name).datastore.manager)


def test_a_manager_without_a_client_is_named_with_the_remedy():
    with pytest.raises(UsageError, match=r"datastore.manager = 'valkey': no client .*--stage boot"):
        database.dialect("valkey")


@pytest.mark.parametrize("manager", sorted(database.DIALECTS))
def test_a_server_that_hangs_up_is_no_sql_and_not_a_traceback(manager, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(database.Database, "port", property(lambda _: server.getsockname()[1]))
        asked = database.Database("127.0.0.1", "a", "a", "secret-word", database.dialect(manager))
        server.settimeout(5)
        assert asked.port_open()
        server.accept()[0].close()
        monkeypatch.setattr(database, "TIMEOUT", 1)
        with pytest.raises(database.NoSQL) as told:
            asked.version()
    assert "secret-word" not in f"{told.value}{asked!r}"
