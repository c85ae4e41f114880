"""How requests leave for OSS: as oss2 made them, and once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import unquote

import pytest
from syncd.artifact.parts import cut
from syncd.errors import SyncdError
from syncd.localcloud.http import Handler, HttpServer, Request, Response
from syncd.secret import Secret
from syncd.store.base import PutMode
from syncd.store.oss import Credentials, OssSettings, OssStore


@contextmanager
def answering(handler: Handler) -> Iterator[OssStore]:
    server = HttpServer(handler)
    server.start()
    try:
        credentials = Credentials("key", Secret("secret"))
        yield OssStore(OssSettings(f"http://127.0.0.1:{server.port}", "bucket-1", "cn-hangzhou", lambda: credentials))
    finally:
        server.stop()


def test_a_redirect_is_an_error_and_the_body_is_not_sent_again() -> None:
    seen: list[str] = []

    def redirect(request: Request) -> Response:
        seen.append(request.path)
        return Response(307, [("Location", "/elsewhere")])

    with answering(redirect) as store, pytest.raises(SyncdError):
        store.put("k", b"12345", PutMode.OVERWRITE)
    assert seen == ["/bucket-1/k"]


def test_a_request_goes_out_with_its_size_its_query_and_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen: list[Request] = []

    def note(request: Request) -> Response:
        seen.append(request)
        return Response(404, [("Set-Cookie", "a=b")])

    with answering(note) as store:
        for _ in range(2):
            with pytest.raises(SyncdError):
                store.upload("dir/with space+and%", cut(10))
            with pytest.raises(SyncdError):
                store.put("empty", b"", PutMode.OVERWRITE)
    assert {request.headers.get("content-length") for request in seen} == {"0"}
    assert dict(seen[0].query)["uploads"] == ""
    assert unquote(seen[0].path) == "/bucket-1/dir/with space+and%"
    assert not any("cookie" in request.headers for request in seen)


@pytest.mark.parametrize("status", [200, 404, 502])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_gateways_long_page_is_read_and_the_connection_goes_on(status: int, chunked: bool) -> None:  # noqa: FBT001
    page, connections = b"<html>" + b"x" * 50_000, []

    def answer(connection: socket.socket) -> None:
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(page)
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(page), page) if chunked else page
        with connection:
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 %d Some\r\n%s\r\n\r\n%s" % (status, length, body))

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                Thread(target=answer, args=(connections[-1],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = Thread(target=accept, args=(listener,))
        accepting.start()
        credentials = Credentials("key", Secret("secret"))
        store = OssStore(
            OssSettings(f"http://127.0.0.1:{listener.getsockname()[1]}", "bucket-1", "r", lambda: credentials)
        )
        for _ in range(3):
            with suppress(SyncdError):
                store.delete("k")
            with pytest.raises(SyncdError):
                store.upload("k", cut(10))
            with pytest.raises(SyncdError):
                next(store.list(""))
        del store  # and its connection
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    assert len(connections) == 1
