"""The clock: APScheduler, in memory. Everything it starts is idempotent, so a missed or doubled run is harmless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """Something done again and again: first at once, then every `every_s` seconds, give or take `jitter_s`."""

    name: str
    every_s: float
    jitter_s: float
    run: Callable[[], None]


class Schedule:
    """Runs chores in the background, each never twice at once; a run that is late is done once, not caught up."""

    def __init__(self, chores: list[PeriodicJob]) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max(2, len(chores)))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for chore in chores:
            trigger = IntervalTrigger(seconds=max(0.05, chore.every_s), jitter=chore.jitter_s or None, timezone=UTC)
            self._scheduler.add_job(chore.run, trigger, id=chore.name, name=chore.name, next_run_time=datetime.now(UTC))

    def start(self) -> None:
        """Begin; every chore runs once right away."""
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no more, and wait for what runs. Repeating it is success."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
