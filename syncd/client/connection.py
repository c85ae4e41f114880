"""HTTP connection to one server: repeats failed requests, and maps error responses to exceptions."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from syncd.client.parse import not_ours
from syncd.client.proxies import proxy_for
from syncd.errors import Conflict, Failed, Held, Invalid, NotFound, Refused, SyncdError, Unavailable

TRIES: Final = 4
FIRST_WAIT_S: Final = 0.5
ANSWER_WAIT_MAX_S: Final = 30.0  # a longer Retry-After is cut to this
SILENT_S: Final = 60.0  # of a stream of events, which sends a comment every 15 s
_OUT: Final = 503  # the server or its database is not ready: another one may be
_ERRORS: Final[Mapping[str, type[SyncdError]]] = {
    "held": Held,
    "not_found": NotFound,
    "method_not_allowed": NotFound,
    "unauthenticated": Refused,
    "forbidden": Refused,
    "conflict": Conflict,
    "corrupt": Conflict,
    "failed": Failed,
    "refused": Refused,
    "unavailable": Unavailable,
    "not_ready": Unavailable,
    "busy": Unavailable,
    "timeout": Unavailable,
    "bug": Failed,
}


class Connection:
    """Connections to the servers of one record. Thread-safe."""

    def __init__(
        self, server: str, token: str, *, timeout_s: float, verify: ssl.SSLContext | bool, trust_env: bool
    ) -> None:
        """`server` is a URL, or several with commas between: each answers for the others.

        Raises:
            Invalid: A URL or the token is not valid.
        """
        if not token.isascii() or not token.isprintable():
            raise Invalid("the token has characters that no token has", hint="check it for a line break")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        urls = [url.strip() for url in server.split(",") if url.strip()] or [server]
        self._servers: Final = [
            (url, _opened(url, headers, timeout_s, verify=verify, trust_env=trust_env)) for url in urls
        ]
        self._used = 0  # of the servers, the one that answered last

    @property
    def server(self) -> str:
        """The server that is used now."""
        return self._servers[self._used][0]

    @property
    def _http(self) -> httpx.Client:
        return self._servers[self._used][1]

    def close(self) -> None:
        """Close them. Repeating it succeeds."""
        for _, http in self._servers:
            http.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, str | float] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        tries: int = TRIES,
    ) -> Mapping[str, Any]:
        """Make a request and return the JSON of the response. Temporary failures are retried, `tries` attempts in all.

        An attempt asks each server once. With one attempt, the request must not be repeated: another server is asked
        only where it was surely not sent.

        Raises:
            As `Reader` and its methods.
        """
        for wait_s in _waits(tries):
            answer = self._asked(method, path, body, headers, query, is_repeatable=tries > 1)
            if isinstance(answer, SyncdError):
                failure = answer
            elif answer.is_success:
                return _document(answer)
            else:
                failure = _failure(answer)
            if wait_s is None or not isinstance(failure, Unavailable):
                raise failure
            time.sleep(min(ANSWER_WAIT_MAX_S, max(wait_s, failure.retry_after_s or 0.0)))
        raise AssertionError

    def _asked(
        self,
        method: str,
        path: str,
        body: Mapping[str, str | float] | None,
        headers: Mapping[str, str] | None,
        query: Mapping[str, str] | None,
        *,
        is_repeatable: bool,
    ) -> httpx.Response | SyncdError:
        """The first answer other than an outage; the server that answered last is asked first. Else the last outage."""
        found: httpx.Response | SyncdError
        for left in reversed(range(len(self._servers))):
            try:
                found = self._http.request(method, path, json=body, headers=headers, params=query)
                is_out = found.status_code == _OUT and is_repeatable
            except (httpx.TransportError, httpx.InvalidURL) as error:
                found = _unreachable(self.server, error)
                is_out = is_repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            if not is_out or not left:
                return found
            self._next()
        raise AssertionError

    def _next(self) -> None:
        self._used = (self._used + 1) % len(self._servers)

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """The data of server-sent events, one JSON object each. Raises as `ask`, without a second attempt.

        After an error the next call asks the next server.
        """
        timeout = httpx.Timeout(SILENT_S, connect=self._http.timeout.connect)
        try:
            with self._http.stream("GET", path, params=query, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _failure(answer)
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        yield _object(line.removeprefix("data:"))
        except (httpx.TransportError, httpx.InvalidURL) as error:
            failure = _unreachable(self.server, error)
            self._next()
            raise failure from error


def _opened(
    url: str, headers: Mapping[str, str], timeout_s: float, *, verify: ssl.SSLContext | bool, trust_env: bool
) -> httpx.Client:
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"expected the URL of a server, got {url!r}", hint="for example https://syncd.example.com")
    try:
        if trust_env and verify is True:
            verify = httpx.create_ssl_context()  # with SSL_CERT_FILE and SSL_CERT_DIR
        # Never httpx's own reading of the environment: it fails on networks of IPv6 in NO_PROXY, and takes a
        # password from ~/.netrc in place of our token.
        proxy = proxy_for(url) if trust_env else None
        return httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, verify=verify, proxy=proxy, trust_env=False
        )
    except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:  # ImportError: socks needs a package
        raise Invalid(f"{url!r} cannot be used: {error}") from error


def _unreachable(server: str, error: Exception) -> Unavailable:
    failure = Unavailable(f"{server}: {str(error) or type(error).__name__}", hint="check that the daemon runs there")
    failure.__cause__ = error
    return failure


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise not_ours() from error
    if not isinstance(found, dict):
        raise not_ours()
    return found


def _waits(tries: int) -> Iterator[float | None]:
    """The wait after each attempt; None after the last."""
    for number in range(tries - 1):
        yield FIRST_WAIT_S * 2**number
    yield None


def _document(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError as error:
        raise not_ours() from error
    if not isinstance(found, dict):
        raise not_ours()
    return found


def _failure(answer: httpx.Response) -> SyncdError:
    """The exception for an error response; a proxy in front may send another format."""
    try:
        body = answer.json()
        code, message, hint = str(body["code"]), str(body["message"]), str(body["hint"])
    except (ValueError, KeyError, TypeError):
        message = f"{answer.url}: got status {answer.status_code} {answer.reason_phrase}"
        code, hint = ("unavailable" if answer.status_code in {429, 500, 502, 503, 504} else "invalid"), ""
    kind = _ERRORS.get(code, Invalid)
    if not issubclass(kind, Unavailable):
        return kind(message, hint=hint)
    after = answer.headers.get("retry-after", "")
    return kind(message, hint=hint, retry_after_s=float(after) if after.isdecimal() else None)
