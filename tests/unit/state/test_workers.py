"""Controllers and workers in the record."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.phases import StepKind, StepState
from syncd.plan.routing import FleetRole
from syncd.state.access import figures, workers
from syncd.state.access.workers import FleetMember
from syncd.state.releases import steps
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, kinds, make_release, make_running

LEASE_S = 10.0
QUEUES = {"queues": ["control:sh", "transfer:sh"], "faults": {"nas:sh": "no answer"}}


def enter(
    conn: sa.Connection, name: str = "w", owner: str = "host:1:a", role: str = FleetRole.WORKER, *, at_s: float = 0,
    protocol: int = workers.PROTOCOL, dead: str = "",
) -> FleetMember:  # fmt: skip
    return workers.enter(
        conn, name, owner=owner, role=role, region="sh", capabilities=QUEUES, version="1.0", lease_s=LEASE_S,
        now=after_s(at_s), is_dead=lambda other: other == dead, protocol=protocol,
    )  # fmt: skip


def test_a_worker_serves_its_queues_while_it_is_heard_of(state: State) -> None:
    with state.write() as conn:
        entered = enter(conn)
        assert (entered.queues, entered.faults) == (("control:sh", "transfer:sh"), {"nas:sh": "no answer"})
        enter(conn, "c", "host:2:b", FleetRole.CONTROLLER)
        assert workers.served(conn, after_s(9), LEASE_S) == {"control:sh", "transfer:sh"}
        assert workers.served(conn, after_s(11), LEASE_S) == frozenset()
        assert workers.seen(conn, "w", "host:1:a", {"queues": ["control:sh"]}, after_s(11), active=False) == entered
        assert workers.served(conn, after_s(12), LEASE_S) == {"control:sh"}
        assert kinds(conn) == ["worker.came", "worker.came", "worker.changed"]
        workers.gone(conn, "w", "host:1:a", after_s(13))
        workers.gone(conn, "w", "host:1:a", after_s(13))
        assert workers.served(conn, after_s(13), LEASE_S) == frozenset()
        assert [each.name for each in workers.every(conn)] == ["c"]
        assert kinds(conn)[3:] == ["worker.left"]


def test_a_name_has_one_live_process(state: State) -> None:
    with state.write() as conn:
        enter(conn)
        with pytest.raises(Conflict, match=r"another process is called w: host:1:a"):
            enter(conn, owner="host:2:b")
        enter(conn, owner="host:2:b", at_s=LEASE_S + 1)
        assert workers.seen(conn, "w", "host:1:a", QUEUES, after_s(12), active=False) is None


def test_what_a_dead_process_of_the_name_ran_goes_on_at_once(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn, lease_s=60)
        enter(conn, owner=step.owner)
        assert steps.expired(conn, after_s(1)) == []
        enter(conn, owner="host:2:b", at_s=1, dead=step.owner)
        assert [each.id for each in steps.expired(conn, after_s(1))] == [step.id]


def test_one_version_apart_is_let_in_and_two_are_refused_by_name(state: State) -> None:
    with state.write() as conn:
        enter(conn, "c", "host:2:b", FleetRole.CONTROLLER, protocol=3)
        enter(conn, protocol=2)
        with pytest.raises(Invalid, match=r"controller c is syncd 1\.0 \(fleet protocol 3\)") as no:
            enter(conn, "old", "host:3:c", protocol=1)
        assert "one version at a time" in no.value.hint


def test_a_cordon_outlives_the_process_and_a_drain_is_lifted_with_it(state: State) -> None:
    with state.write() as conn:
        enter(conn)
        workers.ask(conn, "w", "ops", NOON, cordoned=True, draining=True)
        assert workers.served(conn, NOON, LEASE_S) == frozenset()
        workers.gone(conn, "w", "host:1:a", after_s(1))
        kept = enter(conn, owner="host:2:b", at_s=2)
        assert (kept.cordoned, kept.draining, kept.owner) == (True, True, "host:2:b")
        for _ in range(2):
            workers.ask(conn, "w", "ops", after_s(3), cordoned=False, draining=False)
        assert workers.served(conn, after_s(3), LEASE_S) == {"control:sh", "transfer:sh"}
        assert [kind for kind in kinds(conn) if "cord" in kind or "drain" in kind] == [
            "worker.draining",
            "worker.uncordoned",
        ]


def test_a_controller_and_an_unknown_name_are_not_cordoned(state: State) -> None:
    with state.write() as conn:
        enter(conn, "c", role=FleetRole.CONTROLLER)
        with pytest.raises(Conflict, match="c is a controller"):
            workers.ask(conn, "c", "ops", NOON, cordoned=True, draining=False)
        with pytest.raises(NotFound, match="no worker or controller is called w"):
            workers.ask(conn, "w", "ops", NOON, cordoned=True, draining=False)


def test_one_controller_is_active_and_old_rows_are_forgotten(state: State) -> None:
    with state.write() as conn:
        enter(conn, "c1", "host:1:a", FleetRole.CONTROLLER)
        workers.seen(conn, "c1", "host:1:a", {}, after_s(1), active=True)
        enter(conn, "c2", "host:2:b", FleetRole.CONTROLLER, at_s=2)
        enter(conn, "w", "host:3:c", at_s=2)
        workers.seen(conn, "c2", "host:2:b", {}, after_s(3), active=True)
        assert [each.name for each in workers.every(conn) if each.active] == ["c2"]
        workers.seen(conn, "c2", "host:2:b", {}, after_s(700), active=True)
        assert [each.name for each in workers.every(conn)] == ["c2", "w"]
        workers.seen(conn, "c2", "host:2:b", {}, after_s(100_000), active=True)
        assert [each.name for each in workers.every(conn)] == ["c2"]


def test_the_load_of_a_process_is_the_steps_that_it_runs(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        assert workers.loads(conn) == {step.owner: 1}


def test_steps_in_the_queues_of_regions_are_counted_with_those_of_the_controller(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        for number, queue in enumerate(("control", "control:sh", "transfer:sh", "nas:sh")):
            steps.ensure(conn, release.id, StepKind.PROBE, f"b{number}", queue, after_s(-number))
        counted = figures.read(conn, NOON).steps
    assert counted["control", StepState.WAITING] == figures.Pending(2, after_s(-1))
    assert counted["transfer", StepState.WAITING] == figures.Pending(2, after_s(-3))
