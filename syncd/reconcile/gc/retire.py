"""Retirement of a version: deletes its function versions, then its bytes. Its history stays in the record.

The record is checked for uses of the version before each effect, and the provider by `Runtime.retire`. Each effect can
be repeated, so an interrupted retirement is simply started again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.errors import Conflict, NotFound, SyncdError
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import World
from syncd.reconcile.drift.resolve import Justification
from syncd.reconcile.gc.sweep import abandon, withdraw
from syncd.state.content import images, placements, versions
from syncd.state.records import FunctionVersion, Placement, Version
from syncd.state.releases import leases, releases, removals, retirements
from syncd.state.releases.events import advance
from syncd.state.serving import drift_resolutions, flips, live

log = structlog.get_logger("syncd.retire")

_HERE: Final = frozenset({PlacementPhase.WANTED, PlacementPhase.COPYING, PlacementPhase.SEALED})


@dataclass(frozen=True, slots=True)
class Retired:
    """Result of a retirement. `left` names what is in places that are no longer configured.

    `images` are those of the version; they are not deleted.
    """

    version: Version
    function_versions: tuple[str, ...]  # "<function>:<number> in <region>"
    targets: tuple[str, ...]
    left: tuple[str, ...]
    images: tuple[str, ...] = ()


def retire(world: World, model: str, name: str, decision: Justification) -> Retired:
    """Retire `model@name`. Repeating it succeeds, and resumes an interrupted retirement.

    Raises:
        NotFound: There is no such version.
        Conflict: It is live, in flight, leased, or the target of a rollback; or an alias points at it. Its bytes are
            untouched then.
        Unavailable: A region did not answer; a daemon resumes it, and so does repeating it.
    """
    with world.state.write() as conn:
        version = _known(conn, model, name)
        drift_resolutions.block_claims(conn)
        check_not_needed(conn, version, world.state.now(conn))
        retirements.begin(conn, version, decision.who, decision.why, world.state.now(conn))
        removals.forget(conn, version.id)
    return execute(world, version)


def plan(world: World, model: str, name: str) -> Retired:
    """What `retire` would delete, by the record; changes nothing.

    Raises:
        NotFound: There is no such version.
        Conflict: It is live, in flight, leased, or the target of a rollback.
    """
    with world.state.read() as conn:
        version = _known(conn, model, name)
        check_not_needed(conn, version, world.state.now(conn))
        staged = live.carrying(conn, version.id)
        here = _HERE | {PlacementPhase.WITHDRAWING}
        there = [each.target for each in placements.of_version(conn, version.id) if each.phase in here]
        kept = tuple(image.reference for image in images.of_version(conn, version.id))
    known = world.topology.bindings
    gone = [_named(world, each) for each in staged if each.binding in known]
    left = [f"function version {e.function_version} of {e.binding}" for e in staged if e.binding not in known]
    places = world.targets.keys() | world.images.keys()
    left += [f"the bytes at {target}" for target in there if target not in places]
    targets = tuple(target for target in there if target in world.targets)
    return Retired(version, tuple(dict.fromkeys(gone)), targets, tuple(left), kept)


def _known(conn: Connection, model: str, name: str) -> Version:
    version = versions.find(conn, model, name)
    if version is None:
        raise NotFound(f"no version {model}@{name} in the record", hint=f"`syncd releases {model}` lists its releases")
    return version


def _named(world: World, staged: FunctionVersion) -> str:
    binding = world.topology.bindings[staged.binding]
    return f"{binding.function}:{staged.function_version} in {world.topology.regions[binding.runtime]}"


def execute(world: World, version: Version) -> Retired:
    """Continue a retirement. Raises as `retire`; a Conflict ends it."""
    try:
        with world.state.read() as conn:
            staged = live.carrying(conn, version.id)
        gone = [_unstage(world, version, each) for each in staged if each.binding in world.topology.bindings]
        going = _mark(world, version)
    except Conflict as needed:
        with world.state.write() as conn:
            retirements.give_up(conn, version, needed.message, world.state.now(conn))
        raise
    for placement in going:
        target = world.targets.get(placement.target)
        if target is not None:
            withdraw(world.state, target, placement)
        elif placement.target in world.images:
            abandon(world.state, placement)
    with world.state.write() as conn:
        retirements.finish(conn, version, world.state.now(conn))
        kept = tuple(image.reference for image in images.of_version(conn, version.id))
    left = [
        f"function version {e.function_version} of {e.binding}"
        for e in staged
        if e.binding not in world.topology.bindings
    ]
    known = world.targets.keys() | world.images.keys()
    left += [f"the bytes at {placement.target}" for placement in going if placement.target not in known]
    targets = tuple(placement.target for placement in going if placement.target in world.targets)
    log.info("version.retired", message="A version is retired.", model=version.model, version=version.name,
             function_versions=gone, targets=list(targets))  # fmt: skip
    return Retired(version, tuple(dict.fromkeys(gone)), targets, tuple(left), kept)


def resume(world: World, stop: threading.Event) -> None:
    """Resume every interrupted retirement."""
    with world.state.read() as conn:
        going = [versions.get(conn, each.version_id) for each in retirements.unfinished(conn)]
    for version in going:
        if stop.is_set():
            return
        try:
            execute(world, version)
        except SyncdError as error:
            log.warning("version.not_retired", message="A retirement could not be completed.", model=version.model,
                        version=version.name, error=error.message, hint=error.hint)  # fmt: skip


def check_not_needed(conn: Connection, version: Version, now: datetime) -> None:
    """Raises Conflict if something needs the version, by the record."""
    name = f"{version.model}@{version.name}"
    for served in live.all(conn):
        if version.id in served.models.values():
            hint = "publish another version, or roll back, first"
            raise Conflict(f"{name} is live: binding {served.binding} serves it", hint=hint)
    for release in releases.unfinished(conn):
        if release.version_id == version.id or (release.model, release.ref) == (version.model, version.name):
            raise Conflict(f"{name} is in flight: {release.id}", hint=f"see `syncd show {release.id}`")
    for flip in flips.unfinished(conn):
        if version.id in {*flip.served.values(), *flip.serves.values()}:
            raise Conflict(f"{name} is what {flip.release_id} may be undone to", hint="try again when it has ended")
    for lease in leases.of_version(conn, version.id, now):
        raise Conflict(
            f"{name} is in use until {lease.until:%Y-%m-%d %H:%M}Z: {lease.who} has the lease {lease.name}",
            hint="it is free when that reader ends its lease, or when the lease runs out",
        )
    before = live.previous_release(conn, version.model)
    if before is not None and before.version_id == version.id:
        hint = "retire it after a version newer than the live one has been released"
        raise Conflict(f"{name} is what a rollback of {version.model} returns to ({before.id})", hint=hint)


def _unstage(world: World, version: Version, staged: FunctionVersion) -> str:
    """Delete a function version that serves it. The candidate alias may still point there from the last probe."""
    binding = world.topology.bindings[staged.binding]
    runtime, number = world.runtimes[binding.runtime], staged.function_version
    with world.state.write() as conn:
        drift_resolutions.block_claims(conn)
        drift_resolutions.check_not_busy(conn, (binding.name,))
        check_not_needed(conn, version, world.state.now(conn))
        recorded = live.get(conn, binding.name)
    try:
        candidate = runtime.read(binding.function, binding.candidate)
        if number in {candidate.function_version, *candidate.weights}:
            serving = recorded.function_version if recorded else None
            runtime.flip(binding.function, binding.candidate, serving, candidate.function_version)
        runtime.retire(binding.function, number)
    except NotFound:  # the function itself is gone, and its versions with it
        log.info("function_version.already_gone", message="The function is gone, and its versions with it.",
                 binding=binding.name, function_version=number)  # fmt: skip
    return _named(world, staged)


def _mark(world: World, version: Version) -> list[Placement]:
    """Mark every copy as going, in the transaction that checks for uses. From now on there is no way back."""
    with world.state.write() as conn:
        drift_resolutions.block_claims(conn)
        now = world.state.now(conn)
        check_not_needed(conn, version, now)
        there = placements.of_version(conn, version.id)
        for placement in there:
            if placement.phase in _HERE:
                advance(conn, placement, PlacementPhase.WITHDRAWING, now=now)
        return [each for each in placements.of_version(conn, version.id) if each.phase is PlacementPhase.WITHDRAWING]
