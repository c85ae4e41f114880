"""Base images in the record: bases of releases and checked bases, on each database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from syncd.artifact.digest import Digest
from syncd.plan.phases import ReleasePhase
from syncd.state.content import base_images, images
from syncd.state.records import ImageBase, PlacedImage, Release, ReleaseBase, Version
from syncd.state.serving import live
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, go, go_live, make_release, make_version

OLD, NEW = Digest("a" * 64), Digest("b" * 64)
NAME = "registry.local/team/server:1"


def pushed(version: Version, base: Digest, baked_s: float = 0) -> PlacedImage:
    image = Digest(base.hex[0] * 63 + "1")
    place = ("host/team/sdxl", "vpc/team/sdxl", f"sdxl-v1-{image.short}", image)
    return PlacedImage(version.id, "img", *place, NAME, base, "/models/sdxl", after_s(baked_s))


def base_of(release: Release, version: Version, base: Digest, was: Digest | None = None) -> ReleaseBase:
    return ReleaseBase(release.id, version.id, "img", NAME, base, was)


def went_live(conn: sa.Connection, version: Version, base: Digest, *, rollback: bool = False) -> Release:
    release = go_live(conn, "sdxl", version, rollback=rollback)
    base_images.note(conn, base_of(release, version, base))
    return release


def test_a_version_has_an_image_over_each_base_and_one_of_them_is_its_own(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        images.found_base(conn, ImageBase(version.id, "img", NAME, OLD, NOON))
        assert images.find(conn, version.id, "img") is None
        old, new = pushed(version, OLD), pushed(version, NEW, 1)
        for image in (old, new, new):
            images.placed(conn, image)
        assert images.of_version(conn, version.id) == [old, new]
        assert images.find(conn, version.id, "img") == old
        assert images.over(conn, version.id, "img", NEW) == new
        assert images.over(conn, version.id, "img", Digest("c" * 64)) is None


def test_a_release_that_goes_live_sets_the_base_of_its_version(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        images.found_base(conn, ImageBase(version.id, "img", NAME, OLD, NOON))
        release = go_live(conn, "sdxl", version)
        assert base_images.wanted(conn, release.id, version.id, "img") == images.base(conn, version.id, "img")
        base_images.note(conn, base_of(release, version, NEW, OLD))
        base_images.note(conn, base_of(release, version, NEW))
        assert base_images.wanted(conn, release.id, version.id, "img") == base_of(release, version, NEW, OLD)
        known = images.base(conn, version.id, "img")
        assert known is not None
        assert known.digest == OLD
        base_images.settle(conn, release, after_s(1))
        assert images.base(conn, version.id, "img") == ImageBase(version.id, "img", NAME, NEW, after_s(1))
        base_images.settle(conn, release, after_s(2))
        assert images.base(conn, version.id, "img") == ImageBase(version.id, "img", NAME, NEW, after_s(1))


def test_a_rollback_goes_back_through_bases_as_through_versions(state: State) -> None:
    with state.write() as conn:
        one, two = (make_version(conn, name=name, content=name) for name in "ab")
        went_live(conn, one, OLD)
        first = went_live(conn, two, OLD)
        went_live(conn, two, NEW)
        went_live(conn, two, NEW)
        assert live.previous_release(conn, "sdxl") == first
        back = go_live(conn, "sdxl", two, rollback=True)
        base_images.take_over(conn, first, back)
        assert base_images.over(conn, back.id) == {(two.id, "img"): OLD}
        further = live.previous_release(conn, "sdxl")
        assert further is not None
        assert further.version_id == one.id
        went_live(conn, one, OLD, rollback=True)
        assert live.previous_release(conn, "sdxl") is None


def test_a_region_that_got_the_base_later_makes_no_step_of_its_own(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        first = went_live(conn, version, OLD)
        base_images.note(conn, ReleaseBase(first.id, version.id, "far", NAME, OLD))
        went_live(conn, version, NEW)
        caught_up = went_live(conn, version, NEW)
        base_images.note(conn, ReleaseBase(caught_up.id, version.id, "far", NAME, NEW))
        assert live.previous_release(conn, "sdxl") == first


def test_a_check_reports_a_new_base_and_since_when(state: State) -> None:
    with state.write() as conn:
        assert base_images.seen(conn, "img") is None
        assert base_images.record_seen(conn, "img", NAME, OLD, NOON)
        assert not base_images.record_seen(conn, "img", NAME, OLD, after_s(1))
        seen = base_images.seen(conn, "img")
        assert seen is not None
        assert (seen.since, seen.looked_at) == (NOON, after_s(1))
        assert base_images.record_seen(conn, "img", NAME, NEW, after_s(2))
        assert base_images.record_seen(conn, "img", f"{NAME}.1", NEW, after_s(3)), "another base in the configuration"
        assert base_images.record_seen(conn, "img", NAME, NEW, after_s(4))


def test_a_failed_check_keeps_the_last_seen_base_and_records_since_when(state: State) -> None:
    with state.write() as conn:
        base_images.record_missed(conn, "new", NAME, "503", NOON)
        base_images.record_seen(conn, "img", NAME, OLD, NOON)
        for second in (1, 2):
            base_images.record_missed(conn, "img", NAME, f"503 at {second}", after_s(second))
        seen = base_images.seen(conn, "img")
        assert seen is not None
        assert (seen.digest, seen.since, seen.reason, seen.failing_since) == (OLD, NOON, "503 at 2", after_s(1))
        assert not base_images.record_seen(conn, "img", NAME, OLD, after_s(3))
        seen = base_images.seen(conn, "img")
        assert seen is not None
        assert (seen.reason, seen.failing_since) == ("", None)
        base_images.record_missed(conn, "img", "another/base:1", "404", after_s(4))
        seen = base_images.seen(conn, "img")
        assert seen is not None
        assert seen.digest is None, "of another base nothing was seen"


@pytest.mark.parametrize(
    ("ends", "is_begun", "is_begun_later"),
    [
        (ReleasePhase.REQUESTED, True, False),
        (ReleasePhase.LIVE, True, False),
        (ReleasePhase.STALLED, True, True),
        (ReleasePhase.UNDONE, True, True),
        (ReleasePhase.CANCELLED, True, True),
        (ReleasePhase.SUPERSEDED, False, False),
    ],
)
def test_a_base_gets_one_release_each_time_it_appears_and_none_after_a_failure(
    state: State, ends: ReleasePhase, *, is_begun: bool, is_begun_later: bool
) -> None:
    way = {
        ReleasePhase.REQUESTED: (),
        ReleasePhase.UNDONE: ("placing", "staging", "flipping", "undoing", "undone"),
        ReleasePhase.LIVE: ("placing", "staging", "flipping", "live"),
    }.get(ends, (ends.value,))
    with state.write() as conn:
        version = make_version(conn)
        base_images.record_seen(conn, "img", NAME, NEW, NOON)
        release = make_release(conn)
        base_images.note(conn, base_of(release, version, NEW))
        assert not begun(conn, version), "it was laid over it by chance"
        conn.execute(sa.text("DELETE FROM release_bases"))
        base_images.note(conn, base_of(release, version, NEW, OLD))
        go(conn, release, *map(ReleasePhase, way))
        assert begun(conn, version) is is_begun
        base_images.record_seen(conn, "img", NAME, OLD, after_s(1))
        assert not begun(conn, version)
        base_images.record_seen(conn, "img", NAME, NEW, after_s(2))
        assert begun(conn, version) is is_begun_later


def test_a_base_that_existed_at_a_rollback_gets_no_release(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        base_images.record_seen(conn, "img", NAME, NEW, NOON)
        make_release(conn, "flux", rollback=True)
        assert not begun(conn, version)
        make_release(conn, rollback=True)
        assert begun(conn, version)
        base_images.record_seen(conn, "img", NAME, OLD, after_s(1))
        assert not begun(conn, version)


def begun(conn: sa.Connection, version: Version) -> bool:
    seen = base_images.seen(conn, "img")
    assert seen is not None
    return base_images.is_settled(conn, version, seen)
