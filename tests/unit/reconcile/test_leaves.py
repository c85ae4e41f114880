"""Leaf digests: written beside the seal of every target, from the read that proved the files, and loaded from there."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from syncd.artifact.manifest import Manifest
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.serving.leaves import LEAF_BYTES, LEAVES_FROM_BYTES, LEAVES_PATH, parse_leaves
from syncd.store.base import PutMode

from tests.support.rooms import SDXL, TARGETS, TRANSFER, Site, World, site

LARGE = bytes(range(256)) * (LEAVES_FROM_BYTES // 256) + b"more"


@pytest.fixture
def here(here: Site, world: World) -> Site:
    """The process, with the setting that is on by default."""
    return site(world, here.state, transfer=replace(TRANSFER, leaf_digests=True))


def _published(here: Site, version: str, more: dict[str, bytes]) -> dict[str, Manifest]:
    here.world.deliver(SDXL, version, more=more)
    release = publish(here.requester, SDXL, version)
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE
    digest = here.digest(SDXL, version)
    return {target: here.world.sealed(target)[digest] for target in TARGETS}


def _leaves(here: Site, target: str, manifest: Manifest) -> bytes:
    return bytes(here.world.stores[target].objects[f"{manifest.directory}/{LEAVES_PATH}"].data)


def test_every_target_has_the_leaf_digests_of_large_files(here: Site) -> None:
    placed = _published(here, "v1", {"large.bin": LARGE})

    want = [hashlib.sha256(LARGE[at : at + LEAF_BYTES]).digest() for at in range(0, len(LARGE), LEAF_BYTES)]
    for target, manifest in placed.items():
        found = parse_leaves(_leaves(here, target, manifest), manifest.digest.hex)
        assert found.of("large.bin", len(LARGE)) == tuple(want)
        assert list(found.files) == ["large.bin"]

    # A version that has the same file is copied at the target, and not read: the record knows its leaves.
    again = _published(here, "v2", {"large.bin": LARGE})
    for target, manifest in again.items():
        assert parse_leaves(_leaves(here, target, manifest), manifest.digest.hex).of("large.bin", len(LARGE)) == tuple(
            want
        )


def test_a_damaged_file_of_leaf_digests_is_replaced_by_the_seal(here: Site) -> None:
    manifest = _published(here, "v1", {"large.bin": LARGE})["hz"]
    store, key = here.world.stores["hz"], f"{manifest.directory}/{LEAVES_PATH}"
    right = _leaves(here, "hz", manifest)
    for name in (key, f"{manifest.directory}/.syncd/manifest.json"):
        store.delete(name)
    store.put(key, right[:-1], PutMode.CREATE)

    publish(here.requester, SDXL, "v1")
    here.settle(patient=True)

    assert _leaves(here, "hz", manifest) == right


def test_a_version_of_small_files_has_no_leaf_digests(here: Site) -> None:
    placed = _published(here, "v1", {})

    for target, manifest in placed.items():
        assert f"{manifest.directory}/{LEAVES_PATH}" not in here.world.stores[target].objects
