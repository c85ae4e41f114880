"""Authentication to a registry. Credentials go to the registry's own address and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from syncd.secret import Secret


class Auth(Protocol):
    """Headers for requests of one scope (defined by the registry). Safe from several threads."""

    def headers(self, scope: str) -> Mapping[str, str]:
        """The headers of a request now."""
        ...

    def renew(self, scope: str, challenge: str) -> bool:
        """After a 401 with this `WWW-Authenticate`: whether the request should be repeated."""
        ...


@dataclass(frozen=True, slots=True)
class NoAuth:
    """Anonymous."""

    def headers(self, scope: str) -> Mapping[str, str]:
        del scope
        return {}

    def renew(self, scope: str, challenge: str) -> bool:
        del scope, challenge
        return False


@dataclass(frozen=True, slots=True)
class BearerAuth:
    """One bearer token for every scope."""

    token: Secret

    def headers(self, scope: str) -> Mapping[str, str]:
        del scope
        return {"Authorization": f"Bearer {self.token.reveal()}"}

    def renew(self, scope: str, challenge: str) -> bool:
        del scope, challenge
        return False


@dataclass(frozen=True, slots=True)
class CookieAuth:
    """One token, as a bearer token and in a cookie: some addresses accept the one and some the other."""

    token: Secret
    cookie: str

    def headers(self, scope: str) -> Mapping[str, str]:
        return {**BearerAuth(self.token).headers(scope), "Cookie": f"{self.cookie}={self.token.reveal()}"}

    def renew(self, scope: str, challenge: str) -> bool:
        return BearerAuth(self.token).renew(scope, challenge)


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """A user and a password."""

    user: str
    password: Secret

    def headers(self, scope: str) -> Mapping[str, str]:
        del scope
        pair = base64.b64encode(f"{self.user}:{self.password.reveal()}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def renew(self, scope: str, challenge: str) -> bool:
        del scope, challenge
        return False


def auth_of(user: str, secret: Secret | None) -> Auth:
    """Basic authentication with a user, a bearer token without a user, anonymous without a secret."""
    if secret is None:
        return NoAuth()
    return BasicAuth(user, secret) if user else BearerAuth(secret)
