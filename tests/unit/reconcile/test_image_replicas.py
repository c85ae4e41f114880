"""Repositories that another one is replicated to: nothing is pushed there, and what comes is proven by digest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from syncd.cli.commands.plan import _to_do
from syncd.plan.phases import PlacementPhase, ReleasePhase, StepState
from syncd.plan.topology import BasePolicy, BaseWatch, Replica
from syncd.reconcile.discovery.base_images import check, rebuild
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.plans.plan import _planned_target, plan
from syncd.reconcile.views.verification import verify
from syncd.state.content import images
from syncd.state.records import PlacedImage, Release
from syncd.state.state import State
from syncd.targets.base import Depth

from tests.emulators.distribution import MANIFEST
from tests.support.images import FLEET, HZ, SG, SHARED, Gallery, image, live
from tests.support.rooms import DRAW, SDXL, Site, World, site
from tests.unit.oci.kitchen import push_base
from tests.unit.reconcile.test_images import layers_document

pytestmark = pytest.mark.needs_docker_registry
DEADLINE_S = 600.0
REPLICATED = replace(
    FLEET,
    replicas={SG: Replica(HZ, DEADLINE_S)},
    watched={HZ: BaseWatch(BasePolicy.REBUILD, 3600.0)},
)
WAITS = f"place/replica:{SG}"
R = ReleasePhase


@pytest.fixture
def here(world: World, gallery: Gallery, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    """A process whose images in Singapore are brought there from Hangzhou."""
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    world.deliver(SDXL, "v1", more=SHARED)
    yield site(world, state, **gallery.context(REPLICATED))
    state.close()


@pytest.fixture
def release(here: Site) -> Release:
    """One whose image is pushed in Hangzhou, and has not come to Singapore."""
    asked = publish(here.requester, SDXL, "v1")
    here.settle()
    return asked


def bring(gallery: Gallery, placed: PlacedImage, *, another: bool = False) -> str:
    """What the registry does by itself by a sync rule. Gives what the tag names there then."""
    source, to, document = gallery.place(HZ), gallery.place(SG), layers_document(gallery, placed)
    with gallery.registry.client(to) as http:
        for blob in (document["config"], *document["layers"]):
            mounted = http.post(f"/v2/{to}/blobs/uploads/?mount={blob['digest']}&from={source}")
            assert mounted.status_code == 201, mounted.text
        with gallery.registry.client(source) as near:
            found = near.get(f"/v2/{source}/manifests/{placed.tag}", headers={"Accept": MANIFEST})
        body = found.content.replace(b'"syncd.model":"sdxl"', b'"syncd.model":"sdxl "') if another else found.content
        put = http.put(f"/v2/{to}/manifests/{placed.tag}", content=body, headers={"Content-Type": MANIFEST})
        assert put.status_code == 201, put.text
    return str(put.headers["docker-content-digest"])


def lose(gallery: Gallery, placed: PlacedImage, *, layer: int) -> str:
    """Have a blob not be there. Gives its digest, as it is told."""
    blob = str(layers_document(gallery, placed)["layers"][layer]["digest"])
    with gallery.registry.client(gallery.place(SG)) as http:
        assert http.delete(f"/v2/{gallery.place(SG)}/blobs/{blob}").status_code == 202
    return blob[7:19]


def look_again(here: Site, after_s: float = 1000.0) -> None:
    here.world.time += timedelta(seconds=after_s)
    here.settle()


def reason(here: Site, release: Release) -> str:
    step = here.steps(release.id)[WAITS]
    assert (step.state, step.failures) == (StepState.WAITING, 0)
    return step.reason


def test_nothing_is_pushed_to_a_replica_and_its_step_says_what_it_waits_for(
    here: Site, gallery: Gallery, release: Release
) -> None:
    assert gallery.tags(SG) == []
    tag = image(here, "v1").tag
    assert reason(here, release) == f"{SG}: waiting for {tag} to be replicated from {HZ}"
    assert here.release(release.id).phase is R.PLACING
    placed = here.placements(SDXL, "v1")
    assert (placed[HZ].phase, placed[SG].phase) == (PlacementPhase.SEALED, PlacementPhase.COPYING)
    target = {each.target: each for each in plan(here.looker, "models", SDXL, "v1").targets}[SG]
    assert (target.sealed, target.replicated_from, target.send_bytes) == (False, HZ, 0)
    assert _to_do(_planned_target(target).as_json()) == f"replicated from {HZ}"


def test_what_replication_brought_is_proven_recorded_and_served(here: Site, gallery: Gallery, release: Release) -> None:
    bring(gallery, image(here, "v1"))
    look_again(here, 60)
    assert here.release(release.id).phase is R.LIVE
    near, far = image(here, "v1"), image(here, "v1", SG)
    assert (far.tag, far.digest, far.base_digest) == (near.tag, near.digest, near.base_digest)
    change = here.world.runtimes["singapore"].functions[DRAW].versions["1"].change
    assert change.image == far.reference == f"{gallery.host}/{gallery.place(SG)}:{near.tag}@sha256:{near.digest}"
    assert not [found for found in verify(here.looker, SDXL, Depth.BYTES) if found.wrong]
    target = {each.target: each for each in plan(here.looker, "models", SDXL, "v1").targets}[SG]
    assert (target.sealed, target.image) == (True, far.reference)
    here.assert_record_is_true()
    assert {"image.baked"} == {e.kind for e in here.events(release.id) if e.kind.startswith("image.")}
    live(here, "v1")


def test_a_manifest_that_comes_before_its_blobs_proves_nothing(here: Site, gallery: Gallery, release: Release) -> None:
    bring(gallery, image(here, "v1"))
    blob = lose(gallery, image(here, "v1"), layer=-2)
    look_again(here, 60)
    assert "waiting for 1 of 6 blobs of sdxl-v1-" in reason(here, release)
    assert here.placements(SDXL, "v1")[SG].progress["files_finished"] == 5
    here.settle(patient=True)
    assert here.release(release.id).phase is R.STALLED
    assert here.release(release.id).reason.endswith(f", such as blob {blob}")


def test_another_digest_under_the_tag_stalls_it_with_one_line(here: Site, gallery: Gallery, release: Release) -> None:
    other = bring(gallery, image(here, "v1"), another=True)
    here.settle(patient=True)
    ended = here.release(release.id)
    assert ended.phase is R.STALLED
    placed = image(here, "v1")
    place = f"{gallery.host}/{gallery.place(SG)}:{placed.tag}"
    assert ended.reason == (f"place replica:{SG}: {SG}: {place} is {other}, sha256:{placed.digest} was pushed to {HZ}")
    assert here.placements(SDXL, "v1")[SG].phase is PlacementPhase.COPYING
    assert here.world.alias("hangzhou").function_version is None


def test_what_never_comes_is_given_up_at_the_deadline_and_a_new_release_waits_anew(
    here: Site, gallery: Gallery, release: Release
) -> None:
    look_again(here, DEADLINE_S - 60)
    assert here.release(release.id).phase is R.PLACING
    here.settle(patient=True)
    ended = here.release(release.id)
    assert ended.phase is R.STALLED
    assert f"s replication from {HZ} has not brought {image(here, 'v1').tag}, such as its tag" in ended.reason
    assert ended.hint == f"check the replication rule of the repository of {HZ}, or raise replication_deadline_s"
    later = publish(here.requester, SDXL, "v1")
    here.settle()
    assert "waiting for" in reason(here, later)
    bring(gallery, image(here, "v1"))
    look_again(here, 60)
    assert here.release(later.id).phase is R.LIVE


def test_an_image_that_was_whole_and_is_not_any_more_is_not_waited_for(
    here: Site, gallery: Gallery, release: Release
) -> None:
    bring(gallery, image(here, "v1"))
    look_again(here, 60)
    assert here.release(release.id).phase is R.LIVE
    blob = lose(gallery, image(here, "v1"), layer=-2)
    later = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(later.id).phase is R.STALLED
    assert f"was whole and lacks blob {blob}" in here.release(later.id).reason


def test_a_new_base_comes_to_a_replica_as_an_image_of_its_own_and_a_rollback_goes_back(
    here: Site, gallery: Gallery, release: Release
) -> None:
    bring(gallery, image(here, "v1"))
    look_again(here, 60)
    assert here.release(release.id).phase is R.LIVE
    before = image(here, "v1", SG)
    push_base(gallery.registry, f"{gallery.name}/base", created="2026-12-01T00:00:00Z")
    check(here.context, HZ)
    (again,) = rebuild(here.context)
    here.settle()
    assert here.release(again.id).phase is R.PLACING
    assert "waiting for sdxl-v1-" in reason(here, again)
    with here.state.read() as conn:
        (pushed,) = [i for i in images.of_version(conn, image(here, "v1").version_id) if i.digest != before.digest]
    bring(gallery, pushed)
    look_again(here, 60)
    assert here.release(again.id).phase is R.LIVE
    assert image(here, "v1", SG).digest == image(here, "v1").digest == pushed.digest != before.digest
    back = rollback(here.requester, SDXL, "slow")
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    assert image(here, "v1", SG) == before
    assert {here.world.alias(region).function_version for region in ("hangzhou", "singapore")} == {"1"}
    here.assert_record_is_true()
