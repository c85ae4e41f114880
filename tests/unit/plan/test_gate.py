"""Gates of the barrier."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from syncd.plan.gate import Blocked, Gates, WeekTime, Window, blocked_at

SHANGHAI = ZoneInfo("Asia/Shanghai")
WEEKEND = Window(WeekTime(4, time(18)), WeekTime(0, time(8)), SHANGHAI, ("sdxl", "team/*"))
FRIDAY = datetime(2026, 3, 6, tzinfo=SHANGHAI)


def test_a_window_goes_over_the_end_of_the_week_by_its_own_clock() -> None:
    edges = [(timedelta(hours=18), True), (timedelta(hours=17, minutes=59), False), (timedelta(days=2), True)]
    edges += [(timedelta(days=3, hours=7, minutes=59), True), (timedelta(days=3, hours=8), False)]
    for after, covered in edges:
        assert WEEKEND.covers("sdxl", (FRIDAY + after).astimezone(UTC)) is covered, after


def test_a_window_is_for_the_models_it_names() -> None:
    for model, covered in (("sdxl", True), ("team/a", True), ("flux", False)):
        assert WEEKEND.covers(model, FRIDAY + timedelta(days=1)) is covered


@given(
    st.integers(0, 7 * 1440 - 1), st.integers(0, 7 * 1440 - 1), st.datetimes(timezones=st.sampled_from([UTC, SHANGHAI]))
)
def test_a_window_and_the_rest_of_the_week_cover_every_minute_once(one: int, other: int, now: datetime) -> None:
    since, to = (WeekTime(m // 1440, time(m % 1440 // 60, m % 60)) for m in (one, other))
    if since != to:
        there, back = Window(since, to, UTC), Window(to, since, UTC)
        assert there.covers("m", now) is not back.covers("m", now)


def test_the_configuration_says_which_models_wait() -> None:
    gates = Gates(("sdxl",), (WEEKEND,))
    assert gates.wants_approval("sdxl")
    assert not gates.wants_approval("flux")
    assert gates.window("sdxl", FRIDAY + timedelta(days=1)) == "fri 18:00 to mon 08:00 Asia/Shanghai"
    assert gates.window("sdxl", FRIDAY) == ""
    assert Gates().window("sdxl", FRIDAY) == ""


def test_a_release_is_told_what_it_waits_for_and_who_can_help() -> None:
    assert blocked_at("r-7", unapproved=False, frozen=[]) is None
    assert blocked_at("r-7", unapproved=True, frozen=["x"]) == Blocked(
        "waits for an approval", "`syncd approve r-7`, or `syncd cancel r-7`"
    )
    found = blocked_at("r-7", unapproved=False, frozen=["frozen by ann: audit", "y"])
    assert found is not None
    assert found.reason == "waits: frozen by ann: audit"
