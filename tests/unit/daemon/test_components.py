"""Health of components: what the checks of a daemon find, since when, and what is told of access keys."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.daemon.components import BINDINGS_AT_ONCE, NO_ANSWER, SILENT_AFTER_S, ComponentChecks, Components
from syncd.errors import KeyRefused, NotFound, Unavailable
from syncd.reconcile.context import Context
from syncd.reconcile.views.health import STALE_AFTER, health
from syncd.reconcile.views.overview import overview
from syncd.retry import Retry
from syncd.state.access import component_health, processes
from syncd.state.access.component_health import ComponentHealth
from syncd.state.state import State
from syncd.store.nas.store import NasStore
from syncd.store.nas.tree import NasSettings
from syncd.targets.versioned_tree import TreeTarget

from tests.support.rooms import SDXL, World, site

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
DOWN = Unavailable("no answer", hint="wait")


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def state(usual_state: State) -> State:
    return usual_state


@pytest.fixture
def context(tmp_path: Path, state: State) -> Context:
    return site(World(tmp_path / "registry"), state).context


def only(components: Components, section: str = "registries") -> ComponentHealth:
    (found,) = [each for each in components.shown() if each.section == section]
    return found


def test_a_component_is_unknown_then_good_then_degraded_since_its_first_failure() -> None:
    clock = Clock()
    components = Components([("registries", "hub")], {}, clock)
    assert only(components).state == "unknown"
    clock.go(1)
    components.end("registries", "hub", "a", None)
    assert (only(components).state, only(components).since) == ("good", AT + timedelta(seconds=1))
    clock.go(1)
    components.end("registries", "hub", "a", DOWN)
    clock.go(1)
    components.end("registries", "hub", "b", NotFound("no such model"))
    found = only(components)
    assert (found.state, found.reason, found.hint) == ("degraded", "a: no answer (and 1 more)", "wait")
    assert found.since == AT + timedelta(seconds=2)
    assert found.seen_at == AT + timedelta(seconds=3)


def test_it_is_good_again_when_every_part_that_failed_answers() -> None:
    components = Components([("registries", "hub")], {}, Clock())
    components.end("registries", "hub", "a", DOWN)
    components.end("registries", "hub", "b", DOWN)
    components.end("registries", "hub", "a", None)
    assert only(components).reason == "b: no answer"
    components.end("registries", "hub", "b", None)
    assert (only(components).state, only(components).reason) == ("good", "")


def test_a_check_without_an_answer_is_degraded_since_it_began_though_it_is_begun_again() -> None:
    clock = Clock()
    components = Components([("targets", "nas")], {}, clock)
    components.end("targets", "nas", "", None)
    components.begin("targets", "nas")
    clock.go(SILENT_AFTER_S - 1)
    assert only(components, "targets").state == "good"
    clock.go(1)
    components.begin("targets", "nas")
    found = only(components, "targets")
    assert (found.state, found.since, found.reason) == ("degraded", AT, "no answer for more than 10 s")
    assert found.hint == NO_ANSWER
    components.end("targets", "nas", "", None)
    assert only(components, "targets").state == "good"


def test_what_fails_without_advice_of_its_own_names_the_command_that_checks_it() -> None:
    components = Components([("runtimes", "hz")], {}, Clock())
    components.end("runtimes", "hz", "f", Unavailable("GetAlias f: 503"))
    assert only(components, "runtimes").hint == NO_ANSWER
    components.end("runtimes", "hz", "f", None)
    assert only(components, "runtimes").hint == ""


def test_a_refused_key_is_told_of_the_key_and_another_failure_is_not() -> None:
    components = Components([("targets", "hz"), ("runtimes", "hz")], {("targets", "hz"): "k", ("runtimes", "hz"): "k"})
    components.end("targets", "hz", "", DOWN)
    assert only(components, "credentials").state == "unknown"
    components.end("targets", "hz", "", KeyRefused("wrong key"))
    components.end("runtimes", "hz", "f", None)
    assert only(components, "credentials").reason == "targets.hz: wrong key"
    components.end("targets", "hz", "", None)
    assert only(components, "credentials").state == "good"


def test_since_outlives_a_restart_and_does_not_replace_what_was_checked() -> None:
    before = [
        ComponentHealth("targets", name, "degraded", AT - timedelta(hours=1), "no answer", "wait", AT)
        for name in ("a", "b", "gone")
    ]
    components = Components([("targets", "a"), ("targets", "b")], {}, Clock())
    components.end("targets", "b", "", None)
    components.resume(before)
    components.end("targets", "a", "", DOWN)
    a, b = components.shown()
    assert (a.state, a.since) == ("degraded", AT - timedelta(hours=1))
    assert (b.state, b.since) == ("good", AT)


def test_a_mount_that_is_gone_is_in_the_record_and_in_the_status_without_a_release(
    context: Context, tmp_path: Path
) -> None:
    (tmp_path / "nas").mkdir()
    gone = TreeTarget("nas", NasStore(NasSettings(tmp_path / "nas")), Retry(attempts_max=1))
    at = replace(context, targets={**context.targets, "nas": gone})
    checks = ComponentChecks(at, ["models"], {})
    for _, check in checks.jobs():
        check()
    checks.end_poll("models", ModelName(SDXL), None)
    checks.write()
    with at.state.write() as conn:
        processes.record_seen(conn, "daemon", "host", 1, at.state.now(conn))
    assert health(at.state, at.topology).status == "good"
    (tmp_path / "nas").rename(tmp_path / "elsewhere")
    checks.check_target("nas")
    checks.write()
    found = health(at.state, at.topology)
    assert found.status == "degraded"
    (trouble,) = overview(at.state, at.topology)["unhealthy"]
    assert (trouble["section"], trouble["name"]) == ("targets", "nas")
    assert "is not there" in trouble["reason"]
    (tmp_path / "elsewhere").rename(tmp_path / "nas")
    checks.check_target("nas")
    checks.write()
    full = os.statvfs_result((1024, 1024, 1 << 20, 0, 0, 1000, 1000, 1000, 0, 255))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fstatvfs", lambda descriptor: full)
        checks.check_target("nas")
    checks.write()
    (trouble,) = overview(at.state, at.topology)["unhealthy"]
    assert "the file system is full: 0 MiB are free" in trouble["reason"]
    checks.check_target("nas")
    checks.write()
    assert health(at.state, at.topology).status == "good"


def test_nothing_is_written_while_nothing_changes(context: Context) -> None:
    checks = ComponentChecks(context, ["models"], {})
    checks.write()
    with context.state.write() as conn:
        component_health.write(conn, [], context.state.now(conn))
    checks.check_disk()
    checks.write()
    with context.state.write() as conn:
        component_health.write(conn, [], context.state.now(conn))
    checks.check_disk()
    checks.write()
    with context.state.read() as conn:
        report = component_health.read(conn)
    assert report is not None
    assert report.components == ()


def test_a_daemon_whose_checks_do_not_report_is_degraded_and_one_that_has_ended_is_bad(context: Context) -> None:
    state = context.state
    with state.write() as conn:
        now = state.now(conn)
        good = ComponentHealth("targets", "hz", "good", now, seen_at=now)
        component_health.write(conn, [good], now - STALE_AFTER)
    assert health(state, context.topology).status == "bad"
    with state.write() as conn:
        processes.record_seen(conn, "daemon", "host", 1, now)
    found = health(state, context.topology)
    assert found.status == "degraded"
    assert found.components[0].reason == "the daemon has not reported its checks since"


def test_a_runtime_with_many_aliases_is_read_in_turns(context: Context) -> None:
    (name, *_) = [
        each for each in context.runtimes if any(b.runtime == each for b in context.topology.bindings.values())
    ]
    few = [each for each in context.topology.bindings.values() if each.runtime == name]
    many = [replace(few[0], name=f"b{n}", function=f"no-such-{n}") for n in range(BINDINGS_AT_ONCE + 1)]
    topology = replace(context.topology, bindings={each.name: each for each in many})
    checks = ComponentChecks(replace(context, topology=topology), [], {})
    checks.check_runtime(name)
    assert only(checks.components, "runtimes").reason.endswith(f"(and {BINDINGS_AT_ONCE - 1} more)")
    checks.check_runtime(name)
    assert only(checks.components, "runtimes").reason.endswith(f"(and {BINDINGS_AT_ONCE} more)")
