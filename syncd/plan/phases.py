"""What may follow what: the phases of releases, placements and flips, and the states of steps.

`advance` in `state/releases/events.py` is the only writer of a phase and refuses what is not in `TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class ReleasePhase(StrEnum):
    """Where a release stands."""

    REQUESTED = "requested"  # recorded; the version is not pinned yet
    PLACING = "placing"  # its bytes are on their way to every target
    STAGING = "staging"  # sealed everywhere, its aliases claimed; functions are published and probed
    FLIPPING = "flipping"  # past the barrier; aliases move
    LIVE = "live"
    UNDOING = "undoing"  # a flip failed past its retries; those that moved go back
    UNDONE = "undone"
    STALLED = "stalled"  # nothing moved; a person has to act, the reason says how
    SUPERSEDED = "superseded"  # a newer release of the model took its place before its first flip
    CANCELLED = "cancelled"


class PlacementPhase(StrEnum):
    """Where one version at one target stands."""

    WANTED = "wanted"
    COPYING = "copying"
    SEALED = "sealed"
    WITHDRAWING = "withdrawing"  # being removed: no copy begins there until it is gone
    WITHDRAWN = "withdrawn"


class FlipPhase(StrEnum):
    """Where one alias stands within one release. The release holds the alias from CLAIMED to an end."""

    CLAIMED = "claimed"
    STAGED = "staged"  # the function version is known and can serve
    PROBED = "probed"  # it has answered with the manifest digest
    WEIGHING = "weighing"  # a share is being sent to it; the write may or may not have happened
    WEIGHTED = "weighted"  # the alias points at the old version and sends a share to it
    INTENDED = "intended"  # the write may or may not have happened
    FLIPPED = "flipped"
    DONE = "done"  # the whole release is live
    UNDOING = "undoing"
    UNDONE = "undone"
    ABANDONED = "abandoned"  # never moved


class StepState(StrEnum):
    """Where one unit of work stands."""

    WAITING = "waiting"  # until `due_at`
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    STALLED = "stalled"
    CANCELLED = "cancelled"


class StepKind(StrEnum):
    """What a step does; its subject is a target group or a binding."""

    RESOLVE = "resolve"
    PLACE = "place"
    STAGE = "stage"
    PROBE = "probe"
    WEIGH = "weigh"
    JUDGE = "judge"
    FLIP = "flip"
    UNDO = "undo"


Phase = ReleasePhase | PlacementPhase | FlipPhase

_R, _P, _F = ReleasePhase, PlacementPhase, FlipPhase
_GIVE_UP: Final = frozenset({_R.STALLED, _R.SUPERSEDED, _R.CANCELLED})

# A table for each list of words: "undoing" of a release equals "undoing" of a flip, and in one table hid its line.
TRANSITIONS: Final[Mapping[type[Phase], Mapping[Phase, frozenset[Phase]]]] = {
    ReleasePhase: {
        _R.REQUESTED: frozenset({_R.PLACING}) | _GIVE_UP,
        _R.PLACING: frozenset({_R.STAGING}) | _GIVE_UP,
        _R.STAGING: frozenset({_R.FLIPPING}) | _GIVE_UP,
        _R.FLIPPING: frozenset({_R.LIVE, _R.UNDOING}),
        _R.UNDOING: frozenset({_R.UNDONE}),
        _R.LIVE: frozenset(),
        _R.UNDONE: frozenset(),
        _R.STALLED: frozenset(),
        _R.SUPERSEDED: frozenset(),
        _R.CANCELLED: frozenset(),
    },
    PlacementPhase: {
        _P.WANTED: frozenset({_P.COPYING, _P.SEALED, _P.WITHDRAWING}),
        _P.COPYING: frozenset({_P.SEALED, _P.WANTED, _P.WITHDRAWING}),
        _P.SEALED: frozenset({_P.WANTED, _P.WITHDRAWING}),  # WANTED: found broken, to be copied again
        _P.WITHDRAWING: frozenset({_P.WITHDRAWN}),
        _P.WITHDRAWN: frozenset({_P.WANTED}),
    },
    FlipPhase: {
        _F.CLAIMED: frozenset({_F.STAGED, _F.ABANDONED}),
        _F.STAGED: frozenset({_F.PROBED, _F.ABANDONED}),
        _F.PROBED: frozenset({_F.WEIGHING, _F.INTENDED, _F.ABANDONED}),
        _F.WEIGHING: frozenset({_F.WEIGHTED, _F.UNDOING}),
        _F.WEIGHTED: frozenset({_F.WEIGHING, _F.INTENDED, _F.UNDOING}),
        _F.INTENDED: frozenset({_F.FLIPPED, _F.UNDOING}),
        _F.FLIPPED: frozenset({_F.DONE, _F.UNDOING}),
        _F.UNDOING: frozenset({_F.UNDONE}),
        _F.DONE: frozenset(),
        _F.UNDONE: frozenset(),
        _F.ABANDONED: frozenset(),
    },
}

RELEASE_ENDS: Final = frozenset(phase for phase in ReleasePhase if not TRANSITIONS[ReleasePhase][phase])
FLIP_ENDS: Final = frozenset({_F.DONE, _F.UNDONE, _F.ABANDONED})
UNMOVED: Final = frozenset({_F.CLAIMED, _F.STAGED, _F.PROBED})  # the alias is claimed and where it was
STEP_ENDS: Final = frozenset({StepState.DONE, StepState.STALLED, StepState.CANCELLED})


def may_transition(now: Phase, then: Phase) -> bool:
    """Whether a thing in phase `now` may go to phase `then`."""
    return type(then) is type(now) and then in TRANSITIONS[type(now)][now]
