"""Strategies: waves, stages, requirements, and pauses by a clock that may be set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from syncd.plan.strategy import AT_ONCE, Pause, Requirement, RolloutState, Share, Stage, Strategies, Strategy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REGIONS = {"a": "hz", "b": "sg", "c": "sg", "d": "fr"}
WAVES = Strategy(waves=(("hz",), ("sg", "us")), steps=(Share(10, 300.0),), bake_s=60.0)


def test_regions_that_are_not_named_come_last() -> None:
    assert [WAVES.wave_of(region) for region in ("hz", "us", "fr", "")] == [0, 1, 2, 2]


def test_each_wave_that_has_somebody_in_it_goes_through_every_share() -> None:
    assert WAVES.stages([2, 0, 0]) == (
        Stage(0, 10, 300.0),
        Stage(0, 100, 60.0),
        Stage(2, 10, 300.0),
        Stage(2, 100, 60.0),
    )
    assert AT_ONCE.stages([0, 0]) == (Stage(0, 100, 0.0),)
    assert AT_ONCE.stages([]) == ()


def test_the_first_pattern_that_fits_counts_and_at_once_is_the_default() -> None:
    other = Strategy(bake_s=1.0)
    strategies = Strategies(((("sd*", "lora"), WAVES), (("sdxl", "team/*"), other)))
    assert [strategies.for_model(name) for name in ("sdxl", "lora", "team/x", "x")] == [WAVES, WAVES, other, AT_ONCE]


@pytest.mark.parametrize(
    ("strategy", "ready", "met"),
    [
        (AT_ONCE, "abcd", True),
        (AT_ONCE, "abc", False),
        (Strategy(requirement=Requirement.QUORUM, quorum=2), "ad", True),
        (Strategy(requirement=Requirement.QUORUM, quorum=2), "ab", False),  # c, in the region of b, is not ready
        (Strategy(requirement=Requirement.QUORUM, quorum=2), "bcd", True),
        (Strategy(waves=(("sg",),), requirement=Requirement.PRIMARY_FIRST), "bc", True),
        (Strategy(waves=(("sg",),), requirement=Requirement.PRIMARY_FIRST), "acd", False),
        (Strategy(waves=(("us",), ("fr",)), requirement=Requirement.PRIMARY_FIRST), "d", True),
    ],
)
def test_who_must_be_ready(strategy: Strategy, ready: str, *, met: bool) -> None:
    assert RolloutState(strategy=strategy, regions=REGIONS).met("abcd", ready) is met


def test_a_pause_ends_when_it_was_said_to() -> None:
    pause = Pause(NOON, NOON + timedelta(minutes=5))
    assert pause.on(NOON)
    assert pause.on(NOON + timedelta(seconds=299))
    assert not pause.on(NOON + timedelta(minutes=5))
    assert not pause.overdue(NOON + timedelta(minutes=6), 60.0)
    assert pause.overdue(NOON + timedelta(minutes=6, seconds=1), 60.0)


def test_a_clock_set_back_before_a_pause_makes_it_as_long_from_there() -> None:
    pause = Pause(NOON, NOON + timedelta(minutes=5))
    assert pause.by_clock(NOON + timedelta(minutes=1)) == pause
    early = NOON - timedelta(days=1)
    assert pause.by_clock(early) == Pause(early, early + timedelta(minutes=5))
