"""Comparison of a binding with the record: its alias, its weights, and the parts of LATEST that syncd staged.

Reading the world takes seconds and is not done in a transaction. So the record is read before and after: where a
release came between, the result is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from syncd.errors import Invalid, NotFound
from syncd.plan.binding import Binding, change_for
from syncd.plan.drift import Difference, alias_differences, latest_differences, version_deleted
from syncd.plan.phases import StepKind
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.steps.carried_models import digest_of, servings
from syncd.runtime.base import Runtime
from syncd.state.content import base_images
from syncd.state.records import Drift, FunctionVersion, Live
from syncd.state.releases import steps
from syncd.state.serving import drift_resolutions, drifts, flips, live
from syncd.values.function import Change

log = structlog.get_logger("syncd.drift")


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """The recorded state of a binding. `latest` is None if the expected LATEST is unknown."""

    live: Live
    newest: FunctionVersion | None  # the newest staged version of the binding's function
    latest: Change | None


def expected(conn: Connection, topology: Topology, binding: Binding) -> ExpectedState | None:
    """The expected state of a binding by the record; None if syncd never moved it."""
    recorded = live.get(conn, binding.name)
    if recorded is None:
        return None
    names = topology.bindings_at(binding)
    staged = [version for name in names for version in live.function_versions(conn, name)]
    newest = max(staged, key=lambda version: int(version.function_version), default=None)
    if newest is None or _is_unsettled(conn, names, newest):
        return ExpectedState(recorded, newest, None)
    return ExpectedState(recorded, newest, _change(conn, topology, newest))


def differences(runtime: Runtime, binding: Binding, want: ExpectedState) -> tuple[Difference, ...]:
    """Read the runtime in three calls, and return the differences from the record.

    Raises:
        NotFound, Refused, Unavailable: As the runtime says.
    """
    pointed = runtime.read(binding.function, binding.alias)
    live_version = want.live.function_version
    found = alias_differences(live_version, pointed)
    if live_version is not None and is_deleted(runtime, binding.function, live_version):
        found += (version_deleted(live_version),)
    if want.latest is not None:
        found += latest_differences(want.latest, runtime.latest(binding.function, want.latest))
    return found


def is_deleted(runtime: Runtime, function: str, function_version: str) -> bool:
    """Whether a version of a function that is there was deleted. An alias may point at such a version.

    Raises:
        Refused, Unavailable: As the runtime says.
    """
    try:
        runtime.latest(function, Change((), {}), function_version)
    except NotFound:
        return True
    return False


def compare(world: World, binding: Binding) -> list[Drift]:
    """Compare a binding with the record, and record new drift and drift that is over. The answer is the new drift.

    A binding that a release or a restore holds is not compared: it is being moved.

    Raises:
        NotFound, Refused, Unavailable: As the runtime says.
    """
    with world.state.read() as conn:
        want = None if _is_held(conn, world.topology, binding) else expected(conn, world.topology, binding)
    if want is None:
        return []
    found = differences(world.runtimes[binding.runtime], binding, want)
    with world.state.write() as conn:
        if _is_held(conn, world.topology, binding) or expected(conn, world.topology, binding) != want:
            return []
        new = drifts.note(conn, want.live, found, world.state.now(conn))
    for drift in new:
        log.warning(
            "drift.detected",
            message="What serves is not as recorded.",
            binding=binding.name,
            function=binding.function,
            alias=binding.alias,
            what=drift.what,
            got=drift.got,
            want=drift.want,
            region=world.topology.regions[binding.runtime],
        )
    return new


def _is_unsettled(conn: Connection, names: Sequence[str], newest: FunctionVersion) -> bool:
    """Whether the last staging failed: it may have changed LATEST all the same."""
    failed_at = steps.newest_start(conn, StepKind.STAGE, names, is_done=False)
    done_at = steps.newest_start(conn, StepKind.STAGE, names, is_done=True)
    return failed_at is not None and failed_at > max(newest.staged_at, done_at or newest.staged_at)


def _is_held(conn: Connection, topology: Topology, binding: Binding) -> bool:
    names = topology.bindings_at(binding)
    return any(flips.holder(conn, name) is not None or drift_resolutions.find(conn, name) is not None for name in names)


def _change(conn: Connection, topology: Topology, newest: FunctionVersion) -> Change | None:
    """The change in that function version, if the configuration would still produce the same."""
    binding = topology.bindings[newest.binding]
    try:
        change = change_for(
            binding, topology.places, servings(conn, newest.models, base_images.over(conn, newest.release_id))
        )
    except Invalid:  # it was configured with fewer models when this was staged
        return None
    return change if digest_of(change) == newest.change_digest else None
