"""Authentication to an OCI registry: anonymous, basic, or a token from its token server for one repository."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx

from syncd import retry
from syncd.errors import Invalid, Refused
from syncd.http.auth import Auth, NoAuth
from syncd.http.client import MIB, HttpClient, HttpRequest, HttpSettings, origin_of
from syncd.http.responses import object_at, printable
from syncd.http.ssrf import AddressGuard, Lookup, lookup
from syncd.secret import Secret

# From the first letter of a name alone: a long run of letters is otherwise tried from each of them.
_PARAMETER: Final = re.compile(r'(?<![A-Za-z])([A-Za-z]++)="([^"]*+)"')
_ONCE: Final = retry.Retry(attempts_max=1)  # the original request is retried by its caller
_EARLY_S: Final = 10.0
_LASTS_S_MAX: Final = 1e9  # thirty years; a number of JSON may be larger than any float
_LASTS_S: Final = 60.0  # the protocol's default where the server does not say


@dataclass(frozen=True, slots=True)
class _Token:
    secret: Secret
    good_until_s: float


class OciAuth:
    """See `http.auth.Auth`; a scope is as in the protocol, several with spaces between them.

    Tokens are kept until they expire.
    """

    def __init__(
        self,
        origin: str,
        login: Auth | None,
        lookup: Lookup = lookup,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes no request. `login`, by password, is for the registry and for its token server."""
        self._origin = httpx.URL(origin)
        self._login = login
        self._lookup = lookup
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._servers: dict[str, HttpClient] = {}
        self._wants_login = False

    def headers(self, scope: str) -> Mapping[str, str]:
        """See `http.auth.Auth`."""
        with self._lock:
            token = self._tokens.get(scope)
            basic = self._wants_login
        if token and self._clock() < token.good_until_s:
            return {"Authorization": f"Bearer {token.secret.reveal()}"}
        return self._login.headers(scope) if basic and self._login else {}

    def renew(self, scope: str, challenge: str) -> bool:
        """See `http.auth.Auth`.

        Raises:
            Refused, Unavailable: The token server issues none.
            Invalid: Its address is forbidden.
        """
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "bearer":
            parameters = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
            token = self._token(parameters.get("realm", ""), parameters.get("service", ""), scope)
            with self._lock:
                self._tokens[scope] = token
            return True
        if kind.lower() != "basic" or self._login is None:
            return False
        with self._lock:
            sent, self._wants_login = self._wants_login, True
        return not sent or self._login.renew(scope, challenge)

    def _token(self, realm: str, service: str, scope: str) -> _Token:
        query = [("scope", each) for each in scope.split()] + ([("service", service)] if service else [])
        mark = "&" if "?" in realm else "?"
        now_s = self._clock()
        response = self._server(realm).fetch(HttpRequest(f"{realm}{mark}{urlencode(query)}"))
        document = object_at(response.json(), "the response of the token server")
        text = document.get("token") or document.get("access_token")
        if not isinstance(text, str) or not re.fullmatch(r"[\x21-\x7e]+", text):
            raise Refused(f"{printable(realm)} issues no token for {scope}", hint="check the registry's credentials")
        lasts_s = document.get("expires_in", _LASTS_S)
        if not isinstance(lasts_s, int | float) or not 0 < lasts_s < _LASTS_S_MAX:  # not a duration, or expired at once
            lasts_s = _LASTS_S
        return _Token(Secret(text), now_s + max(lasts_s / 2, lasts_s - _EARLY_S))

    def _server(self, realm: str) -> HttpClient:
        """The connections to the token server: any address of the registry's choice, except on this machine."""
        origin = origin_of(realm)
        url = httpx.URL(origin)
        if self._origin.scheme == "https" and url.scheme != "https":
            raise Invalid(f"the token server: expected an https address, got {printable(realm)}")
        AddressGuard(self._origin.host, self._lookup).check_host(url.host)
        auth: Auth = self._login or NoAuth()
        with self._lock:
            found = self._servers.get(origin)
            if found is None:
                settings = HttpSettings(origin, policy=_ONCE, bytes_max=MIB)
                found = self._servers[origin] = HttpClient(settings, auth, lookup=self._lookup)
        return found
