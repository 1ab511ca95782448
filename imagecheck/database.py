"""SQL over the tenant network, with a deadline: the only proof that a database serves.

The user is made through Trove at creation, not by us. Only what every release of a database understands is spoken:
Trove's own list of databases fails against MariaDB >= 10.6 (unknown collation), a plain query does not.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from imagecheck import waits
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.redact import learn

STEP = "database"
TIMEOUT = 25  # seconds; a greeting may wait for a reverse look-up that leads nowhere


class NoSQL(ImagecheckError):
    """The server did not take the connection or the query."""


# Each client is loaded when a database of its kind is spoken to: most commands speak to none.
def _mysql(database: Database) -> Any:
    import pymysql

    return pymysql.connect(
        host=database.address,
        port=database.port,
        user=database.user,
        password=database.secret,
        database=database.name,
        connect_timeout=database.timeout,
        read_timeout=database.timeout,
        write_timeout=database.timeout,
        autocommit=True,
    )


def _postgresql(database: Database) -> Any:
    import pg8000.dbapi

    made = pg8000.dbapi.connect(
        database.user,
        host=database.address,
        port=database.port,
        password=database.secret,
        database=database.name,
        timeout=database.timeout,
    )
    made.autocommit = True
    return made


def _mysql_refusal() -> type[BaseException]:
    import pymysql

    return pymysql.MySQLError


def _postgresql_refusal() -> type[BaseException]:
    import pg8000.dbapi

    refusal: type[BaseException] = pg8000.dbapi.Error
    return refusal


@dataclass(frozen=True)
class Dialect:
    """How one kind of database is spoken to; ``table`` is where an ordinary user may make one, after ``prepare``."""

    port: int  # Trove's tcp_ports default
    connect: Callable[[Database], Any]
    refusal: Callable[[], type[BaseException]]
    version: str = "SELECT VERSION()"
    table: str = "imagecheck"
    prepare: tuple[str, ...] = ()


# trove/guestagent/datastore/postgres (2025.1) grants all on the database, which since PostgreSQL 15 no longer lets a
# user make tables in the schema public; a schema of one's own it does.
POSTGRESQL: Final = Dialect(
    5432,
    _postgresql,
    _postgresql_refusal,
    "SHOW server_version",
    "imagecheck.imagecheck",
    ("CREATE SCHEMA IF NOT EXISTS imagecheck",),
)
MYSQL: Final = Dialect(3306, _mysql, _mysql_refusal)
# Trove's datastore manager -> what its databases speak
DIALECTS: Final[Mapping[str, Dialect]] = {"mysql": MYSQL, "mariadb": MYSQL, "postgresql": POSTGRESQL}


def dialect(manager: str) -> Dialect:
    """What the databases of that manager speak. Raises UsageError for one that imagecheck cannot speak to."""
    if manager not in DIALECTS:
        raise UsageError(
            f"datastore.manager = {manager!r}: no client for its databases here (there are {', '.join(DIALECTS)}): "
            "run with --stage boot, or add it to imagecheck/database.py"
        )
    return DIALECTS[manager]


def password() -> str:
    """A password for one run, known to redact; letters and digits only, so that every client takes it."""
    word = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(24))
    learn(word)
    return word


@dataclass(frozen=True)
class Database:
    """One database of one instance, seen from the tenant network."""

    address: str
    name: str
    user: str
    secret: str = field(repr=False)
    dialect: Dialect = MYSQL
    timeout: float = TIMEOUT  # seconds for each step of a connection

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.dialect.port

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own and give the rows. Raises NoSQL."""
        with self._connected() as connection, contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall()) if cursor.description else []

    def version(self) -> str:
        """What the server calls its version."""
        return str(self.query(self.dialect.version)[0][0])

    def write_row(self, text: str) -> None:
        """Keep ``text`` in a table that is made when it is missing. Raises NoSQL."""
        table = self.dialect.table
        for statement in self.dialect.prepare:
            self.query(statement)
        self.query(f"CREATE TABLE IF NOT EXISTS {table} (id INT PRIMARY KEY, word VARCHAR(80))")
        self.query(f"DELETE FROM {table} WHERE id = 1")  # noqa: S608 - a constant of ours
        self.query(f"INSERT INTO {table} (id, word) VALUES (1, %s)", text)  # noqa: S608

    def read_row(self) -> str:
        """The text that was kept; "" when the row is gone. Raises NoSQL."""
        rows = self.query(f"SELECT word FROM {self.dialect.table} WHERE id = 1")  # noqa: S608
        return str(rows[0][0]) if rows else ""

    def port_open(self, timeout: float = 5) -> bool:
        """True when the port takes a TCP connection within ``timeout`` seconds."""
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, self.port), timeout=timeout).close()
            return True
        return False

    def answers(self) -> bool:
        """One try: a query was answered within ``timeout`` seconds."""
        with contextlib.suppress(NoSQL):
            return bool(self.version())
        return False

    def wait(self, *, deadline: float, since: float | None = None) -> waits.Seen[str]:
        """Wait for the first query that is answered; gives the server's version."""

        def answers() -> waits.Ready[str] | waits.NotYet:
            return waits.Ready(self.version())

        return waits.until(
            answers,
            reason=f"the first query at {self.address}:{self.port}",
            deadline=deadline,
            interval=1,
            transient=(NoSQL,),
            step=STEP,
            since=since,
            remedy="if it refuses the user, Trove did not make it: 'Creating users' in trove-agent.log; "
            "else check the route from this host to the tenant network and the instance's security group",
        )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            with contextlib.closing(self.dialect.connect(self)) as connection:
                yield connection
        except (self.dialect.refusal(), OSError) as error:
            raise NoSQL(f"{self.address}:{self.port}: {error}") from error
