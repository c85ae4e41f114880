"""How many parts at once: it climbs while that brings more, halves when the target objects, and stays in its bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.parts import MIB
from syncd.transfer.flow.send_queue import FIRST, AdaptiveConcurrency

PART = 8 * MIB


class Store:
    """A store whose rate depends on how many are sent at once, and the time on its clock."""

    def __init__(self, pace: AdaptiveConcurrency, rate_of: Callable[[int], float]) -> None:
        self.pace = pace
        self.rate_of = rate_of
        self.now_s = 0.0
        self.seen: list[int] = []

    def send(self, parts: int, *, is_short: bool = True) -> None:
        for _ in range(parts):
            self.now_s += PART / self.rate_of(self.pace.allowed)
            self.pace.sent(PART, self.now_s, is_short=is_short)
            self.seen.append(self.pace.allowed)


@given(most=st.integers(1, 256), steps=st.lists(st.tuples(st.integers(0, 9), st.floats(1e-6, 1e3), st.booleans())))
def test_it_never_leaves_its_bounds(most: int, steps: list[tuple[int, float, bool]]) -> None:
    pace, now_s = AdaptiveConcurrency(most), 0.0
    eras = [pace.era]
    for kind, passed_s, is_short in steps:
        before = pace.allowed
        now_s += passed_s
        if kind == 0:
            pace.refused(eras[-1])
            assert pace.allowed == max(1, before // 2)
        elif kind == 1:
            was_current = eras[0] == pace.era
            pace.refused(eras[0])
            assert pace.allowed == before or was_current
        else:
            for _ in range(kind):
                pace.sent(PART, now_s, is_short=is_short)
        eras.append(pace.era)
        assert 1 <= pace.allowed <= most


@given(st.integers(1, 64))
def test_where_more_at_once_bring_more_all_are_used(most: int) -> None:
    pace = AdaptiveConcurrency(most)
    store = Store(pace, lambda allowed: allowed * 10 * MIB)
    store.send(100 * most)
    assert pace.allowed == most
    assert store.seen == sorted(store.seen)


@given(limit=st.integers(4, 12))
def test_where_more_at_once_bring_nothing_it_stays_near_what_is_enough(limit: int) -> None:
    pace = AdaptiveConcurrency(64)
    store = Store(pace, lambda allowed: min(allowed, limit) * 10 * MIB)
    store.send(3000)
    settled = store.seen[len(store.seen) // 2 :]
    assert max(settled) <= 2 * limit
    assert min(settled) >= limit // 2


def test_it_is_not_raised_while_the_source_is_what_is_slow() -> None:
    pace = AdaptiveConcurrency(64)
    Store(pace, lambda allowed: allowed * 10 * MIB).send(1000, is_short=False)
    assert pace.allowed == FIRST


def test_one_trouble_counts_once_for_all_that_were_on_their_way() -> None:
    pace = AdaptiveConcurrency(32)
    Store(pace, lambda allowed: allowed * 10 * MIB).send(2000)
    era = pace.era
    for _ in range(32):
        pace.refused(era)
    assert pace.allowed == 16
    pace.refused(pace.era)
    assert pace.allowed == 8


def test_after_a_trouble_it_climbs_again_one_by_one() -> None:
    pace = AdaptiveConcurrency(16)
    store = Store(pace, lambda allowed: allowed * 10 * MIB)
    store.send(1000)
    pace.refused(pace.era)
    store.seen.clear()
    store.send(100)
    assert set(store.seen) == {8}
    store.send(2000)
    steps = {after - before for before, after in zip(store.seen, store.seen[1:], strict=False)}
    assert steps == {0, 1}
    assert pace.allowed == 16


@pytest.mark.parametrize("most", [1, 2, 3])
def test_who_may_have_few_begins_with_those(most: int) -> None:
    assert AdaptiveConcurrency(most).allowed == most
