"""The ways a release of two bindings can go: what its rows may be, what a decision makes of them, what may happen.

All steps in every order, failing anywhere, and whatever can happen beside them. Bindings `a` and `b` are in two
regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
    may_transition,
)
from syncd.plan.release import Decision, ReleaseSnapshot, StepView, decide
from syncd.plan.strategy import AT_ONCE, OnRegionUnavailable, RolloutState, Stage, Strategy

LEAVE = OnRegionUnavailable.LEAVE
R, P, F, K, S = ReleasePhase, PlacementPhase, FlipPhase, StepKind, StepState
Key = tuple[StepKind, str]
FLIP_AFTER = {K.STAGE: (F.CLAIMED, F.STAGED), K.PROBE: (F.STAGED, F.PROBED), K.FLIP: (F.INTENDED, F.FLIPPED)}
FLIP_AFTER |= {K.UNDO: (F.UNDOING, F.UNDONE), K.WEIGH: (F.WEIGHING, F.WEIGHTED)}
DECISIONS_MAX = 16
BINDINGS = ("a", "b")
INTENDS = {K.FLIP: F.INTENDED, K.WEIGH: F.WEIGHING}
REGIONS = {"a": "r1", "b": "r2"}
MOVED = frozenset({F.WEIGHING, F.WEIGHTED, F.INTENDED, F.FLIPPED, F.DONE, F.UNDOING, F.UNDONE})


@dataclass(frozen=True)
class Situation:
    """Rows as the record would hold them; steps and flips in the order of their names."""

    phase: ReleasePhase = R.REQUESTED
    rollback: bool = False
    pinned: bool = False
    placed: PlacementPhase | None = None
    steps: tuple[tuple[Key, StepState, bool], ...] = ()  # and whether it was asked to stop
    flips: tuple[tuple[str, FlipPhase], ...] = ()
    newer: bool = False
    held: bool = False
    cancelled: bool = False
    gated: bool = False  # an approval is missing, or there is a freeze
    taken: bool = False  # another release holds an alias
    strategy: Strategy = AT_ONCE
    stage: int = 0
    paused: bool | None = None
    overdue: bool = False
    shares: tuple[tuple[str, int], ...] = ()
    judged: frozenset[str] = frozenset()  # bindings with a good answer at this stage; one is enough here
    out: bool = False
    expired: bool = False

    @property
    def rollout(self) -> RolloutState:
        return RolloutState(
            strategy=self.strategy,
            regions=REGIONS,
            stage=self.stage,
            paused=self.paused,
            overdue=self.overdue,
            shares=dict(self.shares),
            answers=dict.fromkeys(self.judged, 1),
            expired=self.expired,
        )

    @property
    def now_at(self) -> Stage:
        return self.rollout.stages(BINDINGS)[self.stage]

    def view(self) -> ReleaseSnapshot:
        return ReleaseSnapshot(
            phase=self.phase,
            rollback=self.rollback,
            pinned=self.pinned,
            place_groups={"targets": ("t",)},
            bindings=BINDINGS,
            placements={} if self.placed is None else {"t": self.placed},
            steps=tuple(
                StepView(kind, subject, state, "" if kind is K.UNDO else "why")
                for (kind, subject), state, _ in self.steps
            ),
            flips=dict(self.flips),
            newer="r-9" if self.newer else "",
            held="ops: why" if self.held else "",
            cancelled="ops: why" if self.cancelled else "",
            wait=Blocked("waits", "approve") if self.gated and not self.rollback else None,
            undo_reason="why" if self.phase is R.UNDOING else "",
            needs=dict.fromkeys(BINDINGS, ("t",)),
            rollout=self.rollout,
        )

    def with_step(self, key: Key, state: StepState, *, stop: bool = False) -> Situation:
        steps = {known: (now, asked) for known, now, asked in self.steps} | {key: (state, stop)}
        return replace(self, steps=tuple((known, *value) for known, value in sorted(steps.items())))

    def with_flip(self, binding: str, phase: FlipPhase) -> Situation:
        now = dict(self.flips).get(binding)
        assert now is None or may_transition(now, phase), (self, binding, phase)
        return replace(self, flips=tuple(sorted((dict(self.flips) | {binding: phase}).items())))

    def open_steps(self) -> list[tuple[Key, StepState, bool]]:
        return [step for step in self.steps if step[1] not in STEP_ENDS]


def written(now: Situation, decision: Decision) -> Situation:
    """What the record is after a decision was written, as `reconcile.tick` writes it."""
    after = now
    if decision.place:
        after = replace(after, placed=after.placed or P.WANTED)
    for binding in decision.claim:  # all or none; a rollback gets those that nobody is moving
        if not now.taken or (now.rollback and binding != BINDINGS[-1]):
            after = after if binding in dict(after.flips) else after.with_flip(binding, F.CLAIMED)
    for binding, phase in decision.flips:
        after = after.with_flip(binding, phase)
    if decision.phase is not None:
        check_move(now, decision)
        after = replace(after, phase=decision.phase)
    if decision.stage is not None:
        check_stage(now)
        after = replace(after, stage=decision.stage, paused=None, overdue=False, judged=frozenset(), out=False)
        after = replace(after, expired=False)
    if decision.pause_s is not None:
        after = replace(after, paused=True, overdue=False)
    after = replace(after, out=after.out or decision.out)
    states = {key: state for key, state, _ in after.steps}
    for key in decision.want:
        if states.get(key, S.DONE) in STEP_ENDS:
            after = after.with_step(key, S.WAITING)
    for key, state, _ in after.open_steps() if decision.stop else ():
        after = after.with_step(key, S.RUNNING if state is S.RUNNING else S.CANCELLED, stop=state is S.RUNNING)
    return after


def check_move(now: Situation, decision: Decision) -> None:
    """The promises about the move of a release."""
    assert decision.phase is not None
    assert may_transition(now.phase, decision.phase), (now, decision)
    flips = dict(now.flips) | dict(decision.flips)
    if decision.phase is R.FLIPPING:
        probed = [binding for binding, phase in flips.items() if phase is F.PROBED]
        met = bool(probed) if now.rollback else now.rollout.met(BINDINGS, probed)
        assert met, "no alias moves before every region that is required has answered"
        assert now.placed is P.SEALED
        assert not now.newer
        assert now.rollback or not (now.held or now.gated)
        assert not now.cancelled
    if decision.phase is R.LIVE:
        check_stage(now)
        done = [binding for binding, phase in flips.items() if phase is F.DONE]
        may_leave = now.strategy.region_out is LEAVE or (now.rollback and now.newer)
        assert bool(done) if now.rollback else now.rollout.met(BINDINGS, done)
        assert set(flips.values()) <= ({F.DONE, F.ABANDONED} if may_leave else {F.DONE})
    if decision.phase in RELEASE_ENDS:
        assert set(flips.values()) <= FLIP_ENDS, "a release that ended holds no alias"
        assert not now.open_steps(), "nothing runs for a release that ended"
    if decision.phase in {R.STALLED, R.SUPERSEDED, R.CANCELLED, R.UNDOING, R.UNDONE}:
        assert decision.reason, "whoever looks is told why"
    if decision.phase in {R.STALLED, R.SUPERSEDED, R.CANCELLED}:
        assert set(flips.values()) <= {F.ABANDONED}, "what ends before the barrier has moved nothing"
    if decision.phase is R.UNDONE:
        assert decision.hold
        assert set(flips.values()) <= {F.UNDONE, F.ABANDONED}


def check_stage(now: Situation) -> None:
    """The promises about leaving a stage."""
    moved = {binding for binding, phase in now.flips if phase in MOVED}
    if now.now_at.pause_s and any(now.rollout.wave_of(binding) == now.now_at.wave for binding in moved):
        assert now.paused is False, "no pause is cut short"
        assert moved <= now.judged, "nobody goes on unjudged"


def settled(now: Situation) -> Situation:
    """The record after a tick: decisions until one changes nothing."""
    for _ in range(DECISIONS_MAX):
        decision = decide(now.view())
        assert decide(now.view()) == decision
        after = written(now, decision)
        if after == now:
            return now
        now = after
    raise AssertionError(f"decisions without an end: {now}")


def ended_well(now: Situation, key: Key) -> Situation:
    """The record after a running step has done what it is for; its effect and its end are one transaction."""
    kind, subject = key
    if kind is K.RESOLVE:
        now = replace(now, pinned=True)
    elif kind is K.PLACE:
        now = replace(now, placed=P.SEALED)
    elif kind is K.JUDGE:
        now = replace(now, judged=now.judged | {subject})
        if now.paused:
            return now.with_step(key, S.WAITING)
    else:
        before, after = FLIP_AFTER[kind]
        assert dict(now.flips)[subject] is before, (now, key)
        now = now.with_flip(subject, after)
    return now.with_step(key, S.DONE)


def steps_of_workers(now: Situation) -> Iterator[Situation]:
    for key, state, stop in now.open_steps():
        kind, subject = key
        if state is S.WAITING:
            yield now.with_step(key, S.RUNNING)
            continue
        if kind is K.FLIP and now.phase is R.FLIPPING and dict(now.flips)[subject] in {F.PROBED, F.WEIGHTED}:
            yield now.with_flip(subject, F.INTENDED)  # the intent is committed before the alias moves
        elif kind is K.WEIGH and now.phase is R.FLIPPING and dict(now.flips)[subject] in {F.PROBED, F.WEIGHTED}:
            shares = dict(now.shares) | {subject: now.now_at.percent}
            yield replace(now.with_flip(subject, F.WEIGHING), shares=tuple(sorted(shares.items())))
        elif kind not in INTENDS or dict(now.flips)[subject] is INTENDS[kind]:
            yield ended_well(now, key)
        yield now.with_step(key, S.CANCELLED if stop else S.WAITING)  # stopped, or failed and to be repeated
        if kind is not K.UNDO and not (now.rollback and now.phase is R.FLIPPING):  # what goes back is tried for ever
            yield now.with_step(key, S.STALLED)


def as_time_passes(now: Situation) -> Iterator[Situation]:
    if now.phase is R.FLIPPING and now.paused:
        yield replace(now, paused=False)
    elif now.phase is R.FLIPPING and now.paused is False and not now.overdue:
        yield replace(now, overdue=True)
    if now.out and not now.expired:
        yield replace(now, expired=True)


def events_beside(now: Situation) -> Iterator[Situation]:
    if now.phase in RELEASE_ENDS:
        return
    yield replace(now, newer=True)
    yield replace(now, held=not now.held)
    yield replace(now, taken=not now.taken)
    yield from as_time_passes(now)
    yield from yielded(now)
    if now.phase is R.STAGING or (now.phase is R.FLIPPING and now.strategy != AT_ONCE):  # elsewhere nobody asks
        yield replace(now, gated=not now.gated)
    if now.phase in {R.REQUESTED, R.PLACING, R.STAGING, R.FLIPPING}:  # as a wish that came in the last moment
        yield replace(now, cancelled=True)
    if now.phase is R.FLIPPING and not now.rollback:  # somebody asks for a rollback in the middle
        undone = replace(now, phase=R.UNDOING, held=True)
        for binding, phase in now.flips:
            undone = undone.with_flip(binding, F.ABANDONED) if phase is F.PROBED else undone
        yield undone


def yielded(now: Situation) -> Iterator[Situation]:
    """A rollback of another model takes an alias that has not moved."""
    if now.strategy != AT_ONCE or now.rollback or now.phase not in {R.STAGING, R.FLIPPING}:
        return
    for binding, phase in now.flips:
        if phase in UNMOVED:
            steps = tuple(
                (key, S.CANCELLED if key[1] == binding and state not in STEP_ENDS else state, stop)
                for key, state, stop in now.steps
            )
            kept = tuple(each for each in now.flips if each[0] != binding)
            yield replace(now, flips=kept, steps=steps, taken=True)


def lean(now: Situation) -> Situation:
    """Itself without what no decision asks for any more; of a release at once all is kept, and it is few enough."""
    if now.strategy == AT_ONCE:
        return now
    steps = tuple(step for step in now.steps if step[1] not in {S.DONE, S.CANCELLED})
    now = replace(now, steps=steps)
    if now.phase is R.FLIPPING:
        return replace(now, newer=False, held=False, taken=False)
    if now.phase not in {R.UNDOING, *RELEASE_ENDS}:
        return now
    bare = replace(now, newer=False, held=False, taken=False, gated=False, cancelled=False, out=False, expired=False)
    steps = tuple(step for step in steps if step[1] is not S.STALLED)
    return replace(bare, steps=steps, stage=0, paused=None, overdue=False, shares=(), judged=frozenset())


def reachable_from(starts: Sequence[Situation]) -> Mapping[Situation, Situation]:
    """Every situation a tick can leave, with one that led to it."""
    found = {start: start for start in starts}
    new = list(starts)
    while new:
        reached: dict[Situation, Situation] = {}
        for now in new:
            for moved in (*steps_of_workers(now), *events_beside(now)):
                after = lean(settled(moved))
                if after not in found:
                    found[after] = reached[after] = now
        new = list(reached)
    return found


def check_ends(starts: Iterable[Situation], workers: str) -> None:
    """Whatever it is in the middle of, it comes to an end when nobody disturbs it.

    What comes next is decided by the situation alone, so that a way which meets an earlier one ends as that did.
    """
    known: set[Situation] = set()
    for start in starts:
        now = settled(replace(start, taken=False, gated=False))
        way: dict[Situation, None] = {}
        while now.phase not in RELEASE_ENDS and now not in known:
            assert now not in way, f"round and round: {start}, {now}"
            way[now] = None
            futures = list(steps_of_workers(now))
            best = [f for f in futures if any(s is S.STALLED for _, s, _ in f.steps)] if "give" in workers else []
            passed = list(as_time_passes(now)) if now.paused or (best and now.out) else []
            now = settled((passed or best or futures or list(as_time_passes(now)))[0])
        known.update(way)
