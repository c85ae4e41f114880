"""The page of a release, and the list of releases."""

from __future__ import annotations

import hashlib
from typing import Literal

from sqlalchemy import Connection

from syncd.plan.phases import ReleasePhase
from syncd.reconcile.rollout import stages_of
from syncd.reconcile.views.console.shapes import ReleasePageDocument, StageDocument
from syncd.reconcile.views.health import troubles
from syncd.reconcile.views.release import Rates, ReleaseView, history_document, load, release_list
from syncd.reconcile.views.shapes.releases import ReleasesDocument
from syncd.reconcile.views.shapes.serving import ApprovalDocument
from syncd.state.releases import approvals, events, releases, rollouts
from syncd.state.state import State

LISTED_MAX = 50


def release_page(state: State, release_id: str, rates: Rates | None = None) -> ReleasePageDocument:
    """Everything about a release. Raises NotFound."""
    scene = load(state, release_id)
    with state.read() as conn:
        given = approvals.find(conn, release_id)
        return ReleasePageDocument(
            release=history_document(scene, events.of_release(conn, release_id), rates),
            stages=_stages(conn, scene),
            approval=ApprovalDocument(release=given.release_id, digest=given.digest.hex, who=given.who, at=given.at)
            if given
            else None,
        )


def release_stamp(state: State, release_id: str) -> str:
    """A text that changes when the page of a release does. Raises NotFound."""
    scene = load(state, release_id)
    steps = [(s.id, s.state, s.attempt, s.failures, s.reason) for s in scene.steps]
    placed = [(p.target, p.phase, sorted(p.progress.items(), key=str)) for p in scene.placements]
    moving = [(f.binding, f.phase) for f in scene.flips]
    release = scene.release
    with state.read() as conn:
        approved = approvals.find(conn, release_id)
    shown = (release.phase, release.reason, release.hint, steps, placed, moving, scene.rollout, approved)
    return hashlib.sha256(repr(shown).encode()).hexdigest()


def overview_stamp(state: State) -> str:
    """A text that changes when the overview does: by its newest event, or by the health of a component."""
    with state.read() as conn:
        unhealthy = [(each.section, each.name, each.state, each.reason) for each in troubles(conn, state)]
        return f"{events.newest(conn)} {unhealthy}"


def releases_page(state: State, model: str | None, before: int | None) -> ReleasesDocument:
    """Releases, newest first: LISTED_MAX of them."""
    with state.read() as conn:
        found = releases.recent(conn, LISTED_MAX + 1, model, before)
    following = found[LISTED_MAX - 1].id if len(found) > LISTED_MAX else ""
    return ReleasesDocument.model_validate(release_list(found[:LISTED_MAX], following))


def _stages(conn: Connection, scene: ReleaseView) -> list[StageDocument]:
    """The stages of a release that follows a strategy, in their order."""
    rollout = rollouts.find(conn, scene.release.id)
    if rollout is None:
        return []
    found: list[StageDocument] = []
    for number, stage in enumerate(stages_of(rollout, scene.flips)):
        wave = [f for f in scene.flips if rollout.strategy.wave_of(rollout.regions.get(f.binding, "")) == stage.wave]
        regions = sorted({rollout.regions.get(flip.binding, "") for flip in wave})
        is_over = number < rollout.stage or scene.release.phase is ReleasePhase.LIVE
        is_now = number == rollout.stage and scene.release.phase is ReleasePhase.FLIPPING
        state: Literal["done", "now", "ahead"] = "now" if is_now else "done" if is_over else "ahead"
        found.append(StageDocument(wave=stage.wave + 1, regions=regions, percent=stage.percent, state=state))
    return found
