"""Jobs that rest while the record does not change, and what the engine keeps of what has ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.daemon.components import ComponentChecks
from syncd.daemon.health import Health
from syncd.daemon.jobs import ProcessJobs
from syncd.daemon.quiet import SAFETY_S, WhenChanged
from syncd.daemon.settings import DEFAULT_SLOTS, ProcessSettings
from syncd.engine.base import ExecutionStatus
from syncd.errors import Unavailable
from syncd.reconcile.repair import repairs as repairing
from syncd.state.content import repairs
from syncd.state.state import State

from tests.support.rooms import SDXL, Site, World, site
from tests.unit.state.making import NOON, make_version

SETTINGS = ProcessSettings(tick_s=0.02, drain_s=1.0, auto_release=False, polls=(), slots=DEFAULT_SLOTS)


class Work:
    """A job that answers as it was told, and counts its runs."""

    def __init__(self) -> None:
        self.runs, self.answer, self.basis, self.now_s = 0, False, 1, 0.0
        self.job = WhenChanged(self.run, lambda: self.basis, clock=lambda: self.now_s)

    def run(self) -> bool:
        self.runs += 1
        return self.answer


def test_a_job_rests_until_something_changes_or_half_a_minute_has_passed() -> None:
    work = Work()
    for _ in range(3):
        work.job()
    assert work.runs == 1
    work.basis = 2
    work.job()
    work.job()
    assert work.runs == 2
    work.now_s += SAFETY_S
    work.job()
    assert work.runs == 3


def test_a_job_that_has_left_something_to_do_does_not_rest() -> None:
    work = Work()
    work.answer = True
    work.job()
    work.job()
    assert work.runs == 2


def test_a_job_that_fails_does_not_rest() -> None:
    failures = [Unavailable("no answer")]

    def fails() -> None:
        if failures:
            raise failures.pop()

    job = WhenChanged(fails, lambda: 1)
    with pytest.raises(Unavailable):
        job()
    failures.append(Unavailable("no answer"))
    with pytest.raises(Unavailable):
        job()


@pytest.fixture
def here(tmp_path: Path, usual_database_url: str) -> Iterator[Site]:
    state = State(usual_database_url)
    yield site(World(tmp_path / "registry"), state)
    state.close()


def test_repairs_are_looked_for_again_while_one_is_unfinished(here: Site) -> None:
    assert not repairing.resume(here.context)
    with here.state.write() as conn:
        version = make_version(conn, SDXL, "v1")
        repairs.begin(conn, version, "hz", "ops", NOON)
        repairs.claim(conn, repairs.get(conn, version.id, "hz"), 1e9, here.state.now(conn))  # by another worker
    assert repairing.resume(here.context)


def test_the_daemon_deletes_what_the_engine_keeps_of_ended_attempts(here: Site) -> None:
    here.engine.known["r-1/place/targets", 1] = ExecutionStatus.ENDED
    here.engine.known["r-2/place/targets", 1] = ExecutionStatus.WAITING
    jobs = ProcessJobs(here.context, SETTINGS, Health([], 1.0), ComponentChecks(here.context, [], {}), {})
    next(job for job in jobs.periodic() if job.name == "engine's rows").run()
    assert list(here.engine.known) == [("r-2/place/targets", 1)]
