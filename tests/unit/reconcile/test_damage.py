"""Damage to what serves, made beside syncd, against each command: it ends live, or with advice that works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.errors import SyncdError
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.drift.compare import compare
from syncd.reconcile.drift.resolve import Justification, adopt, restore
from syncd.reconcile.requests.operations import publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.runtime.memory import MemoryFunction, MemoryRuntime
from syncd.state.content import versions
from syncd.state.serving import live
from syncd.values.function import AliasState, Change

from tests.support.rooms import DRAW, SDXL, Site, World
from tests.unit.reconcile.test_compare import SG, live_now

WORD = Justification("ann", "it was me")
REGION = "singapore"
TRIES = 12
ADVICE_MAX = 4  # each is one command that a person enters
SCALING = {"provision": {"target": 1}}


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    """v2 is live on top of v1; instances are provisioned on the alias by somebody else."""
    for version in ("v1", "v2"):
        live_now(on_sqlite, on_sqlite.world, SDXL, version)
    on_sqlite.world.runtimes[REGION].functions[DRAW].scaling["prod"] = SCALING
    return on_sqlite


def _latest(function: MemoryFunction, change: Callable[[Change], Change]) -> None:
    function.latest = change(function.latest)


def _variables(change: Change, **values: str | None) -> Change:
    merged = {**change.environment, **values}
    return replace(change, environment={name: value for name, value in merged.items() if value is not None})


def _deleted(runtime: MemoryRuntime, *names: str) -> None:
    function = runtime.functions[DRAW]
    for name in names:
        if name == "function":
            runtime.functions.pop(DRAW)
        elif name == "version":
            function.versions.pop("2")
        else:
            function.aliases.pop(name)
            function.scaling.pop(name, None)


def _moved_off_a_deleted_version(runtime: MemoryRuntime) -> None:
    _deleted(runtime, "version")
    runtime.functions[DRAW].aliases["prod"] = AliasState("1")


def _mounts(change: Change, *, more: bool) -> Change:
    return replace(change, mounts=(*change.mounts, replace(change.mounts[0], mount_dir="/mnt/copy")) if more else ())


DAMAGE: dict[str, Callable[[MemoryRuntime], object]] = {
    "function deleted": lambda r: _deleted(r, "function"),
    "function changed": lambda r: _latest(r.functions[DRAW], lambda c: _variables(c, OWNER="ops")),
    "function duplicated": lambda r: r.functions.update({"copy": copy.deepcopy(r.functions[DRAW])}),
    "version deleted": lambda r: _deleted(r, "version"),
    "version and alias deleted": lambda r: _deleted(r, "version", "prod"),
    "version deleted, alias changed": _moved_off_a_deleted_version,
    "versions deleted": lambda r: r.functions[DRAW].versions.clear(),
    "version duplicated": lambda r: r.functions[DRAW].versions.update({"3": r.functions[DRAW].versions["2"]}),
    "alias deleted": lambda r: _deleted(r, "prod"),
    "alias changed": lambda r: r.functions[DRAW].aliases.update(prod=AliasState("1")),
    "alias shared": lambda r: r.functions[DRAW].aliases.update(prod=AliasState("2", {"1": 0.3})),
    "alias at a deleted version": lambda r: r.functions[DRAW].aliases.update(prod=AliasState("77")),
    "alias duplicated": lambda r: r.functions[DRAW].aliases.update(copy=AliasState("2")),
    "mount deleted": lambda r: _latest(r.functions[DRAW], lambda c: _mounts(c, more=False)),
    "mount changed": lambda r: _latest(
        r.functions[DRAW], lambda c: replace(c, mounts=(replace(c.mounts[0], path="/elsewhere"),))
    ),
    "mount duplicated": lambda r: _latest(r.functions[DRAW], lambda c: _mounts(c, more=True)),
    "variable deleted": lambda r: _latest(r.functions[DRAW], lambda c: _variables(c, SDXL_DIGEST=None)),
    "variable changed": lambda r: _latest(r.functions[DRAW], lambda c: _variables(c, SDXL_DIGEST="f" * 64)),
    "variable duplicated": lambda r: _latest(
        r.functions[DRAW], lambda c: _variables(c, COPY=c.environment["SDXL_DIGEST"])
    ),
    "candidate deleted": lambda r: _deleted(r, "next"),
    "candidate changed": lambda r: r.functions[DRAW].aliases.update(next=AliasState("1", {"2": 0.5})),
    "candidate at a deleted version": lambda r: r.functions[DRAW].aliases.update(next=AliasState("77")),
    "candidate duplicated": lambda r: r.functions[DRAW].aliases.update(next2=AliasState("2")),
    "provision deleted": lambda r: r.functions[DRAW].scaling.clear(),
    "provision changed": lambda r: r.functions[DRAW].scaling.update(prod={"provision": {"target": 9}}),
    "provision duplicated": lambda r: r.functions[DRAW].scaling.update(next=SCALING),
}


def outcome(here: Site, release_id: str) -> str:
    """The hint of a release that did not go live, or goes on trying for as long as a region is not as it must be."""
    for _ in range(TRIES):
        here.settle()
        here.world.time += timedelta(seconds=10)
    release = here.release(release_id)
    if release.phase is ReleasePhase.LIVE:
        return ""
    hints = [release.hint, *(step.hint for step in here.steps(release_id).values())]
    return next(hint for hint in hints if hint)


def entered(here: Site, command: str) -> str:
    """Do what a command does. The hint that it ends with; "" where it did what it is for."""
    binding = here.context.topology.bindings[SG]
    try:
        if command == "restore":
            restore(here.looker, binding, WORD)
        elif command == "adopt":
            adopt(here.looker, binding, WORD)
        elif command == "unhold":
            unhold(here.requester, SDXL)
        elif command == "wait":
            return outcome(here, here.unfinished()[0].id)
        else:
            release = rollback(here.requester, SDXL, "bad") if command == "rollback" else publish(
                here.requester, SDXL, "v2")  # fmt: skip
            return outcome(here, release.id)
    except SyncdError as error:
        return error.hint or f"no advice: {error.message}"
    return ""


def advised(here: Site, hint: str) -> list[str]:
    """The commands of a hint, after what a person does first."""
    if "create the function" in hint:
        here.world.runtimes[REGION].have_function(DRAW, environment={"OWNER": "team"})
        return ["wait" if here.unfinished() else "publish"]
    known = {f"`syncd restore {SG}`": "restore", f"`syncd unhold {SDXL}`": "unhold", "publish": "publish"}
    return [next(command for text, command in known.items() if text in hint)]


@pytest.mark.parametrize("command", ["restore", "adopt", "publish", "rollback"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_each_command_after_each_damage_ends_live_or_with_advice_that_works(
    here: Site, world: World, damage: str, command: str
) -> None:
    DAMAGE[damage](world.runtimes[REGION])
    todo, entries = [command], 0
    while todo:
        entries += 1
        assert entries <= ADVICE_MAX, f"advice without an end: {todo}"
        done = todo.pop(0)
        hint = entered(here, done)
        if hint:
            todo = advised(here, hint)
            assert todo != [done] or "create the function" in hint, f"{done} advises itself: {hint}"
        elif done == "unhold":
            todo = ["publish"]
    expected = {"rollback": {"v1", "v2"}, "adopt": {"v1", "v2"}}.get(command, {"v2"})
    assert world.serves(REGION) in [[here.digest(SDXL, version)] for version in expected]
    assert not world.alias(REGION).weights
    here.assert_record_is_true()
    compare(here.looker, here.context.topology.bindings[SG])
    assert entered(here, "restore") == "", "what is left is put back"


def test_an_undo_to_a_version_that_was_deleted_stages_it_again(here: Site, world: World) -> None:
    world.deliver(SDXL, "v3")
    release = publish(here.requester, SDXL, "v3")
    here.until(ReleasePhase.FLIPPING, release.id)
    while world.alias(REGION) == AliasState("2"):
        tick(here.context)
        assert here.run_one(release.id)
    _deleted(world.runtimes[REGION], "version")
    rollback(here.requester, SDXL, "bad eyes")
    here.settle(patient=True)
    assert here.release(release.id).phase in {ReleasePhase.UNDONE, ReleasePhase.LIVE}
    assert world.serves(REGION) == [here.digest(SDXL, "v2")]
    here.assert_record_is_true()


@pytest.mark.parametrize("is_ours", [True, False], ids=["a version of ours", "a version of others"])
def test_an_undo_to_where_others_moved_the_alias_records_what_serves_there(
    here: Site, world: World, *, is_ours: bool
) -> None:
    function = world.runtimes[REGION].functions[DRAW]
    if not is_ours:
        function.versions["7"] = replace(function.versions["1"], description="of others")
    there = "1" if is_ours else "7"
    function.aliases["prod"] = AliasState(there)
    world.deliver(SDXL, "v3")
    release = publish(here.requester, SDXL, "v3")
    here.until(ReleasePhase.FLIPPING, release.id)
    while world.alias(REGION) == AliasState(there):
        tick(here.context)
        assert here.run_one(release.id)
    rollback(here.requester, SDXL, "bad eyes")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.UNDONE
    assert world.alias(REGION) == AliasState(there)
    with here.state.read() as conn:
        recorded = live.get(conn, SG)
        assert recorded is not None
        assert recorded.function_version == there
        names = {versions.get(conn, each).name for each in recorded.models.values()}
    assert names == ({"v1"} if is_ours else set()), "the record says what the function version carries"
