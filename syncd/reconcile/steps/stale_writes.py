"""Stale writes: an alias that a worker moved after it lost its lease is restored to the record, and reported.

The platform has no fence for writes. A worker that is paused right before a write, for longer than its lease, may move
an alias long after the step has ended in another attempt: its read still matches, since the alias is back where it was.
The record then refuses the worker's write, and so the worker knows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.errors import Fenced, SyncdError
from syncd.plan.binding import Binding
from syncd.plan.phases import FlipPhase, StepKind
from syncd.plan.strategy import WHOLE_PERCENT
from syncd.reconcile.context import Attempt
from syncd.runtime.base import Runtime
from syncd.state.releases import events, rollouts, steps
from syncd.state.serving import flips, live
from syncd.values.function import AliasState

log = structlog.get_logger("syncd.late")

READS_MAX: Final = 5  # each follows a move by another process in the moment of the restore
_IN_FLIGHT: Final = frozenset({FlipPhase.WEIGHING, FlipPhase.INTENDED, FlipPhase.UNDOING})
_MOVES: Final = (StepKind.WEIGH, StepKind.FLIP, StepKind.UNDO)


def take_back(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> None:
    """Take a write of an alias back, if the lease was lost meanwhile.

    A later change of the alias by others stays, and so does the value that a release needs there now.
    """
    if _is_lost(job):
        _put_back(job, binding, runtime, written)


def _is_lost(job: Attempt) -> bool:
    try:
        with job.context.state.fenced(job.step.id, job.step.attempt):
            return False
    except Fenced:
        return True
    except SyncdError:  # the record is unreachable: the next attempt reads the alias, and so does drift detection
        return False


def _put_back(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> None:
    try:
        for _ in range(READS_MAX):
            put = _once(job, binding, runtime, written)
            if put is None:
                return
            written = put  # its owner may have moved it meanwhile, and this write was over that one
    except SyncdError as error:
        log.warning(
            "stale_write.not_corrected",
            message="A worker without a lease moved the alias, and it is not corrected; drift detection reports it.",
            binding=binding.name,
            error=error.message,
            hint=error.hint,
        )


def _once(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> AliasState | None:
    """Restore the alias where that is right; the answer is the state that was written."""
    pointed = runtime.read(binding.function, binding.alias)
    if (pointed.function_version, pointed.weights.keys()) != (written.function_version, written.weights.keys()):
        return None
    with job.context.state.write() as conn:
        wanted = _recorded(conn, binding, pointed, job.context.state.now(conn))
    if wanted is None or pointed.is_like(wanted):
        return None
    runtime.flip(binding.function, binding.alias, wanted.function_version, pointed.function_version)
    for version, share in wanted.weights.items():
        runtime.split(binding.function, binding.alias, version, wanted.function_version or "", share)
    detail: dict[str, object] = {"alias": binding.alias, "got": str(pointed), "want": str(wanted)}
    with job.context.state.write() as conn:
        now = job.context.state.now(conn)
        events.append(
            conn, "binding.put_right", now=now, release_id=job.release.id, subject=binding.name, detail=detail
        )
    log.warning(
        "stale_write.corrected",
        message="A worker without a lease moved the alias, and it is corrected.",
        function=binding.function,
        alias=binding.alias,
        got=str(pointed),
        want=str(wanted),
    )
    return wanted


def _recorded(conn: Connection, binding: Binding, pointed: AliasState, now: datetime) -> AliasState | None:
    """Where the record has the alias. None: a release is moving it, and reads it again before it records anything.

    Its worker may have read the alias back before this write. So its attempt is revoked: the next one reads again.
    """
    release = flips.holder(conn, binding.name)
    if release is not None:
        steps.revoke(conn, release, binding.name, _MOVES, now)
    recorded = live.get(conn, binding.name)  # after that: it may have recorded its move while this waited for the row
    main = AliasState(recorded.function_version if recorded else None)
    if release is None:
        return main
    holder = flips.get(conn, release, binding.name)
    if holder.phase in _IN_FLIGHT:  # the next attempt goes on from either of its ends, and from nowhere else
        ends = {holder.from_version, holder.to_version}
        return None if pointed.function_version in ends and pointed.weights.keys() <= ends else main
    if holder.phase is FlipPhase.WEIGHTED:
        share = rollouts.canaries_of(conn, release)[binding.name].percent / WHOLE_PERCENT
        return AliasState(main.function_version, {holder.to_version or "": share})
    return main
