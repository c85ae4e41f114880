"""Damage of an image × source of good bytes: a repair ends with the same digest under the same tag, or says why not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.repair import repairs
from syncd.reconcile.repair.repairs import execute, request
from syncd.reconcile.repair.scrub import Scrub, ScrubPolicy
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.verification import verify
from syncd.state.records import PlacedImage, Repair
from syncd.state.state import State
from syncd.targets.base import Depth

from tests.emulators.distribution import MANIFEST
from tests.support.images import FLEET, HZ, SG, Gallery, image, live
from tests.support.rooms import SDXL, TRANSFER, Site, World, site
from tests.unit.reconcile.test_images import layers_document

pytestmark = pytest.mark.needs_docker_registry
NEVER = threading.Event()


@dataclass
class Shelf:
    """One image in its repository, under damage."""

    gallery: Gallery
    placed: PlacedImage

    def __post_init__(self) -> None:
        self.document = layers_document(self.gallery, self.placed)
        self.place = self.placed.repository.partition("/")[2]

    @property
    def layers(self) -> list[str]:
        return [str(layer["digest"]) for layer in self.document["layers"]]

    @property
    def config(self) -> str:
        return str(self.document["config"]["digest"])

    def delete(self, *blobs: str) -> None:
        with self.gallery.registry.client(self.place) as http:
            for blob in blobs:
                assert http.delete(f"/v2/{self.place}/blobs/{blob}").status_code == 202

    def delete_manifest(self) -> None:
        """And with it its tag, as this registry does."""
        with self.gallery.registry.client(self.place) as http:
            gone = http.delete(f"/v2/{self.place}/manifests/sha256:{self.placed.digest}")
            assert gone.status_code == 202, gone.text

    def delete_all(self) -> None:
        self.delete(*self.layers, self.config)
        self.delete_manifest()

    def tagged(self) -> str | None:
        with self.gallery.registry.client(self.place) as http:
            found = http.get(f"/v2/{self.place}/manifests/{self.placed.tag}", headers={"Accept": MANIFEST})
        return str(found.headers["docker-content-digest"]) if found.status_code == 200 else None

    def assert_whole(self) -> None:
        """As whoever pulls it finds it: every blob has the digest that the manifest gives it."""
        self.gallery.pulled.clear()
        assert self.gallery.files(f"{self.placed.repository}:{self.placed.tag}@sha256:{self.placed.digest}")
        assert self.tagged() == f"sha256:{self.placed.digest}"


DAMAGE: dict[str, Callable[[Shelf], None]] = {
    "a layer of the model": lambda s: s.delete(s.layers[-3]),
    "a layer of the base": lambda s: s.delete(s.layers[0]),
    "the configuration": lambda s: s.delete(s.config),
    "the manifest and its tag": Shelf.delete_manifest,
    "everything": Shelf.delete_all,
}
# What is left of other places: the registry of models, the repository of the other region, the base.
SOURCES = {
    "registry and base gone": ("gone", True, False),
    "other repository gone": ("good", False, True),
    "both gone": ("gone", False, True),
    "other repository gone, registry rotten": ("rotten", False, True),
}
NO_FILES = {"both gone": "repairing", "other repository gone, registry rotten": "failed"}  # a disk may be mounted again
NEEDS_FILES = {"a layer of the model", "everything"}
CASES = [
    *((damage, "other repository gone") for damage in DAMAGE),
    *((damage, "registry and base gone") for damage in DAMAGE),
    ("everything", "both gone"),
    ("a layer of the model", "other repository gone, registry rotten"),
    ("the manifest and its tag", "both gone"),
]


@pytest.fixture
def here(world: World, gallery: Gallery, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    made = site(world, state, **gallery.context(FLEET))
    live(made, "v1")
    yield made
    state.close()


def repaired(here: Site, target: str = HZ) -> Repair:
    (asked,) = request(here.requester, SDXL, "v1", target)
    return execute(here.context, TRANSFER, asked, NEVER, Depth.BYTES)


def spoil(here: Site, gallery: Gallery, registry: str, *, has_other: bool, has_base: bool) -> None:
    if registry == "gone":
        shutil.rmtree(here.world.root)
    elif registry == "rotten":
        for file in (here.world.root / SDXL / "v1").rglob("*"):
            if file.is_file():
                file.write_bytes(bytes(file.stat().st_size))
    if not has_other:
        Shelf(gallery, image(here, "v1", SG)).delete_all()
    if not has_base:
        name = gallery.base.partition(":")[0]
        with gallery.registry.client(name) as http:
            base = image(here, "v1").base_digest
            assert http.delete(f"/v2/{name}/manifests/sha256:{base}").status_code == 202


@pytest.mark.parametrize(("damage", "source"), CASES, ids=[": ".join(case) for case in CASES])
def test_what_is_missing_is_pushed_again_to_the_same_digest(
    here: Site, gallery: Gallery, damage: str, source: str
) -> None:
    shelf = Shelf(gallery, image(here, "v1"))
    aliases = {region: here.world.alias(region) for region in ("hangzhou", "singapore")}
    registry, has_other, has_base = SOURCES[source]
    DAMAGE[damage](shelf)
    spoil(here, gallery, registry, has_other=has_other, has_base=has_base)
    done = repaired(here)
    assert {region: here.world.alias(region) for region in aliases} == aliases
    if source in NO_FILES and damage in NEEDS_FILES:
        assert done.phase == NO_FILES[source]
        assert f"{HZ}: {shelf.placed.repository}:{shelf.placed.tag}@sha256:" in done.reason
        assert "cannot be repaired: img-sg and it lack " in done.reason
        assert "\n" not in done.reason
        return
    assert (done.phase, done.reason) == ("repaired", "")
    assert done.result["images"] == [f"{shelf.placed.repository}:{shelf.placed.tag}@sha256:{shelf.placed.digest}"]
    shelf.assert_whole()
    assert image(here, "v1") == shelf.placed
    assert here.placements(SDXL, "v1")[HZ].phase is PlacementPhase.SEALED
    assert repaired(here).phase == "whole", "repeating it finds nothing to do"


def test_a_tag_of_another_image_is_not_moved(here: Site, gallery: Gallery) -> None:
    shelf = Shelf(gallery, image(here, "v1"))
    shelf.delete_manifest()
    other = gallery.registry.push(shelf.place, shelf.placed.tag, {"a": b"another tool's"})
    done = repaired(here)
    assert done.phase == "failed"
    assert "delete the tag" in done.hint
    assert shelf.tagged() == other


def _data(home: Path, blob: str) -> Path:
    hexadecimal = blob.removeprefix("sha256:")
    return home / "blobs/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


@pytest.mark.parametrize("what", ["rotten", "cut", "manifest"])
def test_a_blob_that_the_repository_keeps_damaged_is_named_with_the_way_out(
    here: Site, gallery: Gallery, home: Path, what: str
) -> None:
    shelf = Shelf(gallery, image(here, "v1"))
    blob = f"sha256:{shelf.placed.digest}" if what == "manifest" else shelf.layers[-1]
    file = _data(home, blob)
    good = file.read_bytes()
    damaged = {"rotten": bytes(len(good)), "cut": good[:-5], "manifest": good.replace(b'"sdxl"', b'"SDXL"')}
    file.write_bytes(damaged[what])
    (found,) = [each for each in verify(here.looker, SDXL, Depth.BYTES) if each.wrong and HZ in each.remedy]
    assert found.remedy == f"syncd repair sdxl@v1 --target {HZ}"
    done = repaired(here)
    assert done.phase == "failed"
    assert "delete it there" in done.hint
    assert "\n" not in done.reason
    if what == "manifest":
        shelf.delete_manifest()
    else:
        shelf.delete(blob)
    file.unlink()
    assert repaired(here).phase == "repaired"
    shelf.assert_whole()


def test_publishing_what_is_live_pushes_what_is_missing_again(here: Site, gallery: Gallery) -> None:
    shelf = Shelf(gallery, image(here, "v1"))
    shelf.delete(shelf.layers[-1])
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE, here.release(release.id).reason
    shelf.assert_whole()
    assert repairs.of_model(here.looker, SDXL) == []


def test_a_scrub_finds_a_layer_that_is_gone_and_has_it_pushed_again(here: Site, gallery: Gallery) -> None:
    shelf = Shelf(gallery, image(here, "v1"))
    scrub = Scrub(here.context, ScrubPolicy(3600.0))
    assert not scrub()
    shelf.delete(shelf.layers[-3])
    here.world.time += timedelta(hours=2)
    assert [scrub() for _ in range(3)] == [True, True, False]
    assert {each.kind for each in here.events()} >= {"copy.damaged", "repair.requested"}
    repairs.resume(here.context)
    shelf.assert_whole()
