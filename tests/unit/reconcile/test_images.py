"""A release whose model lies in the function's own image: pushed, proven, recorded, staged, served, taken back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from syncd.cli.commands.plan import _to_do
from syncd.errors import Invalid
from syncd.plan.binding import BoundModel, ModelLocation, MountMode
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.drift.compare import compare
from syncd.reconcile.drift.resolve import Justification, bindings_named, restore
from syncd.reconcile.gc.retire import retire
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.plans.plan import _planned_target, plan
from syncd.reconcile.views.release import document, load
from syncd.reconcile.views.verification import verify
from syncd.runtime.memory import Published
from syncd.state.records import PlacedImage
from syncd.state.state import State
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.function import AliasState, Change, MountKind

from tests.support.images import FLEET, HZ, SG, SHARED, Gallery, baked, image, live, smaller
from tests.support.rooms import DRAW, LORA, SDXL, TRANSFER, Site, World, site
from tests.unit.oci.kitchen import push_base

pytestmark = pytest.mark.needs_docker_registry


@pytest.fixture
def here(world: World, gallery: Gallery, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    yield site(world, state, **gallery.context())
    state.close()


def test_a_release_pushes_an_image_to_each_region_and_serves_from_it(here: Site, gallery: Gallery) -> None:
    here = site(here.world, here.state, **gallery.context(FLEET))
    release = live(here, "v1")
    placed = image(here, "v1")
    assert gallery.tags(HZ) == [placed.tag]
    assert placed.tag == f"sdxl-v1-{placed.digest.short}"
    assert placed.digest == image(here, "v1", SG).digest, "the same bytes in every region"
    change = here.world.runtimes["hangzhou"].functions[DRAW].versions["1"].change
    assert change.image == f"{gallery.host}/{gallery.place(HZ)}:{placed.tag}@sha256:{placed.digest}"
    assert change.environment == {
        "OWNER": "team",
        "SDXL_DIGEST": here.digest(SDXL, "v1"),
        "SDXL_PATH": "/models/sdxl",
        "SDXL_VERSION": "v1",
    }
    assert here.placements(SDXL, "v1")[HZ].phase is PlacementPhase.SEALED
    assert {"place/image:img-hz", "place/image:img-sg"} < here.steps(release.id).keys()
    assert baked(here, release)[0]["image"] == change.image


def test_publishing_it_again_sends_nothing_and_makes_no_function_version(here: Site) -> None:
    live(here, "v1")
    again = live(here, "v1")
    assert baked(here, again) == []
    assert here.world.alias("hangzhou").function_version == "1"


def test_a_version_that_shares_a_file_does_not_send_it_again(here: Site) -> None:
    first = sum(int(str(each["bytes"])) for each in baked(here, live(here, "v1")))
    second = sum(int(str(each["bytes"])) for each in baked(here, live(here, "v2")))
    assert 120_000 <= first - second < 125_000, "the file of 120 KB is there already"


def test_a_rollback_goes_to_the_function_version_before_whose_image_is_there(here: Site, gallery: Gallery) -> None:
    live(here, "v1")
    live(here, "v2")
    back = rollback(here.requester, SDXL, "bad")
    here.settle(patient=True)
    assert here.release(back.id).phase is ReleasePhase.LIVE
    assert here.world.alias("hangzhou").function_version == "1"
    assert baked(here, back) == []
    assert len(gallery.tags(HZ)) == 2
    here.assert_record_is_true()


def test_the_base_is_looked_up_once_for_a_version(here: Site, gallery: Gallery) -> None:
    live(here, "v1")
    before = image(here, "v1")
    newer = push_base(gallery.registry, f"{gallery.name}/base", created="2026-12-01T00:00:00Z")
    live(here, "v1")
    assert image(here, "v1") == before, "a newer base makes no new image of an old version"
    live(here, "v2")
    assert f"sha256:{image(here, 'v2').base_digest}" == newer != f"sha256:{before.base_digest}"


def test_another_base_in_the_configuration_makes_another_image_of_the_same_version(
    here: Site, gallery: Gallery
) -> None:
    live(here, "v1")
    before = image(here, "v1")
    push_base(gallery.registry, f"{gallery.name}/base", "2.0", created="2026-12-01T00:00:00Z")
    other = replace(gallery, base=f"{gallery.name}/base:2.0", pulled={})
    here = site(here.world, here.state, **other.context())
    other.serve(here.world)
    live(here, "v1")
    assert image(here, "v1").tag != before.tag
    assert here.world.alias("hangzhou").function_version == "2"
    assert len(gallery.tags(HZ)) == 2, "the image that the function version before has stays"


def test_a_base_that_was_recorded_is_the_one_that_was_looked_up(gallery: Gallery) -> None:
    target = gallery.target(HZ)
    found = target.base()
    push_base(gallery.registry, f"{gallery.name}/base", created="2026-12-01T00:00:00Z")
    assert target.base().digest != found.digest
    assert target.base(found.digest) == found


def test_a_layer_that_is_gone_is_told_and_is_pushed_again(here: Site, gallery: Gallery) -> None:
    live(here, "v1")
    placed = image(here, "v1")
    lost = layers(gallery, placed)[-2]
    with gallery.registry.client(gallery.place(HZ)) as http:
        assert http.delete(f"/v2/{gallery.place(HZ)}/blobs/{lost}").status_code == 202
    wrong = [finding.wrong for finding in verify(here.looker, SDXL, Depth.CHECKSUMS) if finding.wrong]
    assert wrong == [f"blob {lost[7:19]}: missing"]
    again = live(here, "v1")
    assert baked(here, again)[0]["image"] == placed.reference
    assert not any(finding.wrong for finding in verify(here.looker, SDXL, Depth.BYTES))


def test_bytes_that_changed_in_the_registry_are_found_by_reading_them(here: Site, gallery: Gallery, home: Path) -> None:
    live(here, "broken")  # its seal lies in no other test's repository
    digest = layers(gallery, image(here, "broken"))[-1].removeprefix("sha256:")
    blob = home / "blobs/docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
    data = bytearray(blob.read_bytes())
    data[600] ^= 1
    blob.write_bytes(bytes(data))
    assert not any(finding.wrong for finding in verify(here.looker, SDXL, Depth.CHECKSUMS))
    wrong = {finding.subject: finding.wrong for finding in verify(here.looker, SDXL, Depth.BYTES) if finding.wrong}
    assert wrong.keys() == {HZ}
    assert f"blob {digest[:12]}: " in wrong[HZ]


def test_a_tag_that_somebody_moved_is_told_and_stalls_the_release(here: Site, gallery: Gallery) -> None:
    live(here, "v1")
    placed, place = image(here, "v1"), gallery.place(HZ)
    with gallery.registry.client(place) as http:
        document = layers_document(gallery, placed) | {"annotations": {}}
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        body = json.dumps(document).encode()
        assert http.put(f"/v2/{place}/manifests/{placed.tag}", content=body, headers=kind).status_code == 201
    wrong = {finding.subject: finding.wrong for finding in verify(here.looker, SDXL, Depth.SEAL) if finding.wrong}
    assert f"sha256:{placed.digest} was pushed" in wrong[HZ]
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.STALLED
    assert "syncd never moves one" in here.release(release.id).hint


def test_an_image_over_the_limit_is_refused_before_a_byte_moves(here: Site, gallery: Gallery) -> None:
    here.world.deliver(SDXL, "v1")
    small = replace(gallery, settings=smaller(50_000))
    here = site(here.world, here.state, **small.context())
    with pytest.raises(Invalid, match="50000 are allowed"):
        plan(here.looker, "models", SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    ended = here.release(release.id)
    assert ended.phase is ReleasePhase.STALLED
    assert "50000 are allowed" in ended.reason
    assert "NAS or OSS" in ended.hint
    assert gallery.tags(HZ) == []


def test_a_plan_says_what_would_be_pushed_and_afterwards_that_it_is_there(here: Site, gallery: Gallery) -> None:
    here.world.deliver(SDXL, "v1", more=SHARED)
    seen = {each.target: each for each in plan(here.looker, "models", SDXL, "v1").targets}[HZ]
    assert (seen.sealed, seen.send_files, seen.kept_bytes) == (False, 4, 0)
    assert seen.send_bytes > 220_000
    assert seen.copied_bytes > 0, "the base"
    assert seen.image == f"{gallery.host}/{gallery.place(HZ)}"
    assert _to_do(_planned_target(seen).as_json()) == "4 layers to push"
    live(here, "v1")
    after = {each.target: each for each in plan(here.looker, "models", SDXL, "v1").targets}[HZ]
    assert (after.sealed, after.send_bytes, after.image) == (True, 0, image(here, "v1").reference)
    here.world.deliver(SDXL, "v2", more=SHARED)
    next_one = {each.target: each for each in plan(here.looker, "models", SDXL, "v2").targets}[HZ]
    assert next_one.kept_bytes > 120_000
    assert next_one.copied_bytes == 0


def test_retiring_a_version_deletes_its_function_versions_and_no_image(here: Site, gallery: Gallery) -> None:
    for version in ("v1", "v2", "v3"):
        live(here, version)
    done = retire(here.looker, SDXL, "v1", Justification("ops", "old"))
    assert done.function_versions == ("draw:1 in hangzhou",)
    assert (done.left, done.images) == ((), (image(here, "v1").reference,))
    assert {p.phase for p in here.placements(SDXL, "v1").values()} == {PlacementPhase.WITHDRAWN}
    assert len(gallery.tags(HZ)) == 3
    again = live(here, "v1")
    assert baked(here, again) == [], "it was there all the time"


def test_what_is_shown_of_a_release_names_its_images(here: Site) -> None:
    release = live(here, "v1")
    rows = document(load(here.state, release.id))["targets"]
    assert isinstance(rows, list)
    assert [(row["target"], row["image"]) for row in rows] == [(HZ, image(here, "v1").reference)]


def test_a_function_whose_image_was_changed_by_hand_has_drifted_and_is_put_back(here: Site) -> None:
    live(here, "v1")
    function = here.world.runtimes["hangzhou"].functions[DRAW]
    function.latest = replace(function.latest, image="elsewhere/x:y@sha256:0")
    (binding,) = bindings_named(here.context.topology, "draw-hz")
    assert [(each.what, each.got) for each in compare(here.looker, binding)] == [("image", "elsewhere/x:y@sha256:0")]
    restore(here.looker, binding, Justification("ops", ""))
    assert function.latest.image == image(here, "v1").reference


def layers_document(gallery: Gallery, placed: PlacedImage) -> dict[str, Any]:
    place = placed.repository.partition("/")[2]
    with gallery.registry.client(place) as http:
        kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        found: dict[str, Any] = http.get(f"/v2/{place}/manifests/sha256:{placed.digest}", headers=kind).json()
    return found


def layers(gallery: Gallery, placed: PlacedImage) -> list[str]:
    return [str(layer["digest"]) for layer in layers_document(gallery, placed)["layers"]]


def mixed(here: Site, gallery: Gallery) -> Site:
    """A function with a model in its image, and another one that is mounted."""
    (alone,) = [binding for binding in FLEET.bindings.values() if binding.runtime == "hangzhou"]
    lora = BoundModel(LORA, "hz", MountMode.ROOT, "/mnt/models", versions_variable="MODELS")
    binding = replace(alone, models=(*alone.models, lora))
    places = {"hz": ModelLocation(MountKind.OSS, "bucket-hz", "")}
    topology = replace(FLEET, bindings={binding.name: binding}, places=places, images=frozenset({HZ}))
    topology = replace(topology, regions={**topology.regions, "hz": "hangzhou"})
    target = TreeTarget("hz", here.world.stores["hz"], TRANSFER.retry)
    runtime = here.world.runtimes["hangzhou"]
    runtime.answers = lambda change: told(gallery, change)
    return site(here.world, here.state, **gallery.context(topology) | {"targets": {"hz": target}})


def told(gallery: Gallery, change: Change) -> bytes:
    """The digests of what the image has and of what the variable of the mounted models names."""
    baked_in = json.loads(gallery.answer(change)) if "SDXL_PATH" in change.environment else []
    mounted = [each["digest"] for each in json.loads(change.environment.get("MODELS", "{}")).values()]
    return json.dumps(sorted([*baked_in, *mounted])).encode()


def undone(here: Site, version: str) -> str:
    """A release that is rolled back once its alias has moved; the image that its function version has."""
    here.world.deliver(SDXL, version)
    release = publish(here.requester, SDXL, version)
    here.until(ReleasePhase.FLIPPING, release.id)
    tick(here.context)
    here.run_one(release.id)
    rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.UNDONE
    return here.world.runtimes["hangzhou"].functions[DRAW].latest.image


def test_the_image_of_a_first_release_that_was_undone_is_not_staged_with_another_model(
    here: Site, gallery: Gallery
) -> None:
    """Nothing served before: what is left is the base image."""
    here = mixed(here, gallery)
    bad = undone(here, "v1")
    assert here.world.alias("hangzhou").function_version is None
    release = lora_live(here)
    served = serving_now(here)
    assert served.image != bad
    assert served.image.startswith(f"{gallery.host}/{gallery.base}@sha256:")
    assert "SDXL_DIGEST" not in served.environment
    assert here.release(release).phase is ReleasePhase.LIVE


def test_the_image_that_served_before_a_release_that_was_undone_comes_with_another_model(
    here: Site, gallery: Gallery
) -> None:
    here = mixed(here, gallery)
    function = here.world.runtimes["hangzhou"].functions[DRAW]
    function.latest = replace(function.latest, image=f"{gallery.host}/theirs:1@sha256:{'a' * 64}")
    function.published_last += 1
    function.versions[str(function.published_last)] = Published(function.latest, "theirs")
    function.aliases["prod"] = AliasState(str(function.published_last))
    bad = undone(here, "v1")
    lora_live(here)
    assert serving_now(here).image == f"{gallery.host}/theirs:1@sha256:{'a' * 64}" != bad


def lora_live(here: Site) -> str:
    here.world.deliver(LORA, "v1")
    release = publish(here.requester, LORA, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE, here.release(release.id).reason
    here.assert_record_is_true()
    return release.id


def serving_now(here: Site) -> Change:
    """What the function version of the alias has."""
    number = here.world.alias("hangzhou").function_version
    assert number is not None
    return here.world.runtimes["hangzhou"].functions[DRAW].versions[number].change
