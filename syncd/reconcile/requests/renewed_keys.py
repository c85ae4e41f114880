"""Retry of releases that stalled because an access key was refused, once its file holds another key that works."""

from __future__ import annotations

from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.artifact.names import parse_model, parse_version
from syncd.errors import SyncdError
from syncd.plan.phases import ReleasePhase, StepKind, StepState
from syncd.reconcile.context import Context
from syncd.reconcile.members import members
from syncd.reconcile.requests import operations, rollbacks
from syncd.reconcile.requests.create import RequestOrigin
from syncd.state.content import versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Release, Step
from syncd.state.releases import events, releases, steps
from syncd.targets.base import Depth

CHECK_EVERY_S: Final = 5.0
REFUSED_KEY: Final = "refused_key"  # in the detail of the event of a step that stalled: the key's fingerprint
_WHO: Final = "renewed key"

log = structlog.get_logger("syncd.request")


def retry_renewed(context: Context) -> list[Release]:
    """Request again what stalled for a key that is no longer in use, where one call with the new key succeeds.

    Only the newest release of a model counts. Raises: what the record raises.
    """
    keys = context.keys()
    if not keys:
        return []
    with context.state.read() as conn:
        failed = [each for each in releases.newest_failed(conn) if context.topology.bindings_of(each.model)]
        stalled = [found for release in failed if (found := _stalled(conn, release)) is not None]
    retried = []
    for release, step, key in stalled:
        if key in keys:
            continue
        try:
            _call(context, release, step)
            again = _requested(context, release)
        except SyncdError as error:  # the new key is refused as well, or the model is on hold by now
            log.info("key.not_usable", message="A release that stalled for a key cannot be tried again yet.",
                     release=release.id, model=release.model, error=error.message)  # fmt: skip
            continue
        log.info("key.renewed", message="The key was renewed; the release that stalled for it is requested again.",
                 release=again.id, model=again.model, version=again.ref, stalled=release.id)  # fmt: skip
        retried.append(again)
        context.wake.set()
    return retried


def _stalled(conn: Connection, release: Release) -> tuple[Release, Step, str] | None:
    """The newest release of a model, its step that stalled for a key, and that key's fingerprint."""
    if release.phase is not ReleasePhase.STALLED:
        return None
    given_up = {step.id: step for step in steps.of_release(conn, release.id) if step.state is StepState.STALLED}
    for event in reversed(events.of_release(conn, release.id)):
        key = event.detail.get(REFUSED_KEY)
        if key and event.step_id in given_up:
            return release, given_up[event.step_id], str(key)
    return None


def _call(context: Context, release: Release, step: Step) -> None:
    """Make one call of the kind that was refused. Raises: as the other side says."""
    model = parse_model(release.model)
    if step.kind is StepKind.RESOLVE:
        context.registries[release.registry].resolve(model, parse_version(release.ref))
    elif step.kind is StepKind.PLACE:
        with context.state.read() as conn:
            version = versions.get(conn, release.version_id or "")
            manifest = versions.manifest(conn, version.id)
        for name in members(context, release, step.subject):
            if name in context.targets:
                context.targets[name].inspect(manifest, Depth.SEAL, SqlJournal(context.state, version.id, name))
    elif step.subject in context.topology.bindings:
        binding = context.topology.bindings[step.subject]
        context.runtimes[binding.runtime].read(binding.function, binding.alias)


def _requested(context: Context, release: Release) -> Release:
    requester = operations.Requester(context, _WHO, RequestOrigin.RENEWED_KEY)
    if release.rollback:
        return rollbacks.rollback(requester, release.model, "rolled back once more: the access key was renewed")
    return operations.publish(requester, release.model, release.ref)
