"""The API of Container Registry's Enterprise edition, as far as a password is asked of it. Its client is the SDK."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from syncd.localcloud.fc.api.acs3 import SignedCall, verify
from syncd.localcloud.fc.errors import FcError

from tests.emulators.web import Reply, Request, Web, as_json

INSTANCE = "cri-0123456789abcdef"
KEY_ID, KEY_SECRET = "local-access-key", "local-access-secret"


@dataclass(frozen=True)
class _Key:
    access_key_secret: str
    security_token: str = ""
    expires_at_s: float = float("inf")


@dataclass
class Acr:
    """Gives the same user each time, and the next of `passwords`, the last one for ever."""

    user: str = "cr_temp_user"
    passwords: tuple[str, ...] = ("password-1", "password-2")
    secret: str = KEY_SECRET
    security_token: str = ""
    expires_at_s: float = field(default_factory=lambda: time.time() + 3600)
    given: int = 0

    def __post_init__(self) -> None:
        self.web = Web(self._answer)

    def find(self, access_key_id: str, /) -> _Key | None:
        """See `account.KeyLookup`."""
        return _Key(self.secret, self.security_token) if access_key_id == KEY_ID else None

    def _answer(self, request: Request) -> Reply:
        header = request.headers
        try:
            query = tuple(request.query.items())
            call = SignedCall(request.method, request.path, query, lambda name: header.get(name, ""), request.body)
            verify(call, self, time.time())
        except FcError as error:
            return refused(error.status, error.code, error.message)
        asked = (request.method, request.path, header.get("x-acs-action"), header.get("x-acs-version"))
        if asked != ("POST", "/", "GetAuthorizationToken", "2018-12-01"):
            return refused(404, "InvalidAction.NotFound", f"{asked} is not known here")
        if request.query.get("InstanceId") != INSTANCE:
            return as_json({"Code": "INSTANCE_NOT_EXIST", "IsSuccess": False, "RequestId": "r-1"})
        return as_json(self._token())

    def _token(self) -> Mapping[str, object]:
        password = self.passwords[min(self.given, len(self.passwords) - 1)]
        self.given += 1
        return {
            "AuthorizationToken": password,
            "Code": "success",
            "ExpireTime": int(self.expires_at_s * 1000),
            "IsSuccess": True,
            "RequestId": "r-1",
            "TempUsername": self.user,
        }


def refused(status: int, code: str, message: str) -> Reply:
    """An error as the platform's gateway says it."""
    return as_json({"Code": code, "Message": message, "RequestId": "r-1", "HostId": "cr.local"}, status)
