"""Exit codes, for pipelines. They are part of the interface and never change their meaning."""

from __future__ import annotations

from enum import IntEnum

from syncd.errors import Cancelled, Conflict, Corrupt, Failed, Held, Invalid, NotFound, Refused, SyncdError, Unavailable


class Exit(IntEnum):
    """All exit codes; `docs/reference/exit-codes.md` explains each."""

    OK = 0
    BUG = 1  # never meant to be seen
    USAGE = 2  # the command line or the configuration is wrong
    NOT_FOUND = 3  # no such model, version or release
    HELD = 4  # the model is on hold
    NOT_LIVE = 5  # the release ended and is not live: stalled, undone, superseded or cancelled
    TIMEOUT = 6  # --timeout ran out; the release goes on
    UNAVAILABLE = 7  # something did not answer; try again
    DIFFERS = 8  # bytes, aliases or functions are not as recorded, or a file is not whole
    CONFLICT = 9  # something else is in the way: another process, a quarantined version
    REFUSED = 10  # credentials or permissions
    DEGRADED = 11  # `health`: the daemon works, and something that it works with does not
    INTERRUPTED = 130


_CODES: tuple[tuple[type[SyncdError], Exit], ...] = (
    (Invalid, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (Refused, Exit.REFUSED),
    (Corrupt, Exit.DIFFERS),
    (Failed, Exit.NOT_LIVE),
    (Cancelled, Exit.INTERRUPTED),
    (Unavailable, Exit.UNAVAILABLE),
    (Held, Exit.HELD),
    (Conflict, Exit.CONFLICT),
)


def code_of(error: SyncdError) -> Exit:
    """The exit code of an error that ended a command."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.BUG)
