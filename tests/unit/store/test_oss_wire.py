"""The client that OSS is asked with, against a server that says exactly what a test tells it to."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from syncd.store.oss.dial import ConnectionBroken, PoolSettings
from syncd.store.oss.http import HttpBody, HttpPool

HANG_UP = b""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: a\r\nx-name: b\r\n\r\nok"


class Scripted:
    """Answers the n-th request with the n-th text. It hangs up where a text is empty, or after the last."""

    def __init__(self, *answers: bytes, hang_up_each: bool = False) -> None:
        self.answers = list(answers)
        self.hang_up_each = hang_up_each
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.hung_up = Event()  # the last connection
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self.answers.clear()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self.hung_up.clear()
            with connection, connection.makefile("rb") as file:
                while self._answer(connection, file.readline, file.read) and not self.hang_up_each:
                    pass
            self.hung_up.set()

    def _answer(self, connection: socket.socket, line: Callable[[], bytes], read: Callable[[int], bytes]) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = line()
            if not more:
                return False
            head += more
        self.heads.append(head.decode())
        _, found, rest = self.heads[-1].partition("Content-Length: ")
        self.bodies.append(read(int(rest.partition("\r\n")[0])) if found else b"")
        answer = self.answers.pop(0) if self.answers else HANG_UP
        connection.sendall(answer)
        return bool(self.answers)


Script = Callable[..., Scripted]


@pytest.fixture
def script() -> Iterator[Script]:
    made: list[Scripted] = []

    def make(*answers: bytes, hang_up_each: bool = False) -> Scripted:
        made.append(Scripted(*answers, hang_up_each=hang_up_each))
        return made[-1]

    yield make
    for server in made:
        server.close()


def wire(proxy: str | None = None, connections_max: int = 4) -> HttpPool:
    return HttpPool(PoolSettings(5.0, connections_max, proxy))


def ask(to: HttpPool, server: Scripted, method: str = "GET", body: bytes = b"") -> HttpBody:
    return to.ask(method, f"{server.url}/bucket/k?a=b", {"X-One": "1"}, body)


def test_a_request_goes_out_whole_and_its_answer_is_read(script: Script) -> None:
    server = script(OK)
    answer = ask(wire(), server, "PUT", b"body")
    first, *lines = server.heads[0].strip().split("\r\n")
    assert first == "PUT /bucket/k?a=b HTTP/1.1"
    host = server.url.removeprefix("http://")
    assert sorted(lines) == ["Accept-Encoding: identity", "Content-Length: 4", f"Host: {host}", "X-One: 1"]
    assert server.bodies == [b"body"]
    assert (answer.status, answer.headers["X-NAME"], "X-Name" in answer.headers) == (200, "a, b", True)
    assert (answer.headers.get("none"), answer.headers.get("none", "x"), answer.request_id) == (None, "x", "")
    assert (answer.read(), answer.read(), answer.readinto(memoryview(bytearray(1)))) == (b"ok", b"", 0)
    answer.close()


def test_a_connection_serves_one_request_after_another(script: Script) -> None:
    server = script(OK, OK, OK)
    to = wire()
    assert [ask(to, server).read() for _ in range(3)] == [b"ok"] * 3
    assert server.connections == 1


def test_requests_at_once_have_connections_of_their_own(script: Script) -> None:
    servers = [script(OK, OK), script(OK, OK)]
    to = wire()
    held = [ask(to, server) for server in servers]
    assert [answer.read() for answer in held] == [b"ok", b"ok"]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda server: ask(to, server).read(), servers)) == [b"ok", b"ok"]
    assert [server.connections for server in servers] == [1, 1]


def test_no_more_connections_are_kept_than_allowed(script: Script) -> None:
    server = script(OK, OK)
    to = wire(connections_max=0)
    assert [ask(to, server).read() for _ in range(2)] == [b"ok"] * 2
    assert server.connections == 2


def test_a_connection_that_the_other_side_has_closed_is_not_used(script: Script) -> None:
    server = script(OK, OK, hang_up_each=True)
    to = wire()
    assert ask(to, server).read() == b"ok"
    assert server.hung_up.wait(5)
    assert ask(to, server).read() == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
def test_a_connection_that_is_going_to_be_closed_is_not_used(script: Script, head: bytes) -> None:
    server = script(head + b"Content-Length: 2\r\n\r\nok", OK)
    to = wire()
    assert ask(to, server).read() == b"ok"
    assert ask(to, server).read() == b"ok"
    assert server.connections == 2


def test_an_answer_without_a_length_goes_on_until_the_other_side_hangs_up(script: Script) -> None:
    server = script(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    answer = ask(wire(), server)
    assert answer.read(3) == b"all"
    assert answer.read() == b" of it"
    assert answer.read() == b""


def test_chunks_are_put_together_and_what_trails_them_is_passed_over(script: Script) -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
    )
    server = script(chunked, OK)
    to = wire()
    assert ask(to, server).read() == b"abc0123456789"
    assert ask(to, server).read() == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("PUT", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_has_none(script: Script, method: str, answer: bytes) -> None:
    server = script(answer, OK)
    to = wire()
    assert ask(to, server, method).read() == b""
    assert ask(to, server).read() == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        HANG_UP,
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 bad\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n12345\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfour\r\n1234\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_answer_that_breaks_off_or_is_none_is_an_error(script: Script, answer: bytes) -> None:
    server = script(answer)
    to = wire()
    with pytest.raises(ConnectionBroken):
        ask(to, server).read()  # what is left of it is closed, or it would be an error of its own


def test_an_answer_that_does_not_come_is_a_timeout(script: Script) -> None:
    server = script(b"HTTP/1.1 200", OK)  # the connection stays open: there is more to answer
    with pytest.raises(TimeoutError, match=r"no byte for 0\.05 s"):
        HttpPool(PoolSettings(0.05, 4)).ask("GET", server.url, {}, b"")


def test_nobody_at_the_address_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        wire().ask("GET", f"http://127.0.0.1:{port}", {}, b"")


def test_who_hangs_up_while_a_body_is_sent_is_heard_all_the_same() -> None:
    body = bytearray(32 << 20)

    def refuse(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        served = pool.submit(refuse, listening)
        answer = wire().ask("PUT", f"http://127.0.0.1:{listening.getsockname()[1]}/k", {}, body)
        assert (answer.status, answer.read()) == (403, b"no")
        answer.close()
        served.result()


def test_a_connection_that_breaks_while_a_body_is_sent_is_an_error() -> None:
    def leave(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(leave, listening)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            wire().ask("PUT", f"http://127.0.0.1:{listening.getsockname()[1]}/k", {}, bytearray(32 << 20))


def test_an_answer_that_is_loaded_frees_its_connection_and_keeps_no_more_than_4_mib(script: Script) -> None:
    size = 5 << 20
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    server = script(OK, OK, large)
    to = wire()
    first = ask(to, server)
    first.load()
    assert ask(to, server).read() == b"ok"
    assert first.read(1) == b"o"
    assert first.read() == b"k"
    cut_off = ask(to, server)
    cut_off.load()
    assert len(cut_off.read()) == 4 << 20
    assert server.connections == 1


@pytest.mark.parametrize(("target", "value"), [("k\r\nX-Two: 2", "1"), ("k", "1\r\nX-Two: 2"), ("k", "1\n")])
def test_a_line_break_does_not_get_into_the_head(target: str, value: str) -> None:
    with pytest.raises(ConnectionBroken, match="line break"):
        wire("http://127.0.0.1:9").ask("GET", f"http://127.0.0.1:9/{target}", {"X-One": value}, b"")


def test_a_proxy_is_asked_for_the_whole_address_with_its_own_password(script: Script) -> None:
    server = script(OK)
    to = wire(server.url.replace("http://", "http://me:s%40crt@"))
    assert to.ask("GET", "http://bucket.oss.example/k?a=b", {}, b"").read() == b"ok"
    assert server.heads[0].startswith("GET http://bucket.oss.example/k?a=b HTTP/1.1\r\n")
    assert "Host: bucket.oss.example\r\n" in server.heads[0]
    assert "Proxy-Authorization: Basic bWU6c0BjcnQ=\r\n" in server.heads[0]


def test_a_proxy_is_asked_for_a_tunnel_where_the_address_is_encrypted(script: Script) -> None:
    server = script(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with pytest.raises(OSError, match="403"):
        wire(server.url.replace("http://", "http://me:x@")).ask("GET", "https://bucket.oss.example/k", {}, b"")
    assert server.heads[0].startswith("CONNECT bucket.oss.example:443 HTTP/1")
    assert "Proxy-Authorization: Basic " in server.heads[0]


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address that answers once over TLS, and the certificate of the one who signed its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as talking:
                talking.recv(4096)
                talking.sendall(OK)
        except ssl.SSLError:  # we were not believed
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listening)
        yield f"https://localhost:{listening.getsockname()[1]}", pem
        served.result(timeout=5)


def test_a_certificate_that_nobody_trusted_signed_is_refused(encrypted: tuple[str, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        wire().ask("GET", encrypted[0], {}, b"")


def test_an_encrypted_connection_carries_requests(encrypted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, pem = encrypted
    monkeypatch.setattr("syncd.store.oss.dial.certifi.where", lambda: str(pem))
    assert wire().ask("GET", url, {}, b"").read() == b"ok"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConnectionBroken, match="is not a URL"):
        wire().ask("GET", "http://", {}, b"")


def test_connections_are_closed_with_their_wire(script: Script) -> None:
    server = script(OK, OK)
    assert ask(wire(), server).read() == b"ok"  # an unclosed socket would be an error
    gc.collect()
    assert ask(wire(), server).read() == b"ok"
    assert server.connections == 2
