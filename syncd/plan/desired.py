"""Which version of a model automation should release."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from syncd.registry.base import Candidate


def wish(candidates: Sequence[Candidate], released: Collection[str], *, held: bool) -> Candidate | None:
    """The newest candidate, unless it was released before (however that ended) or the model is held.

    Only the newest counts: versions that appeared while nobody looked are passed over, and a release that was
    undone or stalled is not begun again by a poll; that is for a person or a pipeline to ask.
    """
    if held or not candidates:
        return None
    newest = candidates[-1]
    return None if newest.version in released else newest
