"""Looking at a registry over HTTP: answers are bounded, redirects are followed by hand, a range is what it says.

Credentials go to the registry's own origin only. What is meant to be JSON is read whole, up to a limit before and
after decompression; files are read as they come, never decompressed, from any offset.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import ssl
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx

from syncd import retry
from syncd.errors import Invalid, SyncdError, Unavailable
from syncd.http.auth import Auth, NoAuth
from syncd.http.download import EtagCache, ExpectedFile, HttpStream, start
from syncd.http.responses import decompressed, error_of, join_url, parse_json, printable, translate_errors
from syncd.http.ssrf import AddressGuard, Lookup, lookup

MIB: Final = 1 << 20
LOOK_BYTES_MAX: Final = 64 * MIB  # 100 000 files of 600 bytes of JSON each
LOOK_S_MAX: Final = 120.0  # for one answer, however slowly it drips
CONNECT_S_MAX: Final = 15.0
HOPS_MAX: Final = 5
PAGES_MAX: Final = 1000
_RETRY: Final = retry.Retry(attempts_max=4, elapsed_max_s=30.0)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


LOCATION: Final = "syncd_place"  # the extension of a request that says how its address was written down


class UploadHelpers(Protocol):
    """See `oci.couriers`. Safe from several threads."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request that is ended even if this process is killed. Raises what httpx raises."""
        ...

    def close(self) -> None:
        """Let those go that have nothing to do. Repeating it is success."""
        ...


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How a registry is reached. `origin` is scheme, host and port: where credentials may go.

    `couriers` make the requests to that origin which are to outlive this process; without any, none does.
    """

    origin: str
    timeout_s: float = 60.0  # between two reads; for connecting, up to CONNECT_S_MAX
    policy: retry.Retry = _RETRY
    bytes_max: int = LOOK_BYTES_MAX
    upload_helpers: UploadHelpers | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole answer: 2xx, or 304 where that was asked for."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises what `answers.parsed` does."""
        return parse_json(self.body, printable(self.url))


Explain = Callable[[HttpResponse], SyncdError | None]


Body = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `scope` is what the access needs to know of it.

    `body` is asked for its pieces anew each time the request is made, after a redirect for instance; with one,
    `headers` say its Content-Length. With `outlives` the request is to be ended even if this process is killed.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    scope: str = ""
    body: Body | None = None
    outlives: bool = False


class HttpClient:
    """One registry's connections. Safe from several threads; they close when this is garbage."""

    def __init__(
        self,
        settings: HttpSettings,
        access: Auth | None = None,
        explain: Explain = lambda answer: None,  # noqa: ARG005 -- most say nothing that the status does not
        lookup: Lookup = lookup,
        wait: Callable[[float], bool] = retry.sleep,
    ) -> None:
        """Makes no request. `explain` may know better than the status what a refusal means."""
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)  # below, they log addresses, and signed ones are secrets
        self._settings = settings
        self._access = access or NoAuth()
        self._explain = explain
        self._wait = wait
        self._home = httpx.URL(settings.origin)
        self._neighbourhood = AddressGuard(self._home.host, lookup)
        self._etags = EtagCache()
        # As many connections as there are threads: whoever looks does not wait for those who read.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
        # Neither the environment's proxies nor ~/.netrc are looked at; its certificates are.
        self._client = httpx.Client(
            timeout=httpx.Timeout(settings.timeout_s, connect=min(settings.timeout_s, CONNECT_S_MAX), pool=None),
            limits=limits,
            trust_env=False,
            verify=_certificates(),
            headers={"Accept-Encoding": "identity", "User-Agent": "syncd"},
        )
        weakref.finalize(self, self._client.close)

    def look(self, ask: HttpRequest) -> HttpResponse:
        """Read a whole answer, trying again where that may help.

        Raises:
            NotFound: The registry says that it is not there.
            Refused: It will not let us.
            Unavailable: It could not be read now.
            Invalid: The answer is too large, or leads where we do not go.
        """
        return retry.call(self._settings.policy, lambda: self.once(ask), wait=self._wait)

    def pages(self, ask: HttpRequest) -> Iterator[HttpResponse]:
        """An answer and those that its `Link: …; rel="next"` leads to, always at the registry itself.

        Raises:
            Invalid: There is no end of them.
            NotFound, Refused, Unavailable: As `look`.
        """
        left_bytes = self._settings.bytes_max
        for _ in range(PAGES_MAX):
            answer = self.look(ask)
            yield answer
            left_bytes -= len(answer.body)
            following = _next(answer)
            if following is None:
                return
            if left_bytes < 0:
                break
            ask = HttpRequest(following, ask.headers, ask.method, ask.scope)
        raise Invalid(
            f"{printable(ask.url)}: the listing does not end:"
            f" more than {PAGES_MAX} pages or {self._settings.bytes_max} bytes"
        )

    def open(self, ask: HttpRequest, wanted: ExpectedFile, offset_bytes: int) -> HttpStream:
        """A file's bytes from an offset on. Tries once: whoever reads opens again where it broke off.

        Raises:
            NotFound, Refused, Unavailable, Invalid: As `look`.
            Conflict: The size or the ETag is not the one that was listed or seen before.
        """
        headers = {**ask.headers, **self._etags.range_headers(wanted, offset_bytes)}
        with translate_errors(ask.url):
            response = self._send(HttpRequest(ask.url, headers, ask.method, ask.scope))
            with contextlib.ExitStack() as opened:
                opened.callback(response.close)
                if response.status_code not in {200, 206}:
                    raise self._refusal(response, ask.url)
                stream = start(response, wanted, offset_bytes, self._etags)
                opened.pop_all()
        return stream

    def once(self, ask: HttpRequest) -> HttpResponse:
        """As `look`, but it is asked once: for what is not harmless to ask again.

        Raises:
            As `look`. After Unavailable the request may have been carried out.
        """
        with translate_errors(ask.url), contextlib.closing(self._send(ask)) as response:
            asked_304 = response.status_code == 304 and "If-None-Match" in ask.headers
            if not response.is_success and not asked_304:
                raise self._refusal(response, ask.url)
            body = _whole(response, self._settings.bytes_max, ask.url)
            return HttpResponse(ask.url, response.status_code, response.headers, body)

    def rest(self) -> None:
        """There is nothing to send for now. Repeating it is success."""
        if self._settings.upload_helpers is not None:
            self._settings.upload_helpers.close()

    def _refusal(self, response: httpx.Response, url: str) -> SyncdError:
        body = b""
        with contextlib.suppress(Invalid, httpx.HTTPError):
            body = _whole(response, MIB, url)
        answer = HttpResponse(url, response.status_code, response.headers, body)
        return self._explain(answer) or error_of(url, response.status_code, response.headers)

    def _send(self, ask: HttpRequest) -> httpx.Response:
        """Follow redirects and answer one challenge. The caller closes what comes back."""
        url, renewed, home = _url(ask.url), False, True
        for _ in range(HOPS_MAX + 2):
            home = home and self._is_home(url)  # who left for another host comes back a stranger
            response = self._once(url, ask, home=home)
            target = response.headers.get("location") if response.status_code in _REDIRECTS else None
            challenge = response.headers.get("www-authenticate", "")
            if target is not None:
                response.close()
                url = _hop(url, target)
            elif response.status_code == 401 and not renewed and home:
                renewed = True
                with contextlib.ExitStack() as opened:
                    opened.callback(response.close)
                    if not self._access.renew(ask.scope, challenge):
                        opened.pop_all()
                        return response
            else:
                return response
        raise Invalid(f"{printable(ask.url)} redirects more than {HOPS_MAX} times")

    def _once(self, url: httpx.URL, ask: HttpRequest, *, home: bool) -> httpx.Response:
        foreign = not self._is_home(url)
        if foreign:
            if self._home.scheme == "https" and url.scheme != "https":
                raise Invalid(f"the registry leads to {printable(str(url))}, which is not encrypted")
            self._neighbourhood.check_host(url.host)
        told = {**ask.headers, **(self._access.headers(ask.scope) if home else {})}
        self._client.cookies.clear()
        content = None if ask.body is None else ask.body()
        request = self._client.build_request(
            ask.method, url, headers=told, content=content, extensions={LOCATION: ask.url}
        )
        if ask.outlives and not foreign and self._settings.upload_helpers is not None:
            return self._settings.upload_helpers.handle_request(request)
        response = self._client.send(request, stream=True, follow_redirects=False)
        if foreign:
            with contextlib.ExitStack() as opened:
                opened.callback(response.close)
                self._check_peer(url.host, response)
                opened.pop_all()
        return response

    def _check_peer(self, host: str, response: httpx.Response) -> None:
        """The name may have led elsewhere the second time it was looked up."""
        peer = response.extensions["network_stream"].get_extra_info("server_addr")
        if peer:
            self._neighbourhood.check_address(host, str(peer[0]))

    def _is_home(self, url: httpx.URL) -> bool:
        return _origin(url) == _origin(self._home)


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Those of the machine and of the environment; read once, it takes some 30 ms."""
    return httpx.create_ssl_context()


def origin_of(url: str) -> str:
    """Scheme, host and port of an address. Raises Invalid."""
    there = _url(url)
    return f"{there.scheme}://{there.netloc.decode()}"


def not_modified(answer: HttpResponse) -> bool:
    """Whether what was seen before still holds."""
    return answer.status == 304


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise Invalid(f"{printable(text)} is no address: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or "%" in url.host or url.userinfo:
        raise Invalid(f"{printable(text)} is no address that is gone to", hint="http or https without a user is")
    return url


def _hop(here: httpx.URL, target: str) -> httpx.URL:
    there = _url(join_url(str(here), target))
    if here.scheme == "https" and there.scheme != "https":
        raise Invalid(f"{printable(str(here))} redirects to {printable(str(there))}, which is not encrypted")
    return there


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))


def _next(answer: HttpResponse) -> str | None:
    """What `Link` says comes next: at the same place, whatever host a mirror left in it."""
    told = answer.headers.get("link", "")
    if not told.isascii():
        raise Invalid(f"{printable(answer.url)}: its link to the next page cannot be read")
    link = httpx.Response(200, headers={"Link": told}).links.get("next", {}).get("url")
    if not link:
        return None
    there = _url(join_url(answer.url, link))
    return str(_url(answer.url).copy_with(raw_path=there.raw_path))


def _whole(response: httpx.Response, bytes_max: int, url: str) -> bytes:
    body = bytearray()
    began_s = time.monotonic()
    for piece in decompressed(response):
        body += piece
        if len(body) > bytes_max:
            raise Invalid(f"{printable(url)}: the answer has more than {bytes_max} bytes")
        if time.monotonic() - began_s > LOOK_S_MAX:
            raise Unavailable(f"{printable(url)}: the answer was not whole after {LOOK_S_MAX:g} s")
    return bytes(body)
