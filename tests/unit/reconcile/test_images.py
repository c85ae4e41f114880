"""A release whose model lies in the function's own image: pushed, proven, recorded, staged, served, taken back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.artifact.digest import Digest
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.foresee import plan, verify
from syncd.reconcile.mend import Word
from syncd.reconcile.retire import retire
from syncd.reconcile.scene import document, scene_of
from syncd.reconcile.wish import publish, rollback
from syncd.state import images, versions
from syncd.state.records import PlacedImage, Release
from syncd.state.state import State
from syncd.target.base import Depth

from tests.emulators.distribution import Distribution, distribution
from tests.images import Gallery, smaller
from tests.rooms import DRAW, SDXL, Site, World, site
from tests.unit.oci.kitchen import BASE, push_base

pytestmark = pytest.mark.needs_docker_registry
HZ, SG = "img-hz", "img-sg"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with distribution(tmp_path_factory.mktemp("images")) as made:
        yield made


@pytest.fixture
def gallery(registry: Distribution, tmp_path: Path) -> Gallery:
    """Repositories and a base of a test's own."""
    name = f"t{Digest.parse('sha256:' + '0' * 64).short[:2]}{abs(hash(tmp_path)):x}"
    push_base(registry, f"{name}/base")
    return Gallery(registry, name, base=f"{name}/base:1.0")


@pytest.fixture
def here(world: World, gallery: Gallery, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    yield site(world, state, **gallery.rooms())
    state.close()


def live(here: Site, version: str) -> Release:
    if not (here.world.root / SDXL / version).exists():
        here.world.deliver(SDXL, version)
    release = publish(here.wisher, SDXL, version)
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE, here.release(release.id).reason
    here.assert_record_is_true()
    return release


def image(here: Site, version: str, target: str = HZ) -> PlacedImage:
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, version)
        assert found is not None
        placed = images.find(conn, found.id, target)
    assert placed is not None
    return placed


def test_a_release_pushes_an_image_to_each_region_and_serves_from_it(here: Site, gallery: Gallery) -> None:
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
    assert [e.detail["image"] for e in here.events(release.id) if e.kind == "image.baked"][0] == change.image
