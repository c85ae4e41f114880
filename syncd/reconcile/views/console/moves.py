"""What an action would do, by the record now: it is shown before a person confirms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from syncd.artifact.names import ModelName, VersionName
from syncd.errors import NotFound
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import BEFORE_FIRST_FLIP, check_served
from syncd.reconcile.views.console.shapes import ActionDocument, MoveDocument
from syncd.reconcile.views.release import load
from syncd.reconcile.views.serving import ServingSnapshot
from syncd.state.content import versions
from syncd.state.records import Release
from syncd.state.releases import releases
from syncd.state.serving import live
from syncd.state.state import State

_STAYS: Final = frozenset({FlipPhase.ABANDONED, FlipPhase.UNDONE})


def of_release(state: State, topology: Topology, verb: str, release_id: str) -> ActionDocument:
    """What `approve`, `cancel`, `retry` or `dismiss` does to a release. Raises NotFound."""
    scene = load(state, release_id)
    release = scene.release
    if verb != "approve":
        return ActionDocument(model=release.model, says=_SAYS[verb](release), moves=[])
    digest = scene.version.digest.hex[:12] if scene.version else "not known yet"
    says = f"{release.id} brings {release.model}@{release.ref} (digest {digest}) to these aliases once all are ready."
    left = {flip.binding for flip in scene.flips if flip.phase in _STAYS}
    with state.read() as conn:
        serving = ServingSnapshot.read(conn, topology, [release.model])
    moves = [each for each in _moves(serving, topology, release.model, release.ref) if each.binding not in left]
    return ActionDocument(model=release.model, says=says, moves=moves)


def _cancel(release: Release) -> str:
    if release.phase in BEFORE_FIRST_FLIP:
        return f"{release.id} ends before it moves any alias. Files that are sealed stay."
    return f"{release.id} ends. Aliases that have a share of {release.ref} go back; files that are sealed stay."


_SAYS: Final[Mapping[str, Callable[[Release], str]]] = {
    "cancel": _cancel,
    "retry": lambda release: f"The waiting steps of {release.id} are due now. Their failures stay counted.",
    "dismiss": lambda release: f"{release.id} is taken off the overview. Nothing moves, and its history stays.",
}


def _moves(serving: ServingSnapshot, topology: Topology, model: str, then: str | None) -> list[MoveDocument]:
    found = []
    for binding in topology.bindings_of(model):
        version = serving.version_of(binding.name, model)
        now, region = version.name if version else None, topology.region_of(binding.name)
        found.append(MoveDocument(binding=binding.name, region=region, now=now, then=then))
    return found


def rollback_moves(state: State, topology: Topology, model: ModelName, to: VersionName | None) -> ActionDocument:
    """What a rollback moves: to the version before, or to `to`.

    Raises:
        NotFound: No binding serves the model, or there is no version to go back to.
    """
    check_served(topology, model)
    with state.read() as conn:
        unfinished = releases.unfinished(conn, model)
        undone = [each for each in unfinished if each.phase is ReleasePhase.FLIPPING and not each.rollback]
        goal = _goal(conn, model, undone) if to is None else to
        serving = ServingSnapshot.read(conn, topology, [model])
    back = f"{model} goes back to {goal or 'what was there before'} in every region at once."
    undoes = "".join(f" {each.id}, which is moving aliases now, is undone." for each in undone)
    hold = "The model is held there: automation releases nothing newer until somebody lifts the hold."
    return ActionDocument(model=model, says=f"{back}{undoes} {hold}", moves=_moves(serving, topology, model, goal))


def _goal(conn: Connection, model: ModelName, undone: Sequence[Release]) -> str | None:
    """The version that a rollback without a name leads to; None where an undone release was the first."""
    found = live.previous_release(conn, model)
    if undone and (found is None or not live.is_again(conn, undone[-1])):
        found = live.current_release(conn, model)
    elif found is None:
        raise NotFound(f"{model} has no earlier version to go back to", hint="`syncd releases` lists what there was")
    return versions.get(conn, found.version_id).name if found is not None and found.version_id else None


def of_model(topology: Topology, verb: str, model: ModelName | None) -> ActionDocument:
    """What `hold`, `unhold`, `freeze` or `unfreeze` does. Raises NotFound: no binding serves the model."""
    if model is not None:
        check_served(topology, model)
    about = model or "any model"
    says = {
        "hold": f"Automation releases nothing of {about}. What is live stays; a rollback still works.",
        "unhold": f"Automation may release newer versions of {about} again, at the next poll.",
        "freeze": f"No alias of {about} moves until the freeze is lifted or over. Copies and rollbacks go on.",
        "unfreeze": f"Releases of {about} that are ready move their aliases at once.",
    }[verb]
    return ActionDocument(model=model or "", says=says, moves=[])
