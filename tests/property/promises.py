"""Invariants of the release machine, checked after each of its steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hypothesis.stateful import invariant
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, ReleasePhase
from syncd.plan.strategy import AT_ONCE, RolloutState, Strategy
from syncd.state.content import versions
from syncd.state.records import Event, Flip, Release
from syncd.state.releases import freezes, holds, rollouts
from syncd.state.serving import flips
from syncd.values.function import AliasState

from tests.property.faulty import Faults, Paused
from tests.property.start import MODELS
from tests.support.rooms import BINDINGS, DRAW, TARGETS, Site, World

FIRST_MOVES: Final = ("flip.weighing", "flip.intended")
MOVED: Final = {
    FlipPhase.WEIGHING,
    FlipPhase.WEIGHTED,
    FlipPhase.INTENDED,
    FlipPhase.FLIPPED,
    FlipPhase.DONE,
    FlipPhase.UNDOING,
    FlipPhase.UNDONE,
}


@dataclass(frozen=True)
class Seen:
    """A release with its flips and all that was told of it."""

    release: Release
    flips: Mapping[str, Flip]
    told: list[Event]
    strategy: Strategy

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    @property
    def has_begun_to_flip(self) -> bool:
        return "release.flipping" in self.kinds

    def at(self, kind: str, binding: str) -> int:
        """When something was told of a binding first; after all else where it was not."""
        return next(
            (n for n, event in enumerate(self.told) if (event.kind, event.subject) == (kind, binding)), len(self.told)
        )

    def began(self, binding: str) -> int:
        """When its alias was touched first."""
        return min(self.at(kind, binding) for kind in FIRST_MOVES)

    def wave_of(self, binding: str) -> int:
        return self.strategy.wave_of(next(each.runtime for each in BINDINGS if each.name == binding))


class Promises:
    """Of a world, the record, and a process that sees both."""

    world: World
    here: Site  # of the people: nothing ever happens to it
    workers: list[tuple[Site, Faults]]
    paused: dict[int, Paused]
    edited: set[str]  # regions whose alias was moved by hand and not since by us
    never_right: set[tuple[str, str]]  # models and versions that have answered wrongly from the beginning
    approval: tuple[str, ...]  # models whose releases a person has to approve
    first: set[str]  # releases that ended before anybody had to
    held_at: dict[str, set[str]]
    frozen_at: dict[str, set[str]]
    ended: dict[str, Seen]

    @invariant()
    def what_is_promised_holds(self) -> None:
        everything = self.look_at_all()
        for seen in everything:
            self.no_alias_moves_before_the_barrier(seen)
            self.no_wave_moves_before_the_one_before(seen)
            self.what_wants_an_approval_has_it(seen)
            self.every_phase_has_its_event(seen)
            self.what_was_judged_bad_goes_back(seen)
        self.one_release_at_most_moves_an_alias(everything)
        self.what_is_held_does_not_go_forward(everything)
        self.what_is_frozen_does_not_go_on(everything)
        self.the_record_equals_the_world(everything)
        self.what_can_be_reached_is_whole_and_proven()

    def look_at_all(self) -> list[Seen]:
        """Everything there is now; what has ended is not read again."""
        found = []
        for release in self.here.all_releases():
            if release.id not in self.ended:
                with self.here.state.read() as conn:
                    rollout = rollouts.find(conn, release.id)
                strategy = rollout.strategy if rollout else AT_ONCE
                seen = Seen(release, self.here.flips(release.id), self.here.events(release.id), strategy)
                if release.phase not in RELEASE_ENDS:
                    found.append(seen)
                    continue
                self.ended[release.id] = seen
            found.append(self.ended[release.id])
        return found

    def what_can_be_reached_is_whole_and_proven(self) -> None:
        """Whatever an alias of ours answers with, or sends a share to, is there whole, and was right at its probe."""
        for target, region in TARGETS.items():
            function = self.world.runtimes[region].functions[DRAW]
            pointed = function.aliases.get("prod", AliasState(None))
            if pointed.function_version is None or region in self.edited:
                continue
            sealed = self.world.sealed(target)
            for version in (pointed.function_version, *pointed.weights):
                told = function.versions[version].change.environment
                digests = set(re.findall(r"[0-9a-f]{64}", " ".join(told.values())))
                assert digests <= set(sealed)
                served = {(manifest.model, manifest.version) for manifest in map(sealed.__getitem__, digests)}
                assert not served & self.never_right, f"{region} serves {version}, which never answered right"

    def no_alias_moves_before_the_barrier(self, seen: Seen) -> None:
        moved = {binding for binding, flip in seen.flips.items() if flip.phase in MOVED}
        if not moved:
            return
        barrier = seen.kinds.index("release.flipping")
        for binding in moved:
            assert barrier < seen.began(binding)
            assert seen.at("flip.probed", binding) < seen.began(binding), f"{binding} was not proven"
        if seen.release.rollback:
            return
        bindings = [binding.name for binding in self.here.context.topology.bindings_of(seen.release.model)]
        assert set(bindings) == set(seen.flips)
        regions = {binding.name: binding.runtime for binding in BINDINGS}
        ready = [binding for binding in bindings if seen.at("flip.probed", binding) < barrier]
        assert RolloutState(seen.strategy, regions).met(bindings, ready), f"{ready} were ready"

    def no_wave_moves_before_the_one_before(self, seen: Seen) -> None:
        if seen.release.rollback:
            return
        for binding in seen.flips:
            began = seen.began(binding)
            if began == len(seen.told):
                continue
            for other in seen.flips:
                if seen.wave_of(other) < seen.wave_of(binding):
                    assert min(seen.at("flip.flipped", other), seen.at("flip.abandoned", other)) < began

    def what_wants_an_approval_has_it(self, seen: Seen) -> None:
        release = seen.release
        if release.rollback or release.model not in self.approval or release.id in self.first:
            return
        if not seen.has_begun_to_flip:
            return
        approved = [event for event in seen.told if event.kind == "release.approved"]
        assert approved
        assert seen.told.index(approved[0]) < seen.kinds.index("release.flipping")
        assert {event.detail["digest"] for event in approved} == {self.here.digest(release.model, release.ref)}

    def every_phase_has_its_event(self, seen: Seen) -> None:
        told = set(seen.kinds)
        assert f"release.{seen.release.phase}" in told
        assert {f"flip.{flip.phase}" for flip in seen.flips.values()} <= told
        if seen.release.phase in RELEASE_ENDS:
            assert seen.release.reason or seen.release.phase is ReleasePhase.LIVE, seen.release
            ends = {FlipPhase.DONE, FlipPhase.UNDONE, FlipPhase.ABANDONED}
            assert {flip.phase for flip in seen.flips.values()} <= ends, "it ended, and holds an alias"

    def what_was_judged_bad_goes_back(self, seen: Seen) -> None:
        if any(event.kind == "step.stalled" and "/judge/" in (event.step_id or "") for event in seen.told):
            assert seen.release.phase is not ReleasePhase.LIVE

    def one_release_at_most_moves_an_alias(self, everything: list[Seen]) -> None:
        with self.here.state.read() as conn:
            holding = [flip.binding for flip in flips.unfinished(conn)]
        assert len(holding) == len(set(holding))
        assert everything

    def the_record_equals_the_world(self, everything: list[Seen]) -> None:
        """Where nothing is in flight; and no share is left where none is being tried."""
        held = {
            name: flip
            for seen in everything
            for name, flip in seen.flips.items()
            if seen.release.phase not in RELEASE_ENDS
            and flip.phase not in {FlipPhase.DONE, FlipPhase.UNDONE, FlipPhase.ABANDONED}
        }
        for binding in BINDINGS:
            flip = held.get(binding.name)
            in_flight = flip is not None and flip.phase in {
                FlipPhase.WEIGHING,
                FlipPhase.INTENDED,
                FlipPhase.UNDOING,
            }
            if in_flight or binding.runtime in self.edited or self.is_at_work_in(binding.name):
                continue
            pointed = self.world.alias(binding.runtime)
            assert pointed.is_like(self.recorded(binding.name, flip)), (binding.name, pointed, flip)

    def recorded(self, binding: str, flip: Flip | None) -> AliasState:
        """Where the record says that an alias points."""
        live = self.here.live(binding)
        main = live.function_version if live else None
        if flip is None or flip.phase is not FlipPhase.WEIGHTED:
            return AliasState(main)
        with self.here.state.read() as conn:
            percent = rollouts.canaries_of(conn, flip.release_id)[binding].percent
        return AliasState(main, {flip.to_version or "": percent / 100})

    def is_at_work_in(self, binding: str) -> bool:
        """Whether somebody stands still in the middle of a write there."""
        return any(paused.subject == binding for paused in self.paused.values())

    def what_is_held_does_not_go_forward(self, everything: list[Seen]) -> None:
        """Past the barrier a forward release may end; no other begins to move while the model is held."""
        for model in MODELS:
            if not self.is_held(model):
                self.held_at.pop(model, None)
                continue
            begun = {s.release.id for s in forward(everything, model) if s.has_begun_to_flip}
            assert begun <= self.held_at.setdefault(model, begun), f"{model} is held and moved"

    def what_is_frozen_does_not_go_on(self, everything: list[Seen]) -> None:
        """It does not begin to flip, nor go on to its next step."""
        with self.here.state.read() as conn:
            now = self.here.state.now(conn)
            frozen = {model for model in MODELS if freezes.of(conn, model, now)}
        for model in MODELS:
            if model not in frozen:
                self.frozen_at.pop(model, None)
                continue
            mine = [seen for seen in forward(everything, model) if seen.has_begun_to_flip]
            begun = {f"{seen.release.id} at {seen.kinds.count('rollout.stage')}" for seen in mine}
            assert begun <= self.frozen_at.setdefault(model, begun), f"{model} is frozen and moved"

    def is_held(self, model: str) -> bool:
        with self.here.state.read() as conn:
            return holds.find(conn, model) is not None

    def is_quarantined(self, model: str) -> bool:
        with self.here.state.read() as conn:
            return any(version.quarantined for version in versions.known(conn, model))


def forward(everything: list[Seen], model: str) -> list[Seen]:
    return [seen for seen in everything if seen.release.model == model and not seen.release.rollback]
