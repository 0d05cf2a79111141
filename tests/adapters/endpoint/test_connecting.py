"""The one host that was named, at the addresses it had, with a certificate that holds; no other place."""

import re
import socket

import pytest
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Reply, Target

from robustly.core.errors import UsageError


def test_a_host_that_cannot_be_reached(asking):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=r"cannot reach the endpoint at 127\.0\.0\.1.*Nothing was answered yet"):
        asking(f"http://127.0.0.1:{port}/", limits={"retries": 1}).ask(some(3), owners(3))
    with pytest.raises(UsageError, match=r"the host no-such-host\.invalid is not known"):
        asking("http://no-such-host.invalid/").ask(some(1), owners(1))


def test_a_name_for_a_link_local_address_is_refused(asking, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UsageError, match=r"leads to 169\.254\.169\.254, a link-local address"):
        asking("http://metadata.example/").ask(some(1), owners(1))


def test_the_name_is_looked_up_once(asking, monkeypatch):
    with Target() as target:
        url = target.url.replace("127.0.0.1", "endpoint.example")
        port = target.server.server_address[1]
        looked: list[str] = []

        def lookup(host, *_, **__):
            looked.append(host)
            address = "127.0.0.1" if looked.count("endpoint.example") == 1 else "203.0.113.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        one = asking(url)
        one.ask(some(3), owners(3))
        assert looked.count("endpoint.example") == 1
        assert target.seen[0]["host"] == f"endpoint.example:{port}"


def test_the_environment_sends_nothing_elsewhere(asking, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://203.0.113.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://203.0.113.1:1")
    with Target() as target:
        assert asking(target.url).ask(some(1), owners(1)).answered.all()


def test_a_redirect_is_told_with_its_port(asking):
    with Target() as other:
        place = other.url.replace("http://", "http://user:password@")
        with (
            Target(lambda n, x: Reply(307, b"", {"location": place})) as target,
            pytest.raises(UsageError, match=f"a redirect to {re.escape(other.url)}, which is not followed"),
        ):
            asking(target.url).ask(some(1), owners(1))
        assert other.requests == 0


def test_an_address_that_takes_no_connection_leaves_time_for_the_next(asking, monkeypatch):
    with Target() as target, socket.socket() as full, socket.socket() as waiting, socket.socket() as other:
        port = target.server.server_address[1]
        full.bind(("127.0.0.2", port))
        full.listen(0)
        for one in (waiting, other):  # who fill its queue: whoever comes after hears nothing
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", port))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{i}", port)) for i in (2, 1)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        made = asking(f"http://endpoint.example:{port}/", limits={"timeout": 1.0, "concurrency": 1})
        replies = made.ask(some(3), owners(3))
        assert replies.answered.all()
        assert replies.spent.tolist() == [1, 1, 1]
        assert target.inputs == 3


def test_a_host_that_takes_no_connection_in_time(asking):
    with socket.socket() as full, socket.socket() as waiting, socket.socket() as other:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (waiting, other):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        made = asking(f"http://127.0.0.1:{full.getsockname()[1]}/", limits={"timeout": 0.3, "retries": 1})
        with pytest.raises(UsageError, match=r"no whole answer within 0\.3 s\. Nothing was answered yet"):
            made.ask(some(3), owners(3))
