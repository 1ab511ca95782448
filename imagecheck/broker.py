"""The message broker's own view of a guest agent: consumers on its queue. A queue proves nothing, consumers do.

Trove makes the queue before the guest boots (`prepare` waits in it), so only a consumer tells that the agent is
there (trove/guestagent/api.py, _create_guest_queue; oslo.messaging names queues by topic).
"""

from __future__ import annotations

import configparser
import contextlib
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import amqp
from amqp.exceptions import AccessRefused, AMQPError, NotFound

from imagecheck import paths
from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.redact import learn

CONNECT_TIMEOUT = 5  # seconds
DEFAULT_PORT = 5672


@dataclass(frozen=True)
class Address:
    """One broker of a transport_url; the password never shows."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    virtual_host: str
    tls: bool

    @property
    def shown(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"


class BrokerUnreachable(ImagecheckError):
    """No broker of the URL can be reached or logged in to from this host."""


@dataclass(frozen=True)
class Queue:
    """A queue at one moment."""

    name: str
    messages: int
    consumers: int


def addresses(guest_config: Path) -> list[Address]:
    """The brokers of ``transport_url`` in a trove-guestagent.conf. Raises UsageError."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(paths.small(guest_config), source=str(guest_config))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise UsageError(f"{guest_config}: cannot be read as an oslo.config file ({type(error).__name__})") from error
    url = parser.defaults().get("transport_url", "")
    if not url:
        raise UsageError(f"{guest_config}: has no transport_url in [DEFAULT]: the agent could reach no broker")
    return parse(url, tls=_is_tls(parser), source=str(guest_config))


def _is_tls(parser: configparser.ConfigParser) -> bool:
    try:
        return parser.getboolean("oslo_messaging_rabbit", "ssl", fallback=False)
    except ValueError:  # oslo.config would refuse it too; the login says so better
        return False


def parse(url: str, *, tls: bool = False, source: str = "transport_url") -> list[Address]:
    """Take a transport_url apart (oslo.messaging TransportURL): scheme://user:pw@host:port,user:pw@host:port/vhost.

    Passwords are learned by redact. Raises UsageError without showing the URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in ("rabbit", "kombu", "amqp"):
        raise UsageError(f"{source}: its transport_url is not a rabbit:// URL: imagecheck speaks AMQP only")
    rest = rest.partition("?")[0]
    hosts, _, path = rest.partition("/")
    found = []
    for one in hosts.split(","):
        login, _, where = one.rpartition("@")
        user, _, password = login.partition(":")
        password = unquote(password)
        learn(password)
        host, port = _host_port(where, source)
        found.append(Address(host, port, unquote(user) or "guest", password, unquote(path) or "/", tls))
    return found


def _host_port(where: str, source: str) -> tuple[str, int]:
    if where.startswith("["):
        host, _, port = where[1:].partition("]")
        port = port.lstrip(":")
    else:
        host, _, port = where.partition(":")
    if not host or (port and not re.fullmatch(r"[0-9]{1,5}", port)):
        raise UsageError(f"{source}: its transport_url has a host or port that cannot be read")
    return host, int(port) if port else DEFAULT_PORT


class Broker:
    """One kept AMQP connection to the first broker that answers; made again when it is lost."""

    def __init__(self, brokers: Sequence[Address]) -> None:
        self._brokers = tuple(brokers)
        self._connection: amqp.Connection | None = None

    def queue(self, guest_id: str) -> Queue | None:
        """The agent's queue (topic ``guestagent.ID``); None when there is none. Raises BrokerUnreachable."""
        return self.named(f"guestagent.{guest_id}")

    def named(self, name: str) -> Queue | None:
        """The queue of that name; None when there is none. Raises BrokerUnreachable."""
        try:
            with self._channel() as channel:
                told = channel.queue_declare(name, passive=True)
                return Queue(told.queue, told.message_count, told.consumer_count)
        except NotFound:
            return None

    def forget(self, guest_id: str) -> None:
        """Delete the queues that an agent of ours left behind (oslo.messaging's server queues do not expire)."""
        for name in (f"guestagent.{guest_id}", f"guestagent.{guest_id}.{guest_id}"):
            with contextlib.suppress(NotFound), self._channel() as channel:
                channel.queue_delete(name)

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, AMQPError):
                connection.close()

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        connection = self._connected()
        try:
            channel = connection.channel()
            yield channel
            channel.close()
        except NotFound:
            raise  # the broker closed the channel, the connection stays
        except (OSError, AMQPError) as error:
            self.close()
            raise BrokerUnreachable(f"the broker hung up: {error}") from error

    def _connected(self) -> amqp.Connection:
        if self._connection is not None and self._connection.connected:
            return self._connection
        failures = []
        for broker in self._brokers:
            try:
                self._connection = _connect(broker)
            except AccessRefused:
                failures.append(f"{broker.shown} refused the login of user {broker.user!r}")
            except (OSError, AMQPError, ssl.SSLError) as error:
                failures.append(f"{broker.shown}: {error}")
            else:
                return self._connection
        raise BrokerUnreachable(f"no broker can be reached from this host: {'; '.join(failures)}")


def _connect(broker: Address) -> amqp.Connection:
    connection = amqp.Connection(
        host=f"{broker.host}:{broker.port}",
        userid=broker.user,
        password=broker.password,
        virtual_host=broker.virtual_host,
        ssl=broker.tls,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=CONNECT_TIMEOUT,
        write_timeout=CONNECT_TIMEOUT,
    )
    connection.connect()
    return connection


def reachable(broker: Address) -> bool:
    """True when its port takes a TCP connection from this host."""
    with contextlib.suppress(OSError):
        socket.create_connection((broker.host, broker.port), timeout=CONNECT_TIMEOUT).close()
        return True
    return False
