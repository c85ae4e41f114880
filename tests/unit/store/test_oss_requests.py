"""How requests leave for OSS: as oss2 made them, and once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
