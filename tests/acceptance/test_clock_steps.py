"""The daemon under a wall clock that is stepped, and after a stop: polls, webhooks, waiting steps and health go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from syncd.plan.phases import StepKind
from syncd.state.access import deliveries
from syncd.state.records import Delivery
from syncd.state.releases import steps
from syncd.state.state import State

from tests.acceptance.stage import Cloud, Daemon, Stage, cloud_up, small, until
from tests.foreign.processes import Clock

TWO_HOURS_S = 7200
YEAR_S = 365 * 86400
SOON_S = 40.0
STEPS = pytest.mark.parametrize("step_s", [-TWO_HOURS_S, TWO_HOURS_S, YEAR_S], ids=["back", "forward", "year"])


@pytest.fixture(scope="module")
def shared_clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clock]:
    """The clock that the cloud and syncd see: a cloud whose clock differs by minutes refuses each signature."""
    clock = Clock(tmp_path_factory.mktemp("clock"))
    assert clock.available, "a C compiler is needed: cc"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clock.environment().items():
            patch.setenv(name, value)
        yield clock


@pytest.fixture(scope="module")
def cloud(shared_clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    assert shared_clock.available
    with cloud_up(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def clock(shared_clock: Clock) -> Iterator[Clock]:
    yield shared_clock
    shared_clock.step(0)


def is_live(stage: Stage, version: str) -> bool:
    """Whether the release of the version has ended live."""
    found = [row for row in stage.ask("releases")["releases"] if row["version"] == version]
    return [row["phase"] for row in found] == ["live"]


def is_healthy(stage: Stage) -> bool:
    return stage.run("health", "--liveness").code == 0


@STEPS
def test_a_stepped_clock_stops_no_poll(one_region: Stage, clock: Clock, step_s: int) -> None:
    with one_region.daemon() as daemon:
        for version, offset_s in (("v1", 0), ("v2", step_s), ("v3", 0)):
            clock.step(offset_s)
            one_region.deliver(version, small(version))
            until(partial(is_live, one_region, version), f"{version} to be live", SOON_S)
            assert is_healthy(one_region)
        assert len(daemon.events("clock.stepped")) == 2
        assert daemon.stop() == 0


@STEPS
def test_a_stepped_clock_stops_no_webhook(one_region: Stage, clock: Clock, step_s: int) -> None:
    one_region.configure(("poll_s = 0.5", "poll_s = 86400"))
    with one_region.daemon() as daemon:
        until(lambda: is_healthy(one_region), "the daemon to be seen")
        clock.step(step_s)
        until(lambda: daemon.events("clock.stepped"), "the step to be noticed", SOON_S)
        deliver_by_webhook(one_region, "v1")
        until(partial(is_live, one_region, "v1"), "v1 to be live", SOON_S)


def deliver_by_webhook(stage: Stage, version: str) -> None:
    stage.deliver(version, small(version))
    state = State(f"sqlite:///{stage.database}")
    with state.write() as conn:
        heard = Delivery("hook", version, "models", "", stage.model, version)
        deliveries.record(conn, [heard], state.now(conn))
    state.close()


@STEPS
def test_a_step_that_waits_runs_when_the_clock_is_stepped(one_region: Stage, clock: Clock, step_s: int) -> None:
    one_region.configure(("retry_base_s = 0.1", "retry_base_s = 3000"), ("retry_cap_s = 0.5", "retry_cap_s = 3000"))
    one_region.deliver("v1", small("v1"))
    refuses_once(one_region)
    with one_region.daemon() as daemon:
        until(lambda: daemon.events("step.failed"), "a step to wait")
        clock.step(step_s)
        until(lambda: attempts_of_stage(one_region) > 1, "the step to run again", SOON_S)


def attempts_of_stage(stage: Stage) -> int:
    state = State(f"sqlite:///{stage.database}")
    with state.read() as conn:
        found = [step.attempt for step in steps.of_release(conn, "r-1") if step.kind is StepKind.STAGE]
    state.close()
    return max(found, default=0)


def refuses_once(stage: Stage) -> None:
    rule = {
        "service": "fc",
        "operation": "UpdateFunction",
        "resource": f"f-{stage.model}.*",
        "action": {"kind": "Answer", "status": 403, "body": "{}"},
    }
    httpx.post(f"{stage.cloud.endpoint}/_local/faults", json=rule).raise_for_status()


def test_a_daemon_that_was_killed_is_not_alive_after_the_clock_was_set_back(one_region: Stage, clock: Clock) -> None:
    with one_region.daemon() as daemon:
        until(lambda: is_healthy(one_region), "the daemon to be seen")
        daemon.stop(signal.SIGKILL)
    clock.step(-TWO_HOURS_S)
    assert one_region.run("health", "--liveness").code == 7
    assert one_region.ask("status")["daemon"] is None
    with one_region.daemon():
        until(lambda: is_healthy(one_region), "the next daemon to be seen", SOON_S)


def test_a_stopped_daemon_goes_on_when_it_is_continued(one_region: Stage) -> None:
    with one_region.daemon() as daemon:
        until(lambda: is_healthy(one_region), "the daemon to be seen")
        stopped_for(daemon, 6.0)
        one_region.deliver("v1", small("v1"))
        until(partial(is_live, one_region, "v1"), "v1 to be live", SOON_S)
        assert is_healthy(one_region)
        assert not daemon.events("clock.stepped")


def test_a_clock_that_is_set_while_the_daemon_is_stopped_is_noticed(one_region: Stage, clock: Clock) -> None:
    with one_region.daemon() as daemon:
        until(lambda: is_healthy(one_region), "the daemon to be seen")
        daemon.process.send_signal(signal.SIGSTOP)
        clock.step(-TWO_HOURS_S)
        daemon.process.send_signal(signal.SIGCONT)
        until(lambda: daemon.events("clock.stepped"), "the step to be noticed", SOON_S)
        one_region.deliver("v1", small("v1"))
        until(partial(is_live, one_region, "v1"), "v1 to be live", SOON_S)
        assert is_healthy(one_region)


def stopped_for(daemon: Daemon, seconds: float) -> None:
    """Longer than a lease of the stage and than a poll."""
    daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    daemon.process.send_signal(signal.SIGCONT)
