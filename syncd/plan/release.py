"""Decision logic of a release. Pure: rows in, one decision out; deciding again on the same rows changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from syncd.plan.gate import Blocked
from syncd.plan.phases import (
    FLIP_ENDS,
    RELEASE_ENDS,
    STEP_ENDS,
    UNMOVED,
    FlipPhase,
    PlacementPhase,
    ReleasePhase,
    StepKind,
    StepState,
)
from syncd.plan.strategy import WHOLE_PERCENT, OnRegionUnavailable, Requirement, RolloutState, Stage


@dataclass(frozen=True, slots=True)
class StepView:
    """The part of a step that a decision depends on."""

    kind: StepKind
    subject: str
    state: StepState
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseSnapshot:
    """A release and everything that its next decision depends on, read in one transaction."""

    phase: ReleasePhase
    rollback: bool
    pinned: bool  # its version is known
    place_groups: Mapping[str, tuple[str, ...]]  # group -> the targets that are filled by one read of the source
    bindings: tuple[str, ...]  # that must serve the version
    feeds: Mapping[str, str] = field(default_factory=dict)  # group -> the target that must be sealed before it
    placements: Mapping[str, PlacementPhase] = field(default_factory=dict)
    steps: tuple[StepView, ...] = ()
    flips: Mapping[str, FlipPhase] = field(default_factory=dict)
    newer: str = ""  # a newer unfinished release of the same model
    held: str = ""  # by whom and why, where a hold is on the model
    cancelled: str = ""  # by whom and why, where its end was requested
    wait: Blocked | None = None  # what keeps it from flipping now
    undo_reason: str = ""  # why it is being undone, as recorded when that was decided
    undo_hint: str = ""
    needs: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # binding -> the targets that its version is served from
    rollout: RolloutState = field(default_factory=RolloutState)  # its strategy, and how far its aliases have moved


@dataclass(frozen=True, slots=True)
class Decision:
    """The next writes, all in one transaction."""

    phase: ReleasePhase | None = None
    reason: str = ""
    hint: str = ""
    want: tuple[tuple[StepKind, str], ...] = ()
    place: tuple[str, ...] = ()  # targets that need a placement row
    claim: tuple[str, ...] = ()  # bindings to claim: all or none, and each for itself in a rollback
    flips: tuple[tuple[str, FlipPhase], ...] = ()
    stop: bool = False  # cancel the steps that wait, ask the running ones to stop
    hold: str = ""  # put the model on hold, and why
    note: Blocked | None = None  # why it waits; written unless it is already there
    stage: int | None = None  # the stage to enter
    pause_s: float | None = None  # the pause of the current stage, beginning now
    out: bool = False  # a region is unavailable and waited for; the time is recorded


def decide(view: ReleaseSnapshot) -> Decision:
    """The next writes for one release; an empty decision means: wait for the steps under way."""
    decision = _decided(view)
    return replace(decision, out=True) if decision.want and _waited_for(view) else decision


def _decided(view: ReleaseSnapshot) -> Decision:
    if view.phase in RELEASE_ENDS:
        return Decision()
    if view.phase is ReleasePhase.FLIPPING:
        return _while_claiming(view, _flipping)
    if view.phase is ReleasePhase.UNDOING:
        return _undoing(view)
    ending = _before_the_first_flip_given_up(view)
    if ending is not None:
        return _wind_down(view, ending)
    if view.phase is ReleasePhase.REQUESTED:
        return Decision(phase=ReleasePhase.PLACING) if view.pinned else Decision(want=((StepKind.RESOLVE, "version"),))
    return _placing(view) if view.phase is ReleasePhase.PLACING else _staging(view)


def _before_the_first_flip_given_up(view: ReleaseSnapshot) -> Decision | None:
    """The end of a release that has moved nothing; None where it goes on."""
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
            hint="add one in [bindings.*], then publish again",
        )
    return _stalled(view, ReleasePhase.STALLED)


def _stalled(view: ReleaseSnapshot, then: ReleasePhase) -> Decision | None:
    for step in view.steps:
        if step.state is StepState.STALLED and not _is_tolerated(view, step):
            return Decision(phase=then, reason=f"{step.kind} {step.subject}: {step.reason}", hint=step.hint)
    return None


_PREPARES: Final = frozenset({StepKind.PLACE, StepKind.STAGE, StepKind.PROBE})
_MOVES: Final = frozenset({StepKind.WEIGH, StepKind.FLIP})


def _is_tolerated(view: ReleaseSnapshot, step: StepView) -> bool:
    """Whether the release goes on although this step stalled: its region is waited for, or left behind."""
    rollout = view.rollout
    if view.rollback:  # repeated until it succeeds: another region may serve the bad version meanwhile
        is_begun = view.phase is ReleasePhase.FLIPPING or bool(set(view.bindings) - _given_up(view))
        return is_begun and step.kind in _PREPARES | _MOVES
    if rollout.strategy.region_out is OnRegionUnavailable.WAIT:
        return step.kind in _PREPARES | _MOVES and not rollout.expired
    # A binding that has begun to move is not left behind: its last call may have succeeded.
    return step.kind in _PREPARES and bool(_left(view))


def _waited_for(view: ReleaseSnapshot) -> bool:
    """Whether some step stalled, and is begun again because its region may come back."""
    if view.rollout.strategy.region_out is not OnRegionUnavailable.WAIT:
        return False
    return any(step.state is StepState.STALLED and _is_tolerated(view, step) for step in view.steps)


def _left(view: ReleaseSnapshot) -> frozenset[str]:
    """The bindings that the release leaves behind; none where too few would remain."""
    if view.rollout.strategy.region_out is not OnRegionUnavailable.LEAVE:
        return frozenset()
    left = _given_up(view)
    return left if view.rollout.met(view.bindings, set(view.bindings) - left) else frozenset()


def _given_up(view: ReleaseSnapshot) -> frozenset[str]:
    """The bindings whose preparation has stalled."""
    given_up = {(step.kind, step.subject) for step in view.steps if step.state is StepState.STALLED}
    absent = {
        target
        for group, members in view.place_groups.items()
        if (StepKind.PLACE, group) in given_up
        for target in members
        if view.placements.get(target) is not PlacementPhase.SEALED
    }
    return frozenset(
        binding
        for binding in view.bindings
        if absent & set(view.needs.get(binding, ()))
        or (StepKind.STAGE, binding) in given_up
        or (StepKind.PROBE, binding) in given_up
        or view.flips.get(binding) is FlipPhase.ABANDONED
    )


def _wind_down(view: ReleaseSnapshot, ending: Decision) -> Decision:
    """End before the first flip: stop the running steps, then abandon the flips and write the end."""
    if _open(view):
        return Decision(stop=True)
    let_go = tuple((b, FlipPhase.ABANDONED) for b, phase in view.flips.items() if phase not in FLIP_ENDS)
    return Decision(phase=ending.phase, reason=ending.reason, hint=ending.hint, flips=let_go)


def _placing(view: ReleaseSnapshot) -> Decision:
    targets = [target for group in view.place_groups.values() for target in group]
    absent = tuple(target for target in targets if target not in view.placements)
    if absent:
        return Decision(place=absent)
    lacking = _lacking(view)
    if not lacking or (view.rollback and any(_is_sealed(view, binding) for binding in view.bindings)):
        return Decision(phase=ReleasePhase.STAGING)
    return Decision(want=_to_place(view, lacking))


def _lacking(view: ReleaseSnapshot) -> list[str]:
    """The groups that have to be placed, or verified again."""
    # A row says that a version was sealed once; each release verifies that it still is. A rollback has no time to
    # read a terabyte again: its probe proves the version.
    ended = {step.subject: step.state for step in view.steps if step.kind is StepKind.PLACE}
    inspected = {group for group, state in ended.items() if state is StepState.DONE}
    lacking = [
        group
        for group, members in view.place_groups.items()
        if not (view.rollback or group in inspected)
        or any(view.placements.get(target) is not PlacementPhase.SEALED for target in members)
    ]
    is_borne = bool(_left(view)) or (view.rollback and view.phase is not ReleasePhase.FLIPPING)
    return [group for group in lacking if not (is_borne and ended.get(group) is StepState.STALLED)]


def _to_place(view: ReleaseSnapshot, lacking: Sequence[str]) -> tuple[tuple[StepKind, str], ...]:
    # The source of a group is in another group, which is lacking as long as this one waits.
    ready = [g for g in lacking if g not in view.feeds or view.placements.get(view.feeds[g]) is PlacementPhase.SEALED]
    return tuple((StepKind.PLACE, group) for group in ready)


def _is_sealed(view: ReleaseSnapshot, binding: str) -> bool:
    needs = view.needs.get(binding, tuple(view.placements))
    return all(view.placements.get(target) is PlacementPhase.SEALED for target in needs)


def _staging(view: ReleaseSnapshot) -> Decision:
    left = _left(view)
    if view.rollback:
        return _while_claiming(view, _staging_back)
    if _unclaimed(view):
        return Decision(claim=view.bindings)
    # The barrier: each required function has answered with this version's digest before the first alias moves.
    behind = [b for b, phase in view.flips.items() if phase is not FlipPhase.PROBED and b not in left]
    if view.rollout.strategy.requirement is Requirement.PRIMARY_FIRST:
        behind = [binding for binding in behind if binding in view.rollout.primary(view.bindings)]
    if not behind:
        if view.wait:
            return Decision(want=_preparing(view, left), note=view.wait)
        return Decision(phase=ReleasePhase.FLIPPING)
    return Decision(want=_preparing(view, left))


def _staging_back(view: ReleaseSnapshot) -> Decision:
    """Prepare a rollback. It has no barrier: each region goes back as soon as it can."""
    is_ready = FlipPhase.PROBED in view.flips.values()
    return Decision(phase=ReleasePhase.FLIPPING) if is_ready else Decision(want=_preparing(view, _given_up(view)))


def _unclaimed(view: ReleaseSnapshot) -> tuple[str, ...]:
    return tuple(binding for binding in view.bindings if binding not in view.flips)


def _while_claiming(view: ReleaseSnapshot, decide_claimed: Callable[[ReleaseSnapshot], Decision]) -> Decision:
    """Go on with the aliases that are claimed, and go on claiming those that others hold.

    An alias that is not claimed counts as not ready, so that a wave waits for it and the release does not end.
    """
    unclaimed = _unclaimed(view)
    if not unclaimed:
        return decide_claimed(view)
    left = _left(view)
    awaited = dict.fromkeys((b for b in unclaimed if b not in left | _blocked(view)), FlipPhase.CLAIMED)
    decision = decide_claimed(replace(view, flips={**view.flips, **awaited}))
    if decision.stop or decision.phase is ReleasePhase.UNDOING:
        return decision
    if decision.phase is ReleasePhase.LIVE and left:
        return Decision(claim=unclaimed)  # what is left behind has a flip that says so
    want = tuple(each for each in decision.want if each[0] is StepKind.PLACE or each[1] not in awaited)
    turns = tuple(each for each in decision.flips if each[0] not in awaited)
    return replace(decision, want=want, flips=turns, claim=tuple(awaited))


def _preparing(view: ReleaseSnapshot, left: frozenset[str]) -> tuple[tuple[StepKind, str], ...]:
    kinds = {FlipPhase.CLAIMED: StepKind.STAGE, FlipPhase.STAGED: StepKind.PROBE}
    want = tuple((kinds[phase], b) for b, phase in view.flips.items() if phase in kinds and b not in left)
    if not view.rollback:
        return want
    # It may have passed on from placing before all was there.
    return (*_to_place(view, _lacking(view)), *(each for each in want if _is_sealed(view, each[1])))


def _flipping(view: ReleaseSnapshot) -> Decision:
    failed = _stalled(view, ReleasePhase.UNDOING)
    # It was asked to end as it began to flip, or between its stages. A rollback that has an alias back is finished.
    if view.cancelled and not (view.rollback and FlipPhase.DONE in view.flips.values()):
        failed = Decision(phase=ReleasePhase.UNDOING, reason=f"cancelled by {view.cancelled}")
    if failed is not None:
        return Decision(stop=True) if _open(view) else failed
    left = _left(view)
    let_go = tuple((b, FlipPhase.ABANDONED) for b in sorted(left | _blocked(view)) if view.flips.get(b) in UNMOVED)
    if let_go:
        return Decision(stop=True) if view.rollback and _open(view) else Decision(flips=let_go)
    if view.rollback and any(phase not in _BACK for phase in view.flips.values()):
        # A rollback is never undone: an alias that is back is free, so that no release waits for the others.
        back = tuple((b, FlipPhase.DONE) for b, phase in view.flips.items() if phase is FlipPhase.FLIPPED)
        if back:
            return Decision(flips=back)
    stages = view.rollout.stages(view.flips)
    if view.rollout.stage >= len(stages):
        return _arrived(view)
    stage = stages[view.rollout.stage]
    wave = [b for b in view.flips if view.rollout.wave_of(b) == stage.wave and b not in left]
    prepare, moves = _preparing(view, left), _moves(view, stage, wave)
    # A binding may also wait for a step of a target: in a rollback its bytes are copied again.
    if moves or any(view.flips[b] in _UNREADY for b in wave):
        return Decision(want=(*prepare, *moves))
    return _resting(view, stage, wave, prepare) or _onward(view, stages, prepare)


def _blocked(view: ReleaseSnapshot) -> frozenset[str]:
    """The bindings of a rollback that fail while a newer release waits: they are left to that one."""
    has_moved = any(phase in _MOVED or phase is FlipPhase.DONE for phase in view.flips.values())
    if not (view.rollback and view.newer and has_moved):
        return frozenset()
    trouble = {step.subject for step in view.steps if step.reason} | set(_unclaimed(view))
    return frozenset(binding for binding in view.bindings if binding in trouble or not _is_sealed(view, binding))


_UNREADY: Final = frozenset({FlipPhase.CLAIMED, FlipPhase.STAGED})
_SPLIT: Final = frozenset({FlipPhase.WEIGHING, FlipPhase.WEIGHTED})
_MOVED: Final = _SPLIT | {FlipPhase.INTENDED, FlipPhase.FLIPPED}
_BACK: Final = FLIP_ENDS | {FlipPhase.FLIPPED}


def _moves(view: ReleaseSnapshot, stage: Stage, wave: Sequence[str]) -> tuple[tuple[StepKind, str], ...]:
    if stage.percent >= WHOLE_PERCENT:
        moving = {FlipPhase.PROBED, FlipPhase.WEIGHTED, FlipPhase.INTENDED}
        return tuple((StepKind.FLIP, b) for b in wave if view.flips[b] in moving)
    rollout = view.rollout
    there = {b for b in wave if view.flips[b] is FlipPhase.WEIGHTED and rollout.shares.get(b) == stage.percent}
    moving = {FlipPhase.PROBED} | _SPLIT
    return tuple(
        (StepKind.WEIGH, b)
        for b in wave
        if view.flips[b] in moving and b not in there and b not in rollout.unsplittable
    )


def _resting(
    view: ReleaseSnapshot, stage: Stage, wave: Sequence[str], prepare: tuple[tuple[StepKind, str], ...]
) -> Decision | None:
    """What a wave at its share still waits for; None where it is ready for the next stage."""
    rollout = view.rollout
    if not stage.pause_s or not any(view.flips[b] in _MOVED for b in wave):
        return None
    if rollout.paused is None:
        return Decision(want=prepare, pause_s=stage.pause_s)
    moved = [b for b, phase in view.flips.items() if phase in _MOVED]
    unjudged = [b for b in moved if rollout.answers.get(b, 0) < rollout.strategy.judge_samples]
    if unjudged and rollout.overdue:
        deadline = f"within {rollout.strategy.deadline_s:g} s after its pause"
        ending = Decision(phase=ReleasePhase.UNDOING, reason=f"analysis of {unjudged[0]}: too few answers {deadline}")
        return Decision(stop=True) if _open(view) else ending
    asked = moved if rollout.paused else unjudged
    return Decision(want=(*prepare, *((StepKind.JUDGE, b) for b in asked))) if asked else None


def _onward(view: ReleaseSnapshot, stages: Sequence[Stage], prepare: tuple[tuple[StepKind, str], ...]) -> Decision:
    if view.rollout.stage + 1 >= len(stages):
        return _arrived(view)
    if view.wait:
        return Decision(want=prepare, note=view.wait)
    return Decision(stage=view.rollout.stage + 1)


def _arrived(view: ReleaseSnapshot) -> Decision:
    if _open(view):  # an analysis may still be running
        return Decision(stop=True)
    done = tuple((b, FlipPhase.DONE) for b, phase in view.flips.items() if phase not in FLIP_ENDS)
    return Decision(phase=ReleasePhase.LIVE, flips=done)


def _undoing(view: ReleaseSnapshot) -> Decision:
    if any(step.kind is not StepKind.UNDO for step in _open(view)):
        return Decision(stop=True)
    turns = tuple(
        (b, FlipPhase.UNDOING if phase in _MOVED else FlipPhase.ABANDONED)
        for b, phase in view.flips.items()
        if phase not in FLIP_ENDS and phase is not FlipPhase.UNDOING
    )
    if turns:
        return Decision(flips=turns)
    back = tuple((StepKind.UNDO, b) for b, phase in view.flips.items() if phase is FlipPhase.UNDOING)
    if back:
        return Decision(want=_in_turn(view, back))
    why = view.undo_reason or "the release was undone"
    return Decision(phase=ReleasePhase.UNDONE, reason=view.undo_reason, hint=view.undo_hint, hold=why)


def _in_turn(view: ReleaseSnapshot, back: tuple[tuple[StepKind, str], ...]) -> tuple[tuple[StepKind, str], ...]:
    """The last wave goes back first. A binding whose undo fails is not waited for, so that the others are safe soon."""
    rollout = view.rollout
    trouble = {step.subject for step in view.steps if step.kind is StepKind.UNDO and step.reason}
    turn = max((rollout.wave_of(b) for _, b in back if b not in trouble), default=0)
    return back if rollout.expedited else tuple((k, b) for k, b in back if rollout.wave_of(b) >= turn or b in trouble)


def _open(view: ReleaseSnapshot) -> tuple[StepView, ...]:
    return tuple(step for step in view.steps if step.state not in STEP_ENDS)
