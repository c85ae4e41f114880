"""Errors of a wait for a release, and the lists in responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd.client.answers import ReleaseInfo
from syncd.client.parse import not_ours
from syncd.errors import Failed, Unavailable


class NotLive(Failed):
    """The release ended and is not live."""


class TimedOut(Unavailable):
    """The wait timed out; the release continues."""


def expect_success(release: ReleaseInfo, *, going_back: bool) -> ReleaseInfo:
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
