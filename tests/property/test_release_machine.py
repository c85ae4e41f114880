"""Reconciliation against a faulty world: invariants after each step, and rest when the faults stop."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from syncd.errors import Conflict, Held, NotFound, Unavailable
from syncd.plan.drift import DriftPolicy
from syncd.plan.gate import Gates
from syncd.plan.phases import ReleasePhase
from syncd.plan.strategy import Strategies
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.drift.resolve import Justification, adopt, restore, resume
from syncd.reconcile.drift.scan import DriftRules, scan
from syncd.reconcile.gc.sweep import sweep
from syncd.reconcile.requests.operations import approve, cancel, freeze, hold, publish, unfreeze, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.state.releases import releases
from syncd.state.serving import drifts
from syncd.state.state import State
from syncd.values.function import AliasState

from tests.property.faulty import Faults, Killed, Paused, process
from tests.property.promises import Promises
from tests.property.start import MODELS, start, url_of
from tests.property.ways import WAYS
from tests.support.lengths import TIMES
from tests.support.rooms import BINDINGS, DRAW, LEASE_S, LORA, TARGETS, HandEngine, Site, look, site

REST_TICKS_MAX = 600
ATTEMPTS_MAX = 32  # a release has about ten steps
regions = st.sampled_from(sorted(TARGETS.values()))
models = st.sampled_from(MODELS)
moments = st.sampled_from(["before", "after"])
WRITES = (("write", "before"), ("write", "before"), ("write", "after"), ("move", "after"))
effects = st.sampled_from([*WRITES, *WRITES, ("read", "after"), ("stage", "before"), ("put", "after")])
words = st.sampled_from(["roll back", "hold", "unhold", "freeze", "unfreeze", "cancel", "approve", "publish the next"])
minds = st.sampled_from(["roll back", "roll back", "cancel", "hold", "freeze", "nothing"])
changed = st.sampled_from(["roll back", "cancel", "hold", "freeze", "publish the next", "nothing"])
WORKERS = 2
workers = st.sampled_from(range(WORKERS))


class ReleaseMachine(Promises, RuleBasedStateMachine):
    """Two models, two regions, one function that serves both; two workers. Every rule is one thing that happens."""

    numbers: dict[str, int]

    @initialize(way=st.sampled_from(sorted(WAYS)), approval=st.sampled_from([(), (LORA,)]))
    def begin(self, way: str, approval: tuple[str, ...]) -> None:
        self.home, self.world = start().copied()
        self.way, self.approval = way, approval
        self.numbers = dict.fromkeys(MODELS, 1)
        self.boots = 0
        self.edited, self.never_right = set(), set()
        self.held_at, self.frozen_at, self.ended = {}, {}, {}
        self.cut: dict[str, str] = {}
        self.engine = HandEngine()
        self.paused = {}
        self.workers = [self.booted() for _ in range(WORKERS)]
        state = State(url_of(self.home), now=self.world.now)
        self.here = site(self.world, state, engine=self.engine, owner="people", **self.configured())
        self.first = {release.id for release in self.here.all_releases()}

    def configured(self) -> dict[str, object]:
        return {"strategies": Strategies(((("*",), WAYS[self.way]),)), "gates": Gates(approval=self.approval)}

    def booted(self) -> tuple[Site, Faults]:
        """A new process over the same world and the same record."""
        self.boots += 1
        faults = Faults(self.cut)
        owner = f"worker-{self.boots}"
        return process(self.world, url_of(self.home), faults, owner, engine=self.engine, **self.configured()), faults

    def boot(self, who: int) -> None:
        """One process has died, and another begins. What the engine knew is forgotten, of the other one's work too."""
        self.workers[who][0].state.close()
        self.workers[who] = self.booted()
        self.engine.known.clear()
        self.engine.queues.clear()

    def doing(self, act: Callable[[Site], object], who: int) -> None:
        """Have a process do something, unless it stands still; if it dies of it, another one begins."""
        if who in self.paused:
            return
        try:
            act(self.workers[who][0])
        except Killed:
            self.boot(who)

    # What people and pipelines do.

    @rule(model=models, wrong=st.sampled_from([False, False, False, True]))
    def a_version_appears(self, model: str, *, wrong: bool = False) -> None:
        self.numbers[model] += 1
        self.world.deliver(model, f"v{self.numbers[model]}")
        if wrong:
            self.world.wrong.add((model, f"v{self.numbers[model]}"))
            self.never_right.add((model, f"v{self.numbers[model]}"))

    @rule(model=models)
    def what_is_live_turns_bad(self, model: str) -> None:
        """It was right at its probe and is not any more: what is baked is judged by that."""
        for release in self.here.unfinished():
            if release.model == model and release.phase is ReleasePhase.FLIPPING and not release.rollback:
                self.world.wrong.add((model, release.ref))

    @rule(model=models, back=st.integers(0, 2))
    def somebody_publishes(self, model: str, back: int) -> None:
        try:
            publish(self.here.requester, model, f"v{max(1, self.numbers[model] - back)}")
        except Held:
            assert self.is_held(model)
        except Conflict:
            assert self.is_quarantined(model)

    @rule(model=models, word=words)
    def somebody_says(self, model: str, word: str) -> None:
        requester = self.here.requester
        mine = [each for each in self.here.unfinished() if each.model == model]
        match word:
            case "roll back":
                with suppress(NotFound):
                    rollback(requester, model, "bad eyes")
                    assert self.is_held(model)
            case "hold":
                hold(requester, model, "do not touch")
            case "unhold":
                unhold(requester, model)
                self.held_at.pop(model, None)
            case "freeze":
                freeze(requester, model, "a sale", timedelta(hours=2))
            case "unfreeze":
                unfreeze(requester, model)
                self.frozen_at.pop(model, None)
            case "publish the next":
                self.somebody_says(model, "unhold")
                self.a_version_appears(model)
                self.somebody_publishes(model, 0)
            case "cancel" | "approve":
                does = cancel if word == "cancel" else lambda who, release, _: approve(who, release)
                for release in mine:
                    with suppress(Conflict):
                        does(requester, release.id, "not now")
        self.what_is_promised_holds()

    @rule(model=models, steps=st.integers(1, 14), mind=changed, who=workers, lost=st.none() | effects)
    def somebody_publishes_and_changes_his_mind(
        self, model: str, steps: int, mind: str, who: int, lost: tuple[str, str] | None
    ) -> None:
        """Wherever the release has come to by then, perhaps over an answer that was lost."""
        self.come_to_rest()
        self.somebody_says(model, "publish the next")
        self.workers[who][1].lose = lost
        self.work_is_done(steps, (who,))
        self.somebody_says(model, "approve" if model in self.approval and steps > len(MODELS) else mind)
        self.work_is_done(steps, (who,))
        self.somebody_says(model, mind)
        self.work_is_done(steps, (1 - who,))

    @rule(model=models, content=st.sampled_from(["", "x"]))
    def a_published_version_is_written_again(self, model: str, content: str) -> None:
        self.world.change(model, f"v{self.numbers[model]}", content)

    @rule(region=regions, then=st.sampled_from([None, adopt, restore]), data=st.data())
    def somebody_moves_an_alias_by_hand(
        self, region: str, then: Callable[..., object] | None, data: st.DataObject
    ) -> None:
        function = self.world.runtimes[region].functions[DRAW]
        version = data.draw(st.sampled_from(sorted(function.versions)))
        function.aliases["prod"] = AliasState(version)
        self.edited.add(region)
        if then is not None:
            self.somebody_adopts_or_restores(region, then)

    @rule(region=regions, does=st.sampled_from([adopt, restore]))
    def somebody_adopts_or_restores(self, region: str, does: Callable[..., object]) -> None:
        binding = next(each for each in BINDINGS if each.runtime == region)

        def act(here: Site) -> None:
            try:
                does(here.looker, binding, Justification("ann", "it was me"))
            except (Conflict, NotFound, Unavailable):
                return
            self.edited.discard(region)

        self.doing(act, 0)

    # What the processes do.

    @rule(region=regions, policy=st.sampled_from(DriftPolicy))
    def a_region_is_compared_with_the_record(self, region: str, policy: DriftPolicy) -> None:
        def act(here: Site) -> None:
            try:
                scan(here.looker, region, DriftRules(policy), threading.Event(), pause_s=0.0)
            except Unavailable:
                return
            self.settled(region)

        self.doing(act, 0)

    def settled(self, region: str) -> None:
        """What a round has left open is what somebody changed; where it has found nothing, nothing is."""
        binding = next(each for each in BINDINGS if each.runtime == region)
        recorded, pointed = self.here.live(binding.name), self.world.alias(region)
        with self.here.state.read() as conn:
            found = {drift.what for drift in drifts.open_drifts(conn, (binding.name,))}
        if recorded is not None and pointed == AliasState(recorded.function_version):
            self.edited.discard(region)
        assert region in self.edited or self.is_at_work_in(binding.name) or not found & {"alias", "weights"}

    @rule(who=workers)
    def the_registry_is_looked_at(self, who: int) -> None:
        self.doing(lambda here: look(here.context, "models", auto_release=True), who)

    @rule(steps=st.integers(1, 24), turns=st.sampled_from([(0,), (1,), (0, 1)]))
    def work_is_done(self, steps: int, turns: Sequence[int]) -> None:
        for number in range(steps):
            who = turns[number % len(turns)]
            self.doing(lambda here: tick(here.context), who)
            self.doing(lambda here: here.run_one(), turns[-1 - number % len(turns)])

    @rule(who=workers)
    def what_nobody_will_finish_is_swept(self, who: int) -> None:
        self.doing(lambda here: sweep(here.context), who)

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
        elif who in self.paused:
            self.workers[who][1].is_dead = True
            self.wake(who)
        else:
            self.boot(who)

    @precondition(lambda self: len(self.paused) < WORKERS)
    @rule(who=workers, at=effects, model=models, fresh=st.booleans(), late=st.booleans(), data=st.data())
    def a_worker_stands_still(
        self, who: int, at: tuple[str, str], model: str, data: st.DataObject, *, fresh: bool, late: bool
    ) -> None:
        """In the middle of a new release, or of whatever is under way."""
        if who in self.paused:
            return
        if fresh and not self.paused:
            self.come_to_rest()
            self.somebody_says(model, "publish the next")
            self.work_is_done(3, (1 - who,))
            self.somebody_says(model, "approve")
        self.paused[who] = Paused(*self.workers[who], at, ATTEMPTS_MAX)
        if not self.paused[who].stands:
            self.wake(who)
        elif late:
            self.its_lease_passes(who, *data.draw(st.tuples(minds, st.booleans(), st.integers(1, 16))))

    @precondition(lambda self: self.paused)
    @rule(who=workers, mind=minds, again=st.booleans(), steps=st.integers(1, 16))
    def its_lease_passes(self, who: int, mind: str, again: bool, steps: int) -> None:  # noqa: FBT001 -- of a rule
        """What the one that stands still was at is taken from it, done, and whatever comes after that as well."""
        if who not in self.paused:
            return
        with self.here.state.read() as conn:
            model = releases.get(conn, self.paused[who].release).model
        self.somebody_says(model, mind)
        self.world.time += timedelta(seconds=LEASE_S + 1)
        self.work_is_done(8, (1 - who,))
        if again:
            self.somebody_says(model, "publish the next")
        self.work_is_done(steps, (1 - who,))

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def it_goes_on(self, data: st.DataObject) -> None:
        self.wake(data.draw(st.sampled_from(sorted(self.paused))))

    def wake(self, who: int) -> None:
        """Have the attempt that stands still go on to its end; of a dead process nothing more comes."""
        paused = self.paused[who]
        paused.wake()
        del self.paused[who]
        region = next((each.runtime for each in BINDINGS if each.name == paused.subject), "")
        if self.workers[who][1].is_dead:
            self.boot(who)
            self.edited |= {region} - {""}
        elif region in self.cut:
            self.edited.add(region)

    @rule(seconds=st.sampled_from([1, 11, 31, 31, 4000, -40]))
    def the_clock_moves(self, seconds: int) -> None:
        self.world.time += timedelta(seconds=seconds)

    @rule()
    def the_faults_stop(self) -> None:
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """No more faults: within a bounded number of ticks every release has ended, or tells a person what to do."""
        self.cut.clear()
        self.world.wrong = set(self.never_right)
        for _, faults in self.workers:
            faults.kill_in = faults.lose = None
        for who in sorted(self.paused):
            self.wake(who)
        for model in MODELS:
            self.somebody_says(model, "unfreeze")
        for _ in range(REST_TICKS_MAX):
            moved = tick(self.here.context)
            if self.here.run_one() or moved:
                continue
            if (not self.here.unfinished() or self.only_waits_for_a_person()) and not self.is_behind():
                break
            self.world.time += timedelta(seconds=61)
            for model in self.approval:
                self.somebody_says(model, "approve")
            for region in TARGETS.values():  # what the daemon does on its clock with a restore that broke off
                resume(self.here.looker, region)
        for release in self.here.unfinished():
            assert self.only_waits_for_a_person(), (release, self.here.steps(release.id), self.here.flips(release.id))
        assert not self.is_behind(), "a region that was left behind does not catch up"

    def is_behind(self) -> bool:
        """Whether a region was left behind by what is live, and nobody has said that it is to stay there."""
        with self.here.state.read() as conn:
            left = releases.live_with_abandoned(conn)
        return any(not self.is_held(release.model) for release in left)

    def only_waits_for_a_person(self) -> bool:
        """An alias that somebody moved by hand is not moved back over his head; a step says so, again and again."""
        unfinished = self.here.unfinished()
        blocked = [release for release in unfinished if release.phase is ReleasePhase.UNDOING]
        told = all(
            any(step.failures and "outside syncd" in step.hint for step in self.here.steps(release.id).values())
            for release in blocked
        )
        waiting = all(release.reason for release in unfinished)
        return bool(blocked) and bool(self.edited) and told and waiting

    def teardown(self) -> None:
        if not hasattr(self, "here"):
            return
        try:
            self.come_to_rest()
        finally:
            for who, paused in self.paused.items():
                self.workers[who][1].is_dead = True
                paused.wake()
            for here in (self.here, *(here for here, _ in self.workers)):
                here.state.close()
            shutil.rmtree(self.home, ignore_errors=True)


TestReleaseMachine = ReleaseMachine.TestCase
TestReleaseMachine.settings = settings(
    max_examples=12 * TIMES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
