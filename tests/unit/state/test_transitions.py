"""Phases have one writer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import sqlalchemy as sa
import syncd.state
from syncd.errors import Conflict
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, may_transition
from syncd.state.content import placements
from syncd.state.db.schema import releases as releases_table
from syncd.state.releases import releases, steps
from syncd.state.releases.events import advance
from syncd.state.serving import flips
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, all_events, make_release, make_running, make_version


def test_a_legal_move_is_recorded_with_its_event(state: State) -> None:
    with state.write() as conn:
        release = releases.pin(conn, make_release(conn), make_version(conn).id, NOON)
        moved = advance(conn, release, ReleasePhase.PLACING, now=after_s(1), reason="go", detail={"targets": 3})
        assert (moved.phase, moved.reason, moved.updated_at) == (ReleasePhase.PLACING, "go", after_s(1))
        assert releases.get(conn, release.id) == moved
        event = all_events(conn)[-1]
        assert (event.kind, event.at, event.release_id, event.subject) == (
            "release.placing",
            after_s(1),
            "r-1",
            "sdxl",
        )
        assert event.detail == {
            "was": "requested",
            "model": "sdxl",
            "version": release.version_id,
            "ref": "latest",
            "reason": "go",
            "targets": 3,
        }


def test_an_event_names_the_step_that_moved_it(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        placement = placements.ensure(conn, make_version(conn).id, "oss-hz", NOON)
        moved = advance(conn, placement, PlacementPhase.COPYING, now=NOON, step=step)
        assert placements.get(conn, placement.version_id, "oss-hz") == moved
        event = all_events(conn)[-1]
        assert (event.kind, event.step_id, event.attempt) == ("placement.copying", step.id, 1)
        assert (event.release_id, event.subject) == (step.release_id, "oss-hz")


def test_a_flip_moves_with_its_binding_and_version_in_the_event(state: State) -> None:
    with state.write() as conn:
        release = releases.pin(conn, make_release(conn), make_version(conn).id, NOON)
        flips.claim(conn, release, ["draw"], NOON)
        flip = flips.get(conn, release.id, "draw")
        moved = advance(conn, flip, FlipPhase.ABANDONED, now=NOON, reason="superseded")
        assert flips.get(conn, release.id, "draw") == moved
        detail = all_events(conn)[-1].detail
        assert (detail["binding"], detail["model"], detail["version"]) == ("draw", "sdxl", release.version_id)


def test_an_illegal_move_is_refused(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        for phase in ReleasePhase:
            if not may_transition(release.phase, phase):
                with pytest.raises(Conflict, match="may not become"):
                    advance(conn, release, phase, now=NOON)
        with pytest.raises(Conflict, match="may not become"):
            advance(conn, release, FlipPhase.STAGED, now=NOON)
        assert releases.get(conn, release.id) == release


def test_a_move_from_a_phase_that_is_over_is_refused(state: State) -> None:
    with state.write() as conn:
        seen = make_release(conn)
        advance(conn, seen, ReleasePhase.PLACING, now=NOON)
        with pytest.raises(Conflict, match="no longer requested"):
            advance(conn, seen, ReleasePhase.CANCELLED, now=NOON)
        assert releases.get(conn, seen.id).phase is ReleasePhase.PLACING


def test_a_transition_clears_reason_and_hint(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        releases.note(conn, release.id, "no such ref", "check the name", NOON)
        advance(conn, releases.get(conn, release.id), ReleasePhase.PLACING, now=NOON)
        again = releases.get(conn, release.id)
        assert (again.reason, again.hint) == ("", "")


def test_a_rolled_back_move_leaves_no_event(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)

    def move_and_fail() -> None:
        with state.write() as conn:
            advance(conn, release, ReleasePhase.PLACING, now=NOON)
            raise KeyError

    with pytest.raises(KeyError):
        move_and_fail()
    with state.read() as conn:
        assert releases.get(conn, release.id) == release
        assert [event.kind for event in all_events(conn)] == ["release.requested"]


def test_the_database_refuses_a_phase_that_is_not_in_the_list(state: State) -> None:
    with state.write() as conn:
        make_release(conn)
    with pytest.raises(Conflict, match="ck_releases_phase"), state.write() as conn:
        conn.execute(sa.text(f"UPDATE {releases_table.name} SET phase = 'finished'"))


def test_no_other_module_writes_a_phase() -> None:
    """Records carry phases as fields; rows get theirs from a column's default or from `advance`."""
    directory = Path(syncd.state.__file__).parent
    writers = {file.stem for file in directory.rglob("*.py") if _names_a_phase_to_write(file)}
    assert writers == {"events"}


def _names_a_phase_to_write(file: Path) -> bool:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "phase":
            return True
        if isinstance(node, ast.Dict) and any(map(_is_phase, node.keys)):
            return True
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and _is_phase(node.slice):
            return True
    return False


def _is_phase(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == "phase"


def test_a_worker_moves_nothing_once_it_is_fenced_out(state: State) -> None:
    with state.write() as conn:
        old = make_running(conn)
        steps.hand_over(conn, old, after_s(10))
        placement = placements.ensure(conn, make_version(conn).id, "oss-hz", NOON)

    def zombie() -> None:
        with state.fenced(old.id, 1) as conn:
            advance(conn, placement, PlacementPhase.SEALED, now=NOON)

    with pytest.raises(Exception, match="at attempt 2"):
        zombie()
    with state.read() as conn:
        assert placements.get(conn, placement.version_id, "oss-hz").phase is PlacementPhase.WANTED
