"""A client of several servers: each answers for the others, and what may have been sent is not sent twice."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from syncd.client.connection import Connection
from syncd.errors import Invalid, Unavailable


class Server(ThreadingHTTPServer):
    """Answers with its name, with 503, or hangs up after it has read the request."""

    def __init__(self, name: str, way: str = "answers") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.way, self.requests = name, way, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.way == "hangs up":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = json.dumps({"name": self.server.name, "code": "not_ready", "message": "m", "hint": ""}).encode()
        self.send_response(200 if self.server.way == "answers" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@contextmanager
def served(*servers: Server) -> Iterator[None]:
    threads = [threading.Thread(target=each.serve_forever, args=(0.01,)) for each in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each, thread in zip(servers, threads, strict=True):
            each.shutdown()
            each.server_close()
            thread.join()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def connection(*urls: str) -> Connection:
    return Connection(",".join(urls), "", timeout_s=10.0, verify=False, trust_env=False)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.client.connection.FIRST_WAIT_S", 0.01)


def test_a_server_that_is_gone_is_left_for_the_next_one_and_not_asked_again() -> None:
    there = Server("b")
    with served(there):
        client = connection(closed_port(), there.url)
        assert client.ask("GET", "/v1/status")["name"] == "b"
        assert client.server == there.url
        assert client.ask("POST", "/v1/x", {}, tries=1)["name"] == "b"
        client.close()
    assert there.requests == 2


def test_what_was_surely_not_sent_is_sent_to_the_next_server_also_where_it_must_not_be_repeated() -> None:
    there = Server("b")
    with served(there):
        client = connection(closed_port(), there.url)
        assert client.ask("POST", "/v1/x", {}, tries=1)["name"] == "b"
        client.close()
    assert there.requests == 1


@pytest.mark.parametrize("way", ["hangs up", "is not ready"])
def test_what_may_have_been_done_is_repeated_only_where_that_is_harmless(way: str) -> None:
    first, second = Server("a", way), Server("b")
    with served(first, second):
        client = connection(first.url, second.url)
        with pytest.raises(Unavailable):
            client.ask("POST", "/v1/x", {}, tries=1)
        assert (first.requests, second.requests) == (1, 0)
        assert client.ask("POST", "/v1/x", {}, tries=2)["name"] == "b"
        assert (first.requests, second.requests) == (2, 1)
        client.close()


def test_where_no_server_answers_each_was_asked_once_for_each_attempt() -> None:
    servers = Server("a", "is not ready"), Server("b", "is not ready")
    with served(*servers):
        client = connection(*(each.url for each in servers))
        with pytest.raises(Unavailable):
            client.ask("GET", "/v1/status", tries=3)
        client.close()
    assert [each.requests for each in servers] == [3, 3]


def test_a_stream_that_finds_no_server_lets_the_next_call_ask_another() -> None:
    there = Server("b")
    with served(there):
        client = connection(closed_port(), there.url)
        with pytest.raises(Unavailable):
            list(client.stream("/v1/events", {}))
        assert client.server == there.url
        client.close()


def test_each_url_is_checked() -> None:
    with pytest.raises(Invalid, match=r"got 'syncd\.example\.com'"):
        connection("http://127.0.0.1:1", "syncd.example.com")
