"""transport_url taken apart. The broker itself is met on the sandbox (test_cloud_sandbox.py)."""

import socket
import threading

import pytest

from imagecheck import broker, redact
from imagecheck.errors import UsageError


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "virtual_host"),
    [
        ("rabbit://trove:s3cretpw@172.31.0.1:5672/", "172.31.0.1", 5672, "trove", "/"),
        ("rabbit://trove:s3cretpw@172.31.0.1", "172.31.0.1", 5672, "trove", "/"),
        ("kombu+rabbit://u:s3cretpw@mq.example:5671/v%2Fx?ssl=1", "mq.example", 5671, "u", "v/x"),
        ("rabbit://u:s3cretpw@[fd00::1]:5673/vh", "fd00::1", 5673, "u", "vh"),
    ],
)
def test_a_url_is_taken_apart(url, host, port, user, virtual_host):
    (one,) = broker.parse(url)
    assert (one.host, one.port, one.user, one.virtual_host) == (host, port, user, virtual_host)
    assert one.password == "s3cretpw"


def test_several_brokers_and_quoted_passwords():
    one, two = broker.parse("rabbit://u:p%40ss%2Fword@a:1,u:other%3Apw@b:2/vh")
    assert (one.password, two.password) == ("p@ss/word", "other:pw")
    assert (one.shown, two.shown) == ("a:1", "b:2")


def test_passwords_never_show():
    (one,) = broker.parse("rabbit://u:hush-hush-9@a:1/")
    assert "hush-hush-9" not in repr(one)
    assert redact.redact("it was hush-hush-9.") == "it was ***."


@pytest.mark.parametrize(
    "url", ["", "http://u:topsecret1@a/", "rabbit://u:topsecret1@a:port/", "rabbit://u:topsecret1@/"]
)
def test_a_bad_url_is_told_without_showing_it(url):
    with pytest.raises(UsageError) as told:
        broker.parse(url, source="x.conf")
    assert str(told.value).startswith("x.conf: ")
    assert "topsecret1" not in str(told.value)


def test_a_guest_configuration_is_read(tmp_path):
    file = tmp_path / "trove-guestagent.conf"
    file.write_text("[DEFAULT]\ntransport_url = rabbit://u:pw123456@h:1/\n[oslo_messaging_rabbit]\nssl = true\n")
    (one,) = broker.addresses(file)
    assert one.tls


@pytest.mark.parametrize("text", ["[DEFAULT]\n", "no section\n", "[DEFAULT]\ntransport_url =\n"])
def test_a_guest_configuration_without_a_broker_is_told(tmp_path, text):
    file = tmp_path / "trove-guestagent.conf"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"trove-guestagent\.conf"):
        broker.addresses(file)


def test_a_refused_connection_names_the_broker():
    there = broker.Broker(broker.parse("rabbit://u:pw123456@127.0.0.1:1/"))
    with pytest.raises(broker.BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        there.queue("x")


def test_a_server_that_hangs_up_is_no_broker():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            connection, _ = server.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(broker.BrokerUnreachable, match=str(port)):
            broker.Broker(broker.parse(f"rabbit://u:pw123456@127.0.0.1:{port}/")).queue("x")
        thread.join()
