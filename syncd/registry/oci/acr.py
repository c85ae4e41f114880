"""Temporary passwords of Container Registry's Enterprise edition. Only this file imports its SDK.

The platform issues a user and a password for one instance, valid for an hour or as long as the key's own token, to
an access key with `cr:GetAuthorizationToken`. They are renewed before they expire.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from alibabacloud_cr20181201.client import Client
from alibabacloud_cr20181201.models import GetAuthorizationTokenRequest, GetAuthorizationTokenResponseBody
from darabonba.exceptions import DaraException

from syncd.errors import Refused, SyncdError, Unavailable
from syncd.http.auth import BasicAuth
from syncd.registry.alibabacloud import FAILURES, config_of, options
from syncd.registry.settings import AcrSettings
from syncd.secret import Secret

_EARLY_S: Final = 300.0  # a push that began with a password may need a token with it minutes later
_LEAST_S: Final = 60.0  # with a wrong clock here, it is requested each minute and not each time


@dataclass(frozen=True, slots=True)
class _Password:
    login: BasicAuth
    given_at_s: float
    good_until_s: float


class AcrLogin:
    """See `http.auth.Auth`: basic authentication with the temporary password of one instance."""

    def __init__(self, settings: AcrSettings, clock: Callable[[], float] = time.time) -> None:
        """Makes no request."""
        self._instance = settings.instance
        self._client = Client(config_of(settings.key, settings.region, settings.api))
        self._clock = clock
        self._lock = threading.Lock()
        self._given: _Password | None = None

    def headers(self, scope: str) -> Mapping[str, str]:
        """See `http.auth.Auth`.

        Raises:
            Refused: The platform issues no password for this instance to this key.
            Unavailable: It did not answer.
        """
        with self._lock:
            if self._given is None or self._clock() >= self._given.good_until_s:
                self._given = self._fetch()
            return self._given.login.headers(scope)

    def renew(self, scope: str, challenge: str) -> bool:
        """See `http.auth.Auth`. A password that was accepted before is renewed, a fresh one is not."""
        del scope, challenge
        with self._lock:
            if self._given is None or self._clock() - self._given.given_at_s < _LEAST_S:
                return False
            self._given = None
            return True

    def _fetch(self) -> _Password:
        now_s = self._clock()
        what = f"GetAuthorizationToken {self._instance}"
        request = GetAuthorizationTokenRequest(instance_id=self._instance)
        try:
            found = self._client.get_authorization_token_with_options(request, options()).body
        except FAILURES as error:
            raise _translate_errors(error, what) from error
        return _password_of(found, what, now_s)


def _password_of(found: GetAuthorizationTokenResponseBody | None, what: str, now_s: float) -> _Password:
    if found is not None and found.is_success is False:
        raise Refused(f"{what}: no password was issued: {found.code}", hint="check the instance and the access key")
    fields = (found.temp_username, found.authorization_token, found.expire_time) if found is not None else ()
    match fields:
        case (str(user), str(password), int(ends_at_ms)) if user and password:
            lasts_s = ends_at_ms / 1000 - now_s
        case _:
            raise Unavailable(f"{what}: the response has no user, password and time")
    good_s = max(_LEAST_S, lasts_s / 2, lasts_s - _EARLY_S)
    return _Password(BasicAuth(user, Secret(password)), now_s, now_s + good_s)


def _translate_errors(error: Exception, what: str) -> SyncdError:
    """The syncd error for an SDK failure; without a status, the response was lost or unreadable."""
    status = getattr(error, "status_code", None)
    code = str(getattr(error, "code", "") or "")
    said = " ".join(str(getattr(error, "message", "") or error).split())[:300]
    is_final = isinstance(error, DaraException) and status in range(400, 500) and status != 429
    if is_final and not code.startswith("Throttling"):
        hint = "check the instance, and that the access key is allowed to cr:GetAuthorizationToken"
        return Refused(f"{what}: {status} {code}: {said}", hint=hint)
    return Unavailable(f"{what}: {status or 'no usable response'} {code}: {said}")
