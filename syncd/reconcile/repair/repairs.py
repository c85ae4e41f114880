"""Repairs that people ask for: in the record before anything is touched, and resumed by a daemon after a crash."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from syncd import watchdog
from syncd.artifact.names import parse_model, parse_version
from syncd.errors import Cancelled, Conflict, NotFound, SyncdError, Unavailable
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import Context, World
from syncd.reconcile.repair.image import repair_image
from syncd.reconcile.repair.sources import RepairJob, RepairResult
from syncd.reconcile.repair.tree import repair_tree
from syncd.reconcile.requests.operations import Requester
from syncd.reconcile.views.shapes.base import known as keys_known
from syncd.reconcile.views.shapes.repairs import RepairDocument, RepairsDocument
from syncd.state.content import placements, proofs, repairs, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Repair, Version
from syncd.state.releases import releases
from syncd.state.releases.events import advance
from syncd.targets.base import Depth
from syncd.transfer import CopySettings, abandonable_call

log = structlog.get_logger("syncd.repair")

LEASE_S: Final = 15.0  # how long a worker that was killed keeps the next one waiting
RETRY_S: Final = 10.0
RETRY_MAX_S: Final = 300.0
_GOING: Final = frozenset({PlacementPhase.WITHDRAWING, PlacementPhase.WITHDRAWN})


def request(requester: Requester, model: str, version: str | None = None, target: str | None = None) -> list[Repair]:
    """Record repairs: of one version or of every version that is placed, at one target or at each.

    Raises:
        NotFound: The record has no such version, or none of it at that target.
        Conflict: It is being retired, or a release is copying it.
    """
    name = parse_model(model)
    world = requester.world
    with world.state.write() as conn:
        if version is None:
            chosen = versions.known(conn, name)
        else:
            known = versions.find(conn, name, parse_version(version))
            chosen = [known] if known is not None else []
        if not chosen:
            what = f"{name}@{version}" if version is not None else name
            raise NotFound(f"no version {what} in the record", hint=f"`syncd releases {name}` lists its releases")
        if target is not None and target not in world.targets and target not in world.images:
            known_targets = ", ".join(sorted({*world.targets, *world.images}))
            raise NotFound(f"no target {target!r} in the configuration", hint=f"targets: {known_targets}")
        under_way = {release.version_id: release.id for release in releases.unfinished(conn)}
        wanted: list[tuple[Version, str]] = []
        for each in chosen:
            for placement in placements.of_version(conn, each.id):
                is_here = placement.target in world.targets or placement.target in world.images
                if not is_here or target not in {None, placement.target} or placement.phase in _GOING:
                    continue
                if placement.phase is not PlacementPhase.SEALED and each.id in under_way:
                    raise Conflict(
                        f"{each.model}@{each.name} at {placement.target} is being copied by {under_way[each.id]}",
                        hint=f"it repairs what it finds; see `syncd show {under_way[each.id]}`",
                    )
                if placement.phase is PlacementPhase.SEALED or version is not None:
                    wanted.append((each, placement.target))
        if not wanted:
            what = f"{name}@{version}" if version is not None else name
            place = f" at {target}" if target else " at a target"
            raise NotFound(f"{what} is not placed{place}", hint=f"syncd publish {what} places it")
        now = world.state.now(conn)
        return [repairs.begin(conn, each, place, requester.who, now) for each, place in wanted]


def execute(
    world: World, settings: CopySettings, repair: Repair, stop: threading.Event, depth: Depth = Depth.BYTES
) -> Repair:
    """Do a repair that was requested, unless another worker has it. Returns it as it is afterwards.

    What may pass is recorded with the time of the next attempt; what cannot is recorded as the end.
    """
    with world.state.write() as conn:
        if not repairs.claim(conn, repair, LEASE_S, world.state.now(conn)):
            return repairs.get(conn, repair.version_id, repair.target)
    try:
        with _lease_kept(world, repair):
            result = _repair(world, settings, repair, stop, depth)
    except Cancelled:
        with world.state.write() as conn:
            repairs.release(conn, repair, world.state.now(conn))
    except Unavailable as error:
        pause_s = min(RETRY_MAX_S, RETRY_S * 2.0 ** min(repair.failures, 8))
        with world.state.write() as conn:
            due_at = world.state.now(conn) + timedelta(seconds=pause_s)
            repairs.postpone(conn, repair, error.message, error.hint, due_at)
    except SyncdError as error:
        with world.state.write() as conn:
            repairs.fail(conn, repair, error, world.state.now(conn))
    else:
        with world.state.write() as conn:
            now = world.state.now(conn)
            repairs.finish(conn, repair, result.document(), now)
            how = "bytes" if depth is Depth.BYTES else "checksums"
            proofs.note(conn, repair.version_id, repair.target, how=how, now=now)
    with world.state.read() as conn:
        return repairs.get(conn, repair.version_id, repair.target)


def resume(context: Context) -> bool:
    """Do every repair that is due: requested over the API, left by a process that was killed, or failed for a time.

    Returns whether one is unfinished, or that is not known.
    """
    try:
        with context.state.read() as conn:
            if not repairs.has_unfinished(conn):
                return False
            waiting = repairs.due(conn, context.state.now(conn))
        for repair in waiting:
            if context.draining.is_set():
                return True
            execute(context, context.transfer, repair, context.draining)
    except SyncdError as error:  # the record is unreachable: the lease ends, and the next call does it
        log.warning("repair.not_recorded", message="Repairs could not be read or recorded; the next run repeats them.",
                    error=error.message)  # fmt: skip
    return True


def document(world: World, found: Sequence[Repair]) -> RepairsDocument:
    """Repairs as `-o json` and the API show them."""
    with world.state.read() as conn:
        named = {each.version_id: versions.get(conn, each.version_id) for each in found}
    return RepairsDocument(
        repairs=[
            RepairDocument.model_validate(
                {
                    "model": named[each.version_id].model,
                    "version": named[each.version_id].name,
                    "target": each.target,
                    "phase": each.phase,
                    "requested_by": each.who,
                    "requested_at": each.asked_at,
                    "ended_at": each.done_at,
                    "reason": each.reason,
                    "hint": each.hint,
                    "failure": "",
                    **RepairResult().document(),
                    **keys_known(RepairDocument, each.result),
                }
            )
            for each in found
        ]
    )


def of_model(world: World, model: str) -> list[Repair]:
    """The newest repair of every placement of a model."""
    with world.state.read() as conn:
        return repairs.of_versions(conn, [each.id for each in versions.known(conn, parse_model(model))])


def _repair(world: World, settings: CopySettings, repair: Repair, stop: threading.Event, depth: Depth) -> RepairResult:
    job = RepairJob.of(world, settings, repair.version_id, repair.target, stop)
    _check_placed(job)
    if repair.target in world.images:
        result = repair_image(job, depth)
    elif repair.target in world.targets:
        result = repair_tree(job, depth)
    else:
        raise NotFound(f"{repair.target} is no longer configured", hint="add the target again, or retire the version")
    with world.state.write() as conn:
        placement = placements.get(conn, repair.version_id, repair.target)
        if placement.phase not in _GOING and placement.phase is not PlacementPhase.SEALED:
            advance(conn, placement, PlacementPhase.SEALED, now=world.state.now(conn), reason="repaired")
    if placement.phase in _GOING and repair.target in world.targets:  # it was retired meanwhile: nothing may be left
        journal = SqlJournal(world.state, repair.version_id, repair.target)
        abandonable_call(
            repair.target,
            partial(world.targets[repair.target].withdraw, job.manifest, journal),
            settings,
            stop,
            what="withdrawing a version",
        )
    _check_placed(job)
    return result


def _check_placed(job: RepairJob) -> None:
    with job.world.state.read() as conn:
        phase = placements.get(conn, job.version.id, job.target).phase
    if phase in _GOING:
        raise Conflict(f"{job.manifest} at {job.target} is being retired: it is {phase}", hint="publish it to have it")


def _lease_kept(world: World, repair: Repair) -> AbstractContextManager[None]:
    name = f"lease of a repair at {repair.target}"
    return watchdog.repeating(partial(_renew_lease, world, repair), LEASE_S / 5, name)


def _renew_lease(world: World, repair: Repair) -> None:
    try:
        with world.state.write() as conn:
            repairs.renew(conn, repair, LEASE_S, world.state.now(conn))
    except SyncdError as error:  # the lease may run out: then two do the same, which is harmless
        log.warning("lease.not_renewed", message="The lease could not be renewed; it may run out.", error=error.message)
