"""The seam to the engine: run (step, attempt) at least once on a worker that serves its queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

from sqlalchemy import Connection


class Carried(Enum):
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

        Submitting the same (step, attempt) again is harmless. A smaller priority runs first.
        """
        ...

    def cancel(self, step_id: str, attempt: int) -> None:
        """Take an attempt off its queue, or forget it. A running body is not interrupted: the record tells it."""
        ...

    def status(self, step_id: str, attempt: int) -> Carried:
        """What became of an attempt, as far as the engine knows."""
        ...

    def serve(self, slots: Mapping[str, int], run: RunStep) -> None:
        """Begin to run attempts: at most `slots[queue]` at once from each queue. Returns at once."""
        ...

    def stop(self, grace_s: float) -> None:
        """Take no more, wait up to `grace_s` for what runs. Repeating it is success."""
        ...
