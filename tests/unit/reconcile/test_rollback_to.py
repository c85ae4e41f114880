"""A rollback to a version of one's choice, and failed releases that a person dismisses."""

from __future__ import annotations

from typing import Any

import pytest
from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests import operations, rollbacks
from syncd.reconcile.views.overview import overview

from tests.support.rooms import SDXL, Site


@pytest.fixture
def at(on_sqlite: Site) -> Site:
    """Three versions went live, one after the other."""
    for version in ("v1", "v2", "v3"):
        live(on_sqlite, version)
    return on_sqlite


def live(here: Site, version: str) -> str:
    here.world.deliver(SDXL, version)
    release = operations.publish(here.requester, SDXL, version).id
    here.settle(patient=True)
    assert here.release(release).phase is ReleasePhase.LIVE
    return release


def rows(here: Site, key: str) -> list[dict[str, Any]]:
    """Rows of the overview."""
    found = overview(here.state, here.context.topology)[key]
    assert isinstance(found, list)
    return found


def serves(here: Site, version: str) -> bool:
    digest = here.digest(SDXL, version)
    return all(digest in here.world.serves(region) for region in ("hangzhou", "singapore"))


def test_it_goes_back_to_the_named_version_holds_and_goes_on_from_there(at: Site) -> None:
    release = rollbacks.rollback(at.requester, SDXL, "bad hands", "v1")
    assert (release.rollback, release.ref) == (True, "v1")
    at.settle(patient=True)
    assert at.release(release.id).phase is ReleasePhase.LIVE
    assert serves(at, "v1")
    at.assert_record_is_true()
    (held,) = rows(at, "held")
    assert held["why"] == "bad hands"
    forward = rollbacks.rollback(at.requester, SDXL, "", "v3")
    at.settle(patient=True)
    assert at.release(forward.id).phase is ReleasePhase.LIVE
    assert serves(at, "v3"), "a version that was rolled back from is one that was live"


def test_a_version_that_was_never_live_is_refused_with_those_that_were(at: Site) -> None:
    with pytest.raises(NotFound, match="sdxl@v9 was never live") as refused:
        rollbacks.rollback(at.requester, SDXL, "", "v9")
    assert "versions that were live: v3, v2, v1" in refused.value.hint
    with pytest.raises(Invalid, match="sdxl@v3 is live already"):
        rollbacks.rollback(at.requester, SDXL, "", "v3")
    assert rows(at, "held") == []


def test_what_is_moving_is_undone_first(at: Site) -> None:
    at.world.deliver(SDXL, "v4")
    moving = operations.publish(at.requester, SDXL, "v4").id
    at.until(ReleasePhase.FLIPPING, moving)
    back = rollbacks.rollback(at.requester, SDXL, "", "v1")
    assert back.id != moving
    at.settle(patient=True)
    assert at.release(moving).phase is ReleasePhase.UNDONE
    assert at.release(back.id).phase is ReleasePhase.LIVE
    assert serves(at, "v1")
    at.assert_record_is_true()


def test_an_undo_that_leads_there_is_enough(at: Site) -> None:
    at.world.deliver(SDXL, "v4")
    moving = operations.publish(at.requester, SDXL, "v4").id
    at.until(ReleasePhase.FLIPPING, moving)
    assert rollbacks.rollback(at.requester, SDXL, "", "v3").id == moving
    at.settle(patient=True)
    assert at.release(moving).phase is ReleasePhase.UNDONE
    assert serves(at, "v3")


def test_asking_twice_is_one_rollback(at: Site) -> None:
    first = rollbacks.rollback(at.requester, SDXL, "", "v1").id
    at.until(ReleasePhase.FLIPPING, first)
    assert rollbacks.rollback(at.requester, SDXL, "", "v1").id == first
    at.settle(patient=True)
    assert serves(at, "v1")


def test_a_failed_release_is_dismissed_and_one_of_what_is_live_is_no_outage(at: Site) -> None:
    at.world.deliver(SDXL, "v4")
    at.world.wrong.add((SDXL, "v4"))
    failed = operations.publish(at.requester, SDXL, "v4").id
    with pytest.raises(Conflict, match="only a stalled or undone release is dismissed") as refused:
        operations.dismiss(at.requester, failed, "")
    assert refused.value.hint == f"`syncd cancel {failed}` ends it"
    at.settle(patient=True)
    assert at.release(failed).phase is ReleasePhase.STALLED
    (row,) = rows(at, "stalled")
    assert (row["served"], row["is_live"]) == (["v3"], False)
    assert f"`syncd dismiss {failed}` takes it off this list" in row["hint"]
    operations.dismiss(at.requester, failed, "known")
    operations.dismiss(at.requester, failed, "again")
    assert rows(at, "stalled") == []
    (event,) = [each for each in at.events(failed) if each.kind == "release.dismissed"]
    assert event.detail == {"who": "ops", "why": "known"}
    at.world.wrong.add((SDXL, "v3"))
    again = operations.publish(at.requester, SDXL, "v3").id
    at.settle(patient=True)
    assert at.release(again).phase is ReleasePhase.STALLED
    (row,) = rows(at, "stalled")
    assert row["is_live"]
