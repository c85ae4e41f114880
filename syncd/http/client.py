"""HTTP client for registries: bounded responses, redirects under syncd's control, verified ranges.

Credentials go to the registry's own origin only. JSON is read whole, up to a limit before and after decompression;
files are streamed from any offset and never decompressed.
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
from functools import partial
from typing import Any, Final, Protocol

import httpx

from syncd import retry
from syncd.artifact.bounded_json import Row
from syncd.errors import Invalid, SyncdError, Unavailable
from syncd.http.auth import Auth, NoAuth
from syncd.http.bodies import PACKED_BYTES_MAX, BodyPacker, PackedBody, RefusedResponses
from syncd.http.download import EtagCache, ExpectedFile, HttpStream, RedirectCache, start
from syncd.http.responses import decompressed, error_of_status, join_url, parse_json, printable, translate_errors
from syncd.http.ssrf import AddressGuard, Lookup, lookup

MIB: Final = 1 << 20
RESPONSE_BYTES_MAX: Final = 64 * MIB  # 100 000 files of 600 bytes of JSON each
RESPONSE_S_MAX: Final = 120.0  # for one response, however slowly it arrives
CONNECT_S_MAX: Final = 15.0
HOPS_MAX: Final = 5
PAGES_MAX: Final = 1000
_KEPT_MAX: Final = 32  # connections: of 16 parts at once, and of the requests between them
_RETRY: Final = retry.Retry(attempts_max=4, elapsed_max_s=30.0)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


LOCATION: Final = "syncd_place"  # the request extension with the address as it was written


class UploadHelpers(Protocol):
    """See `oci.upload_helper_pool`. Safe from several threads."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request that completes even if this process is killed. Raises what httpx raises."""
        ...

    def close(self) -> None:
        """Stop idle helpers. Repeating it is success."""
        ...


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The connection settings of a registry. `origin` is scheme, host and port: the only receiver of credentials.

    `upload_helpers` make the requests to that origin that must outlive this process; without them, none does.
    """

    origin: str
    timeout_s: float = 60.0  # between two reads; for connecting, up to CONNECT_S_MAX
    policy: retry.Retry = _RETRY
    bytes_max: int = RESPONSE_BYTES_MAX
    upload_helpers: UploadHelpers | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole response: 2xx, or 304 after a conditional request. Its body is held compressed."""

    url: str
    status: int
    headers: Mapping[str, str]
    packed: PackedBody
    refused: Callable[[Invalid], None] = lambda error: None  # noqa: ARG005 -- what is not polled need not be remembered

    @property
    def body(self) -> bytes:
        return b"".join(self.packed.pieces())

    def json(self, row: Callable[[Row], Any] = dict) -> Any:
        """The body as JSON. Raises what `responses.parse_json` does; a refusal is remembered by `HttpClient.fetch`."""
        try:
            return parse_json(self.packed.pieces(), printable(self.url), row)
        except Invalid as error:
            self.refused(error)
            raise


Explain = Callable[[HttpResponse], SyncdError | None]


Body = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `scope` is for the authentication.

    `body` is called for its pieces each time the request is made, for example after a redirect; with a body,
    `headers` have its Content-Length. With `outlives` the request must complete even if this process is killed.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    scope: str = ""
    body: Body | None = None
    outlives: bool = False
    bytes_max: int | None = None  # of the response; None: as the settings say


class HttpClient:
    """The connections to one registry. Safe from several threads; they close when this object is collected."""

    def __init__(
        self,
        settings: HttpSettings,
        auth: Auth | None = None,
        explain: Explain = lambda response: None,  # noqa: ARG005 -- most registries add nothing to the status
        lookup: Lookup = lookup,
        wait: Callable[[float], bool] = retry.sleep,
    ) -> None:
        """Makes no request. `explain` may interpret a refusal better than its status does."""
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(
                logging.WARNING
            )  # below, addresses are logged, and signed ones are secrets
        self._settings = settings
        self._auth = auth or NoAuth()
        self._explain = explain
        self._wait = wait
        self._home = httpx.URL(settings.origin)
        self._guard = AddressGuard(self._home.host, lookup)
        self._etags = EtagCache()
        self._redirects = RedirectCache()
        self._refusals = RefusedResponses()
        # As many connections as threads: a listing does not wait for downloads.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_MAX)
        # The environment's proxies and ~/.netrc are ignored; its certificates are used.
        self._client = httpx.Client(
            timeout=httpx.Timeout(settings.timeout_s, connect=min(settings.timeout_s, CONNECT_S_MAX), pool=None),
            limits=limits,
            trust_env=False,
            verify=_certificates(),
            headers={"Accept-Encoding": "identity", "User-Agent": "syncd"},
        )
        weakref.finalize(self, self._client.close)

    def fetch(self, request: HttpRequest) -> HttpResponse:
        """Read a whole response, with retries where they may help.

        Raises:
            NotFound: The registry reports that it does not exist.
            Refused: The registry denies access.
            Unavailable: It could not be read now.
            Invalid: The response is too large, or redirects to a forbidden address; or it is one that was refused
                before, which is not read again.
        """
        return retry.call(self._settings.policy, lambda: self.fetch_once(request), wait=self._wait)

    def pages(self, request: HttpRequest) -> Iterator[HttpResponse]:
        """A response and its next pages by `Link: …; rel="next"`, always at the registry itself.

        Raises:
            Invalid: The listing does not end.
            NotFound, Refused, Unavailable: As `fetch`.
        """
        left_bytes = self._settings.bytes_max
        for _ in range(PAGES_MAX):
            response = self.fetch(request)
            yield response
            left_bytes -= response.packed.size_bytes
            following = _next(response)
            if following is None:
                return
            if left_bytes < 0:
                break
            request = HttpRequest(following, request.headers, request.method, request.scope)
        raise Invalid(
            f"{printable(request.url)}: the listing does not end:"
            f" more than {PAGES_MAX} pages or {self._settings.bytes_max} bytes"
        )

    def open(
        self, request: HttpRequest, expected: ExpectedFile, offset_bytes: int, until_bytes: int | None = None
    ) -> HttpStream:
        """A file's bytes from an offset on. Tries once: the reader opens again where it broke off.

        With `until_bytes` only the part up to there is requested; the stream says where it ends.

        Raises:
            NotFound, Refused, Unavailable, Invalid: As `fetch`.
            Conflict: The size or the ETag differs from the one listed or seen before.
        """
        headers = {**request.headers, **self._etags.range_headers(expected, offset_bytes, until_bytes)}
        ranged = HttpRequest(request.url, headers, request.method, request.scope)
        with translate_errors(request.url):
            response = self._send(ranged) if until_bytes is None else self._send_part(ranged)
            with contextlib.ExitStack() as opened:
                opened.callback(response.close)
                if response.status_code not in {200, 206}:
                    raise self._refusal(response, request.url)
                stream = start(response, expected, offset_bytes, self._etags, until_bytes)
                opened.pop_all()
        return stream

    def fetch_once(self, request: HttpRequest) -> HttpResponse:
        """As `fetch`, without retries: for requests that are not harmless to repeat.

        Raises:
            As `fetch`. After Unavailable the request may have taken effect.
        """
        with translate_errors(request.url), contextlib.closing(self._send(request)) as response:
            is_unmodified = response.status_code == 304 and "If-None-Match" in request.headers
            if not response.is_success and not is_unmodified:
                raise self._refusal(response, request.url)
            self._refusals.check(request.url, response.headers)
            try:
                packed = _whole(response, request.bytes_max or self._settings.bytes_max, request.url)
            except Invalid as error:
                self._refusals.remember(request.url, response.headers, error)
                raise
            self._refusals.check(request.url, response.headers, packed)
            refused = partial(self._refusals.remember, request.url, response.headers, body=packed)
            return HttpResponse(request.url, response.status_code, response.headers, packed, refused)

    def close_helpers(self) -> None:
        """Stop idle upload helpers. Repeating it is success."""
        if self._settings.upload_helpers is not None:
            self._settings.upload_helpers.close()

    def _refusal(self, response: httpx.Response, url: str) -> SyncdError:
        body = PackedBody.of(b"")
        with contextlib.suppress(Invalid, httpx.HTTPError):
            body = _whole(response, MIB, url)
        refused = HttpResponse(url, response.status_code, response.headers, body)
        return self._explain(refused) or error_of_status(url, response.status_code, response.headers)

    def _send(self, request: HttpRequest) -> httpx.Response:
        """Follow redirects and answer one challenge. The caller closes the response."""
        url, renewed, home = _url(request.url), False, True
        for _ in range(HOPS_MAX + 2):
            home = home and self._is_home(url)  # after a redirect to another host credentials are never sent again
            response = self._send_one(url, request, home=home)
            target = response.headers.get("location") if response.status_code in _REDIRECTS else None
            challenge = response.headers.get("www-authenticate", "")
            if target is not None:
                response.close()
                url = _hop(url, target)
            elif response.status_code == 401 and not renewed and home:
                renewed = True
                with contextlib.ExitStack() as opened:
                    opened.callback(response.close)
                    if not self._auth.renew(request.scope, challenge):
                        opened.pop_all()
                        return response
            else:
                return response
        raise Invalid(f"{printable(request.url)} redirects more than {HOPS_MAX} times")

    def _send_part(self, request: HttpRequest) -> httpx.Response:
        """As `_send`; what redirected one part to another host is not asked again for the next."""
        for _ in range(2):  # again where another thread has learned a newer address meanwhile
            known = self._redirects.find(request.url)
            if known is None:
                break
            with contextlib.ExitStack() as opened:
                opened.callback(self._redirects.forget, request.url, known)
                response = self._send_one(known, request, home=False)
                if response.status_code in {200, 206}:
                    opened.pop_all()
                    return response
                response.close()
        response = self._send(request)
        if response.status_code in {200, 206} and not self._is_home(response.url):
            self._redirects.remember(request.url, response.url)
        return response

    def _send_one(self, url: httpx.URL, request: HttpRequest, *, home: bool) -> httpx.Response:
        foreign = not self._is_home(url)
        if foreign:
            if self._home.scheme == "https" and url.scheme != "https":
                raise Invalid(f"the registry redirects to {printable(str(url))}, which is not encrypted")
            self._guard.check_host(url.host)
        headers = {**request.headers, **(self._auth.headers(request.scope) if home else {})}
        self._client.cookies.clear()
        content = None if request.body is None else request.body()
        built = self._client.build_request(
            request.method, url, headers=headers, content=content, extensions={LOCATION: request.url}
        )
        if request.outlives and not foreign and self._settings.upload_helpers is not None:
            return self._settings.upload_helpers.handle_request(built)
        response = self._client.send(built, stream=True, follow_redirects=False)
        if foreign:
            with contextlib.ExitStack() as opened:
                opened.callback(response.close)
                self._check_peer(url.host, response)
                opened.pop_all()
        return response

    def _check_peer(self, host: str, response: httpx.Response) -> None:
        """Check the address that was connected to: the name may have resolved to another one the second time."""
        peer = response.extensions["network_stream"].get_extra_info("server_addr")
        if peer:
            self._guard.check_address(host, str(peer[0]))

    def _is_home(self, url: httpx.URL) -> bool:
        return _origin(url) == _origin(self._home)


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Certificates of the machine and the environment; read once, since it takes some 30 ms."""
    return httpx.create_ssl_context()


def origin_of(url: str) -> str:
    """Scheme, host and port of an address. Raises Invalid."""
    there = _url(url)
    return f"{there.scheme}://{there.netloc.decode()}"


def not_modified(response: HttpResponse) -> bool:
    """Whether the response is 304: the previous one still holds."""
    return response.status == 304


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise Invalid(f"{printable(text)} is not a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or "%" in url.host or url.userinfo:
        raise Invalid(f"{printable(text)} is not an accepted URL", hint="use http or https without a user")
    return url


def _hop(here: httpx.URL, target: str) -> httpx.URL:
    there = _url(join_url(str(here), target))
    if here.scheme == "https" and there.scheme != "https":
        raise Invalid(f"{printable(str(here))} redirects to {printable(str(there))}, which is not encrypted")
    return there


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))


def _next(response: HttpResponse) -> str | None:
    """The next page by `Link`, at the same place, whatever host a mirror left in it."""
    header = response.headers.get("link", "")
    if not header.isascii():
        raise Invalid(f"{printable(response.url)}: its link to the next page cannot be read")
    link = httpx.Response(200, headers={"Link": header}).links.get("next", {}).get("url")
    if not link:
        return None
    there = _url(join_url(response.url, link))
    return str(_url(response.url).copy_with(raw_path=there.raw_path))


def _whole(response: httpx.Response, bytes_max: int, url: str) -> PackedBody:
    packer = BodyPacker()
    began_s = time.monotonic()
    for piece in decompressed(response):
        packer.add(piece)
        if packer.size_bytes > bytes_max:
            raise Invalid(f"{printable(url)}: the response has more than {bytes_max} bytes")
        if packer.packed_bytes > PACKED_BYTES_MAX:
            raise Invalid(f"{printable(url)}: the response has more than {PACKED_BYTES_MAX} bytes, compressed")
        if time.monotonic() - began_s > RESPONSE_S_MAX:
            raise Unavailable(f"{printable(url)}: the response was incomplete after {RESPONSE_S_MAX:g} s")
    return packer.end()
