"""Every way a release of two bindings can go, each situation that can be reached visited once.

All steps in every order, failing anywhere, and whatever can happen beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    may_follow,
)
from syncd.plan.release import Decision, StepView, View, decide

R, P, F, K, S = ReleasePhase, PlacementPhase, FlipPhase, StepKind, StepState
Key = tuple[StepKind, str]
FLIP_AFTER = {K.STAGE: (F.CLAIMED, F.STAGED), K.PROBE: (F.STAGED, F.PROBED), K.FLIP: (F.INTENDED, F.FLIPPED)}
FLIP_AFTER[K.UNDO] = (F.UNDOING, F.UNDONE)
DECISIONS_MAX = 16
BINDINGS = ("a", "b")


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

    def view(self) -> View:
        return View(
            phase=self.phase,
            rollback=self.rollback,
            pinned=self.pinned,
            place_groups={"targets": ("t",)},
            bindings=BINDINGS,
            placements={} if self.placed is None else {"t": self.placed},
            steps=tuple(StepView(kind, subject, state, "why") for (kind, subject), state, _ in self.steps),
            flips=dict(self.flips),
            newer="r-9" if self.newer else "",
            held="ops: why" if self.held else "",
            cancelled="ops: why" if self.cancelled else "",
            wait=Wait("waits", "approve") if self.gated and not self.rollback else None,
            undo_reason="why" if self.phase is R.UNDOING else "",
        )

    def with_step(self, key: Key, state: StepState, *, stop: bool = False) -> Situation:
        steps = {known: (now, asked) for known, now, asked in self.steps} | {key: (state, stop)}
        return replace(self, steps=tuple((known, *value) for known, value in sorted(steps.items())))

    def with_flip(self, binding: str, phase: FlipPhase) -> Situation:
        now = dict(self.flips).get(binding)
        assert now is None or may_follow(now, phase), (self, binding, phase)
        return replace(self, flips=tuple(sorted((dict(self.flips) | {binding: phase}).items())))

    def open_steps(self) -> list[tuple[Key, StepState, bool]]:
        return [step for step in self.steps if step[1] not in STEP_ENDS]


def written(now: Situation, decision: Decision) -> Situation:
    """What the record is after a decision was written, as `reconcile.tick` writes it."""
    after = now
    if decision.place:
        after = replace(after, placed=after.placed or P.WANTED)
    if decision.claim and not now.taken:
        for binding in decision.claim:
            after = after if binding in dict(after.flips) else after.with_flip(binding, F.CLAIMED)
    for binding, phase in decision.flips:
        after = after.with_flip(binding, phase)
    if decision.phase is not None:
        check_move(now, decision)
        after = replace(after, phase=decision.phase)
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
    assert may_follow(now.phase, decision.phase), (now, decision)
    flips = dict(now.flips) | dict(decision.flips)
    if decision.phase is R.FLIPPING:
        assert flips == dict.fromkeys(BINDINGS, F.PROBED), "no alias moves before every region has answered"
        assert now.placed is P.SEALED
        assert not now.newer
        assert now.rollback or not (now.held or now.gated)
        assert not now.cancelled
    if decision.phase is R.LIVE:
        assert flips == dict.fromkeys(BINDINGS, F.DONE)
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
        if kind is K.FLIP and now.phase is R.FLIPPING and dict(now.flips)[subject] is F.PROBED:
            yield now.with_flip(subject, F.INTENDED)  # the intent is committed before the alias moves
        elif kind is not K.FLIP or dict(now.flips)[subject] is F.INTENDED:
            yield ended_well(now, key)
        yield now.with_step(key, S.CANCELLED if stop else S.WAITING)  # stopped, or failed and to be repeated
        if kind is not K.UNDO:
            yield now.with_step(key, S.STALLED)


def events_beside(now: Situation) -> Iterator[Situation]:
    if now.phase in RELEASE_ENDS:
        return
    yield replace(now, newer=True)
    yield replace(now, held=not now.held)
    yield replace(now, taken=not now.taken)
    if now.phase is R.STAGING:  # elsewhere nobody asks
        yield replace(now, gated=not now.gated)
    if now.phase in {R.REQUESTED, R.PLACING, R.STAGING, R.FLIPPING}:  # as a wish that came in the last moment
        yield replace(now, cancelled=True)
    if now.phase is R.FLIPPING and not now.rollback:  # somebody asks for a rollback in the middle
        undone = replace(now, phase=R.UNDOING, held=True)
        for binding, phase in now.flips:
            undone = undone.with_flip(binding, F.ABANDONED) if phase is F.PROBED else undone
        yield undone


@cache
def reachable() -> Mapping[Situation, Situation]:
    """Every situation a tick can leave, with one that led to it."""
    starts = [settled(Situation()), settled(Situation(rollback=True, pinned=True, placed=P.SEALED, held=True))]
    starts.append(settled(Situation(rollback=True, pinned=True, placed=P.WANTED, held=True)))
    found = {start: start for start in starts}
    new = starts
    while new:
        reached: dict[Situation, Situation] = {}
        for now in new:
            for moved in (*steps_of_workers(now), *events_beside(now)):
                after = settled(moved)
                if after not in found:
                    found[after] = reached[after] = now
        new = list(reached)
    return found


def test_all_ends_are_reached() -> None:
    assert {now.phase for now in reachable()} == set(R)


def test_no_release_waits_for_nothing() -> None:
    for now in reachable():
        waits = now.phase in RELEASE_ENDS or now.open_steps() or (now.phase is R.STAGING and (now.taken or now.gated))
        assert waits, f"nothing will ever happen again: {now}, after {reachable()[now]}"


def test_a_tick_right_after_a_tick_finds_nothing_to_do() -> None:
    for now in reachable():
        assert settled(now) == now


def test_no_alias_has_moved_without_the_barrier() -> None:
    moved = {F.INTENDED, F.FLIPPED, F.DONE, F.UNDOING, F.UNDONE}
    for now in reachable():
        if moved & set(dict(now.flips).values()):
            assert now.phase in {R.FLIPPING, R.LIVE, R.UNDOING, R.UNDONE}
            assert now.placed is P.SEALED


@pytest.mark.parametrize("workers", ["do well", "give up whenever they may"])
def test_from_everywhere_a_release_comes_to_an_end(workers: str) -> None:
    for start in reachable():
        now = settled(replace(start, taken=False, gated=False))
        for _ in range(40):
            if now.phase in RELEASE_ENDS:
                break
            futures = list(steps_of_workers(now))
            best = [f for f in futures if any(s is S.STALLED for _, s, _ in f.steps)] if "give" in workers else []
            now = settled((best or futures)[0])
        assert now.phase in RELEASE_ENDS, (start, now)


phases_of_flips = st.dictionaries(st.sampled_from(BINDINGS), st.sampled_from(F))
views = st.builds(
    View,
    phase=st.sampled_from(R),
    rollback=st.booleans(),
    pinned=st.booleans(),
    place_groups=st.sampled_from([{}, {"g": ("t",)}, {"g": ("t", "u"), "h": ("v",)}]),
    bindings=st.sampled_from([(), ("a",), BINDINGS]),
    placements=st.dictionaries(st.sampled_from("tuv"), st.sampled_from(P)),
    steps=st.lists(
        st.builds(StepView, st.sampled_from(K), st.sampled_from(["g", "h", "a", "b"]), st.sampled_from(S)), max_size=6
    ).map(tuple),
    flips=phases_of_flips,
    newer=st.sampled_from(["", "r-9"]),
    held=st.sampled_from(["", "ops: why"]),
    cancelled=st.sampled_from(["", "ops: why"]),
    wait=st.sampled_from([None, Wait("waits", "approve")]),
)


@given(views)
def test_even_of_rows_that_make_no_sense_the_move_is_a_legal_one(view: View) -> None:
    decision = decide(view)
    assert decide(view) == decision
    assert decision.phase is None or may_follow(view.phase, decision.phase)
    assert set(dict(decision.flips)) <= set(view.flips)
    if decision.stop:
        assert decision == Decision(stop=True), "stopping is all that is written then"
