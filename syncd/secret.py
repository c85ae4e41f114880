"""Secret text that never prints in messages, log lines, tracebacks or JSON."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, NoReturn

MASK: Final = "********"


class Secret:
    """Text that only `reveal` returns. Secrets compare in constant time, and hash by value."""

    __slots__ = ("_read", "_text", "source")

    def __init__(self, text: str, source: str = "", read: Callable[[], str] | None = None) -> None:
        """`source` says where it comes from, for a hint. `read` reads it anew: empty where it cannot be read now."""
        self._text = text
        self._read = read
        self.source: Final = source

    @property
    def is_renewable(self) -> bool:
        """Whether another text is used as soon as it is there, without a restart."""
        return self._read is not None

    def reveal(self) -> str:
        """The text itself, for the one call that needs it. Never keep or log what this returns."""
        if self._read is not None:
            self._text = self._read() or self._text
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: the pickle would hold it in plain text")


def fingerprint(key_id: str, *secrets: Secret | None) -> str:
    """What differs between two access keys, and gives neither away."""
    revealed = "\0".join(secret.reveal() if secret else "" for secret in secrets)
    return hmac.new(revealed.encode(), f"syncd key {key_id}".encode(), hashlib.sha256).hexdigest()[:12]


def renewal_hint(*secrets: Secret | None) -> str:
    """What a person does where the access key of these secrets is refused or has ended."""
    given = [secret for secret in secrets if secret is not None and secret.source]
    fixed = [secret.source for secret in given if not secret.is_renewable]
    if fixed:
        return f"the credentials are refused or have ended; set new ones in {' and '.join(fixed)}, then restart syncd"
    if not given:
        return "the credentials are refused or have ended"
    files = " and ".join(secret.source for secret in given)
    return f"the credentials are refused or have ended; write new ones to {files}: syncd then tries again by itself"
