"""Timestamps from registries, with any offset and fraction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.values.times import parse_time

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T12:00:00Z", NOON),
        ("2026-11-20t12:00:00z", NOON),
        ("2026-11-20 12:00:00Z", NOON),
        ("2026-11-20T20:00:00+08:00", NOON),
        ("2026-11-20T20:00:00+0800", NOON),
        ("2026-11-20T04:30:00-07:30", NOON),
        ("2026-11-20T12:00:00-00:00", NOON),
        ("2026-11-20T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-11-20T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
        ("2026-11-20T12:00:00,25+00:00", NOON + timedelta(milliseconds=250)),
        ("2026-11-20T11:59:60Z", NOON - timedelta(microseconds=1)),
        (" 2026-11-20T12:00:00Z\n", NOON),
    ],
)
def test_a_timestamp_is_a_point_in_time(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-20",
        "2026-11-20T12:00:00",
        "2026-11-20T12:00Z",
        "20261120T120000Z",
        "2026-W47-5T12:00:00Z",
        "2026-06-31T12:00:00Z",
        "2026-11-20T25:00:00Z",
        "2026-11-20T12:00:61Z",
        "2026-11-20T12:00:00+25:99",
        "1763640000",
        "٢٠٢٦-11-20T12:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-11-20T12:00:00.Z",
        "2026-11-20T12:00:00Z Z",
        "x" * 100_000,
    ],
)
def test_an_invalid_timestamp_is_none(text: str) -> None:
    assert parse_time(text) is None


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=OFFSETS))  # noqa: DTZ001
def test_every_offset_of_one_instant_is_that_instant(when: datetime) -> None:
    assert parse_time(when.isoformat()) == when
