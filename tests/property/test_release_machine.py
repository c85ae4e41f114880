"""The whole reconcile against a world that misbehaves: invariants after each step, and rest when the faults stop."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from syncd.engine.upgrade import upgrade
from syncd.errors import Conflict, Held, NotFound, Unavailable
from syncd.plan.drift import DriftPolicy
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, ReleasePhase
from syncd.reconcile.mend import Word, adopt, restore, resume
from syncd.reconcile.patrol import Rules, patrol
from syncd.reconcile.sweep import sweep
from syncd.reconcile.tick import tick
from syncd.reconcile.watch import look
from syncd.reconcile.wish import hold, publish, rollback, unhold
from syncd.runtime.base import AliasState
from syncd.state import drifts, holds, versions
from syncd.state.state import State
from syncd.target.tree import TreeTarget

from tests.rooms import BINDINGS, DRAW, LORA, SDXL, TARGETS, Site, World, site

MODELS = (SDXL, LORA)
REST_TICKS_MAX = 400
MOVED = {FlipPhase.INTENDED, FlipPhase.FLIPPED, FlipPhase.DONE, FlipPhase.UNDOING, FlipPhase.UNDONE}
regions = st.sampled_from(sorted(TARGETS.values()))
models = st.sampled_from(MODELS)
moments = st.sampled_from(["before", "after"])


class Killed(BaseException):
    """The process is dead: nothing it still does has an effect."""


class Faults:
    """What goes wrong with effects: a region that is cut off, or the death of the process."""

    def __init__(self) -> None:
        self.cut: dict[str, str] = {}  # region -> when, "before" or "after" the effect
        self.kill_in: tuple[int, str] | None = None  # after this many effects, before or after the next one
        self.is_dead = False

    def around(self, region: str, effect: Callable[[], Any]) -> Any:
        """Do an effect, or not, or die of it."""
        if self.is_dead:
            raise Killed
        dies = ""
        if self.kill_in is not None:
            left, when = self.kill_in
            self.kill_in = (left - 1, when)
            dies = when if left == 0 else ""
        if dies == "before":
            self.is_dead = True
            raise Killed
        if self.cut.get(region) == "before":
            raise Unavailable(f"{region} is cut off")
        result = effect()
        if dies:
            self.is_dead = True
            raise Killed
        if self.cut.get(region) == "after":
            raise Unavailable(f"the answer of {region} is lost")
        return result


class Faulty:
    """A store, an upload or a runtime whose effects go through the faults."""

    def __init__(self, real: Any, region: str, faults: Faults, effects: frozenset[str]) -> None:
        self._real, self._region, self._faults, self._effects = real, region, faults, effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in self._effects:
            return found

        @functools.wraps(found)
        def effect(*arguments: Any, **named: Any) -> Any:
            result = self._faults.around(self._region, lambda: found(*arguments, **named))
            return Faulty(result, self._region, self._faults, UPLOAD) if name == "upload" else result

        return effect


STORE = frozenset({"put", "upload", "delete", "stat", "open"})
UPLOAD = frozenset({"send", "complete", "abort", "has"})
RUNTIME = frozenset({"read", "latest", "stage", "flip", "ask", "probe"})


class ReleaseMachine(RuleBasedStateMachine):
    """Two models, two regions, one function that serves both. Every rule is one thing that happens."""

    template: Path
    numbers: dict[str, int]

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="syncd-machine-", dir=quick_place()))
        shutil.copyfile(template(), self.home / "state.db")
        self.world = World(self.home / "registry")
        self.numbers = dict.fromkeys(MODELS, 0)
        self.boots = 0
        self.edited: set[str] = set()  # regions whose alias was moved by hand and not since by us
        self.held_at: dict[str, dict[str, str]] = {}
        self.faults = Faults()
        self.boot()
        for model in MODELS:  # something is live, so that there is something to lose
            self.a_version_appears(model)
            publish(self.here.wisher, model, "v1")
        self.come_to_rest()

    def boot(self) -> None:
        """A new process over the same world and the same record; what the last one's engine knew is forgotten."""
        self.boots += 1
        self.faults.is_dead, self.faults.kill_in = False, None
        self.state = State(f"sqlite:///{self.home / 'state.db'}", now=self.world.now)
        self.here: Site = site(
            self.world,
            self.state,
            owner=f"worker-{self.boots}",
            targets={
                name: TreeTarget(name, Faulty(store, TARGETS[name], self.faults, STORE))
                for name, store in self.world.stores.items()
            },
            runtimes={
                region: Faulty(runtime, region, self.faults, RUNTIME) for region, runtime in self.world.runtimes.items()
            },
        )

    def doing(self, act: Callable[[], object]) -> None:
        """Do something; if the process dies of it, begin another."""
        try:
            act()
        except Killed:
            self.state.close()
            self.boot()

    # What people and pipelines do.

    @rule(model=models)
    def a_version_appears(self, model: str) -> None:
        self.numbers[model] += 1
        self.world.deliver(model, f"v{self.numbers[model]}")

    @rule(model=models, back=st.integers(0, 2))
    def somebody_publishes(self, model: str, back: int) -> None:
        try:
            publish(self.here.wisher, model, f"v{max(1, self.numbers[model] - back)}")
        except Held:
            assert self.is_held(model)
        except Conflict:
            assert self.is_quarantined(model)

    @rule(model=models)
    def somebody_rolls_back(self, model: str) -> None:
        try:
            rollback(self.here.wisher, model, "bad eyes")
        except NotFound:
            return
        assert self.is_held(model)

    @rule(model=models)
    def somebody_holds(self, model: str) -> None:
        hold(self.here.wisher, model, "do not touch")

    @rule(model=models)
    def somebody_lets_go(self, model: str) -> None:
        unhold(self.here.wisher, model)

    @precondition(lambda self: any(self.numbers.values()))
    @rule(model=models, content=st.sampled_from(["", "x"]))
    def a_published_version_is_written_again(self, model: str, content: str) -> None:
        if self.numbers[model]:
            self.world.change(model, f"v{self.numbers[model]}", content)

    @rule(region=regions, data=st.data())
    def somebody_moves_an_alias_by_hand(self, region: str, data: st.DataObject) -> None:
        function = self.world.runtimes[region].functions[DRAW]
        if function.versions:
            version = data.draw(st.sampled_from(sorted(function.versions)))
            function.aliases["prod"] = AliasState(version)
            self.edited.add(region)

    @rule(region=regions, does=st.sampled_from([adopt, restore]))
    def somebody_adopts_or_restores(self, region: str, does: Callable[..., object]) -> None:
        binding = next(each for each in BINDINGS if each.runtime == region)

        def act() -> None:
            try:
                does(self.here.looker, binding, Word("ann", "it was me"))
            except (Conflict, NotFound, Unavailable):
                return
            self.edited.discard(region)

        self.doing(act)

    # What the process does.

    @rule(region=regions, policy=st.sampled_from(DriftPolicy))
    def a_region_is_compared_with_the_record(self, region: str, policy: DriftPolicy) -> None:
        def act() -> None:
            try:
                patrol(self.here.looker, region, Rules(policy), threading.Event(), pause_s=0.0)
            except Unavailable:
                return
            self.settled(region)

        self.doing(act)

    def settled(self, region: str) -> None:
        """What a round has left open is what somebody changed; where it has found nothing, nothing is."""
        binding = next(each for each in BINDINGS if each.runtime == region)
        recorded, pointed = self.here.live(binding.name), self.world.alias(region)
        with self.state.read() as conn:
            found = {drift.what for drift in drifts.open_ones(conn, (binding.name,))}
        if recorded is not None and pointed == AliasState(recorded.function_version):
            self.edited.discard(region)
        assert region in self.edited or not found & {"alias", "weights"}

    @rule()
    def the_registry_is_looked_at(self) -> None:
        self.doing(lambda: look(self.here.rooms, "models", auto_release=True))

    @rule(steps=st.integers(1, 24))
    def work_is_done(self, steps: int) -> None:
        def work() -> None:
            for _ in range(steps):
                tick(self.here.rooms)
                self.here.run_one()

        self.doing(work)

    @rule()
    def what_nobody_will_finish_is_swept(self) -> None:
        self.doing(lambda: sweep(self.here.rooms))

    # What goes wrong.

    @rule(region=regions, when=moments)
    def a_region_is_cut_off(self, region: str, when: str) -> None:
        self.faults.cut[region] = when

    @precondition(lambda self: self.faults.cut)
    @rule()
    def the_regions_are_back(self) -> None:
        self.faults.cut.clear()

    @rule(effects=st.integers(0, 12), when=moments)
    def the_process_will_die(self, effects: int, when: str) -> None:
        self.faults.kill_in = (effects, when)

    @rule()
    def the_process_dies(self) -> None:
        self.state.close()
        self.boot()

    @rule(seconds=st.sampled_from([1, 11, 31, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.world.time += timedelta(seconds=seconds)

    @rule()
    def the_faults_stop(self) -> None:
        self.come_to_rest()

    # What always holds.

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
                told = [event.kind for event in self.here.events(release.id)]
                assert told.count("flip.probed") == len(flips) == len(self.here.rooms.fleet.bindings_of(release.model))
                assert told.index("release.flipping") < told.index("flip.intended")

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

    def has_begun_to_flip(self, release_id: str) -> bool:
        return any(event.kind == "release.flipping" for event in self.here.events(release_id))

    def is_held(self, model: str) -> bool:
        with self.state.read() as conn:
            return holds.find(conn, model) is not None

    def is_quarantined(self, model: str) -> bool:
        with self.state.read() as conn:
            return any(version.quarantined for version in versions.known(conn, model))

    def come_to_rest(self) -> None:
        """No more faults: within a bounded number of ticks every release has ended, or tells a person what to do."""
        self.faults.cut.clear()
        self.faults.kill_in = None
        for _ in range(REST_TICKS_MAX):
            moved = tick(self.here.rooms)
            if self.here.run_one() or moved:
                continue
            if not self.here.unfinished() or self.only_waits_for_a_person():
                break
            self.world.time += timedelta(seconds=61)
            for region in TARGETS.values():  # what the daemon does on its clock with a restore that broke off
                resume(self.here.looker, region)
        for release in self.here.unfinished():
            assert self.only_waits_for_a_person(), (release, self.here.steps(release.id), self.here.flips(release.id))

    def only_waits_for_a_person(self) -> bool:
        """An alias that somebody moved by hand is not moved back over his head; a step says so, again and again."""
        unfinished = self.here.unfinished()
        blocked = [release for release in unfinished if release.phase is ReleasePhase.UNDOING]
        told = all(
            any(step.failures and "by hand" in step.hint for step in self.here.steps(release.id).values())
            for release in blocked
        )
        waiting = all(release.reason for release in unfinished)
        return bool(blocked) and bool(self.edited) and told and waiting

    def teardown(self) -> None:
        if not hasattr(self, "home"):
            return
        try:
            self.come_to_rest()
        finally:
            self.state.close()
            shutil.rmtree(self.home, ignore_errors=True)


def quick_place() -> Path | None:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


@functools.cache
def template() -> Path:
    """A SQLite file that was upgraded, once for all runs of the machine."""
    file = Path(tempfile.mkdtemp(prefix="syncd-template-", dir=quick_place())) / "state.db"
    upgrade(f"sqlite:///{file}")
    return file


TestReleaseMachine = ReleaseMachine.TestCase
TestReleaseMachine.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
