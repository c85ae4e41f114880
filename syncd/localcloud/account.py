"""Access keys of the account that a local cloud belongs to, and the clock skew its signatures may have."""

from dataclasses import dataclass, field
from typing import Protocol

CLOCK_SKEW_S_MAX = 15 * 60


class SigningKey(Protocol):
    """What a signature check needs of an access key."""

    @property
    def access_key_secret(self) -> str: ...
    @property
    def security_token(self) -> str: ...
    @property
    def expires_at_s(self) -> float: ...


class KeyLookup(Protocol):
    """Access keys by id."""

    def find(self, access_key_id: str, /) -> SigningKey | None: ...


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An access key. With a `security_token` it is temporary: invalid without the token, or after `expires_at_s`."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)
    expires_at_s: float = float("inf")  # POSIX seconds


@dataclass(frozen=True, slots=True)
class Account:
    """An account id and all its access keys."""

    account_id: str
    access_keys: tuple[AccountKey, ...]

    def find(self, access_key_id: str) -> AccountKey | None:
        return next((key for key in self.access_keys if key.access_key_id == access_key_id), None)
