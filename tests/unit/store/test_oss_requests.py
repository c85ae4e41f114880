"""How requests leave for OSS: as oss2 made them, and once."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from urllib.parse import unquote

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.errors import SyncdError, Unavailable
from syncd.localcloud.httpd import Handler, HttpServer, ServerRequest, ServerResponse, WireFault
from syncd.secret import Secret
from syncd.store.base import Put, PutMode, Stat
from syncd.store.oss.store import Credentials, OssSettings, OssStore

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


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

    def redirect(request: ServerRequest) -> ServerResponse:
        seen.append(request.path)
        return ServerResponse(307, [("Location", "/elsewhere")])

    with answering(redirect) as store, pytest.raises(SyncdError):
        store.put("k", b"12345", PutMode.OVERWRITE)
    assert seen == ["/bucket-1/k"]


def test_a_request_goes_out_with_its_size_its_query_and_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen: list[ServerRequest] = []

    def note(request: ServerRequest) -> ServerResponse:
        seen.append(request)
        return ServerResponse(404, [("Set-Cookie", "a=b")])

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


def test_one_thread_has_four_puts_under_way_and_a_lost_answer_is_told_of_that_one_alone() -> None:
    """The server answers nothing until four have come, so a client that waits for each would wait for ever."""
    data = {f"k{n:02}": b"%d" % n * 100 for n in range(12)}
    came: list[str] = []
    under_way, most = 0, 0
    more = Condition()

    def answer(request: ServerRequest) -> ServerResponse:
        nonlocal under_way, most
        name = request.path.rpartition("/")[2]
        with more:
            came.append(name)
            under_way += 1
            most = max(most, under_way)
            more.notify_all()
            assert more.wait_for(lambda: len(came) >= 4, 60)
            more.wait_for(lambda: most > 4, 0.2)  # time for a fifth to come, which must not
            under_way -= 1
        headers = [("ETag", name), ("x-oss-hash-crc64ecma", str(crc64(data[name]))), ("Date", DATE)]
        return ServerResponse(200, headers, wire=WireFault(reset=name == "k02"))

    with answering(answer) as store:
        told = list(store.put_all([Put(key, body) for key, body in data.items()], PutMode.CREATE, 4))
    assert most == 4
    assert {n for n, one in enumerate(told) if isinstance(one, Unavailable)} == {2}
    assert [one.key for one in told if isinstance(one, Stat)] == [key for key in data if key != "k02"]


def test_a_copy_does_without_the_sdk() -> None:
    """To import it takes longer than most commands."""
    body = b"12345"
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    begun = b"<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>"

    def answer(request: ServerRequest) -> ServerResponse:
        headers = [("ETag", "t"), ("x-oss-hash-crc64ecma", str(crc64(body))), ("Date", DATE), ("Last-Modified", DATE)]
        if request.method == "GET":
            return ServerResponse(200, headers, body if request.path.endswith("/k") else page)
        return ServerResponse(200, headers, begun if "uploads" in dict(request.query) else b"")

    code = """
import sys
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.secret import Secret
from syncd.store.base import PutMode
from syncd.store.oss.settings import Credentials, OssSettings
from syncd.store.oss.store import OssStore
store = OssStore(OssSettings(sys.argv[1], "bucket-1", "r", lambda: Credentials("key", Secret("secret"))))
crc = crc64(b"12345")
assert list(store.list("")) == []
store.put("k", b"12345", PutMode.CREATE)
upload = store.upload("k", cut(5))
upload.send(cut(5)[0], b"12345", crc)
assert upload.complete(crc).crc64 == crc
assert store.open("k").readinto(memoryview(bytearray(9))) == 5
print([name for name in ("oss2", "requests", "Crypto") if name in sys.modules])
"""
    server = HttpServer(answer)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=False)
    finally:
        server.stop()
    assert done.stdout == "[]\n", done


@pytest.mark.parametrize(
    ("listing", "following", "call"),
    [
        ("ListBucketResult", {"NextContinuationToken": "m"}, lambda store: list(store.list("m/"))),
        ("ListPartsResult", {"NextPartNumberMarker": "7"}, lambda store: store.upload("m/k", cut(1), "U")),
        (
            "ListMultipartUploadsResult",
            {"NextKeyMarker": "m", "NextUploadIdMarker": "U"},
            lambda store: list(store.pending("m/")),
        ),
    ],
    ids=["objects", "parts", "uploads"],
)
def test_a_listing_that_goes_round_in_a_circle_ends(
    listing: str, following: Mapping[str, str], call: Callable[[OssStore], object]
) -> None:
    more = "".join(f"<{tag}>{text}</{tag}>" for tag, text in {"IsTruncated": "true", **following}.items())
    asked: list[str] = []

    def circle(request: ServerRequest) -> ServerResponse:
        asked.append(request.path)
        assert len(asked) < 9, "it goes on and on"
        return ServerResponse(200, body=f"<{listing}>{more}</{listing}>".encode())

    with answering(circle) as store, pytest.raises(Unavailable, match="its next page is the same one"):
        call(store)
    assert len(asked) == 2
