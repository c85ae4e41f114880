"""Sessions of the dashboard, in the memory of the process: who signed in with which token, and until when."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from syncd.plan.roles import Role
from syncd.secret import Secret

LASTS_S: Final = 12 * 3600.0  # of a session, whatever is done in it
RENEW_EVERY_S: Final = 300.0  # what a provider says of a person is as old as that at most
SESSIONS_MAX: Final = 1000  # each was begun with a valid token; the one that was idle longest is ended for a newer one


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in at a provider, and the access token with which it is asked about them again."""

    name: str
    role: Role
    access: Secret


@dataclass(slots=True)
class Session:
    """One person's session, begun with a token or at a provider.

    Every request asks the record for the token again: a revoked one ends it. A provider is asked every RENEW_EVERY_S.
    """

    identity: Secret | Person
    until_s: float
    renewed_s: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Sessions:
    """The sessions of one server. Its methods are called in the server's event loop only.

    They end with the process: nothing that would sign a person in is stored.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Session] = OrderedDict()  # the one used last at the end

    def begin(self, identity: Secret | Person, lasts_s: float = LASTS_S) -> str:
        """Begin a session with a token that was found valid, or of a person, and return the text of its cookie."""
        text, now_s = secrets.token_urlsafe(32), self._clock()
        self._open[_key(text)] = Session(identity, now_s + lasts_s, now_s)
        if len(self._open) > SESSIONS_MAX:
            self._open.popitem(last=False)
        return text

    def find(self, text: str) -> Session | None:
        """The session with this cookie; None if it is unknown or over."""
        key = _key(text)
        found = self._open.get(key)
        if found is None:
            return None
        if self._clock() >= found.until_s:
            del self._open[key]
            return None
        self._open.move_to_end(key)
        return found

    def is_due(self, session: Session) -> bool:
        """Whether the provider of a session has to be asked again; true once in RENEW_EVERY_S."""
        now_s = self._clock()
        if isinstance(session.identity, Secret) or now_s - session.renewed_s < RENEW_EVERY_S:
            return False
        session.renewed_s = now_s
        return True

    def end(self, text: str) -> None:
        """End a session. Repeating it succeeds."""
        self._open.pop(_key(text), None)


def is_same(wanted: str, got: str) -> bool:
    """Compare two texts in constant time."""
    return hmac.compare_digest(wanted.encode(), got.encode("utf-8", "surrogatepass"))


def _key(text: str) -> str:
    """Looked up by hash: how long that takes says nothing of the text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
