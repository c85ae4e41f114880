"""Who may call: the access keys of the one account a local cloud belongs to."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key. With a `security_token` it is temporary: worth nothing without it, or past its end."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)
    expires_at_s: float = float("inf")  # POSIX seconds


@dataclass(frozen=True, slots=True)
class Account:
    """An account id and all its keys."""

    account_id: str
    credentials: tuple[Credential, ...]

    def find(self, access_key_id: str) -> Credential | None:
        return next((c for c in self.credentials if c.access_key_id == access_key_id), None)
