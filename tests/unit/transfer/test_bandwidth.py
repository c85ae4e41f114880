"""The limit holds over all who send; it follows the clock on the wall; who waits hears a stop."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from syncd.errors import Cancelled
from syncd.store.memory import MemoryStore
from syncd.transfer.flow.bandwidth import Bandwidth, RateWindow, Timetable
from tests.support.transfers import FILES, SETTINGS, SIZE, Bench, Faulty

MB = 10**6
PART = 8 << 20
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Clock:
    """Moves only when somebody waits."""

    def __init__(self, start: datetime = NOON) -> None:
        self.start = start
        self.passed_s = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.passed_s

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.passed_s)

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.passed_s += seconds
        return False


def limited(clock: Clock, timetable: Timetable) -> Bandwidth:
    return Bandwidth(timetable, clock, clock.now)


def rate(clock: Clock, bandwidth: Bandwidth, parts: int, size_bytes: int = PART) -> float:
    began_s = clock.passed_s
    for _ in range(parts):
        bandwidth.take(size_bytes, clock.wait)
    return parts * size_bytes / (clock.passed_s - began_s)


@pytest.mark.parametrize("size_bytes", [20_000, 1 << 20, PART])
def test_twenty_megabytes_a_second_are_twenty_whatever_the_parts(size_bytes: int) -> None:
    clock = Clock()
    bandwidth = limited(clock, Timetable(20 * MB))
    assert rate(clock, bandwidth, 1_000_000_000 // size_bytes // 5, size_bytes) == pytest.approx(20 * MB, rel=0.1)


def test_five_targets_have_the_limit_together() -> None:
    """Each target sends a part, which takes a moment of its own, and asks for the next."""
    clock = Clock()
    bandwidth = limited(clock, Timetable(20 * MB))
    due = [(0.0, target) for target in range(5)]
    sent = dict.fromkeys(range(5), 0)
    while clock.passed_s < 200:
        at_s, target = heapq.heappop(due)
        clock.passed_s = max(clock.passed_s, at_s)
        bandwidth.take(PART, clock.wait)
        sent[target] += PART
        heapq.heappush(due, (clock.passed_s + 0.01, target))
    assert sum(sent.values()) / clock.passed_s == pytest.approx(20 * MB, abs=2 * MB)
    assert max(sent.values()) <= min(sent.values()) + PART


def test_nothing_much_is_saved_up_while_nothing_is_sent() -> None:
    clock = Clock()
    bandwidth = limited(clock, Timetable(20 * MB))
    clock.passed_s = 3600
    assert rate(clock, bandwidth, 100) == pytest.approx(20 * MB, rel=0.1)


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    bandwidth = limited(clock, Timetable())
    for _ in range(1000):
        bandwidth.take(PART, clock.wait)
    assert clock.waits == []


def test_who_waits_looks_often_enough_to_hear_a_stop_within_a_second() -> None:
    clock = Clock()
    bandwidth = limited(clock, Timetable(1000))
    bandwidth.take(PART, clock.wait)
    with pytest.raises(Cancelled):
        bandwidth.take(PART, lambda seconds: clock.wait(seconds) or clock.passed_s > 30)
    assert clock.passed_s <= 31
    assert max(clock.waits) <= 1


def test_a_limit_that_ends_lets_those_go_who_waited_for_it() -> None:
    clock = Clock(datetime(2026, 6, 1, 19, 59, 50, tzinfo=UTC))
    bandwidth = limited(clock, Timetable(0, (RateWindow(time(8), time(20), 1000),)))
    bandwidth.take(PART, clock.wait)
    bandwidth.take(PART, clock.wait)
    assert 10 <= clock.passed_s <= 11
    bandwidth.take(PART, clock.wait)
    assert clock.passed_s <= 11


def test_a_limit_that_begins_holds_from_then_on() -> None:
    clock = Clock(datetime(2026, 6, 1, 7, 59, 59, tzinfo=UTC))
    bandwidth = limited(clock, Timetable(0, (RateWindow(time(8), time(20), 20 * MB),)))
    for _ in range(100):
        bandwidth.take(PART, clock.wait)
    assert clock.waits == []
    clock.passed_s = 1
    assert rate(clock, bandwidth, 100) == pytest.approx(20 * MB, rel=0.1)


def test_a_copy_asks_for_every_part_it_sends() -> None:
    asked: list[int] = []

    class Asked(Bandwidth):
        def take(self, size_bytes: int, wait: Callable[[float], bool]) -> None:
            asked.append(size_bytes)
            super().take(size_bytes, wait)

    bench = Bench(FILES, one=MemoryStore(), other=MemoryStore())
    assert bench.copy(replace(SETTINGS, bandwidth=Asked(Timetable()))).failed == {}
    assert sum(asked) == 2 * SIZE


def test_a_copy_that_waits_for_bandwidth_can_be_stopped() -> None:
    bench = Bench(FILES, one=Faulty(lambda verb, n: bench.stop.set()))
    with pytest.raises(Cancelled):
        bench.copy(replace(SETTINGS, bandwidth=Bandwidth(Timetable(1))))


@pytest.mark.parametrize(("at", "limit"), [("07:59", 0), ("08:00", 40), ("19:59", 40), ("20:00", 0), ("00:00", 0)])
def test_hours_begin_with_their_first_minute_and_end_before_their_last(at: str, limit: int) -> None:
    table = Timetable(0, (RateWindow(time(8), time(20), 40),))
    assert table.limit(datetime.fromisoformat(f"2026-06-01T{at}+00:00")) == limit


@pytest.mark.parametrize(
    ("at", "limit"), [("21:59", 7), ("22:00", 40), ("23:59", 40), ("00:00", 40), ("05:59", 40), ("06:00", 7)]
)
def test_hours_may_go_over_midnight(at: str, limit: int) -> None:
    table = Timetable(7, (RateWindow(time(22), time(6), 40),))
    assert table.limit(datetime.fromisoformat(f"2026-06-01T{at}+00:00")) == limit


def test_the_first_hours_that_fit_count() -> None:
    table = Timetable(1, (RateWindow(time(12), time(13), 2), RateWindow(time(0), time(0), 3)))
    assert [table.limit(NOON), table.limit(NOON + timedelta(hours=1))] == [2, 3]


def test_hours_are_those_of_the_zone() -> None:
    table = Timetable(0, (RateWindow(time(8), time(20), 40),), ZoneInfo("Asia/Shanghai"))
    assert table.limit(datetime(2026, 6, 1, 0, 0, tzinfo=UTC)) == 40
    assert table.limit(datetime(2026, 6, 1, 12, 0, tzinfo=UTC)) == 0


def test_hours_that_the_clock_skips_have_no_effect_and_those_it_shows_twice_have_it_twice() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    table = Timetable(0, (RateWindow(time(2), time(3), 40),), berlin)
    spring = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)  # 02:00 to 03:00 are skipped at 01:00 UTC
    assert not any(table.limit(spring + timedelta(minutes=n)) for n in range(180))
    autumn = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)  # 02:00 to 03:00 come twice, from 00:00 UTC on
    assert sum(table.limit(autumn + timedelta(minutes=n)) == 40 for n in range(240)) == 120
