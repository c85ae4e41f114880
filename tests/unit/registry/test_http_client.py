"""HTTP client: every exception is mapped, delays are kept, nothing is left open, no secret leaks."""

from __future__ import annotations

import gc
import inspect
import logging
import ssl
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from syncd.errors import Conflict, Failed, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.auth import BasicAuth, BearerAuth, NoAuth, auth_of
from syncd.http.client import HttpClient, HttpRequest, HttpSettings, not_modified, origin_of
from syncd.http.download import ExpectedFile
from syncd.http.responses import (
    error_of_exception,
    error_of_status,
    join_url,
    parse_json,
    printable,
    retry_after_s,
    size_at,
    text_at,
)
from syncd.retry import Retry
from syncd.secret import Secret

from tests.emulators.web import Reply, Request, Web, as_json, ranged
from tests.unit.registry.webs import ONCE, http_to

DATA = bytes(range(250)) * 40


class Script:
    """Replies in turn, and then repeats the last one."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def __call__(self, request: Request) -> Reply:
        del request
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def script() -> Script:
    return Script(as_json({"answer": 42}))


@pytest.fixture
def web(script: Script) -> Iterator[Web]:
    with Web(script) as web:
        yield web


def own_errors() -> list[type[httpx.HTTPError]]:
    found = [each for _, each in inspect.getmembers(httpx, inspect.isclass) if issubclass(each, httpx.HTTPError)]
    return [each for each in found if each is not httpx.HTTPStatusError]


@pytest.mark.parametrize("kind", own_errors(), ids=lambda kind: str(kind.__name__))
def test_every_exception_of_httpx_has_its_remedy(kind: type[httpx.HTTPError]) -> None:
    error = error_of_exception("http://h/p?secret=1", kind("broken"))
    wanted = Invalid if kind in {httpx.UnsupportedProtocol, httpx.LocalProtocolError} else Unavailable
    assert type(error) is wanted
    assert "secret" not in error.message
    assert kind.__name__ in error.message


def test_a_certificate_that_is_not_trusted_is_refused() -> None:
    error = httpx.ConnectError("failed")
    error.__cause__ = OSError("tls")
    error.__cause__.__context__ = ssl.SSLCertVerificationError("self-signed")
    refused = error_of_exception("https://h", error)
    assert isinstance(refused, Refused)
    assert "SSL_CERT_FILE" in refused.hint


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Failed), (401, Refused), (403, Refused), (404, NotFound), (409, Failed), (410, NotFound), (418, Failed),
     (408, Unavailable), (425, Unavailable), (429, Unavailable), (500, Unavailable), (599, Unavailable)],
)  # fmt: skip
def test_every_status_has_its_remedy(status: int, kind: type[SyncdError]) -> None:
    error = error_of_status("http://h/p?sig=x", status, {})
    assert type(error) is kind
    assert str(status) in error.message
    assert "sig" not in error.message


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "99999999999"}, 999999),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Oct 99999999999 07:28:00 +9999T99"}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 56),
        ({"ratelimit": '"best=3";r=0'}, None),
    ],
)
def test_the_delay_in_a_response_is_parsed(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, lambda: 100.0) == wait_s


def test_a_request_is_repeated_after_the_requested_delay(web: Web, script: Script) -> None:
    waited: list[float] = []
    script.replies = [Reply(503, {"Retry-After": "3"}), Reply(429, {"RateLimit": '"api";r=0;t=4'}), as_json(1)]

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return False

    policy = Retry(attempts_max=4, base_s=0)
    http = HttpClient(HttpSettings(web.origin, 5, policy), wait=wait)
    assert http.fetch(HttpRequest(f"{web.origin}/x")).json() == 1
    assert waited == [3, 5]


def test_a_wait_longer_than_is_borne_is_passed_on(web: Web, script: Script) -> None:
    script.replies = [Reply(429, {"Retry-After": "3600"})]
    http = HttpClient(HttpSettings(web.origin, 5))
    with pytest.raises(Unavailable) as error:
        http.fetch(HttpRequest(f"{web.origin}/x"))
    assert error.value.retry_after_s == 3600
    assert len(web.seen) == 1


def test_opening_a_file_is_tried_once(web: Web, script: Script) -> None:
    script.replies = [Reply(503)]
    with pytest.raises(Unavailable):
        HttpClient(HttpSettings(web.origin, 5)).open(HttpRequest(f"{web.origin}/x"), ExpectedFile("x", 5), 0)
    assert len(web.seen) == 1


def test_not_modified_is_a_response_only_to_a_conditional_request(web: Web, script: Script) -> None:
    script.replies = [Reply(304)]
    http = http_to(web)
    assert not_modified(http.fetch(HttpRequest(web.origin, {"If-None-Match": '"e"'})))
    with pytest.raises(Failed):
        http.fetch(HttpRequest(web.origin))


def test_a_packed_answer_is_unpacked(web: Web, script: Script) -> None:
    body = zlib.compress(b'{"a": 1}')
    script.replies = [Reply(200, {"Content-Encoding": "deflate"}, body)]
    assert http_to(web).fetch(HttpRequest(web.origin)).json() == {"a": 1}
    script.replies = [Reply(200, {"Content-Encoding": "deflate"}, body[:-3])]
    with pytest.raises(Unavailable, match="cut off"):
        http_to(web).fetch(HttpRequest(web.origin))
    script.replies = [Reply(200, {"Content-Encoding": "gzip"}, b"nonsense")]
    with pytest.raises(Unavailable, match="compressed body is damaged"):
        http_to(web).fetch(HttpRequest(web.origin))
    script.replies = [Reply(200, {"Content-Encoding": "br"}, b"x")]
    with pytest.raises(Invalid, match="'br'"):
        http_to(web).fetch(HttpRequest(web.origin))


def test_a_slow_response_times_out(web: Web, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.http.client.RESPONSE_S_MAX", 0.0)
    script.replies = [Reply(200, {}, [b"x"] * 3)]
    with pytest.raises(Unavailable, match="incomplete after"):
        http_to(web).fetch(HttpRequest(web.origin))


def test_pages_stay_at_the_registry_whatever_host_is_in_their_link(web: Web, script: Script) -> None:
    link = {"Link": '<https://elsewhere.invalid/more?cursor=2>; rel="next"'}
    script.replies = [as_json([1], headers=link), as_json([2])]
    pages = [answer.json() for answer in http_to(web).pages(HttpRequest(f"{web.origin}/list"))]
    assert pages == [[1], [2]]
    assert [(request.path, dict(request.query)) for request in web.seen] == [("/list", {}), ("/more", {"cursor": "2"})]


def test_a_link_that_cannot_be_read_is_not_the_end_of_the_listing(web: Web, script: Script) -> None:
    script.replies = [as_json([1], headers={"Link": '</more?cursor=\xe9>; rel="next"'})]
    with pytest.raises(Invalid, match="next page"):
        list(http_to(web).pages(HttpRequest(f"{web.origin}/list")))


def test_pages_are_bounded_in_bytes_together(web: Web, script: Script) -> None:
    script.replies = [as_json(["x" * 400], headers={"Link": f'<{web.origin}/>; rel="next"'})]
    http = HttpClient(HttpSettings(web.origin, 5, ONCE, bytes_max=1000))
    with pytest.raises(Invalid, match="does not end"):
        list(http.pages(HttpRequest(web.origin)))
    assert len(web.seen) == 3


def test_a_redirect_to_a_neighbour_is_refused_before_anything_is_sent_there(web: Web, script: Script) -> None:
    with Web(lambda _: Reply(200, {}, DATA)) as inner:
        script.replies = [Reply(302, {"Location": f"http://inside.test:{inner.port}/"})]
        names = {"inside.test": ["127.0.0.1"], "127.0.0.1": ["203.0.113.1"]}  # the registry is elsewhere
        with pytest.raises(Invalid, match=r"inside\.test, 127\.0\.0\.1: this machine itself"):
            http_to(web, lookup=lambda host: names[host]).fetch(HttpRequest(web.origin))
        assert inner.seen == []


def test_an_address_without_encryption_is_not_gone_to_from_a_registry_that_has_it() -> None:
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["203.0.113.1"]

    http = HttpClient(HttpSettings("https://registry.test", 5, ONCE), lookup=lookup)
    for address in ("http://elsewhere.test/w?Signature=x", "http://registry.test/w"):
        with pytest.raises(Invalid, match="which is not encrypted"):
            http.fetch(HttpRequest(address))
    assert asked == []


def test_a_name_that_resolves_differently_at_the_connection_is_refused(web: Web, script: Script) -> None:
    with Web(lambda _: Reply(200, {}, DATA)) as inner:
        script.replies = [Reply(302, {"Location": f"http://localhost:{inner.port}/"})]
        names = {"localhost": ["203.0.113.2"], "127.0.0.1": ["203.0.113.1"]}
        with pytest.raises(Invalid, match=r"localhost, (127\.0\.0\.1|::1): this machine itself"):
            http_to(web, lookup=lambda host: names[host]).fetch(HttpRequest(web.origin))


def test_an_etag_that_is_strong_goes_with_the_range(web: Web) -> None:
    web.faults.append(lambda request: ranged(request, DATA, '"e1"'))
    http = http_to(web)
    wanted = ExpectedFile("x", len(DATA), "pin/x")
    for offset in (0, 10):
        with http.open(HttpRequest(web.origin), wanted, offset):
            pass
    assert [request.headers.get("if-range") for request in web.seen] == [None, '"e1"']
    web.faults.append(lambda request: ranged(request, DATA[::-1], '"e2"'))
    with pytest.raises(Conflict, match="e2"):
        http.open(HttpRequest(web.origin), wanted, 10)
    with http.open(HttpRequest(web.origin), ExpectedFile("x", len(DATA), "another pin/x"), 10):
        pass


def test_a_weak_etag_is_compared_but_never_sent(web: Web) -> None:
    web.faults.append(lambda request: ranged(request, DATA, 'W/"e1"'))
    http = http_to(web)
    for offset in (0, 10):
        with http.open(HttpRequest(web.origin), ExpectedFile("x", len(DATA), "pin"), offset):
            pass
    assert "if-range" not in web.seen[1].headers


def test_neither_netrc_nor_proxies_of_the_environment_are_used(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    http_to(web).fetch(HttpRequest(web.origin))
    assert "authorization" not in web.seen[0].headers


def test_cookies_are_not_kept(web: Web, script: Script) -> None:
    script.replies = [as_json(1, headers={"Set-Cookie": "a=b"})]
    http = http_to(web)
    http.fetch(HttpRequest(web.origin))
    http.fetch(HttpRequest(web.origin))
    assert all("cookie" not in request.headers for request in web.seen)


def test_addresses_are_not_logged(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    http_to(web).fetch(HttpRequest(f"{web.origin}/x?signature=hunter2"))
    assert "hunter2" not in caplog.text


def test_connections_close_when_the_client_is_collected(web: Web) -> None:
    """An open socket that is collected is a warning, and warnings are errors here."""
    http = http_to(web)
    http.fetch(HttpRequest(web.origin))
    with http.open(HttpRequest(web.origin), ExpectedFile("x", len(as_json({"answer": 42}).body)), 0):  # type: ignore[arg-type]  # bytes
        pass
    del http
    gc.collect()


def test_credentials_are_in_one_header() -> None:
    assert auth_of("", None) == NoAuth()
    assert auth_of("ignored", None) == NoAuth()
    assert auth_of("", Secret("t")) == BearerAuth(Secret("t"))
    assert auth_of("u", Secret("p")) == BasicAuth("u", Secret("p"))
    assert BearerAuth(Secret("t")).headers("") == {"Authorization": "Bearer t"}
    assert BasicAuth("u", Secret("p")).headers("") == {"Authorization": "Basic dTpw"}
    assert "hunter2" not in repr(BearerAuth(Secret("hunter2")))
    assert not any(each.renew("", "Basic") for each in (NoAuth(), BearerAuth(Secret("t")), BasicAuth("u", Secret("p"))))


def test_an_address_is_shown_without_its_secrets() -> None:
    assert printable("https://u:p@h:1/a/b?sig=1#f") == "'https://h:1/a/b'"
    assert "hunter2" not in printable("http://[u:hunter2@x?y=hunter2")
    assert len(printable("https://h/" + "x" * 1000)) < 220


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("https://h/a") == "https://h"
    assert origin_of("http://h:80/a") == "http://h"
    assert origin_of("http://[::1]:8080/a") == "http://[::1]:8080"
    for bad in ("h", "ftp://h", "http://", "http://u:p@h/"):
        with pytest.raises(Invalid):
            origin_of(bad)


def test_an_address_is_joined_or_refused() -> None:
    assert join_url("http://h/a/b", "../c") == "http://h/c"
    with pytest.raises(Invalid):
        join_url("http://h/a/b", "http://[x")


def test_the_shape_of_json_is_checked() -> None:
    assert text_at({"a": "b"}, "a", "it") == "b"
    assert text_at({}, "a", "it", "c") == "c"
    assert size_at({"a": 0}, "a", "it") == 0
    for value in (-1, 1.0, True, "1", None, 1 << 62):
        with pytest.raises(Invalid, match="'a'"):
            size_at({"a": value}, "a", "it")
    for no_text in (None, 5, ["x"]):
        with pytest.raises(Invalid, match="'a'"):
            text_at({"a": no_text}, "a", "it")
    with pytest.raises(Invalid, match="too deeply"):
        parse_json(b"[" * 200_000, "it")
    with pytest.raises(Unavailable, match="not JSON"):
        parse_json(b"\xff", "it")


def test_a_silent_server_times_out(web: Web) -> None:
    web.faults.append(lambda _: Reply(200, {"Content-Length": "5"}, b"", cut_after=None))
    began_s = time.monotonic()
    with pytest.raises(Unavailable) as error:
        HttpClient(HttpSettings(web.origin, 0.2, ONCE)).fetch(HttpRequest(web.origin))
    assert "ReadTimeout" in error.value.message
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize("headers", [{}, {"ETag": '"one"'}], ids=["no validator", "an ETag"])
def test_what_was_refused_is_known_again_before_it_is_built(web: Web, script: Script, headers: dict[str, str]) -> None:
    bomb = b"[" + b"[]," * (1 << 20) + b"0]"
    request = HttpRequest(f"{web.origin}/")
    client = http_to(web)
    script.replies = [Reply(200, headers, bomb)]
    with pytest.raises(Invalid, match="would take more than 44 MiB of memory") as first:
        client.fetch(request).json()
    with pytest.raises(Invalid) as again:
        client.fetch(request)
    assert (again.value.message, again.value.hint) == (first.value.message, first.value.hint)
    script.replies = [Reply(200, headers and {"ETag": '"two"'}, b"[1]")]
    assert client.fetch(request).json() == [1]
