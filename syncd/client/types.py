"""Values in the server's responses, and the errors of a wait for a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from syncd.errors import Failed, Invalid, Unavailable

ENDS: Final = frozenset({"live", "undone", "stalled", "superseded", "cancelled"})


class NotLive(Failed):
    """The release ended and is not live."""


class TimedOut(Unavailable):
    """The wait timed out; the release continues."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release in a response. `document` is all of the JSON; keys may be added, never changed."""

    id: str
    model: str
    version: str
    phase: str
    rollback: bool
    reason: str
    hint: str
    created_at: datetime
    updated_at: datetime
    document: Mapping[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether it has reached its final phase."""
        return self.phase in ENDS

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Release:
        """Parse the JSON. Raises Invalid: it is not what syncd sends."""
        with read_as_ours():
            return cls(
                id=str(document["release"]),
                model=str(document["model"]),
                version=str(document["version"]),
                phase=str(document["phase"]),
                rollback=bool(document["rollback"]),
                reason=str(document["reason"]),
                hint=str(document["hint"]),
                created_at=datetime.fromisoformat(str(document["created_at"])),
                updated_at=datetime.fromisoformat(str(document["updated_at"])),
                document=document,
            )


@dataclass(frozen=True, slots=True)
class Hold:
    """A model on hold: no automatic release."""

    model: str
    who: str
    why: str
    since: datetime

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Hold:
        """Parse the JSON. Raises Invalid: it is not what syncd sends."""
        with read_as_ours():
            return cls(**_common(document))


@dataclass(frozen=True, slots=True)
class Freeze:
    """A freeze of a model, or of every model with "*": only rollbacks flip. `until` None: until it is lifted."""

    model: str
    who: str
    why: str
    since: datetime
    until: datetime | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Freeze:
        """Parse the JSON. Raises Invalid: it is not what syncd sends."""
        with read_as_ours():
            until = None if document["until"] is None else datetime.fromisoformat(str(document["until"]))
            return cls(**_common(document), until=until)


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's consent to the flip of a release, for this digest."""

    release_id: str
    digest: str
    who: str
    at: datetime

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Approval:
        """Parse the JSON. Raises Invalid: it is not what syncd sends."""
        with read_as_ours():
            at = datetime.fromisoformat(str(document["at"]))
            return cls(str(document["release"]), str(document["digest"]), str(document["who"]), at)


def expect_success(release: Release, *, going_back: bool) -> Release:
    """Return a release that ended as intended. Raises NotLive: it did not."""
    if release.phase == "live" or (going_back and release.phase == "undone" and not release.rollback):
        return release
    raise NotLive(
        f"{release.id} {release.model}@{release.version} is {release.phase}: {release.reason}",
        hint=release.hint or f"`syncd show {release.id}` shows what happened",
    )


def rows(document: Mapping[str, Any], key: str) -> list[Any]:
    """A list in a response. Raises Invalid: there is none."""
    found = document.get(key)
    if not isinstance(found, list):
        raise not_ours()
    return found


@contextmanager
def read_as_ours() -> Iterator[None]:
    """Parse a response inside. Raises Invalid if it is not syncd's."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise not_ours() from error


def not_ours() -> Invalid:
    """The exception for a response that is not syncd's."""
    return Invalid("expected a response of syncd, got something else", hint="check the URL of the API")


def _common(document: Mapping[str, Any]) -> dict[str, Any]:
    since = datetime.fromisoformat(str(document["since"]))
    return {"model": str(document["model"]), "who": str(document["who"]), "why": str(document["why"]), "since": since}
