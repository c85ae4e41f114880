"""The few kinds of failure, each named after what the caller can do about it.

A foreign exception is translated by the adapter that met it and stays in `__cause__`. The message says what was
got and what was wanted; advice for a person goes into `hint`.
"""

from __future__ import annotations

from typing import Final


class SyncdError(Exception):
    """Something syncd understands went wrong; never shown as a stack trace."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = _legible(message)
        super().__init__(self.message)
        self.hint = _legible(hint)


def _legible(text: str) -> str:
    """What others wrote may be in it, and move a terminal, or be nothing that a database takes: shown by its number."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


class NotFound(SyncdError):
    """The other side said, in so many words, that it is not there. A refused or failed look is never this."""


class Conflict(SyncdError):
    """Something else is there already, or moved meanwhile. Look again before deciding."""


class Held(Conflict):
    """The model is on hold; only a person lifts that."""


class Invalid(SyncdError):
    """What was given cannot be right: a name, a setting, a listing. A person has to change it."""


class Refused(SyncdError):
    """The other side will not let us: credentials, permission, quota. Trying again does not help."""


class KeyRefused(Refused):
    """The access key is refused or has ended: only another key helps. `key` is the fingerprint of the one used.

    Where the key is read from a file, a release that stalled for it is tried again once the file has another key.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = ""


class Corrupt(SyncdError):
    """Bytes are not what they must be. Nothing of them was made visible."""


RETRY_AFTER_MAX_S: Final = 3600.0
"""The longest that is waited because the other side says so. It may say anything, and nobody would look before."""


class Unavailable(SyncdError):
    """It did not work now and may work later. Nothing was changed, or repeating it is harmless.

    `retry_after_s` is what the other side asked for, and never more than `RETRY_AFTER_MAX_S`. `throttled` is its
    status and code where it refused the call because of too many calls. `progressed`: something lasting was done
    before the failure, so the attempt does not count as a failure.
    """

    def __init__(
        self, message: str, *, hint: str = "", retry_after_s: float | None = None, throttled: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = None if retry_after_s is None else min(retry_after_s, RETRY_AFTER_MAX_S)
        self.throttled = throttled
        self.progressed = False


class NotYet(Unavailable):
    """Nothing went wrong: what is waited for has not come. Look again after `retry_after_s`; it is no failure."""


class OutcomeUnknown(Unavailable):
    """The request may or may not have been carried out: read before doing it again."""


class Failed(SyncdError):
    """The other side tried and says it cannot: a function that will not start, an answer that is wrong."""


class Cancelled(SyncdError):
    """The work was told to stop, and stopped with nothing half recorded."""


class Fenced(SyncdError):
    """A newer attempt owns this step; whatever this one wanted to write was refused."""
