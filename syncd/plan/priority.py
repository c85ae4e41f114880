"""Which attempt is begun first where there are more than places for them. Pure."""

from __future__ import annotations

from typing import Final

from syncd.plan.phases import StepKind

# An alias that can be moved is moved before the next one is prepared: otherwise the first of a hundred would wait
# for what the last of them needs before it.
_NEAREST_TO_THE_END: Final = (
    StepKind.UNDO,
    StepKind.FLIP,
    StepKind.WEIGH,
    StepKind.JUDGE,
    StepKind.PROBE,
    StepKind.STAGE,
    StepKind.PLACE,
    StepKind.RESOLVE,
)


def priority_of(number: int, kind: StepKind, *, back: bool) -> int:
    """The smallest goes first. `number` is the release's, `back` that it is a rollback.

    What goes back is before all else: what serves is bad. Then older releases are before newer ones, and of one the
    steps that are nearest to its end.
    """
    rank = _NEAREST_TO_THE_END.index(kind)
    return rank if back or kind is StepKind.UNDO else number * len(_NEAREST_TO_THE_END) + rank
