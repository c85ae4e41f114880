"""What the server answers, as values; and how a release can end otherwise than it should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from syncd.errors import Failed, Invalid, Unavailable

ENDS: Final = frozenset({"live", "undone", "stalled", "superseded", "cancelled"})


class NotLive(Failed):
    """The release ended, and is not live."""


class TimedOut(Unavailable):
    """The time to wait ran out; the release goes on."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release as the server told it. `document` has all of it; keys may be added, never changed."""

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
        """Whether nothing more happens to it."""
        return self.phase in ENDS

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Release:
        """Read one. Raises Invalid: it is none."""
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
    """A model that automation leaves alone; nothing of it is released but rollbacks."""

    model: str
    who: str
    why: str
    since: datetime

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Hold:
        """Read one. Raises Invalid: it is none."""
        with read_as_ours():
            return cls(**_said(document))


@dataclass(frozen=True, slots=True)
class Freeze:
    """A model, or with "*" every model, of which nothing is flipped but rollbacks; `until` None: until it is lifted."""

    model: str
    who: str
    why: str
    since: datetime
    until: datetime | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Freeze:
        """Read one. Raises Invalid: it is none."""
        with read_as_ours():
            until = None if document["until"] is None else datetime.fromisoformat(str(document["until"]))
            return cls(**_said(document), until=until)


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that a release may be flipped, for the bytes of this digest."""

    release_id: str
    digest: str
    who: str
    at: datetime

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Approval:
        """Read one. Raises Invalid: it is none."""
        with read_as_ours():
            at = datetime.fromisoformat(str(document["at"]))
            return cls(str(document["release"]), str(document["digest"]), str(document["who"]), at)


def well(release: Release, *, going_back: bool) -> Release:
    """A release that ended as it was to. Raises NotLive: it did not."""
    if release.phase == "live" or (going_back and release.phase == "undone" and not release.rollback):
        return release
    raise NotLive(
        f"{release.id} {release.model}@{release.version} is {release.phase}: {release.reason}",
        hint=release.hint or f"`syncd show {release.id}` tells what happened",
    )


def rows(told: Mapping[str, Any], key: str) -> list[Any]:
    """A list of an answer. Raises Invalid: there is none."""
    found = told.get(key)
    if not isinstance(found, list):
        raise not_ours()
    return found


@contextmanager
def read_as_ours() -> Iterator[None]:
    """Read an answer. Raises Invalid where it is not what syncd answers."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise not_ours() from error


def not_ours() -> Invalid:
    """What to raise for an answer that syncd does not give."""
    return Invalid("the answer is not syncd's", hint="is that the URL of its API?")


def _said(told: Mapping[str, Any]) -> dict[str, Any]:
    since = datetime.fromisoformat(str(told["since"]))
    return {"model": str(told["model"]), "who": str(told["who"]), "why": str(told["why"]), "since": since}
