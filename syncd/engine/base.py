"""Interface of the execution engine: runs each (step, attempt) at least once on a worker that serves its queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Protocol

from sqlalchemy import Connection


class ExecutionStatus(Enum):
    """What the engine knows about an attempt."""

    MISSING = "missing"
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


RunStep = Callable[[str, int], None]
"""Runs (step_id, attempt) and records the outcome itself, so it returns nothing and raises nothing."""


MayServe = Callable[[str], bool]
"""Whether attempts of a queue may begin here now. It is asked before each claim, and must not block."""


def always(_queue: str) -> bool:
    """Attempts of every queue may begin."""
    return True


class Engine(Protocol):
    """Runs attempts. A crash may repeat or lose one; the record detects both. Safe from several threads."""

    def submit(self, conn: Connection, step_id: str, attempt: int, queue: str, priority: int) -> None:
        """Queue an attempt in the caller's transaction: both are committed, or neither.

        Submitting the same (step, attempt) again is harmless. A smaller priority runs first; 0 is the smallest.
        """
        ...

    def wake(self) -> None:
        """Look for new attempts now: a transaction that submitted some may have been committed. Never blocks."""
        ...

    def cancel(self, step_id: str, attempt: int) -> None:
        """Remove an attempt from its queue. A running attempt is not interrupted: the record requests it to stop.

        Either way its status is ENDED from then on. Cancelling what ended or was never submitted is success.
        Must not be called within a transaction of the record: on SQLite it would wait for that one's end.
        """
        ...

    def status(self, step_id: str, attempt: int) -> ExecutionStatus:
        """The status of an attempt, as far as the engine knows.

        RUNNING means that a worker claimed it. The worker may have died since, even before the step began: a step
        that stays queued in the record meanwhile was lost.
        """
        ...

    def serve(self, slots: Mapping[str, int], run: RunStep, may: MayServe = always) -> None:
        """Start to run attempts: at most `slots[queue]` at once from each queue. Returns at once.

        Of a queue that `may` refuses none begins; after it changes its mind, `wake` is called.

        Raises:
            Conflict: It serves already.
        """
        ...

    def stop(self, grace_s: float) -> None:
        """Start no more, wait up to `grace_s` for running ones. Repeating it is success; `serve` may follow."""
        ...

    def forget(self, older_than: datetime) -> int:
        """Delete attempts that ended before `older_than` and return how many. They are MISSING then.

        An attempt that a worker claimed before then counts as ended from now on, as after `cancel`: most such workers
        have died, and a later call deletes what they left.

        Only for attempts that the record will not submit again: a deleted one would run again.
        """
        ...
