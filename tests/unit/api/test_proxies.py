"""Environment proxies of the client: NO_PROXY as clusters write it, and a real proxy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from syncd.client import Client, proxies
from syncd.client.proxies import proxy_for
from syncd.errors import SyncdError

PROXY = "http://proxy.internal:3128"
CLUSTER = "10.0.0.0/8,fd00::/8,127.0.0.1,localhost,.svc,.cluster.local,192.168.1.1:8080"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(proxies, "_named", set())


@pytest.mark.parametrize(
    ("server", "is_direct"),
    [
        ("http://10.2.3.4:8484", True),
        ("http://11.2.3.4:8484", False),
        ("http://[fd00::1]:8484", True),
        ("http://[fe00::1]:8484", False),
        ("http://localhost:8484", True),
        ("http://syncd.default.svc:8484", True),
        ("http://syncd.default.svc.:8484", True),
        ("http://svc:8484", True),
        ("http://mysvc:8484", False),
        ("http://SYNCD.Cluster.Local", True),
        ("http://192.168.1.1:8080", True),
        ("http://192.168.1.1:8081", False),
        ("http://syncd.example.com", False),
    ],
)
def test_no_proxy_of_a_dual_stack_cluster(monkeypatch: pytest.MonkeyPatch, server: str, is_direct: bool) -> None:  # noqa: FBT001
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", CLUSTER)
    assert proxy_for(server) == (None if is_direct else PROXY)


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("*", "any.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("example.com:80", "example.com", True),
        ("example.com:81", "example.com", False),
        ("[::1]", "[::1]", True),
        ("[::1]:80", "[::1]", True),
        ("::1", "[::1]", True),
        ("fd00::/8", "example.com", False),
        ("0.0.0.0/0", "example.com", False),
        ("", "example.com", False),
        (" , ,", "example.com", False),
    ],
)
def test_each_form_of_an_entry(monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, is_direct: bool) -> None:  # noqa: FBT001
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(f"http://{host}") == (None if is_direct else PROXY)


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "http://x", "fd00::/8/8", "a b", "[::1", "/8", "::gg", "💥"])
def test_an_entry_that_cannot_be_read_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, entry: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", f"{entry},10.0.0.0/8")
    with caplog.at_level(logging.WARNING):
        assert [proxy_for("http://10.1.1.1"), proxy_for("http://example.com")] == [None, PROXY]
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1


def test_a_password_of_a_proxy_is_not_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:hunter2@proxy")
    with caplog.at_level(logging.WARNING):
        assert proxy_for("http://example.com") is None
    assert "hunter2" not in caplog.text
    assert "HTTP_PROXY" in caplog.text


class _Answers(BaseHTTPRequestHandler):
    seen: list[str]

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        body = b'{"releases": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    made.seen = []  # type: ignore[attr-defined]
    Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("no_proxy", ["10.0.0.0/8,fd00::/8", "fd00::/8,127.0.0.0/8"])
def test_the_client_reaches_its_server_with_networks_of_ipv6_in_no_proxy(
    monkeypatch: pytest.MonkeyPatch, server: ThreadingHTTPServer, no_proxy: str
) -> None:
    port = server.server_address[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with Client(f"http://127.0.0.1:{port}", "token") as client:
        try:
            client.releases()
        except SyncdError as error:  # what it answers is not the daemon's
            assert "cannot be used" not in error.message  # noqa: PT017
    asked = server.seen[0]  # type: ignore[attr-defined]
    assert asked.startswith("http://" if "127" not in no_proxy else "/v1/")
