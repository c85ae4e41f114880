"""Retention rules in the faulty world of the release machine: nothing needed goes, and with quiet everything else does.

The oracle knows the world, the history and what people said; it does not know how the rules decide.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from syncd.errors import Conflict, Held, NotFound
from syncd.plan.retention import RetentionPolicy, RetentionRule
from syncd.reconcile.gc import retention, retire
from syncd.reconcile.gc.sweep import sweep
from syncd.reconcile.requests import lease_requests
from syncd.reconcile.requests.operations import publish
from syncd.state.content import versions
from syncd.state.records import Event
from syncd.state.serving import live
from syncd.values.function import AliasState

from tests.property.start import MODELS
from tests.property.test_release_machine import ReleaseMachine, models, workers
from tests.support.lengths import TIMES
from tests.support.rooms import DRAW, TARGETS, Site

KEEP, GRACE_S = 2, 100.0
RULES = RetentionPolicy((RetentionRule(("*",), keep=KEEP),), GRACE_S)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def between(what: str) -> Callable[..., None]:
    """The rule that something happens to a model with marked versions, and the process that deletes may die."""

    def happens(machine: RetentionMachine, model: str, releases: int, who: int, count: int | None) -> None:
        machine.a_version_is_marked_and_then(model, releases, what, who, count)

    deaths = st.none() | st.integers(0, 20)
    made: Callable[..., None] = rule(model=models, releases=st.integers(2, 4), who=workers, count=deaths)(happens)
    return made


class RetentionMachine(ReleaseMachine):
    """All that may happen to releases, and passes of the rules by processes that are cut off and die."""

    backs: dict[str, tuple[str, frozenset[str]]]  # by model: what a rollback returns to, and where it was
    leased: dict[str, tuple[str, datetime, frozenset[str]]]  # by lease: the digest, its end, and where it was

    def configured(self) -> dict[str, object]:
        if not hasattr(self, "leased"):  # it is asked for by each process
            self.backs, self.leased = {}, {}
        return super().configured() | {"retention": RULES}

    def a_pass(self, here: Site) -> None:
        retention.run(here.looker, MODELS, "retention", threading.Event())

    @rule(who=workers)
    def the_rules_are_applied(self, who: int) -> None:
        self.doing(self.a_pass, who)

    @rule(who=workers, again=st.booleans())
    def the_grace_period_passes(self, who: int, again: bool) -> None:  # noqa: FBT001 -- of a rule
        self.world.time += timedelta(seconds=GRACE_S + 1)
        self.doing(self.a_pass, who)
        if again:
            self.doing(lambda here: retire.resume(here.looker, threading.Event()), who)

    @rule(model=models, releases=st.integers(1, 4))
    def several_versions_go_live(self, model: str, releases: int) -> None:
        self.come_to_rest()
        for _ in range(releases):
            self.somebody_says(model, "publish the next")
            self.come_to_rest()

    def a_version_is_marked_and_then(self, model: str, releases: int, what: str, who: int, count: int | None) -> None:
        """Something needs it again before its grace period is over, or the process that deletes it dies."""
        self.several_versions_go_live(model, releases)
        self.doing(self.a_pass, 1 - who)
        oldest = self.numbers[model] - releases
        match what:
            case "lease":
                self.a_reader_takes_a_lease(model, releases, 24.0)
            case "move by hand":
                function = self.world.runtimes["hangzhou"].functions[DRAW]
                function.aliases["prod"] = AliasState(min(function.versions, key=int))
                self.edited.add("hangzhou")
            case "publish":
                with suppress(Conflict, Held):
                    publish(self.here.requester, model, f"v{max(1, oldest)}")
                self.work_is_done(3, (who,))
            case "undo":
                self.somebody_undoes_a_removal(model, releases)
            case _:
                self.somebody_says(model, what)
        self.nothing_that_is_needed_is_gone()
        self.world.time += timedelta(seconds=GRACE_S + 1)
        if count is not None:
            self.workers[who][1].kill_in = (count, "after" if count % 2 else "before")
        self.doing(self.a_pass, who)
        self.nothing_that_is_needed_is_gone()
        self.what_is_promised_holds()
        self.doing(self.a_pass, 1 - who)

    # What happens between the mark and the deletion; a rule each, so that they are drawn as often as the others' rules.
    a_reader_comes = between("lease")
    an_alias_is_moved = between("move by hand")
    it_is_published_again = between("publish")
    it_is_undone = between("undo")
    it_is_rolled_back = between("roll back")
    the_model_is_held = between("hold")
    the_model_is_frozen = between("freeze")
    nothing_happens = between("nothing")

    @rule(model=models, back=st.integers(0, 4), hours=st.sampled_from([1.0, 24.0]))
    def a_reader_takes_a_lease(self, model: str, back: int, hours: float) -> None:
        name, version = f"reader-{len(self.leased)}", f"v{max(1, self.numbers[model] - back)}"
        with suppress(NotFound, Conflict):
            taken = lease_requests.take(self.here.requester, name, model, version, hours)
            digest = self.here.digest(model, version)
            self.leased[name] = (digest, taken.until, self.places(digest))

    @rule(model=models, back=st.integers(0, 4))
    def somebody_undoes_a_removal(self, model: str, back: int) -> None:
        with suppress(NotFound, Conflict):
            retention.undo(self.here.looker, f"{model}@v{max(1, self.numbers[model] - back)}", "ann")

    # What is promised.

    def places(self, digest: str) -> frozenset[str]:
        """Where a version is sealed; every sealed one is whole."""
        return frozenset(target for target in TARGETS if digest in self.world.sealed(target))

    @invariant()
    def nothing_that_is_needed_is_gone(self) -> None:
        for digest, until, places in self.leased.values():
            if self.world.time < until:
                assert places <= self.places(digest), "a leased version is gone"
        for model in MODELS:
            with self.here.state.read() as conn:
                before = live.previous_release(conn, model)
                back = versions.get(conn, before.version_id) if before and before.version_id else None
            if back is None:
                self.backs.pop(model, None)
                continue
            # Only what was the way back before, too: two rollbacks in a row may lead to what was removed long ago.
            known, places = self.backs.get(model, ("", frozenset()))
            found = self.places(back.digest.hex)
            assert known != back.id or places <= found, f"a rollback of {model} finds nothing"
            self.backs[model] = (back.id, found)

    @invariant()
    def nothing_is_retired_without_its_grace_period(self) -> None:
        """By the history alone: marked for so long, not unmarked since, and not among the newest when it was marked."""
        marked: dict[str, Event] = {}
        for event in self.here.events():
            match event.kind:
                case "version.marked":
                    marked[event.subject] = event
                case "version.unmarked":
                    marked.pop(event.subject)
                case "version.retiring":
                    assert (event.at - marked.pop(event.subject).at).total_seconds() >= GRACE_S
                case _:
                    pass

    def teardown(self) -> None:
        if hasattr(self, "here"):
            try:
                self.with_quiet_everything_unneeded_goes()
            finally:
                super().teardown()

    def with_quiet_everything_unneeded_goes(self) -> None:
        self.come_to_rest()
        for model in MODELS:
            self.somebody_says(model, "unhold")
        self.come_to_rest()
        if self.here.unfinished():
            return  # they wait for a person, and need what they need
        self.world.time += timedelta(days=2)  # every lease has run out
        for _ in range(3):
            self.a_pass(self.here)
            self.world.time += timedelta(seconds=GRACE_S + 1)
        sweep(self.here.context)  # what releases that failed have left half there
        for model in MODELS:
            needed = self.needed(model)
            short = {digest[:12] for digest in needed}
            for target in TARGETS:
                found = {digest for digest, each in self.world.sealed(target).items() if each.model == model}
                assert found <= needed, f"{len(found - needed)} versions of {model} are left at {target}"
                every = self.world.stores[target].objects
                left = [key for key in every if key.startswith(f"models/{model}/") and not key.endswith("/")]
                assert {key.split("/")[2].rpartition("-")[2] for key in left} <= short, "not every byte has gone"

    def needed(self, model: str) -> set[str]:
        """Digests that stay for ever: what aliases reach, a rollback, the newest, what is spared or in quarantine."""
        found: set[str] = set()
        for runtime in self.world.runtimes.values():
            function = runtime.functions[DRAW]
            reached = function.aliases.get("prod")
            for number in {reached.function_version, *reached.weights} - {None} if reached else set():
                found |= set(_DIGEST.findall(json.dumps(dict(function.versions[str(number)].change.environment))))
        with self.here.state.read() as conn:
            before = live.previous_release(conn, model)
            known = versions.known(conn, model)
            spared = conn.exec_driver_sql("SELECT version_id FROM removals WHERE spared_by <> ''").scalars().all()
        sealed = [each for each in known if self.places(each.digest.hex)]
        stay = {each.id for each in sealed[-KEEP:]} | set(spared) | {before.version_id if before else ""}
        stay |= {each.id for each in known if each.quarantined}
        return found | {each.digest.hex for each in known if each.id in stay}


TestRetentionMachine = RetentionMachine.TestCase
TestRetentionMachine.settings = settings(
    max_examples=6 * TIMES,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
