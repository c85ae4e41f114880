"""Exceptions of syncd, each named after what the caller can do about it.

Adapters translate foreign exceptions and keep them in `__cause__`. The message gives the expected and the actual value;
advice for a person goes into `hint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class SyncdError(Exception):
    """Base class of expected failures; never shown as a stack trace. `details` are more keys of the JSON form."""

    details: Mapping[str, object] = MappingProxyType({})

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = _printable(message)
        super().__init__(self.message)
        self.hint = _printable(hint)


def _printable(text: str) -> str:
    """Escape unprintable characters: foreign text may control a terminal, or be refused by a database."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


class NotFound(SyncdError):
    """The other side reported that it does not exist. A refused or failed request is never this."""


class Conflict(SyncdError):
    """Something else exists already, or has changed meanwhile. Read it again before you decide."""


class Held(Conflict):
    """The model is on hold; only a person can lift that."""


class Invalid(SyncdError):
    """An invalid input: a name, a setting, a listing. A person has to change it."""


class RecordUnusable(Invalid):
    """The record is damaged, or not this syncd's. It says nothing about anything else, whatever was being checked."""


class Refused(SyncdError):
    """The other side denies access: credentials, permission, quota. A retry does not help."""


class KeyRefused(Refused):
    """The access key is refused or has ended: only another key helps. `key` is the fingerprint of the one used.

    Where the key is read from a file, a release that stalled for it is tried again once the file has another key.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = ""


class Corrupt(SyncdError):
    """Bytes differ from what is expected. None of them were made visible."""


RETRY_AFTER_MAX_S: Final = 3600.0
"""Upper limit of a delay that the other side requests, which may be any number."""


class Unavailable(SyncdError):
    """A temporary failure. Nothing was changed, or repeating it is harmless.

    `retry_after_s` is the delay that the other side requested, at most `RETRY_AFTER_MAX_S`. `throttled` is its status
    and code if it refused the call because of too many calls. `progressed`: lasting progress came before the failure,
    so the attempt does not count as a failure.
    """

    def __init__(
        self, message: str, *, hint: str = "", retry_after_s: float | None = None, throttled: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = None if retry_after_s is None else min(retry_after_s, RETRY_AFTER_MAX_S)
        self.throttled = throttled
        self.progressed = False


class NotYet(Unavailable):
    """Not a failure: the awaited condition does not hold yet. Check again after `retry_after_s`."""


class OutcomeUnknown(Unavailable):
    """The request may or may not have been executed: read before you repeat it."""


class Failed(SyncdError):
    """The other side tried and failed: a function that does not start, a wrong answer."""


class Cancelled(SyncdError):
    """The work was cancelled, and stopped with nothing partly recorded."""


class Fenced(SyncdError):
    """A newer attempt owns this step; the writes of this one were refused."""
