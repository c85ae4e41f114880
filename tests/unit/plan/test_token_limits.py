"""Limits of a token are what the record gives back, and limits that cannot be parsed are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.errors import Invalid
from syncd.plan.token_limits import NO_LIMITS, TokenLimits, parse_lasts

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LIMITS = st.builds(
    TokenLimits,
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.lists(st.sampled_from(["sdxl", "sd*", "team/*"]), max_size=2).map(tuple),
    st.lists(st.sampled_from(["10.0.0.0/8", "::1", "192.0.2.7"]), max_size=2).map(tuple),
    st.integers(0, 1000),
)


@given(LIMITS)
def test_the_record_gives_back_what_it_was_given(limits: TokenLimits) -> None:
    assert TokenLimits.of_json(limits.as_json()) == limits
    assert bool(limits) == bool(limits.as_json())


@pytest.mark.parametrize(
    "found",
    [
        {"ends_at": "tomorrow"},
        {"models": "sdxl"},
        {"models": 7},
        {"models": ["a b"]},
        {"networks": ["10.0.0.1/8"]},
        {"per_minute": "many"},
        {"per_minute": -1},
        {"moon": "full"},
    ],
)
def test_limits_that_cannot_be_parsed_are_refused(found: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        TokenLimits.of_json(found)


def test_without_limits_everything_is_admitted() -> None:
    assert TokenLimits.of_json({}) == NO_LIMITS
    assert NO_LIMITS.selects("sdxl")
    assert NO_LIMITS.admits("unknown")
    assert not NO_LIMITS.is_ended(NOW)


def test_a_time_is_over_when_it_comes() -> None:
    limits = TokenLimits(ends_at=NOW)
    assert limits.is_ended(NOW)
    assert not limits.is_ended(NOW - timedelta(microseconds=1))


def test_a_pattern_selects_as_in_a_configuration() -> None:
    limits = TokenLimits(models=("sd*", "team/*"))
    assert [limits.selects(model) for model in ("sdxl", "lora", "team/lora", "other/sdxl")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("address", "is_admitted"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), ("unknown", False), ("fd00::1", True)],
)
def test_an_address_of_either_family_is_compared_as_what_it_is(address: str, is_admitted: bool) -> None:  # noqa: FBT001
    assert TokenLimits(networks=("10.0.0.0/8", "fd00::/8")).admits(address) is is_admitted


@pytest.mark.parametrize(
    ("text", "lasts"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)),
     ("3650d", timedelta(days=3650))],
)  # fmt: skip
def test_how_long_it_lasts(text: str, lasts: timedelta) -> None:
    assert parse_lasts(text) == lasts


@pytest.mark.parametrize("text", ["", "12", "d", "1w", "0s", "3651d", "-1d", "1.5h", "٣d"])
def test_how_long_it_does_not_last(text: str) -> None:
    with pytest.raises(Invalid, match="12h or 30d"):
        parse_lasts(text)
