"""The targets that a step of a release fills."""

from __future__ import annotations

from syncd.plan.phases import StepKind
from syncd.plan.routing import members_of
from syncd.reconcile.context import World
from syncd.state.records import Release
from syncd.state.releases import steps


def members(world: World, release: Release, group: str) -> tuple[str, ...]:
    """The targets of a `place` step, by its subject: none if the configuration has them no more."""
    with world.state.read() as conn:
        begun = [step.subject for step in steps.of_release(conn, release.id) if step.kind is StepKind.PLACE]
    return members_of(world.topology, release.model, group, begun)
