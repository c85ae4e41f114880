"""Which version of a model automation should release."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from syncd.values.source import Candidate, Follow


def pick(candidates: Sequence[Candidate], released: Collection[str], last: Collection[str]) -> Candidate | None:
    """The newest candidate, unless it was released before, however that ended.

    Only the newest that is followed counts: versions that appeared while nobody looked are passed over, and a release
    that was undone or stalled is not begun again by a poll; that is for a person or a pipeline to ask. What a ref was
    moved to may have been released before, but is not among `last`: the last release, and the last by this poll.
    """
    followed = [candidate for candidate in candidates if candidate.follow is not Follow.NOT]
    if not followed:
        return None
    newest = followed[-1]
    return None if newest.version in (last if newest.follow is Follow.WHEN_NAMED else released) else newest
