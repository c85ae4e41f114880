"""The HTTP core, byte by byte over a real socket."""

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from syncd.localcloud.httpd import Body, FileBody, HeaderFields, HttpServer, ServerRequest, ServerResponse, WireFault

Serve = Callable[[Callable[[ServerRequest], ServerResponse]], HttpServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server for a handler; it is stopped after the test, and must leave no thread."""
    servers: list[HttpServer] = []

    def start(handler: Callable[[ServerRequest], ServerResponse]) -> HttpServer:
        servers.append(HttpServer(handler))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        server.stop()  # once more does no harm
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith(f"http-{server.port}")]


def _echo(request: ServerRequest) -> ServerResponse:
    body = request.body.read()
    line = f"{request.method} {request.path} {list(request.query)} {request.headers.get('host')}\n"
    return ServerResponse(200, [("X-Length", str(request.body.length))], line.encode() + body)


class Wire:
    """A client that sends exact bytes."""

    def __init__(self, server: HttpServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, text: bytes) -> "Wire":
        self.socket.sendall(text)
        return self

    def answer(self, method: str = "GET") -> tuple[int, bytes]:
        """The next answer; only what belongs to it is read."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        body = response.read()
        response.close()
        return response.status, body

    def rest(self) -> bytes:
        """All that comes until the server hangs up."""
        pieces = []
        while piece := self.socket.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)


def test_a_request_is_split_into_its_parts(serve: Serve) -> None:
    with Wire(serve(_echo)) as wire:
        wire.say(b"PUT /a%2Fb?x=1%202&y&x=%C3%A9+z HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n\r\nabc")
        want = "PUT /a%2Fb [('x', '1 2'), ('y', ''), ('x', 'é z')] h:1\nabc"
        assert wire.answer() == (200, want.encode())


def test_a_proxied_target_names_the_host(serve: Serve) -> None:
    with Wire(serve(_echo)) as wire:
        wire.say(b"GET http://b.example:80/k?q HTTP/1.1\r\nHost: other\r\n\r\n")
        assert wire.answer() == (200, b"GET /k [('q', '')] b.example:80\n")
        wire.say(b"GET http://b.example HTTP/1.1\r\n\r\n")
        assert wire.answer() == (200, b"GET / [] b.example\n")


def test_requests_may_follow_one_another_without_waiting(serve: Serve) -> None:
    one = b"PUT /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"
    two = b"PUT /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\ncd\r\n1\r\ne\r\n0\r\nTrailer: t\r\n\r\n"
    three = b"\r\nGET /3 HTTP/1.1\r\n\r\n"
    with Wire(serve(_echo)) as wire:
        answers = wire.say(one + two + three).socket
        raw = b""
        while b"/3 [] \n" not in raw:
            raw += answers.recv(65536)
    assert [raw.count(text) for text in (b"/1 [] \nab", b"/2 [] \ncde", b"/3 [] \n")] == [1, 1, 1]


def test_a_body_the_handler_left_does_not_become_a_request(serve: Serve) -> None:
    server = serve(lambda _: ServerResponse(403, body=b"no"))
    body = os.urandom(3_000_000)
    with Wire(server) as wire:
        sender = threading.Thread(target=wire.say, args=(b"PUT / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + body,))
        sender.start()
        assert wire.answer() == (403, b"no")
        sender.join()
        assert wire.say(b"GET / HTTP/1.1\r\n\r\n").answer() == (403, b"no")


def test_a_body_is_invited_only_when_it_is_wanted(serve: Serve) -> None:
    head = b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with Wire(serve(_echo)) as wire:
        wire.say(head)
        assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.say(b"ab").answer()[1].endswith(b"\nab")
    with Wire(serve(lambda _: ServerResponse(403))) as wire:
        assert wire.say(head).rest().startswith(b"HTTP/1.1 403 ")


def test_answers_without_a_body_have_none(serve: Serve) -> None:
    statuses = {"/204": 204, "/304": 304, "/200": 200}
    server = serve(lambda r: ServerResponse(statuses[r.path], body=b"text"))
    with Wire(server) as wire:
        assert wire.say(b"GET /204 HTTP/1.1\r\n\r\n").answer() == (204, b"")
        assert wire.say(b"GET /304 HTTP/1.1\r\n\r\n").answer() == (304, b"")
        wire.say(b"HEAD /200 HTTP/1.1\r\nConnection: close\r\n\r\n")
        raw = wire.rest()
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert b"text" not in raw
    assert b"Content-Length: 4\r\n" in raw


def test_old_and_closing_clients_are_hung_up_on(serve: Serve) -> None:
    server = serve(_echo)
    for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"):
        with Wire(server) as wire:
            assert b"Connection: close\r\n" in wire.say(request).rest()
    with Wire(server) as wire:
        wire.say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert wire.answer()[0] == 200
        assert wire.say(b"GET / HTTP/1.1\r\n\r\n").answer()[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"G\xffT / HTTP/1.1\r\n\r\n", 400),
        (b"GET relative HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName : v\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nBig: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"Many: x\r\n" * 10_000 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_server_lives(serve: Serve, request_bytes: bytes, status: int) -> None:
    server = serve(_echo)
    with Wire(server) as wire:
        wire.say(request_bytes)
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.rest().startswith(b"HTTP/1.1 %d " % status)
    with Wire(server) as wire:
        assert wire.say(b"GET / HTTP/1.1\r\n\r\n").answer()[0] == 200


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x",
        b"PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_client_may_leave_at_any_point(serve: Serve, beginning: bytes) -> None:
    server = serve(_echo)
    with Wire(server) as wire:
        wire.say(beginning)
    with Wire(server) as wire:
        assert wire.say(b"GET / HTTP/1.1\r\n\r\n").answer()[0] == 200


def test_an_unread_chunked_body_that_makes_no_sense_ends_the_connection(serve: Serve) -> None:
    with Wire(serve(lambda _: ServerResponse(403, body=b"no"))) as wire:
        raw = wire.say(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").rest()
    assert raw.count(b"HTTP/1.1 ") == 1
    assert raw.startswith(b"HTTP/1.1 403 ")


def test_files_and_pieces_are_sent_whole(serve: Serve, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    (tmp_path / "f").write_bytes(data)
    closed = threading.Event()

    class Pieces:
        def __iter__(self) -> Iterator[bytes | FileBody]:
            yield b"head"
            yield b""
            yield FileBody(tmp_path / "f", 10, 1_000_000)

        def close(self) -> None:
            closed.set()

    def handler(request: ServerRequest) -> ServerResponse:
        if request.path == "/file":
            return ServerResponse(200, body=FileBody(tmp_path / "f", 0, len(data)))
        sized = [("Content-Length", "1000004")] if request.path == "/sized" else []
        return ServerResponse(200, sized, Pieces())

    server = serve(handler)
    with Wire(server) as wire:
        assert wire.say(b"GET /file HTTP/1.1\r\n\r\n").answer() == (200, data)
        pieces = b"head" + data[10:1_000_010]
        assert wire.say(b"GET /sized HTTP/1.1\r\n\r\n").answer() == (200, pieces)
        assert wire.say(b"GET /chunked HTTP/1.1\r\n\r\n").answer() == (200, pieces)
        assert closed.is_set()


def test_a_file_that_lost_bytes_cuts_the_answer(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    with Wire(serve(lambda _: ServerResponse(200, body=FileBody(tmp_path / "f", 0, 10)))) as wire:
        raw = wire.say(b"GET / HTTP/1.1\r\n\r\n").rest()
    assert b"Content-Length: 10\r\n" in raw
    assert raw.endswith(b"\r\n\r\n12345")


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (WireFault(truncate_at=0), b""),
        (WireFault(truncate_at=3), b"012"),
        (WireFault(truncate_at=7), b"0123456"),
        (WireFault(truncate_at=99), b"0123456789"),
        (WireFault(corrupt_at=0), b"1123456789"),
        (WireFault(corrupt_at=6), b"0123457789"),
        (WireFault(corrupt_at=99), b"0123456789"),
        (WireFault(delay_s=0.01, bytes_per_s=1000, corrupt_at=1, truncate_at=4), b"0023"),
    ],
)
def test_faults_of_the_wire_alter_bodies_of_every_kind(
    serve: Serve, tmp_path: Path, fault: WireFault, body: bytes
) -> None:
    (tmp_path / "f").write_bytes(b"--0123456789")
    bodies: dict[str, bytes | FileBody | list[bytes | FileBody]] = {
        "/bytes": b"0123456789",
        "/file": FileBody(tmp_path / "f", 2, 10),
        "/pieces": [b"01234", FileBody(tmp_path / "f", 7, 5)],
    }
    server = serve(lambda r: ServerResponse(200, [("Content-Length", "10")], bodies[r.path], fault))
    for path in bodies:
        with Wire(server) as wire:
            head, _, got = wire.say(f"GET {path} HTTP/1.1\r\n\r\n".encode()).rest().partition(b"\r\n\r\n")
        assert got == body
        assert b"Content-Length: 10\r\n" in head
        assert b"Connection: close" in head


def test_a_reset_is_a_reset(serve: Serve) -> None:
    with Wire(serve(lambda _: ServerResponse(200, wire=WireFault(reset=True)))) as wire:
        wire.say(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            wire.rest()


def test_an_upload_can_be_corrupted_on_its_way_in(serve: Serve) -> None:
    def handler(request: ServerRequest) -> ServerResponse:
        request.body.corrupt(4)
        return ServerResponse(200, body=request.body.read(3) + b"|" + request.body.read())

    with Wire(serve(handler)) as wire:
        wire.say(b"PUT / HTTP/1.1\r\nContent-Length: 8\r\n\r\n00000000")
        assert wire.answer() == (200, b"000|01000")


def test_stopping_cuts_what_is_under_way(serve: Serve) -> None:
    server = serve(lambda _: ServerResponse(200, body=b"x" * 100, wire=WireFault(bytes_per_s=1)))
    with Wire(server) as idle, Wire(server) as slow:
        slow.say(b"GET / HTTP/1.1\r\n\r\n")
        assert slow.socket.recv(10)
        server.stop()
        assert idle.rest() == b""
        slow.rest()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=20)


def test_a_port_in_use_is_reported(serve: Serve) -> None:
    server = serve(_echo)
    with pytest.raises(OSError, match="in use"):
        HttpServer(_echo, port=server.port).start()


def test_a_handler_that_breaks_is_never_an_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))

    def broken(_: ServerRequest) -> ServerResponse:
        raise ZeroDivisionError

    server = serve(broken)
    with Wire(server) as wire:
        assert wire.say(b"GET / HTTP/1.1\r\n\r\n").rest() == b""
    server.stop()
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_an_unusual_status_is_sent(serve: Serve) -> None:
    with Wire(serve(lambda _: ServerResponse(499))) as wire:
        assert wire.say(b"GET / HTTP/1.1\r\n\r\n").answer() == (499, b"")


def test_headers_compare_without_case_and_keep_their_order() -> None:
    headers = HeaderFields([("X-A", "1"), ("x-a", "2"), ("B", "")])
    assert headers.get("x-A") == "1"
    assert headers.get("none", "default") == "default"
    assert "b" in headers
    assert headers.items() == (("X-A", "1"), ("x-a", "2"), ("B", ""))


def test_a_body_in_memory_reads_like_any_other() -> None:
    body = Body.of(b"0123456789")
    assert (body.length, body.read(3), body.received, body.ended) == (10, b"012", 3, False)
    assert (body.read(), body.ended, body.read()) == (b"3456789", True, b"")
    assert Body.of(b"").ended
