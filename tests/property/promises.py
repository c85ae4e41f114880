"""What always holds, whatever happens: the invariants of a machine that releases, checked after each of its steps."""

from __future__ import annotations

import re
from typing import Final

from hypothesis.stateful import invariant
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, ReleasePhase
from syncd.runtime.base import AliasState
from syncd.state import flips, freezes, holds, versions
from syncd.state.state import State

from tests.property.faulty import Faults
from tests.rooms import BINDINGS, DRAW, LORA, SDXL, TARGETS, Site, World

MODELS: Final = (SDXL, LORA)
MOVED = {FlipPhase.INTENDED, FlipPhase.FLIPPED, FlipPhase.DONE, FlipPhase.UNDOING, FlipPhase.UNDONE}


class Promises:
    """Of a world, the record, and a process that sees both."""

    world: World
    state: State
    workers: list[tuple[Site, Faults]]
    edited: set[str]  # regions whose alias was moved by hand and not since by us
    held_at: dict[str, dict[str, str]]
    frozen_at: dict[str, set[str]]

    @property
    def here(self) -> Site:
        """The process that people talk to."""
        return self.workers[0][0]

    @invariant()
    def what_can_be_reached_is_whole_and_sealed(self) -> None:
        """Whatever an alias of ours answers with is there; `sealed` hashes all of it."""
        for binding in BINDINGS:
            store = next(target for target, region in TARGETS.items() if region == binding.runtime)
            sealed = self.world.sealed(store)
            function = self.world.runtimes[binding.runtime].functions[DRAW]
            pointed = function.aliases.get("prod", AliasState(None)).function_version
            if pointed is not None and binding.runtime not in self.edited:
                told = function.versions[pointed].change.environment
                assert set(re.findall(r"[0-9a-f]{64}", " ".join(told.values()))) <= set(sealed)

    @invariant()
    def no_alias_moves_before_the_barrier(self) -> None:
        for release in self.here.all_releases():
            flips = self.here.flips(release.id)
            if {flip.phase for flip in flips.values()} & MOVED:
                assert release.phase in {
                    ReleasePhase.FLIPPING,
                    ReleasePhase.LIVE,
                    ReleasePhase.UNDOING,
                    ReleasePhase.UNDONE,
                }
                told = self.here.events(release.id)
                kinds = [event.kind for event in told]
                assert kinds.index("release.flipping") < kinds.index("flip.intended")
                probed = {event.subject for event in told if event.kind == "flip.probed"}
                assert {binding for binding, flip in flips.items() if flip.phase in MOVED} <= probed
                if not release.rollback:
                    assert kinds.count("flip.probed") == len(flips)
                    assert len(flips) == len(self.here.rooms.fleet.bindings_of(release.model))

    @invariant()
    def every_phase_has_its_event(self) -> None:
        for release in self.here.all_releases():
            told = {event.kind for event in self.here.events(release.id)}
            assert f"release.{release.phase}" in told
            assert {f"flip.{flip.phase}" for flip in self.here.flips(release.id).values()} <= told
            if release.phase in RELEASE_ENDS - {ReleasePhase.LIVE}:
                assert release.reason, release

    @invariant()
    def a_release_that_ended_holds_nothing(self) -> None:
        for release in self.here.all_releases():
            if release.phase in RELEASE_ENDS:
                assert {f.phase for f in self.here.flips(release.id).values()} <= {
                    FlipPhase.DONE,
                    FlipPhase.UNDONE,
                    FlipPhase.ABANDONED,
                }

    @invariant()
    def the_record_equals_the_world_where_nothing_is_in_flight(self) -> None:
        moving = {
            name
            for release in self.here.unfinished()
            for name, flip in self.here.flips(release.id).items()
            if flip.phase in {FlipPhase.INTENDED, FlipPhase.UNDOING}
        }
        for binding in BINDINGS:
            if binding.name in moving or binding.runtime in self.edited:
                continue
            recorded = self.here.live(binding.name)
            pointed = self.world.alias(binding.runtime)
            assert pointed == AliasState(recorded.function_version if recorded else None), binding.name

    @invariant()
    def what_is_held_does_not_go_forward(self) -> None:
        """Past the barrier a forward release may end; no other begins to move while the model is held."""
        for model in MODELS:
            if not self.is_held(model):
                self.held_at.pop(model, None)
                continue
            begun = {
                release.id: str(release.phase)
                for release in self.here.all_releases()
                if release.model == model and not release.rollback and self.has_begun_to_flip(release.id)
            }
            before = self.held_at.setdefault(model, begun)
            assert set(begun) <= set(before), f"{model} is held and moved"

    @invariant()
    def what_is_frozen_does_not_begin_to_flip(self) -> None:
        with self.state.read() as conn:
            now = self.state.now(conn)
            frozen = {model for model in MODELS if freezes.of(conn, model, now)}
        for model in MODELS:
            if model not in frozen:
                self.frozen_at.pop(model, None)
                continue
            mine = [each for each in self.here.all_releases() if each.model == model and not each.rollback]
            begun = {release.id for release in mine if self.has_begun_to_flip(release.id)}
            assert begun <= self.frozen_at.setdefault(model, begun), f"{model} is frozen and moved"

    @invariant()
    def one_release_at_most_moves_an_alias(self) -> None:
        with self.state.read() as conn:
            holding = [flip.binding for flip in flips.unfinished(conn)]
        assert len(holding) == len(set(holding))

    def has_begun_to_flip(self, release_id: str) -> bool:
        return any(event.kind == "release.flipping" for event in self.here.events(release_id))

    def is_held(self, model: str) -> bool:
        with self.state.read() as conn:
            return holds.find(conn, model) is not None

    def is_quarantined(self, model: str) -> bool:
        with self.state.read() as conn:
            return any(version.quarantined for version in versions.known(conn, model))
