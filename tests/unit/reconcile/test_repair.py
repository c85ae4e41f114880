"""Damage × kind of target × source of good bytes: a repair ends whole and proven, or removes nothing and says why."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from syncd.artifact.manifest import SEAL_PATH, Manifest
from syncd.errors import NotFound
from syncd.localcloud.server import LocalCloud
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.drift.resolve import Justification
from syncd.reconcile.gc.retire import retire
from syncd.reconcile.repair import repairs
from syncd.reconcile.repair.repairs import LEASE_S, execute, request, resume
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.verification import verify
from syncd.state.content import placements, versions
from syncd.state.content import repairs as recorded
from syncd.state.records import Repair
from syncd.state.releases.events import advance
from syncd.store.base import PutMode, Store
from syncd.store.memory import MemoryStore
from syncd.store.nas.store import NasSettings, NasStore
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget

from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.rooms import SDXL, TARGETS, TRANSFER, Site, site
from tests.support.snapshots import live

WEIGHTS, CONFIG = "weights.bin", "config.json"
NEVER = threading.Event()
WHOLE = replace(TRANSFER, part_bytes=1 << 20, buffer_bytes=4 << 20)  # OSS takes no smaller part


@dataclass
class Place:
    """One target under damage: its store, and the version's files as they were."""

    store: Store
    manifest: Manifest

    def __post_init__(self) -> None:
        self.whole = self.objects()

    def key(self, path: str) -> str:
        return f"{self.manifest.directory}/{path}"

    def objects(self) -> dict[str, bytes]:
        keys = [stat.key for stat in self.store.list(f"{self.manifest.directory}/") if not stat.key.endswith("/")]
        return {key: self.read(key) for key in sorted(keys)}

    def read(self, key: str) -> bytes:
        found = bytearray()
        buffer = memoryview(bytearray(1 << 16))
        with self.store.open(key) as stream:
            while count := stream.readinto(buffer):
                found += buffer[:count]
        return bytes(found)

    def delete(self, path: str) -> None:
        self.store.delete(self.key(path))

    def write(self, path: str, data: bytes) -> None:
        self.store.delete(self.key(path))
        self.store.put(self.key(path), data, PutMode.CREATE)

    def rot(self, path: str) -> None:
        """The same size, one bit else."""
        data = bytearray(self.whole[self.key(path)])
        data[len(data) // 2] ^= 1
        self.write(path, bytes(data))


def _other(place: Place) -> bytes:
    return Manifest.of("other", "v9", place.manifest.entries).canonical


def _both(*acts: Callable[[Place], None]) -> Callable[[Place], None]:
    def act(place: Place) -> None:
        for each in acts:
            each(place)

    return act


DAMAGE: dict[str, Callable[[Place], None]] = {
    "file deleted": lambda p: p.delete(WEIGHTS),
    "file rotten": lambda p: p.rot(WEIGHTS),
    "file truncated": lambda p: p.write(WEIGHTS, p.whole[p.key(WEIGHTS)][:1000]),
    "file grown": lambda p: p.write(CONFIG, p.whole[p.key(CONFIG)] + b"!"),
    "file emptied": lambda p: p.write(CONFIG, b""),
    "one deleted, one rotten": _both(lambda p: p.delete(CONFIG), lambda p: p.rot(WEIGHTS)),
    "every file deleted": _both(lambda p: p.delete(CONFIG), lambda p: p.delete(WEIGHTS)),
    "seal deleted": lambda p: p.delete(SEAL_PATH),
    "seal of another content": lambda p: p.write(SEAL_PATH, _other(p)),
    "seal cut": lambda p: p.write(SEAL_PATH, p.whole[p.key(SEAL_PATH)][:-7]),
    "seal of another content, file rotten": _both(lambda p: p.write(SEAL_PATH, _other(p)), lambda p: p.rot(WEIGHTS)),
    "seal and files deleted": _both(
        lambda p: p.delete(SEAL_PATH), lambda p: p.delete(CONFIG), lambda p: p.delete(WEIGHTS)
    ),
}
ONLY_THE_SEAL = {"seal deleted", "seal of another content", "seal cut"}

# What is left of the other places: the registry, and a replica at target `sg`.
SOURCES = {
    "all are good": ("good", "good"),
    "registry gone": ("gone", "good"),
    "replica rotten": ("good", "rotten"),
    "replica deleted": ("good", "gone"),
    "registry rotten": ("rotten", "good"),
    "registry gone, replica rotten": ("gone", "rotten"),
    "both gone": ("gone", "gone"),
}
NO_SOURCE = {"registry gone, replica rotten", "both gone"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def here(request: pytest.FixtureRequest, on_sqlite: Site, tmp_path: Path) -> Site:
    """v1 is live, and lies at one more target, which no binding reads. The parameter is its kind."""
    live(on_sqlite, "v1")
    (tmp_path / "nas").mkdir()
    stores: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "nas": lambda: NasStore(NasSettings(tmp_path / "nas")),
        "oss": lambda: RawBucket(request.getfixturevalue("cloud").endpoint(REGION)).store(),
    }
    return with_target(on_sqlite, stores[getattr(request, "param", "memory")]())


# Every source with the store in memory; on the real ones a good source of each kind, and none.
CASES = [
    (kind, damage, source)
    for kind in ("memory", "nas", "oss")
    for damage in DAMAGE
    for source in SOURCES
    if kind == "memory" or source in {"registry gone", "replica rotten", "both gone"}
]


def with_target(base: Site, store: Store) -> Site:
    targets = {name: TreeTarget(name, each, TRANSFER.retry) for name, each in base.world.stores.items()}
    made = site(base.world, base.state, targets={**targets, "more": TreeTarget("more", store, TRANSFER.retry)})
    with made.state.write() as conn:
        version = versions.find(conn, SDXL, "v1")
        assert version is not None
        placed = placements.ensure(conn, version.id, "more", made.state.now(conn))
        advance(conn, placed, PlacementPhase.SEALED, now=made.state.now(conn))
    assert repaired(made).phase == "repaired"
    return made


def repaired(here: Site, target: str = "more") -> Repair:
    (asked,) = request(here.requester, SDXL, "v1", target)
    return execute(here.context, WHOLE, asked, NEVER)


def place(here: Site, target: str = "more") -> Place:
    with here.state.read() as conn:
        version = versions.find(conn, SDXL, "v1")
        assert version is not None
        manifest = versions.manifest(conn, version.id)
    found = here.context.targets[target]
    assert isinstance(found, TreeTarget)
    return Place(found._store, manifest)


def spoil(here: Site, registry: str, replica: str) -> None:
    tree = here.world.root / SDXL / "v1"
    if registry == "gone":
        shutil.rmtree(here.world.root)
    elif registry == "rotten":
        for path in (WEIGHTS, CONFIG):
            (tree / path).write_bytes(bytes(len((tree / path).read_bytes())))
    for name in TARGETS:
        other = place(here, name)
        for path in (WEIGHTS, CONFIG):
            if replica == "gone":
                other.delete(path)
            elif replica == "rotten":
                other.rot(path)


@pytest.mark.parametrize(
    ("here", "damage", "source"), CASES, indirect=["here"], ids=[": ".join(case) for case in CASES]
)
def test_each_damage_is_repaired_from_any_good_source_or_nothing_is_removed(
    here: Site, damage: str, source: str
) -> None:
    damaged = place(here)
    aliases = {region: here.world.alias(region) for region in TARGETS.values()}
    DAMAGE[damage](damaged)
    left = damaged.objects()
    spoil(here, *SOURCES[source])
    done = repaired(here)
    assert {region: here.world.alias(region) for region in TARGETS.values()} == aliases
    if source in NO_SOURCE and damage not in ONLY_THE_SEAL:
        assert damaged.objects() == left, "nothing was removed, and nothing written"
        assert done.reason.startswith("more: sdxl@v1 cannot be repaired, nothing was removed: ")
        assert "\n" not in done.reason
        return
    assert (done.phase, done.reason) == ("repaired", "")
    assert damaged.objects() == damaged.whole
    assert done.result["seal"] == ("seal" in damage)
    for entry in damaged.manifest.entries:
        assert hashlib.sha256(damaged.read(damaged.key(entry.path))).hexdigest() == entry.sha256.hex
    assert repaired(here).phase == "whole", "repeating it finds nothing to do"


@pytest.mark.parametrize("source", ["all are good", "replica rotten", "registry rotten"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_publishing_what_is_live_repairs_it(on_sqlite: Site, damage: str, source: str) -> None:
    live(on_sqlite, "v1")
    damaged, other = place(on_sqlite, "hz"), place(on_sqlite, "sg")
    DAMAGE[damage](damaged)
    if source == "replica rotten":
        other.rot(WEIGHTS)
    release = publish(on_sqlite.requester, SDXL, "v1")
    on_sqlite.until(ReleasePhase.PLACING, release.id)
    if source == "registry rotten":
        file = on_sqlite.world.root / SDXL / "v1" / WEIGHTS
        keep = file.stat()
        file.write_bytes(bytes(keep.st_size))
        os.utime(file, ns=(keep.st_atime_ns, keep.st_mtime_ns))
    on_sqlite.settle(patient=True)
    assert on_sqlite.release(release.id).phase is ReleasePhase.LIVE, on_sqlite.release(release.id).reason
    assert damaged.objects() == damaged.whole
    assert other.objects() == other.whole, "both regions are whole"


@pytest.mark.parametrize("here", ["memory", "nas", "oss"], indirect=True)
def test_verify_names_the_repair_and_the_repair_ends_what_verify_found(here: Site) -> None:
    place(here).rot(WEIGHTS)
    (found,) = [finding for finding in verify(here.looker, SDXL, Depth.BYTES) if finding.wrong]
    assert found.remedy == "syncd repair sdxl@v1 --target more"
    repaired(here)
    assert [finding for finding in verify(here.looker, SDXL, Depth.BYTES) if finding.wrong] == []


def test_a_model_without_a_version_is_repaired_wherever_it_is_placed(here: Site) -> None:
    place(here).delete(CONFIG)
    place(here, "sg").rot(WEIGHTS)
    done = [execute(here.context, WHOLE, each, NEVER) for each in request(here.requester, SDXL)]
    assert {each.target: each.phase for each in done} == {"hz": "whole", "sg": "repaired", "more": "repaired"}


def test_what_is_not_there_to_repair_is_not_found(here: Site) -> None:
    for wanted, words in (
        ((SDXL, "v9", None), "no version sdxl@v9"),
        (("nothing", None, None), "no version nothing"),
        ((SDXL, "v1", "mars"), "no target 'mars'"),
    ):
        with pytest.raises(NotFound, match=words):
            request(here.requester, *wanted)


def test_a_daemon_resumes_a_repair_whose_process_was_killed(here: Site) -> None:
    damaged = place(here)
    damaged.rot(WEIGHTS)
    (asked,) = request(here.requester, SDXL, "v1", "more")
    with here.state.write() as conn:
        assert recorded.claim(conn, asked, LEASE_S, here.state.now(conn))
    resume(here.context)
    assert damaged.objects() != damaged.whole, "the worker may be alive"
    here.world.time += timedelta(seconds=LEASE_S + 1)
    resume(here.context)
    assert damaged.objects() == damaged.whole
    assert [each.phase for each in repairs.of_model(here.looker, SDXL)] == ["repaired"]


def test_what_could_not_be_read_is_tried_again(here: Site) -> None:
    damaged = place(here)
    damaged.delete(WEIGHTS)
    aside = here.world.root.with_name("aside")
    spoil(here, "good", "gone")
    here.world.root.rename(aside)
    first = repaired(here)
    assert first.phase in {"repairing", "failed"}
    aside.rename(here.world.root)
    assert repaired(here).phase == "repaired"
    assert damaged.objects() == damaged.whole


def test_a_version_that_is_retired_is_not_brought_back(on_sqlite: Site) -> None:
    live(on_sqlite, "v1", "v2", "v3")
    retire(on_sqlite.looker, SDXL, "v1", Justification("ann", "old"))
    with pytest.raises(NotFound, match="not placed"):
        request(on_sqlite.requester, SDXL, "v1")
