"""Scheduler of periodic jobs: APScheduler, in memory. Jobs are idempotent, so a missed or doubled run is harmless.

APScheduler's due times are wall-clock times. `StepDetector` notices a step of a wall clock, and `Schedule.run_all`
makes every job due then.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

# It warns of each run that is skipped because the one before is not over: once a second, of a mount that hangs. What
# hangs is told by the job itself, and by `health`.
logging.getLogger("apscheduler.scheduler").addFilter(
    lambda record: "maximum number of running instances" not in str(record.msg)
)

STEP_MIN_S: Final = 2.0  # far above what NTP slews between two ticks; a due time that is off by less is harmless


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """A job that runs at once and then every `every_s` seconds, give or take `jitter_s`."""

    name: str
    every_s: float
    jitter_s: float
    run: Callable[[], None]


class StepDetector:
    """Detects steps of a wall clock against monotonic time: it was set, or the machine was suspended."""

    def __init__(self) -> None:
        self._offset_s: tuple[float, float] | None = None

    def step_s(self, read: Callable[[], float]) -> float:
        """How many seconds the clock that `read` returns was stepped since the last call; 0 if it was not.

        A read that takes longer than `STEP_MIN_S` proves nothing: the next call compares with the one before.
        """
        before_s = time.monotonic()
        wall_s = read()
        after_s = time.monotonic()
        if after_s - before_s > STEP_MIN_S:
            return 0.0
        least_s, most_s = wall_s - after_s, wall_s - before_s
        old_least_s, old_most_s = self._offset_s or (least_s, most_s)
        self._offset_s = (least_s, most_s)
        if least_s > old_most_s + STEP_MIN_S:
            return least_s - old_most_s
        if most_s < old_least_s - STEP_MIN_S:
            return most_s - old_least_s
        return 0.0


class _Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Due `every_s` seconds after now. APScheduler's own interval counts up from the last due time.

    After a step of a year it would list a due time for each second of that year.
    """

    def __init__(self, every_s: float, jitter_s: float) -> None:
        self._every_s = max(0.05, every_s)
        self._jitter_s = jitter_s

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        jitter_s = random.uniform(0.0, self._jitter_s)  # noqa: S311 -- spreads load, guards nothing
        return now + timedelta(seconds=self._every_s + jitter_s)


class Schedule:
    """Runs jobs in the background. A job never runs twice at once; missed runs are done once, not caught up."""

    def __init__(self, jobs: list[PeriodicJob]) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max(2, len(jobs)))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for job in jobs:
            trigger = _Every(job.every_s, job.jitter_s)
            self._scheduler.add_job(job.run, trigger, id=job.name, name=job.name, next_run_time=datetime.now(UTC))

    def start(self) -> None:
        """Start; every job runs once right away."""
        self._scheduler.start()

    def run_all(self) -> None:
        """Make every job due now, after a step of the clock. A job that runs is due after its interval."""
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=datetime.now(UTC))

    def stop(self) -> None:
        """Start no more runs, and wait for those under way. Repeating it is success."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
