"""What a worker moved after its step had passed to another: put back to what the record says, and told.

The platform takes no fence with a write. A worker that stands still right before it writes, for longer than its lease,
may move an alias when all has long ended otherwise: its look fits again, since the alias is back where it was. The
record refuses it then, and by that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.errors import Conflict, Fenced, SyncdError
from syncd.plan.binding import Binding
from syncd.plan.phases import FlipPhase, StepKind
from syncd.plan.strategy import WHOLE_PERCENT
from syncd.reconcile.context import Attempt
from syncd.runtime.base import Runtime
from syncd.state.releases import events, rollouts, steps
from syncd.state.serving import flips, live
from syncd.values.function import AliasState

log = structlog.get_logger("syncd.late")

READS_MAX: Final = 5  # each follows a move by somebody else in the moment in which we put back what we had moved
_IN_FLIGHT: Final = frozenset({FlipPhase.WEIGHING, FlipPhase.INTENDED, FlipPhase.UNDOING})
_MOVES: Final = (StepKind.WEIGH, StepKind.FLIP, StepKind.UNDO)


@contextmanager
def undo_stale_write(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> Iterator[None]:
    """Around the write of an alias and its record: `written` is put back where the step was not its own any more.

    What somebody else has made of the alias since then is left as it is, and so is what a release wants there now.
    """
    try:
        yield
    except Conflict:
        raise  # it pointed elsewhere: nothing was written
    except SyncdError:
        if _is_lost(job):
            _put_back(job, binding, runtime, written)
        raise


def _is_lost(job: Attempt) -> bool:
    try:
        with job.context.state.fenced(job.step.id, job.step.attempt):
            return False
    except Fenced:
        return True
    except SyncdError:  # the record is out of reach: the next attempt looks, and so do the rounds
        return False


def _put_back(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> None:
    try:
        for _ in range(READS_MAX):
            put = _once(job, binding, runtime, written)
            if put is None:
                return
            written = put  # who it belongs to may have moved it meanwhile, and ours was over that
    except SyncdError as error:
        log.warning(
            "stale_write.not_corrected",
            message="A worker without a lease moved the alias, and it is not corrected; drift detection reports it.",
            binding=binding.name,
            error=error.message,
            hint=error.hint,
        )


def _once(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> AliasState | None:
    """Put it back, if it is to be, and say to what."""
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
    """Where the record has the alias. None: a release is moving it, and will look at it once more before it says so.

    Who is moving it may have read it back before our write. So his attempt is taken from him: the next one looks.
    """
    release = flips.holder(conn, binding.name)
    if release is not None:
        steps.revoke(conn, release, binding.name, _MOVES, now)
    recorded = live.get(conn, binding.name)  # after that: he may have recorded while we waited for the row
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
