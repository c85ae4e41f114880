"""Call retries: only for named errors, within two limits, and never before the server's delay."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from syncd.errors import Cancelled, Corrupt, OutcomeUnknown, Refused, SyncdError, Unavailable
from syncd.retry import Pace, PacedCaller, Retry, call, sleep


@dataclass
class World:
    """A clock that only waiting moves."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)
    cancelled_after: int = 10_000

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return len(self.waits) > self.cancelled_after


def failing(*errors: SyncdError) -> Callable[[], str]:
    left = list(errors)

    def fn() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return fn


def run(world: World, policy: Retry, fn: Callable[[], str], *, chance: float = 1.0) -> str:
    return call(policy, fn, wait=world.wait, clock=lambda: world.now, chance=lambda: chance)


def test_what_works_is_called_once() -> None:
    world = World()
    assert run(world, Retry(), failing()) == "done"
    assert world.waits == []


def test_waits_double_up_to_the_cap() -> None:
    world = World()
    policy = Retry(attempts_max=6, elapsed_max_s=1000, base_s=1, cap_s=10)
    assert run(world, policy, failing(*[Unavailable("x")] * 5)) == "done"
    assert world.waits == [2, 4, 8, 10, 10]


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_jitter_is_full(chance: float) -> None:
    world = World()
    run(world, Retry(base_s=1, cap_s=100), failing(*[Unavailable("x")] * 2), chance=chance)
    assert world.waits == [chance * 2, chance * 4]


def test_attempts_are_bounded_and_the_last_error_is_raised() -> None:
    world = World()
    with pytest.raises(Unavailable, match="third"):
        run(world, Retry(attempts_max=3), failing(*map(Unavailable, ("first", "second", "third", "fourth"))))
    assert len(world.waits) == 2


def test_time_is_bounded() -> None:
    world = World()
    with pytest.raises(Unavailable):
        run(world, Retry(attempts_max=1000, elapsed_max_s=25, base_s=1, cap_s=10), failing(*[Unavailable("x")] * 99))
    assert world.now <= 25


def test_the_servers_own_delay_is_never_undercut() -> None:
    world = World()
    run(world, Retry(), failing(Unavailable("x", retry_after_s=7.5)), chance=0.0)
    assert world.waits == [7.5]


def test_a_delay_past_the_bound_is_not_waited_for() -> None:
    world = World()
    with pytest.raises(Unavailable):
        run(world, Retry(elapsed_max_s=60), failing(Unavailable("x", retry_after_s=61)))
    assert world.waits == []


@pytest.mark.parametrize("error", [Corrupt("x"), Refused("x"), OutcomeUnknown("x")])
def test_other_errors_and_unknown_outcomes_are_raised_at_once(error: SyncdError) -> None:
    world = World()
    with pytest.raises(type(error)):
        run(world, Retry(), failing(error))
    assert world.waits == []


@pytest.mark.parametrize("error", [Corrupt("x"), OutcomeUnknown("x")])
def test_what_is_named_is_retried(error: SyncdError) -> None:
    world = World()
    assert call(Retry(), failing(error), on=(Corrupt, OutcomeUnknown), wait=world.wait) == "done"


def test_a_wait_can_be_cancelled() -> None:
    world = World(cancelled_after=1)
    with pytest.raises(Cancelled) as caught:
        run(world, Retry(), failing(*[Unavailable("why")] * 5))
    assert len(world.waits) == 2
    assert isinstance(caught.value.__cause__, Unavailable)


def test_an_event_is_a_way_to_wait() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        call(Retry(base_s=1000, cap_s=1000, elapsed_max_s=1e6), failing(Unavailable("x")), wait=stop.wait)


def test_the_plain_wait_is_never_cancelled() -> None:
    assert sleep(0) is False
    assert call(Retry(base_s=0), failing(Unavailable("x"))) == "done"


def test_many_tries_do_not_overflow() -> None:
    world = World()
    policy = Retry(attempts_max=2000, elapsed_max_s=1e9, base_s=1, cap_s=1)
    assert run(world, policy, failing(*[Unavailable("x")] * 1500)) == "done"


def test_a_throttled_call_has_twice_as_many_tries() -> None:
    world = World()
    refused = Unavailable("x", throttled="503 SlowDown")
    policy = Retry(attempts_max=3, elapsed_max_s=1000, base_s=0.1)
    assert run(world, policy, failing(*[refused] * 5)) == "done"
    with pytest.raises(Unavailable):
        run(world, policy, failing(*[refused] * 6))


def test_a_call_that_is_to_be_made_once_is_made_once_where_it_is_throttled_too() -> None:
    world = World()
    with pytest.raises(Unavailable):
        run(world, Retry(attempts_max=1), failing(Unavailable("x", throttled="503 SlowDown")))
    assert world.waits == []


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refuse(pace: Pace, times: int = 1, retry_after_s: float | None = None) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable), pace.counted():
            raise Unavailable("x", throttled="503 SlowDown", retry_after_s=retry_after_s)


def test_the_refusals_of_the_last_minutes_are_counted_with_all_calls() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.throttling() == ""
    refuse(pace, 58)
    for _ in range(5942):
        pace.note(None)
    assert pace.throttling() == "throttled: 503 SlowDown, 58 of 6 000 calls"
    clock.now = 301.0
    pace.note(None)
    assert pace.throttling() == "throttled: 503 SlowDown, 58 of 6 001 calls"
    clock.now = 602.0
    assert pace.throttling() == ""


def test_the_error_of_a_throttled_call_says_how_many_were_refused() -> None:
    pace = Pace(Clock())
    caller = PacedCaller(Retry(attempts_max=2, base_s=0), pace)
    with pytest.raises(Unavailable, match=r"^throttled: 503 SlowDown, 4 of 4 calls: k$"):
        caller(failing(*[Unavailable("k", throttled="503 SlowDown")] * 9))
    with pytest.raises(Unavailable, match=r"^the connection broke$"):
        caller(failing(*[Unavailable("the connection broke")] * 9))


def test_a_pause_that_one_caller_was_asked_for_holds_the_others() -> None:
    clock, waits = Clock(), list[float]()
    pace = Pace(clock)
    refuse(pace, retry_after_s=30.0)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        clock.now += seconds
        return False

    assert PacedCaller(Retry(), pace, wait)(lambda: "done") == "done"
    assert waits == [30.0]


def test_a_caller_that_waits_for_a_pause_can_be_stopped() -> None:
    pace = Pace(Clock())
    refuse(pace, retry_after_s=30.0)
    with pytest.raises(Cancelled):
        PacedCaller(Retry(), pace, lambda _seconds: True)(lambda: "done")
