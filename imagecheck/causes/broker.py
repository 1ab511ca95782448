"""Causes between the agent and the message broker, and of heartbeats that get lost. Data only; oslo.messaging 16.1."""

from __future__ import annotations

from collections.abc import Mapping

from imagecheck.causes.row import Facts, Place, Row

_LOGS: tuple[Place, ...] = ("agent", "journal", "console")
# At the agent's start oslo.messaging names no host ("Connection failed: ..."); later it does ("AMQP server on ...").
_FAILED = r"(?:AMQP server on (?P<what>\S{1,100}) is unreachable: |Connection failed: )"
_ERRNO = r"(?:\[Errno -?\d{1,4}\] )?"
_UP = ("Reconnected to AMQP server on", "Starting datastore prepare", "Connected to AMQP server on")
_GROUP = "check the route and the security group of the management network (management_security_groups), and the MTU"


def _served(facts: Facts) -> str:
    return "the agent consumes from its queue" if facts.consumers else ""


def _dialled(facts: Facts, *words: str) -> str:
    return "" if _served(facts) else _said(facts.dials, words)


def _login(facts: Facts, *words: str) -> str:
    return "" if _served(facts) else _said(facts.logins, words)


def _said(answers: Mapping[str, str], words: tuple[str, ...]) -> str:
    if "" in answers.values():  # the agent goes round; one broker is enough
        return ""
    for broker, said in answers.items():
        if any(word in said.lower() for word in words):
            return f"{broker}: {said}"
    return ""


def _unheard(facts: Facts) -> str:
    reached = facts.dials and not any(facts.dials.values())
    if facts.consumers == 0 and reached and facts.agent_active == "active" and (facts.agent_up or 0) > 180:
        return f"agent up for {facts.agent_up:.0f} s, broker reached, 0 consumers on its queue"
    return ""


def _mute(facts: Facts) -> str:
    if not facts.prepare_ended or facts.told == "healthy" or facts.operating_status == "HEALTHY":
        return ""
    if facts.heartbeat_age is None or facts.heartbeat_age <= 120:
        return ""
    return f"prepare has ended in the guest, Trove last heard of it {facts.heartbeat_age:.0f} s ago"


def _off(facts: Facts, least: float) -> str:
    offset = facts.clock_offset
    return f"the guest is {offset:+.0f} s off" if offset is not None and abs(offset) > least else ""


ROWS = (
    Row("broker-login", "boot", "cloud", 68, "the broker refused the agent's login: wrong user or password",
        "compare transport_url in trove-guestagent.conf with `rabbitmqctl authenticate_user`",
        "RabbitMQ, rabbit_reader.erl (auth_fail); oslo.messaging 16.1, impl_rabbit.py", _LOGS,
        ("ACCESS_REFUSED - Login was refused", "Check login credentials"),
        r"ACCESS_REFUSED - Login was refused|closed the connection\. Check login credentials", cleared=_UP,
        unless=_served, holds=lambda f: _login(f, "access_refused", "login", "authentication"), confidence="certain",
        fatal=True, known=(1,), proven=True),
    Row("broker-vhost", "boot", "cloud", 67, "the broker has no such virtual host, or does not let the agent's user in "
        "({what})", "correct the path of transport_url, or `rabbitmqctl set_permissions -p VHOST USER`",
        "RabbitMQ, rabbit_access_control.erl, rabbit_vhost.erl", _LOGS,
        ("NOT_ALLOWED - ", "ACCESS_REFUSED - access to ", "refused for user"),
        r"(?:NOT_ALLOWED|ACCESS_REFUSED) - (?P<what>(?:vhost|access to) .{1,120})", cleared=_UP, unless=_served,
        holds=lambda f: _login(f, "not_allowed", "vhost"), confidence="certain", fatal=True, known=(1,), proven=True),
    Row("broker-certificate-date", "boot", "cloud", 66, "the broker's certificate is not valid at the guest's time "
        "({why})", "renew the certificate; compare the guest's clock first",
        "Python, ssl; OpenSSL, crypto/x509/x509_txt.c", _LOGS, ("CERTIFICATE_VERIFY_FAILED",),
        _FAILED + r".{0,80}CERTIFICATE_VERIFY_FAILED.{0,60}(?P<why>certificate has expired|is not yet valid)",
        cleared=_UP, unless=_served, confidence="certain", fatal=True, times=2, grace=3, known=(1,), proven=True),
    Row("broker-certificate", "boot", "cloud", 62, "the agent does not trust the broker's certificate, or speaks TLS "
        "to "
        "a port without it", "put the CA into the image or switch [oslo_messaging_rabbit] ssl to what the broker does",
        "Python, ssl; oslo.messaging 16.1, impl_rabbit.py", _LOGS,
        ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "wrong version number"),
        _FAILED + r".{0,80}(?:CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|wrong version number)", cleared=_UP,
        unless=_served, confidence="certain", fatal=True, times=2, grace=3, known=(1,), proven=True),
    Row("broker-is-localhost", "boot", "cloud", 64, "the agent looks for the broker in the guest itself: it got no "
        "transport_url", "trove-guestagent.conf is not there or not read: is guest_config on the taskmanager's host, "
        "and injected_config_owner in the image?", "oslo.messaging 16.1, impl_rabbit.py (default host); at its start "
        "it names no host, then only the missing file tells", _LOGS,
        ("AMQP server on localhost:", "AMQP server on 127.0.0.1:", "AMQP server on ::1:"),
        r"AMQP server on (?:localhost|127\.0\.0\.1|::1):\d{1,5} is unreachable", cleared=_UP, unless=_served,
        confidence="certain", fatal=True, times=2, grace=3, known=(3,)),
    Row("broker-name", "boot", "network", 60, "the guest cannot resolve the broker's name",
        "name the broker by address in transport_url, or give the management network a name server",
        "getaddrinfo(3): EAI_NONAME, EAI_AGAIN", _LOGS, ("AMQP server on ", "Connection failed: "),
        _FAILED + _ERRNO + r"(?:Name or service not known|[Tt]emporary failure in name resolution"
        r"|No address associated with hostname|No address found|ENOTFOUND|Lookup timed out"
        r"|failed to resolve broker hostname)", cleared=_UP, unless=_served,
        holds=lambda f: _dialled(f, "name or service not known", "name resolution", "no address associated"),
        fatal=True, times=3, grace=8, known=(1,), proven=True),
    Row("broker-timeout", "boot", "network", 57, "the guest's connections to the broker get no answer",
        _GROUP, "connect(2): ETIMEDOUT, EHOSTUNREACH; Trove, doc/source/admin/troubleshooting.rst", _LOGS,
        ("AMQP server on ", "Connection failed: "),
        _FAILED + _ERRNO + r"(?:timed out|ETIMEDOUT|EHOSTUNREACH|No route to host|ENETUNREACH|Network is unreachable)",
        cleared=_UP, unless=_served,
        holds=lambda f: _dialled(f, "timed out", "no route to host", "unreachable", "timeout"), fatal=True, times=3,
        grace=8, known=(1,), proven=True),
    Row("broker-refused", "boot", "cloud", 56, "the broker's port refuses connections from the guest",
        "is RabbitMQ running, and does it listen on that address? Does transport_url name the right port? Is "
        "trove-guestagent.conf in the guest? Without it the agent looks for the broker in the guest itself",
        "connect(2): ECONNREFUSED; oslo.messaging 16.1, impl_rabbit.py", _LOGS,
        ("AMQP server on ", "Connection failed: "),
        _FAILED + _ERRNO + r"(?:ECONNREFUSED|Connection refused)", cleared=_UP, unless=_served,
        holds=lambda f: _dialled(f, "refused"), fatal=True, times=3, grace=8, retry=True, known=(1,),
        proven=True),
    Row("broker-lost", "boot", "cloud", 40, "the broker hangs up on the agent", "look at the broker's log; is it out "
        "of "
        "memory or file handles, or is there a TLS port behind it?", "oslo.messaging 16.1, impl_rabbit.py", _LOGS,
        ("AMQP server on ", "Connection failed: "),
        _FAILED + r".{0,20}(?:ECONNRESET|Connection reset by peer|Server unexpectedly closed connection|Broken pipe"
        r"|RecoverableConnectionError|\(320\) CONNECTION_FORCED)",
        cleared=_UP, unless=_served, fatal=True, times=3, grace=8, retry=True, known=(1,), proven=True),
    Row("broker-blocked", "boot", "cloud", 66, "the broker takes no messages: {what}",
        "RabbitMQ is low on memory or disk (`rabbitmqctl status`, alarms)",
        "RabbitMQ, connection.blocked; oslo.messaging 16.1, impl_rabbit.py", _LOGS,
        ("The broker has blocked the connection",), r"The broker has blocked the connection: (?P<what>.{1,80})",
        cleared=("The broker has unblocked the connection",), confidence="certain", retry=True),
    Row("queue-differs", "boot", "cloud", 63, "the broker's queues were made with other settings than the agent's "
        "({what})", "[oslo_messaging_rabbit] (amqp_durable_queues, rabbit_quorum_queue, ...) must be the same in "
        "trove.conf and trove-guestagent.conf", "RabbitMQ, rabbit_misc.erl (inequivalent arg); oslo.messaging 16.1, "
        "impl_rabbit.py _declare_fallback: it tries other settings once, so that alone ends no wait",
        _LOGS, ("PRECONDITION_FAILED - inequivalent arg",),
        r"PRECONDITION_FAILED - inequivalent arg '(?P<what>[^']{1,60})' for (?:queue|exchange)", confidence="certain",
        known=(5,), proven=True),
    Row("no-exchange", "boot", "cloud", 62, "the exchange {what} that the agent sends to does not exist",
        "control_exchange must be the same in trove.conf and trove-guestagent.conf (oslo's default is 'openstack')",
        "RabbitMQ, rabbit_misc.erl; Trove never calls rpc.set_defaults()", _LOGS, ("NOT_FOUND - no exchange",),
        r"NOT_FOUND - no exchange '(?P<what>[^']{1,60})'", cleared=("Completed setup of",), known=(5,)),
    Row("transport-url", "boot", "cloud", 65, "the agent's transport_url cannot be used: {what}",
        "correct transport_url in trove-guestagent.conf", "oslo.messaging 16.1, transport.py", _LOGS,
        ("Failed to load transport driver", "InvalidTransportURL"),
        r"(?P<what>Failed to load transport driver .{1,100}|InvalidTransportURL)", confidence="certain", fatal=True,
        known=(1,), proven=True),
    Row("exchange-differs", "boot", "cloud", 61, "guest and control plane use different exchanges",
        "set control_exchange to the same in trove.conf and trove-guestagent.conf",
        "Trove never calls rpc.set_defaults(), so each side has its own default",
        holds=lambda f: f"guest {f.exchanges[0]!r}, cloud {f.exchanges[1]!r}"
        if f.exchanges and f.exchanges[0] != f.exchanges[1] else "", confidence="certain", fatal=True, known=(5,)),
    Row("agent-unheard", "boot", "image", 19, "the agent runs and reaches the broker, but consumes nothing",
        "its log says what it does instead; 50 s are normal between start and queue in an emulated guest",
        "trove/common/rpc/service.py; a queue proves nothing, consumers do", holds=_unheard, fatal=True, grace=30,
        known=(1,)),
    Row("heartbeat-lost", "service", "cloud", 36, "the database is up in the guest, but Trove does not hear of it",
        "is trove-conductor running? Compare control_exchange, instance_rpc_encr_key and the clocks: conductor drops "
        "what is older than the last it saw", "trove/conductor/manager.py _message_too_old, 2025.1", holds=_mute,
        fatal=True, grace=30, known=(5,)),
    Row("clock-far-off", "boot", "image", 71, "the guest's clock is days off ({what})",
        "a time service in the image (chrony, systemd-timesyncd), and a hardware clock in UTC; certificates are not "
        "valid and heartbeats are dropped", "trove/conductor/manager.py _message_too_old, 2025.1",
        holds=lambda f: _off(f, 86400.0), confidence="certain", known=(5,)),
    Row("clock-wrong", "boot", "image", 39, "the guest's clock is wrong ({what})",
        "a time service in the image (chrony, systemd-timesyncd), and a hardware clock in UTC; heartbeats are dropped "
        "when it is set back", "trove/conductor/manager.py _message_too_old, 2025.1",
        holds=lambda f: _off(f, 60.0), known=(5,)),
    Row("default-routes", "boot", "image", 37, "the guest has more than one default route ({what})",
        "exactly one, over the management network: switch the other's off (gateway none, or use-routes: false)",
        "Trove, releasenotes d9b4c7bd; trove/guestagent/common/guestagent_utils.py",
        holds=lambda f: f"{f.default_routes} default routes"
        if f.default_routes is not None and f.default_routes > 1 else "", known=(9,)),
)  # fmt: skip
