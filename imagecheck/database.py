"""SQL over the tenant network, with a deadline: the only proof that a database serves.

The user is made through Trove at creation, not by us. Only what every release of MySQL and MariaDB understands is
spoken: Trove's own list of databases fails against MariaDB >= 10.6 (unknown collation), a plain query does not.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pymysql

from imagecheck import waits
from imagecheck.errors import ImagecheckError
from imagecheck.redact import learn

STEP = "database"
PORT = 3306  # mysql and mariadb, Trove's tcp_ports default
TIMEOUT = 25  # seconds; a greeting may wait for a reverse look-up that leads nowhere


class NoSQL(ImagecheckError):
    """The server did not take the connection or the query."""


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
    port: int = PORT

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own and give the rows. Raises NoSQL."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall())

    def version(self) -> str:
        """What the server calls its version."""
        return str(self.query("SELECT VERSION()")[0][0])

    def write_row(self, text: str) -> None:
        """Keep ``text`` in a table that is made when it is missing. Raises NoSQL."""
        self.query("CREATE TABLE IF NOT EXISTS imagecheck (id INT PRIMARY KEY, word VARCHAR(80))")
        self.query("REPLACE INTO imagecheck (id, word) VALUES (1, %s)", text)

    def read_row(self) -> str:
        """The text that was kept; "" when the row is gone. Raises NoSQL."""
        rows = self.query("SELECT word FROM imagecheck WHERE id = 1")
        return str(rows[0][0]) if rows else ""

    def port_open(self, timeout: float = 5) -> bool:
        """True when the port takes a TCP connection within ``timeout`` seconds."""
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, self.port), timeout=timeout).close()
            return True
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
            remedy="check the route from this host to the tenant network and the instance's security group",
        )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            connection = pymysql.connect(
                host=self.address,
                port=self.port,
                user=self.user,
                password=self.secret,
                database=self.name,
                connect_timeout=TIMEOUT,
                read_timeout=TIMEOUT,
                write_timeout=TIMEOUT,
                autocommit=True,
            )
            with contextlib.closing(connection):
                yield connection
        except (pymysql.MySQLError, OSError) as error:
            raise NoSQL(f"{self.address}:{self.port}: {error}") from error
