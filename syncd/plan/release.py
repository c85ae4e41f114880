"""What a release needs next. Pure: rows in, one decision out; deciding again on the same rows changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from syncd.plan.gate import Wait
from syncd.plan.phases import (
    FLIP_ENDS,
    RELEASE_ENDS,
    STEP_ENDS,
    FlipPhase,
    PlacementPhase,
    ReleasePhase,
    StepKind,
    StepState,
)


@dataclass(frozen=True, slots=True)
class StepView:
    """What deciding needs of a step."""

    kind: StepKind
    subject: str
    state: StepState
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A release and all that bears on it, read in one transaction."""

    phase: ReleasePhase
    rollback: bool
    pinned: bool  # its version is known
    place_groups: Mapping[str, tuple[str, ...]]  # group -> the targets that one reading of the source feeds
    bindings: tuple[str, ...]  # that must serve the version
    feeds: Mapping[str, str] = field(default_factory=dict)  # group -> the target that must be sealed before it
    placements: Mapping[str, PlacementPhase] = field(default_factory=dict)
    steps: tuple[StepView, ...] = ()
    flips: Mapping[str, FlipPhase] = field(default_factory=dict)
    newer: str = ""  # a newer unfinished release of the same model
    held: str = ""  # by whom and why, where the model is held against this release
    cancelled: str = ""  # by whom and why, where somebody wants it to end
    wait: Wait | None = None  # what keeps it from flipping now
    undo_reason: str = ""  # why it is being undone, as recorded when that was decided
    undo_hint: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write now; all of it in one transaction."""

    phase: ReleasePhase | None = None
    reason: str = ""
    hint: str = ""
    want: tuple[tuple[StepKind, str], ...] = ()
    place: tuple[str, ...] = ()  # targets that need a placement row
    claim: tuple[str, ...] = ()  # bindings to claim, all or none
    flips: tuple[tuple[str, FlipPhase], ...] = ()
    stop: bool = False  # cancel what waits, ask what runs to stop
    hold: str = ""  # put the model on hold, and why
    note: Wait | None = None  # why it waits; written where it is not written yet


def decide(view: View) -> Decision:
    """The next writes for one release; an empty decision means: wait for what is under way."""
    if view.phase in RELEASE_ENDS:
        return Decision()
    if view.phase is ReleasePhase.FLIPPING:
        return _flipping(view)
    if view.phase is ReleasePhase.UNDOING:
        return _undoing(view)
    ending = _before_the_first_flip_given_up(view)
    if ending is not None:
        return _wind_down(view, ending)
    if view.phase is ReleasePhase.REQUESTED:
        return Decision(phase=ReleasePhase.PLACING) if view.pinned else Decision(want=((StepKind.RESOLVE, "version"),))
    return _placing(view) if view.phase is ReleasePhase.PLACING else _staging(view)


def _before_the_first_flip_given_up(view: View) -> Decision | None:
    """Why this release ends before it moved anything; None where it goes on."""
    if view.cancelled:
        return Decision(phase=ReleasePhase.CANCELLED, reason=f"cancelled by {view.cancelled}")
    if view.newer:
        return Decision(phase=ReleasePhase.SUPERSEDED, reason=f"{view.newer} is newer")
    if view.held and not view.rollback:
        return Decision(
            phase=ReleasePhase.STALLED,
            reason=f"the model is on hold: {view.held}",
            hint="`syncd unhold MODEL` lifts it",
        )
    if not view.bindings:
        return Decision(
            phase=ReleasePhase.STALLED,
            reason="no binding serves the model any more",
            hint="give it one in [bindings.*] and publish again",
        )
    return _stalled(view, ReleasePhase.STALLED)


def _stalled(view: View, then: ReleasePhase) -> Decision | None:
    for step in view.steps:
        if step.state is StepState.STALLED:
            return Decision(phase=then, reason=f"{step.kind} {step.subject}: {step.reason}", hint=step.hint)
    return None


def _wind_down(view: View, ending: Decision) -> Decision:
    """End without having moved: first nothing runs any more, then the aliases are let go and the end is written."""
    if _open(view):
        return Decision(stop=True)
    let_go = tuple((b, FlipPhase.ABANDONED) for b, phase in view.flips.items() if phase not in FLIP_ENDS)
    return Decision(phase=ending.phase, reason=ending.reason, hint=ending.hint, flips=let_go)


def _placing(view: View) -> Decision:
    targets = [target for group in view.place_groups.values() for target in group]
    absent = tuple(target for target in targets if target not in view.placements)
    if absent:
        return Decision(place=absent)
    # A row says what was sealed once; that it still is, each release looks for itself. A rollback has no time to
    # read a terabyte again: what it goes back to is proven by its probe.
    looked = {step.subject for step in view.steps if step.kind is StepKind.PLACE and step.state is StepState.DONE}
    lacking = [
        group
        for group, members in view.place_groups.items()
        if not (view.rollback or group in looked)
        or any(view.placements[target] is not PlacementPhase.SEALED for target in members)
    ]
    # What feeds a group is in another one, so that one is lacking as long as this one waits.
    ready = [g for g in lacking if g not in view.feeds or view.placements[view.feeds[g]] is PlacementPhase.SEALED]
    want = tuple((StepKind.PLACE, group) for group in ready)
    return Decision(want=want) if lacking else Decision(phase=ReleasePhase.STAGING)


def _staging(view: View) -> Decision:
    missing = tuple(binding for binding in view.bindings if binding not in view.flips)
    if missing:
        return Decision(claim=view.bindings)
    # The barrier: every function has answered with this version's digest before the first alias moves.
    if all(phase is FlipPhase.PROBED for phase in view.flips.values()):
        return Decision(note=view.wait) if view.wait else Decision(phase=ReleasePhase.FLIPPING)
    kinds = {FlipPhase.CLAIMED: StepKind.STAGE, FlipPhase.STAGED: StepKind.PROBE}
    return Decision(want=tuple((kinds[phase], b) for b, phase in view.flips.items() if phase in kinds))


def _flipping(view: View) -> Decision:
    failed = _stalled(view, ReleasePhase.UNDOING)
    if view.cancelled:  # it was asked to end in the moment in which it began to flip
        failed = Decision(phase=ReleasePhase.UNDOING, reason=f"cancelled by {view.cancelled}")
    if failed is not None:
        return Decision(stop=True) if _open(view) else failed
    if all(phase is FlipPhase.FLIPPED for phase in view.flips.values()):
        return Decision(phase=ReleasePhase.LIVE, flips=tuple((b, FlipPhase.DONE) for b in view.flips))
    moving = {FlipPhase.PROBED, FlipPhase.INTENDED}
    return Decision(want=tuple((StepKind.FLIP, b) for b, phase in view.flips.items() if phase in moving))


def _undoing(view: View) -> Decision:
    if any(step.kind is not StepKind.UNDO for step in _open(view)):
        return Decision(stop=True)
    moved = {FlipPhase.FLIPPED, FlipPhase.INTENDED}
    turns = tuple(
        (b, FlipPhase.UNDOING if phase in moved else FlipPhase.ABANDONED)
        for b, phase in view.flips.items()
        if phase not in FLIP_ENDS and phase is not FlipPhase.UNDOING
    )
    if turns:
        return Decision(flips=turns)
    back = tuple((StepKind.UNDO, b) for b, phase in view.flips.items() if phase is FlipPhase.UNDOING)
    if back:
        return Decision(want=back)
    why = view.undo_reason or "the release was undone"
    return Decision(phase=ReleasePhase.UNDONE, reason=view.undo_reason, hint=view.undo_hint, hold=why)


def _open(view: View) -> tuple[StepView, ...]:
    return tuple(step for step in view.steps if step.state not in STEP_ENDS)
