"""Requests for releases: each guard against each origin, and the automation that passes through the same guards."""

from __future__ import annotations

import pytest
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_model, parse_path, parse_version
from syncd.errors import Conflict, Held
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.create import GUARDS, Guard, GuardEffect, Intent, RequestOrigin, create
from syncd.reconcile.requests.operations import freeze, hold, publish, unhold
from syncd.state.access import record_info
from syncd.state.content import versions
from syncd.state.records import Release
from syncd.state.releases import releases
from syncd.state.serving import live
from syncd.state.state import CommittedError

from tests.support.rooms import SDXL, Site, World, look

V1, V2, V3 = "v1", "v2", "v3"


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


def recorded(here: Site, ref: str) -> str:
    """A version in the record, whose bytes nobody needs."""
    entry = Entry(parse_path("w.bin"), 1, Digest(f"{ref[1:]}".zfill(64)))
    manifest = Manifest.of(parse_model(SDXL), parse_version(ref), [entry])
    with here.state.write() as conn:
        return versions.record(conn, manifest, "models", "pin", here.state.now(conn)).id


def have_live(here: Site, ref: str) -> None:
    with here.state.write() as conn:
        known = versions.find(conn, SDXL, ref)
        assert known is not None
        for binding in here.context.topology.bindings_of(SDXL):
            live.record(conn, binding.name, "1", {SDXL: known.id}, None, here.state.now(conn))


def quarantine(here: Site, ref: str) -> None:
    entry = Entry(parse_path("w.bin"), 2, Digest("f" * 64))
    manifest = Manifest.of(parse_model(SDXL), parse_version(ref), [entry])
    with pytest.raises(CommittedError), here.state.write() as conn:
        versions.record(conn, manifest, "models", "pin", here.state.now(conn))


def ask(here: Site, origin: RequestOrigin) -> Release:
    intent = Intent(origin, SDXL, V2, "models", "somebody", ordered=None if origin in {
        RequestOrigin.BACKFILL, RequestOrigin.BASE_IMAGE, RequestOrigin.RENEWED_KEY} else (V1, V2, V3))  # fmt: skip
    with here.state.write() as conn:
        return create(conn, intent, here.state.now(conn))


def under_way(here: Site, ref: str) -> Release:
    with here.state.write() as conn:
        now = here.state.now(conn)
        return releases.create(conn, model=SDXL, ref=ref, registry="models", requested_by="ann", now=now)


def given(here: Site, guard: Guard) -> Release | None:
    """Make the guard's condition true of v2. The release that is under way, if there is one."""
    for ref in (V1, V2, V3):
        recorded(here, ref)
    have_live(here, V3 if guard is Guard.OLDER else V2)
    if guard is Guard.HOLD:
        hold(here.requester, SDXL, "bad eyes")
    elif guard is Guard.QUARANTINE:
        quarantine(here, V2)
    elif guard is Guard.FREEZE:
        freeze(here.requester, SDXL, "a holiday", None)
    elif guard is Guard.AUTOMATIC_OFF:
        with here.state.write() as conn:
            record_info.switch_automatic_off(conn, "the record may lack holds", here.state.now(conn))
    elif guard is Guard.UNDER_WAY:
        return under_way(here, V2)
    elif guard is Guard.OTHER_UNDER_WAY:
        return under_way(here, V1)
    return None


@pytest.mark.parametrize("guard", list(Guard))
@pytest.mark.parametrize("origin", list(RequestOrigin))
def test_each_guard_does_to_each_origin_what_the_table_says(here: Site, origin: RequestOrigin, guard: Guard) -> None:
    other = given(here, guard)
    before = len(here.all_releases())
    action = GUARDS[origin][guard]
    if action is GuardEffect.REFUSE:
        with pytest.raises(Conflict) as caught:
            ask(here, origin)
        assert isinstance(caught.value, Held) == (guard is Guard.HOLD)
        assert len(here.all_releases()) == before
        return
    release = ask(here, origin)
    if action is GuardEffect.JOIN:
        assert other is not None
        assert release.id == other.id
        assert len(here.all_releases()) == before
        return
    assert len(here.all_releases()) == before + 1
    assert release.rollback == (origin is RequestOrigin.ROLLBACK)
    if action is GuardEffect.SUPERSEDE:
        assert other is not None
        tick(here.context)
        assert here.release(other.id).phase is ReleasePhase.SUPERSEDED


def test_every_origin_has_every_guard() -> None:
    assert set(GUARDS) == set(RequestOrigin)
    assert all(set(actions) == set(Guard) for actions in GUARDS.values())


def test_a_frozen_model_is_prepared_and_waits_before_its_first_alias(here: Site, world: World) -> None:
    world.deliver(SDXL, V1)
    freeze(here.requester, SDXL, "a holiday", None)
    release = publish(here.requester, SDXL, V1)
    here.settle()
    waiting = here.release(release.id)
    assert (waiting.phase, waiting.reason) == (ReleasePhase.STAGING, "waits: frozen by ops: a holiday")


def test_a_poll_does_not_release_a_version_that_is_quarantined(here: Site, world: World) -> None:
    world.deliver(SDXL, V1)
    recorded(here, V1)
    have_live(here, V1)
    quarantine(here, V1)
    assert look(here.context, "models", auto_release=True) == []


def test_a_poll_does_not_go_back_to_an_older_version_while_the_live_one_is_written_again(
    here: Site, world: World
) -> None:
    world.deliver(SDXL, V1)
    world.deliver(SDXL, V2)
    (release,) = look(here.context, "models", auto_release=True)
    here.settle()
    assert here.release(release.id).ref == V2
    (world.root / SDXL / V2 / "SHA256SUMS").unlink()  # v2 is being written again: v1 is the newest that is whole
    assert look(here.context, "models", auto_release=True) == []


def test_what_a_hold_kept_from_a_poll_is_released_once_it_is_lifted(here: Site, world: World) -> None:
    world.deliver(SDXL, V1)
    hold(here.requester, SDXL, "bad eyes")
    assert look(here.context, "models", auto_release=True) == []
    unhold(here.requester, SDXL)
    assert [release.ref for release in look(here.context, "models", auto_release=True)] == [V1]
