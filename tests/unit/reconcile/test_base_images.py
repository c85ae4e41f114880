"""Base image watch: a change is reported once, and rebuilt by policy."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace

import pytest
from syncd.cli.commands import status
from syncd.cli.commands.plan import _text
from syncd.cli.output.tables import Terminal
from syncd.errors import NotFound, Unavailable
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.discovery.base_images import check, rebuild
from syncd.reconcile.requests.operations import unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.overview import overview
from syncd.reconcile.views.plans.plan import document, plan
from syncd.reconcile.views.verification import verify
from syncd.targets.base import Depth

from tests.support.bases import REBUILD, REPORT, Out, again, events_of_kind, push, rebuilt, said, seen_and_begun, shown
from tests.support.images import FLEET, HZ, ONE, SG, Gallery, baked, image, live
from tests.support.rooms import DRAW, SDXL, Site
from tests.unit.oci.kitchen import push_base

pytestmark = pytest.mark.needs_docker_registry
R = ReleasePhase


def test_a_new_base_is_reported_once_and_nothing_is_begun_where_that_is_the_policy(
    there: Site, gallery: Gallery
) -> None:
    there = again(there, gallery, replace(ONE, watched={HZ: REPORT}))
    check(there.context, HZ)
    assert (events_of_kind(there, "base.changed"), said(there)) == ([], [])
    was, now = image(there, "v1").base_digest.hex, push(gallery, 1)
    for _ in range(3):
        assert seen_and_begun(there) == []
    (news,) = events_of_kind(there, "base.changed")
    assert (news["model"], news["from"], news["to"]) == (SDXL, was, now)
    assert news["base"] == f"{gallery.host}/{gallery.base}"
    (words,) = said(there)
    assert words.startswith(f"base {gallery.host}/{gallery.base} was {was[:12]}, is {now[:12]} (seen 2026-03-01 12:")
    push(gallery, 2)
    check(there.context, HZ)
    assert len(events_of_kind(there, "base.changed")) == 2
    (target,) = plan(there.looker, "models", SDXL, "v1").targets
    assert target.sealed
    assert target.base_update is not None
    assert target.base_update.was.hex == was


def test_the_same_version_is_released_over_the_new_base_without_a_byte_of_the_model(
    there: Site, gallery: Gallery
) -> None:
    before, now = image(there, "v1"), push(gallery, 1)
    shutil.rmtree(there.world.root / SDXL / "v1")  # the registry has not kept it
    release = rebuilt(there)
    placed = image(there, "v1")
    assert placed.base_digest.hex == now
    assert placed.tag != before.tag
    assert (release.version_id, release.ref) == (placed.version_id, "v1")
    assert release.requested_by == "syncd, for the new base of img-hz"
    assert [each["bytes"] for each in baked(there, release)] == [0]
    change = there.world.runtimes["hangzhou"].functions[DRAW].versions["2"].change
    assert change.image == placed.reference
    assert there.placements(SDXL, "v1")[HZ].phase is PlacementPhase.SEALED
    assert not [found for found in verify(there.looker, SDXL, Depth.BYTES) if found.wrong]
    assert seen_and_begun(there) == []
    assert said(there) == []


def test_what_is_shown_of_the_release_says_why_from_digest_to_digest(there: Site, gallery: Gallery) -> None:
    was, now = image(there, "v1").base_digest.hex, push(gallery, 1)
    release = rebuilt(there)
    name = f"{gallery.host}/{gallery.base}"
    assert shown(there, release)["base"] == {"name": name, "digest": was, "new_digest": now}
    (event,) = [each for each in there.events(release.id) if each.kind == "release.rebuilds"]
    assert (event.subject, event.detail["from"], event.detail["to"]) == (HZ, was, now)
    first = shown(there, there.all_releases()[-1])
    assert "base" not in first
    assert first["image"] != image(there, "v1").reference, "what the first release has served"


def test_a_rollback_goes_back_to_the_image_over_the_base_before(there: Site, gallery: Gallery) -> None:
    live(there, "v2")
    before = image(there, "v2")
    push(gallery, 1)
    rebuilt(there)
    assert there.world.alias("hangzhou").function_version == "3"
    back = rollback(there.requester, SDXL, "the server is slow")
    there.settle(patient=True)
    assert (there.release(back.id).phase, there.release(back.id).ref) == (R.LIVE, "v2")
    assert there.world.alias("hangzhou").function_version == "2"
    assert image(there, "v2") == before
    there.assert_record_is_true()
    unhold(there.requester, SDXL)
    assert seen_and_begun(there) == [], "the base that was gone back from is not built on again"
    assert "is" in said(there)[0]
    further = rollback(there.requester, SDXL, "still")
    there.settle(patient=True)
    assert (there.release(further.id).phase, there.release(further.id).ref) == (R.LIVE, "v1")
    assert there.world.alias("hangzhou").function_version == "1"


def test_a_rollback_to_a_version_over_an_older_base_leaves_it_there(there: Site, gallery: Gallery) -> None:
    before = image(there, "v1")
    newer = push(gallery, 1)
    check(there.context, HZ)
    live(there, "v2")
    assert image(there, "v2").base_digest.hex == newer
    rollback(there.requester, SDXL, "black images")
    there.settle(patient=True)
    unhold(there.requester, SDXL)
    assert seen_and_begun(there) == [], "the base may have been what was wrong"
    assert image(there, "v1") == before
    push(gallery, 2)
    rebuilt(there)


def test_status_and_plan_put_it_into_words(there: Site, gallery: Gallery) -> None:
    was, now = image(there, "v1").base_digest.short, push(gallery, 1)[:12]
    check(there.context, HZ)
    printed = io.StringIO()
    console = Terminal(file=printed, width=400, highlight=False)
    status.status_text(console, overview(there.state, there.context.topology))
    _text(console, document(plan(there.looker, "models", SDXL, "v1")))
    name = f"{gallery.host}/{gallery.base}"
    words = f"base {name} was {was}, is {now} (seen 2026-03-01 12:00:00 UTC)"
    assert f"new base: hangzhou img-hz sdxl: {words}\n   to do: nothing; a release starts" in printed.getvalue()
    assert f"\nimg-hz: {words}\n" in printed.getvalue()


def test_publishing_the_version_again_keeps_the_base_that_it_has(there: Site, gallery: Gallery) -> None:
    push(gallery, 1)
    rebuilt(there)
    placed = image(there, "v1")
    push(gallery, 2)
    assert baked(there, live(there, "v1")) == []
    assert image(there, "v1") == placed


def test_a_base_out_of_reach_changes_nothing_and_is_told_until_it_is_back(there: Site, gallery: Gallery) -> None:
    target = gallery.target(HZ)
    target._base._wire.http = Out()  # type: ignore[misc, assignment]
    out = again(there, gallery, images={HZ: target})
    for _ in range(2):
        with pytest.raises(Unavailable, match="is out"):
            check(out.context, HZ)
    assert rebuild(out.context) == []
    (words,) = said(out)
    assert "has not been resolved since 2026-03-01 12:" in words
    assert "the base's registry is out" in words
    check(there.context, HZ)
    assert said(there) == []


def test_a_base_whose_tag_is_gone_changes_nothing(there: Site, gallery: Gallery) -> None:
    placed, name = image(there, "v1"), gallery.base.partition(":")[0]
    with gallery.registry.client(name) as http:
        assert http.delete(f"/v2/{name}/manifests/sha256:{placed.base_digest}").status_code == 202
    with pytest.raises(NotFound):
        check(there.context, HZ)
    assert rebuild(there.context) == []
    assert len(said(there)) == 1
    assert baked(there, live(there, "v1")) == [], "what is there needs no base"


def test_a_base_that_goes_while_it_is_built_on_leaves_what_is_live_as_proven_as_it_was(
    there: Site, gallery: Gallery
) -> None:
    before, bad = image(there, "v1"), push(gallery, 1)
    (release,) = seen_and_begun(there)
    name = gallery.base.partition(":")[0]
    with gallery.registry.client(name) as http:
        assert http.delete(f"/v2/{name}/manifests/sha256:{bad}").status_code == 202
    there.settle(patient=True)
    assert there.release(release.id).phase is R.STALLED
    assert there.placements(SDXL, "v1")[HZ].phase is PlacementPhase.SEALED
    assert image(there, "v1") == before
    back = push(gallery, 2)
    rebuilt(there)
    assert image(there, "v1").base_digest.hex == back


def test_a_base_that_changes_twice_is_built_on_one_after_the_other(there: Site, gallery: Gallery) -> None:
    first = push(gallery, 1)
    (release,) = seen_and_begun(there)
    second = push(gallery, 2)
    there.until(R.STAGING, release.id)
    assert seen_and_begun(there) == [], "one is under way"
    there.settle(patient=True)
    assert image(there, "v1").base_digest.hex == first
    rebuilt(there)
    assert image(there, "v1").base_digest.hex == second
    assert [each["to"] for each in events_of_kind(there, "base.changed")] == [first, second]
    assert there.world.alias("hangzhou").function_version == "3"


def test_a_tag_that_goes_back_is_followed_back_to_the_image_that_is_there(there: Site, gallery: Gallery) -> None:
    before = image(there, "v1")
    push(gallery, 1)
    rebuilt(there)
    push_base(gallery.registry, f"{gallery.name}/base")
    release = rebuilt(there)
    assert image(there, "v1") == before
    assert baked(there, release) == []


def test_regions_whose_bases_change_together_are_rebuilt_by_one_release(there: Site, gallery: Gallery) -> None:
    there = again(there, gallery, replace(FLEET, watched={HZ: REBUILD, SG: REBUILD}))
    live(there, "v1")
    now = push(gallery, 1)
    (release,) = seen_and_begun(there, SG)
    there.settle(patient=True)
    assert release.requested_by == "syncd, for the new base of img-hz, img-sg"
    assert {image(there, "v1", target).base_digest.hex for target in (HZ, SG)} == {now}
    assert seen_and_begun(there) == []


def test_a_region_whose_base_cannot_be_looked_up_keeps_its_image(there: Site, gallery: Gallery) -> None:
    both = replace(FLEET, watched={HZ: REBUILD, SG: REBUILD})
    there = again(there, gallery, both)
    live(there, "v1")
    before, now = image(there, "v1", SG), push(gallery, 1)
    far = gallery.target(SG)
    far._base._wire.http = Out()  # type: ignore[misc, assignment]
    half = again(there, gallery, both, images={HZ: gallery.target(HZ), SG: far})
    (release,) = seen_and_begun(half)
    half.settle(patient=True)
    assert half.release(release.id).phase is R.LIVE
    assert (image(half, "v1").base_digest.hex, image(half, "v1", SG)) == (now, before)
    (later,) = seen_and_begun(there, SG)
    there.settle(patient=True)
    assert there.release(later.id).phase is R.LIVE
    assert image(there, "v1", SG).base_digest.hex == now
