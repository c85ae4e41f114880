"""The whole reconcile against a world that misbehaves: invariants after each step, and rest when the faults stop."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from syncd.errors import Conflict, Held, NotFound, Unavailable
from syncd.plan.drift import DriftPolicy
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.mend import Word, adopt, restore, resume
from syncd.reconcile.patrol import Rules, patrol
from syncd.reconcile.sweep import sweep
from syncd.reconcile.tick import tick
from syncd.reconcile.wish import freeze, hold, publish, rollback, unfreeze, unhold
from syncd.runtime.base import AliasState
from syncd.state import drifts
from syncd.state.state import State

from tests.property.faulty import Faults, Killed, Paused, process, quick_place, template
from tests.property.promises import MODELS, Promises
from tests.rooms import BINDINGS, DRAW, LEASE_S, TARGETS, HandEngine, Site, World, look

REST_TICKS_MAX = 400
ATTEMPTS_MAX = 16  # a release has about ten steps
regions = st.sampled_from(sorted(TARGETS.values()))
models = st.sampled_from(MODELS)
moments = st.sampled_from(["before", "after"])
effects = st.sampled_from(["flip", "flip", "stage", "probe", "read", "put"])
words = st.sampled_from(["roll back", "hold", "unhold", "freeze", "unfreeze"])
WORKERS, PAUSES = 2, 1  # the second one may stand still for longer than its lease
workers = st.sampled_from(range(WORKERS))


class ReleaseMachine(Promises, RuleBasedStateMachine):
    """Two models, two regions, one function that serves both; two workers. Every rule is one thing that happens."""

    numbers: dict[str, int]

    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="syncd-machine-", dir=quick_place()))
        shutil.copyfile(template(), self.home / "state.db")
        self.world = World(self.home / "registry")
        self.state = State(f"sqlite:///{self.home / 'state.db'}", now=self.world.now)
        self.numbers = dict.fromkeys(MODELS, 0)
        self.boots = 0
        self.edited: set[str] = set()  # regions whose alias was moved by hand and not since by us
        self.held_at: dict[str, dict[str, str]] = {}
        self.frozen_at: dict[str, set[str]] = {}
        self.cut: dict[str, str] = {}
        self.engine = HandEngine()
        self.workers = []
        self.paused: Paused | None = None  # an attempt of the second worker
        self.workers += [self.booted() for _ in range(WORKERS)]
        for model in MODELS:  # something is live, so that there is something to lose
            self.a_version_appears(model)
            publish(self.here.wisher, model, "v1")
        self.come_to_rest()

    def booted(self) -> tuple[Site, Faults]:
        """A new process over the same world and the same record."""
        self.boots += 1
        faults = Faults(self.cut)
        url = f"sqlite:///{self.home / 'state.db'}"
        return process(self.world, url, faults, f"worker-{self.boots}", engine=self.engine), faults

    def boot(self, who: int) -> None:
        """One process has died, and another begins. What the engine knew is forgotten, of the other one's work too."""
        self.workers[who][0].state.close()
        self.workers[who] = self.booted()
        self.engine.known.clear()
        self.engine.queues.clear()

    def is_busy(self, who: int) -> bool:
        """Whether a process stands still."""
        return who == PAUSES and self.paused is not None

    def doing(self, act: Callable[[Site], object], who: int = 0) -> None:
        """Have a process do something; if it dies of it, another one begins."""
        if self.is_busy(who):
            return
        try:
            act(self.workers[who][0])
        except Killed:
            self.boot(who)

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

    @rule(model=models, word=words)
    def somebody_says(self, model: str, word: str) -> None:
        wisher = self.here.wisher
        match word:
            case "roll back":
                with suppress(NotFound):
                    rollback(wisher, model, "bad eyes")
                    assert self.is_held(model)
            case "hold":
                hold(wisher, model, "do not touch")
            case "unhold":
                unhold(wisher, model)
            case "freeze":
                freeze(wisher, model, "a sale", timedelta(hours=2))
            case "unfreeze":
                unfreeze(wisher, model)

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

        def act(here: Site) -> None:
            try:
                does(here.looker, binding, Word("ann", "it was me"))
            except (Conflict, NotFound, Unavailable):
                return
            self.edited.discard(region)

        self.doing(act)

    # What the process does.

    @rule(region=regions, policy=st.sampled_from(DriftPolicy))
    def a_region_is_compared_with_the_record(self, region: str, policy: DriftPolicy) -> None:
        def act(here: Site) -> None:
            try:
                patrol(here.looker, region, Rules(policy), threading.Event(), pause_s=0.0)
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

    @rule(who=workers)
    def the_registry_is_looked_at(self, who: int) -> None:
        self.doing(lambda here: look(here.rooms, "models", auto_release=True), who)

    @rule(steps=st.integers(1, 24), turns=st.sampled_from([(0,), (1,), (0, 1)]))
    def work_is_done(self, steps: int, turns: Sequence[int]) -> None:
        for number in range(steps):
            who = turns[number % len(turns)]
            self.doing(lambda here: tick(here.rooms), who)
            self.doing(lambda here: here.run_one(), turns[-1 - number % len(turns)])

    @rule()
    def what_nobody_will_finish_is_swept(self) -> None:
        self.doing(lambda here: sweep(here.rooms))

    # What goes wrong.

    @rule(region=regions, when=moments)
    def a_region_is_cut_off(self, region: str, when: str) -> None:
        self.cut[region] = when

    @precondition(lambda self: self.cut)
    @rule()
    def the_regions_are_back(self) -> None:
        self.cut.clear()

    @rule(count=st.integers(-4, 12), when=moments, who=workers)
    def a_process_dies(self, count: int, when: str, who: int) -> None:
        """After so many effects, or now."""
        if count >= 0:
            self.workers[who][1].kill_in = (count, when)
        elif self.is_busy(who):
            self.workers[who][1].is_dead = True
            self.wake()
        else:
            self.boot(who)

    @precondition(lambda self: self.paused is None)
    @rule(name=effects, when=moments, model=models)
    def a_worker_stands_still_in_the_middle_of_a_new_release(self, name: str, when: str, model: str) -> None:
        self.a_version_appears(model)
        self.somebody_publishes(model, 0)
        self.a_worker_stands_still_in_the_middle_of_an_attempt(name, when)

    @precondition(lambda self: self.paused is None)
    @rule(name=effects, when=moments)
    def a_worker_stands_still_in_the_middle_of_an_attempt(self, name: str, when: str) -> None:
        here, faults = self.workers[PAUSES]
        self.paused = Paused(here, faults, (name, when), ATTEMPTS_MAX)
        if not faults.paused.is_set():
            self.wake()

    @precondition(lambda self: self.paused is not None)
    @rule(model=models, meanwhile=words)
    def its_lease_passes_to_the_other(self, model: str, meanwhile: str) -> None:
        """What the one that stands still was at is taken from it, done, and whatever comes after that as well."""
        self.somebody_says(model, meanwhile)
        self.world.time += timedelta(seconds=LEASE_S + 1)
        self.work_is_done(8, (0,))

    @precondition(lambda self: self.paused is not None)
    @rule()
    def it_goes_on(self) -> None:
        self.wake()

    def wake(self) -> None:
        """Have the attempt that stands still go on to its end; of a dead process nothing more comes."""
        assert self.paused is not None
        self.paused.wake()
        self.paused = None
        if self.workers[PAUSES][1].is_dead:
            self.boot(PAUSES)

    @rule(seconds=st.sampled_from([1, 11, 31, 4000, -40]))
    def the_clock_moves(self, seconds: int) -> None:
        self.world.time += timedelta(seconds=seconds)

    @rule()
    def the_faults_stop(self) -> None:
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """No more faults: within a bounded number of ticks every release has ended, or tells a person what to do."""
        self.cut.clear()
        for _, faults in self.workers:
            faults.kill_in = None
        if self.paused is not None:
            self.wake()
        for model in MODELS:
            unfreeze(self.here.wisher, model)
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
            if self.paused is not None:
                self.workers[PAUSES][1].is_dead = True
                self.paused.wake()
            for here, _ in self.workers:
                here.state.close()
            self.state.close()
            shutil.rmtree(self.home, ignore_errors=True)


TestReleaseMachine = ReleaseMachine.TestCase
TestReleaseMachine.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
