"""The seam to the engine: run (step, attempt) at least once on a worker that serves its queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Protocol

from sqlalchemy import Connection


class ExecutionStatus(Enum):
    """What the engine knows of an attempt."""

    MISSING = "missing"
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


RunStep = Callable[[str, int], None]
"""Given (step_id, attempt): look, act, record. It records its own outcome, so it returns nothing and raises nothing."""


class Engine(Protocol):
    """Carries attempts. Repeats one after a crash or loses it; the record notices both. Safe from several threads."""

    def submit(self, conn: Connection, step_id: str, attempt: int, queue: str, priority: int) -> None:
        """Hand over an attempt in the caller's transaction: both are committed, or neither.

        Submitting the same (step, attempt) again is harmless. A smaller priority runs first; 0 is the smallest.
        """
        ...

    def cancel(self, step_id: str, attempt: int) -> None:
        """Take an attempt off its queue. A running body is not interrupted: the record tells it.

        Either way its status is ENDED from then on. Cancelling what ended or was never submitted is success.
        Not to be called within a transaction of the record: on SQLite it would wait for that one's end.
        """
        ...

    def status(self, step_id: str, attempt: int) -> ExecutionStatus:
        """What became of an attempt, as far as the engine knows.

        RUNNING says that a worker claimed it. The worker may have died since, even before the body began: a step
        that stays queued in the record meanwhile was lost.
        """
        ...

    def serve(self, slots: Mapping[str, int], run: RunStep) -> None:
        """Begin to run attempts: at most `slots[queue]` at once from each queue. Returns at once.

        Raises:
            Conflict: It serves already.
        """
        ...

    def stop(self, grace_s: float) -> None:
        """Take no more, wait up to `grace_s` for what runs. Repeating it is success; so is serving again after it."""
        ...

    def forget(self, older_than: datetime) -> int:
        """Drop what is known of attempts that ended before `older_than`; the answer is how many. They are MISSING then.

        Only for attempts the record will not submit again: for one that is forgotten, submitting runs it.
        """
        ...
