"""Settings of the OpenID provider where people sign in, apart from the library that asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncd.plan.roles import Role
from syncd.secret import Secret

CALLBACK: Final = "/ui/oidc/callback"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """A provider. `roles` are the values of `claim` that give each role; the highest one counts."""

    issuer: str
    client_id: str
    client_secret: Secret
    url: str  # of this syncd, as browsers see it
    claim: str
    roles: Mapping[Role, tuple[str, ...]]
    scopes: tuple[str, ...]
