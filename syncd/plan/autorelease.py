"""Selection of the version that automation releases."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from syncd.values.source import Candidate, Follow


def pick(candidates: Sequence[Candidate], released: Collection[str], last: Collection[str]) -> Candidate | None:
    """The newest candidate, unless it was released before, however that ended.

    Only the newest followed version counts: versions that appeared between two polls are skipped, and a release that
    was undone or stalled is not begun again by a poll; a person or a pipeline requests that. A version that a name was
    moved to may have been released before, but not in `last`: the last release, and the last one by this poll.
    """
    followed = [candidate for candidate in candidates if candidate.follow is not Follow.NOT]
    if not followed:
        return None
    newest = followed[-1]
    return None if newest.version in (last if newest.follow is Follow.WHEN_NAMED else released) else newest
