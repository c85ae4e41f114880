"""The end of a watched release: which ends are a success."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from syncd.cli.output.watch import ReleaseNotLive, ended_well
from syncd.plan.phases import RELEASE_ENDS, PlacementPhase, ReleasePhase
from syncd.reconcile.views.release import Rates, ReleaseView
from syncd.state.records import Placement, Release

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def scene(phase: ReleasePhase, *, rollback: bool = False) -> ReleaseView:
    asked = ("r-1", 1, "sdxl", "v2", "models", None, rollback, "ann@desk")
    return ReleaseView(Release(*asked, phase, "cut off", "fix it", "", NOON, NOON), None, [], [], [])


@pytest.mark.parametrize("phase", sorted(RELEASE_ENDS - {ReleasePhase.LIVE}))
def test_a_release_that_ended_and_is_not_live_is_an_error_with_its_reason_and_hint(phase: ReleasePhase) -> None:
    with pytest.raises(ReleaseNotLive, match=f"r-1 sdxl@v2 is {phase}: cut off") as caught:
        ended_well(scene(phase))
    assert caught.value.hint == "fix it"


@pytest.mark.parametrize("phase", sorted(set(ReleasePhase) - RELEASE_ENDS | {ReleasePhase.LIVE}))
def test_a_release_that_is_live_or_under_way_is_none(phase: ReleasePhase) -> None:
    ended_well(scene(phase))


def test_an_undone_release_is_success_for_a_rollback() -> None:
    ended_well(scene(ReleasePhase.UNDONE), going_back=True)
    with pytest.raises(ReleaseNotLive):
        ended_well(scene(ReleasePhase.UNDONE, rollback=True), going_back=True)
    with pytest.raises(ReleaseNotLive):
        ended_well(scene(ReleasePhase.STALLED), going_back=True)


def placement(**counters: int) -> Placement:
    return Placement("sdxl@v1#1", "hz", PlacementPhase.COPYING, counters.get("bytes_sent", 0), counters, "", NOON)


def test_what_a_target_copies_by_itself_counts_for_its_rate_and_what_it_kept_does_not() -> None:
    rates = Rates()
    assert rates.of(placement(bytes_kept=900), 0.0) == 0.0
    assert rates.of(placement(bytes_kept=900, bytes_sent=10, bytes_copied=90), 1.0) == 100.0
    assert rates.of(placement(bytes_kept=999, bytes_sent=10, bytes_copied=90), 2.0) == 100.0


def test_a_file_that_is_done_again_makes_no_rate_below_nothing() -> None:
    rates = Rates()
    rates.of(placement(bytes_copied=900), 0.0)
    assert rates.of(placement(bytes_copied=100), 1.0) == 0.0
