"""What a worker moved after its step had passed to another: put back to what the record says, and told.

The platform takes no fence with a write. A worker that stands still right before it writes, for longer than its lease,
may move an alias when all has long ended otherwise: its look fits again, since the alias is back where it was. The
record refuses it then, and by that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.errors import Conflict, Fenced, SyncdError
from syncd.plan.binding import Binding
from syncd.plan.phases import FlipPhase
from syncd.reconcile.run import Job
from syncd.runtime.base import AliasState, Runtime
from syncd.state import events, flips, live
from syncd.state.records import Flip

log = structlog.get_logger("syncd.late")

LOOKS_MAX: Final = 5  # each follows a move by somebody else in the moment in which we put back what we had moved
_FORWARD: Final = frozenset({FlipPhase.WEIGHING, FlipPhase.WEIGHTED, FlipPhase.INTENDED, FlipPhase.FLIPPED})


@contextmanager
def put_right(job: Job, binding: Binding, runtime: Runtime, written: AliasState) -> Iterator[None]:
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


def _is_lost(job: Job) -> bool:
    try:
        with job.rooms.state.fenced(job.step.id, job.step.attempt):
            return False
    except Fenced:
        return True
    except SyncdError:  # the record is out of reach: the next attempt looks, and so do the rounds
        return False


def _put_back(job: Job, binding: Binding, runtime: Runtime, written: AliasState) -> None:
    try:
        for _ in range(LOOKS_MAX):
            if not _once(job, binding, runtime, written):
                return
    except SyncdError as error:
        log.warning("moved too late, and not put back: a round will tell of it", binding=binding.name,
                    error=error.message, hint=error.hint)  # fmt: skip


def _once(job: Job, binding: Binding, runtime: Runtime, written: AliasState) -> bool:
    """Put it back, if it is to be. Whether it was: then who it belongs to may have changed his mind meanwhile."""
    pointed = runtime.read(binding.function, binding.alias)
    if (pointed.function_version, pointed.weights.keys()) != (written.function_version, written.weights.keys()):
        return False
    with job.rooms.state.read() as conn:
        recorded = live.get(conn, binding.name)
        wanted = recorded.function_version if recorded else None
        if _is_wanted(pointed, wanted, _holder(conn, binding)):
            return False
    runtime.flip(binding.function, binding.alias, wanted, pointed.function_version)
    detail: dict[str, object] = {"alias": binding.alias, "got": str(pointed), "want": wanted}
    with job.rooms.state.write() as conn:
        now = job.rooms.state.now(conn)
        events.append(
            conn, "binding.put_right", now=now, release_id=job.release.id, subject=binding.name, detail=detail
        )
    log.warning("moved too late, and put back", function=binding.function, alias=binding.alias,
                got=str(pointed), want=wanted)  # fmt: skip
    return True


def _is_wanted(pointed: AliasState, recorded: str | None, holder: Flip | None) -> bool:
    if pointed == AliasState(recorded):
        return True
    if holder is None:
        return False
    ends = {holder.from_version, holder.to_version}
    moving = holder.phase in _FORWARD or holder.phase is FlipPhase.UNDOING
    return moving and pointed.function_version in ends and pointed.weights.keys() <= ends


def _holder(conn: Connection, binding: Binding) -> Flip | None:
    release = flips.holder(conn, binding.name)
    return flips.get(conn, release, binding.name) if release else None
