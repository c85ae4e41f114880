"""Processes that work on a record."""

from __future__ import annotations

from syncd.state.access import processes
from syncd.state.content import versions
from syncd.state.records import ProcessSeen
from syncd.state.releases import releases, steps
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, make_release, make_running, make_version


def test_a_process_is_alive_while_it_sends_heartbeats(state: State) -> None:
    with state.write() as conn:
        processes.record_seen(conn, "a", "host-1", 100, NOON)
        processes.record_seen(conn, "b", "host-2", 200, after_s(10))
        processes.record_seen(conn, "a", "host-1", 100, after_s(20))
        late = after_s(10 + processes.SILENT_AFTER_S)
        both = [ProcessSeen("a", "host-1", 100, after_s(20)), ProcessSeen("b", "host-2", 200, after_s(10))]
        assert processes.alive(conn, late) == both
        assert processes.alive(conn, after_s(11 + processes.SILENT_AFTER_S)) == both[:1]


def test_a_stopped_process_is_not_alive(state: State) -> None:
    with state.write() as conn:
        processes.record_seen(conn, "a", "host-1", 100, NOON)
        processes.record_gone(conn, "a", NOON)
        processes.record_gone(conn, "a", NOON)
        assert processes.alive(conn, NOON) == []
        assert processes.lost(conn, after_s(processes.SILENT_AFTER_S)) is None


def test_the_last_process_is_lost_if_it_fell_silent_and_none_stopped_in_order_since(state: State) -> None:
    with state.write() as conn:
        silent_s = processes.SILENT_AFTER_S
        processes.record_seen(conn, "a", "host-1", 100, NOON)
        processes.record_seen(conn, "b", "host-2", 200, after_s(10))
        assert processes.lost(conn, after_s(silent_s - 1)) is None
        assert processes.lost(conn, after_s(10 + silent_s)) == ProcessSeen("b", "host-2", 200, after_s(10))
        assert processes.lost(conn, after_s(11) + processes.FORGOTTEN_AFTER) is None
        assert processes.lost(conn, after_s(-3600)) is None
        processes.record_seen(conn, "c", "host-1", 101, after_s(20 + silent_s))
        processes.record_gone(conn, "c", after_s(20 + silent_s))
        assert processes.lost(conn, after_s(30 + silent_s)) is None


def test_a_process_without_heartbeats_for_a_day_is_deleted(state: State) -> None:
    with state.write() as conn:
        processes.record_seen(conn, "dead", "host-1", 100, NOON)
        processes.record_seen(conn, "b", "host-1", 200, NOON + processes.FORGOTTEN_AFTER)
        assert [process.owner for process in processes.alive(conn, NOON)] == ["dead"]
        processes.record_seen(conn, "b", "host-1", 200, after_s(1) + processes.FORGOTTEN_AFTER)
        assert processes.alive(conn, NOON) == []


def test_a_process_seen_in_the_future_is_not_alive(state: State) -> None:
    with state.write() as conn:
        processes.record_seen(conn, "dead", "host-1", 100, after_s(7200))
        assert processes.alive(conn, NOON) == []
        processes.record_seen(conn, "b", "host-1", 200, NOON)
        assert [process.owner for process in processes.alive(conn, NOON)] == ["b"]
        assert [process.owner for process in processes.alive(conn, after_s(7200))] == []


def test_the_only_process_ends_every_lease_but_its_own(state: State) -> None:
    with state.write() as conn:
        lost = make_running(conn, lease_s=1000)
        assert steps.expire_others(conn, {"worker-1"}, NOON) == 0
        assert steps.expired(conn, after_s(1)) == []
        assert steps.expire_others(conn, {"worker-2"}, after_s(1)) == 1
        assert [step.id for step in steps.expired(conn, after_s(1))] == [lost.id]


def test_a_version_follows_a_new_pin_of_the_same_bytes(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        versions.repin(conn, version, "tree:13")
        assert versions.get(conn, version.id).pin == "tree:13"


def test_refs_and_open_releases_are_those_of_one_model(state: State) -> None:
    with state.write() as conn:
        mine = make_release(conn)
        make_release(conn, "flux")
        assert releases.unfinished(conn, "sdxl") == [mine]
        assert releases.refs(conn, "sdxl") == frozenset({"latest"})
        assert releases.refs(conn, "unknown") == frozenset()
