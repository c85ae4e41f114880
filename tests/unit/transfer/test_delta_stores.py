"""What a new version costs at a mounted directory and at a local OSS, by our counters and by what OSS was sent."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Final

import pytest
from syncd.artifact.manifest import Manifest
from syncd.errors import Cancelled
from syncd.localcloud.server import LocalCloud
from syncd.plan.phases import PlacementPhase
from syncd.state.content import placements, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.releases.events import advance
from syncd.state.state import State
from syncd.store.nas.store import NasSettings, NasStore
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopyReport, CopySettings, Destination, Progress, copy
from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.sources import Files, manifest_of
from tests.support.tensors import safetensors

MIB: Final = 1 << 20
SETTINGS: Final = CopySettings()
_CHANCE: Final = random.Random(20)
TENSORS: Final = {
    **{f"down.{n}.weight": _CHANCE.randbytes(5 * MIB // 2 + 4096 * n) for n in range(40)},
    **{f"norm.{n}.bias": _CHANCE.randbytes(2560) for n in range(40)},
}
NAMES: Final = sorted(TENSORS, key=lambda name: (int(name.split(".")[1]), name))


def in_shards(count: int, tensors: Mapping[str, bytes] = TENSORS, **metadata: str) -> dict[str, bytes]:
    """A checkpoint in so many files, each with a run of the tensors."""
    each = -(-len(NAMES) // count)
    runs = [NAMES[n : n + each] for n in range(0, len(NAMES), each)]
    return {
        f"model-{n}-of-{count}.safetensors": safetensors({name: tensors[name] for name in run}, metadata)
        for n, run in enumerate(runs, start=1)
    }


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


class Site:
    """A record, a directory and a bucket, in which versions of one model are placed one after another."""

    def __init__(self, cloud: LocalCloud, root: Path, state: State) -> None:
        self.cloud = cloud
        self.state = state
        self.bucket = RawBucket(cloud.endpoint(REGION))
        (root / "nas").mkdir()
        self.targets = {
            "nas": TreeTarget("nas", NasStore(NasSettings(root / "nas"))),
            "oss": TreeTarget("oss", self.bucket.store()),
        }
        self.source = Files({}, piece_bytes=MIB)
        self.stop = Event()

    def publish(self, name: str, files: Mapping[str, bytes], settings: CopySettings = SETTINGS) -> CopyReport:
        """Copy a version to both targets and seal it there."""
        manifest = manifest_of(files, "sdxl", name)
        with self.state.write() as conn:
            version = versions.record(conn, manifest, "local", "pin", self.state.now(conn))
        journals = {target: SqlJournal(self.state, version.id, target) for target in self.targets}
        to = [Destination(self.targets[target], journal) for target, journal in journals.items()]
        self.progress = Progress(manifest, self.targets)
        self.source = Files(files, piece_bytes=MIB)
        self.cloud.counters.clear()
        report = copy(manifest, self.source, to, settings, progress=self.progress, stop=self.stop)
        assert report.failed == {}
        for target, journal in journals.items():
            self.targets[target].seal(manifest, journal)
            assert self.targets[target].inspect(manifest, Depth.BYTES, journal).whole
            self._sealed(version.id, target)
        return report

    def oss_was_sent(self, manifest: Manifest | None = None) -> int:
        """Bytes of parts and files that the bucket has accepted since the last version was begun."""
        below = f"{self.bucket.name}/models/"
        counters = self.cloud.counters
        seals = sum(c.bytes_in for c in counters.calls("PutObject", below) if "/.syncd/" in c.resource)
        return sum(counters.bytes_in(operation, below) for operation in ("UploadPart", "PutObject")) - seals

    def _sealed(self, version_id: str, target: str) -> None:
        with self.state.write() as conn:
            now = self.state.now(conn)
            placement = placements.ensure(conn, version_id, target, now)
            placement = advance(conn, placement, PlacementPhase.COPYING, now=now)
            advance(conn, placement, PlacementPhase.SEALED, now=now)


@pytest.fixture
def site(cloud: LocalCloud, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield Site(cloud, tmp_path, state)
    state.close()


def assert_sent_at_most(site: Site, report: CopyReport, share: float) -> None:
    """Of the bytes of the version, at each target, by what we counted and by what OSS was sent."""
    for seen in report.targets.values():
        assert seen.bytes_sent <= share * seen.bytes_total, seen.counters()
        assert seen.bytes_sent + seen.bytes_copied + seen.bytes_kept == seen.bytes_total
    assert site.oss_was_sent() == report.targets["oss"].bytes_sent


def test_the_same_content_as_another_version_moves_no_byte(site: Site) -> None:
    site.publish("v1", in_shards(1))
    report = site.publish("v2", {f"again/{path}": data for path, data in in_shards(1).items()})
    assert_sent_at_most(site, report, 0.0)
    assert site.source.opened == []
    assert site.cloud.counters.bytes_copied("UploadPartCopy") == report.targets["oss"].bytes_total


def test_a_fine_tune_of_a_twentieth_of_the_tensors_sends_about_that(site: Site) -> None:
    site.publish("v1", in_shards(1))
    tuned = {name: random.Random(name).randbytes(len(TENSORS[name])) for name in ("down.7.weight", "down.31.weight")}
    report = site.publish("v2", in_shards(1, TENSORS | tuned))
    assert_sent_at_most(site, report, 0.06)
    assert report.targets["oss"].bytes_sent >= sum(map(len, tuned.values()))
    assert site.source.read_bytes == {path: len(data) for path, data in site.source.files.items()}


def test_a_header_that_grows_by_a_megabyte_sends_about_that(site: Site) -> None:
    site.publish("v1", in_shards(1))
    report = site.publish("v2", in_shards(1, note="x" * MIB))
    assert_sent_at_most(site, report, 0.02)


@pytest.mark.parametrize("count", [3, 7])
def test_a_checkpoint_in_other_shards_sends_little(site: Site, count: int) -> None:
    site.publish("v1", in_shards(4))
    report = site.publish("v2", in_shards(count))
    assert_sent_at_most(site, report, 0.1)


class Stopping(Progress):
    """Stops the copy after so many parts were copied."""

    left = 20
    stop: Event

    def copied(self, target: str, path: object, size_bytes: int) -> None:
        super().copied(target, path, size_bytes)  # type: ignore[arg-type]  # a path, as it came
        self.left -= 1
        if not self.left:
            self.stop.set()


def test_a_version_that_was_broken_off_goes_on_with_its_copies(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.publish("v1", in_shards(1))
    changed = TENSORS | {"down.39.weight": bytes(len(TENSORS["down.39.weight"]))}
    monkeypatch.setattr(Stopping, "stop", site.stop, raising=False)
    with monkeypatch.context() as patched:
        patched.setattr(f"{__name__}.Progress", Stopping)
        with pytest.raises(Cancelled):
            site.publish("v2", in_shards(1, changed), replace(SETTINGS, parts_in_flight=2))
    before = site.progress.snapshot()
    site.stop.clear()
    report = site.publish("v2", in_shards(1, changed))
    assert_sent_at_most(site, report, 0.04)
    for target, seen in report.targets.items():
        there = before[target].bytes_copied + before[target].bytes_sent
        assert seen.bytes_kept >= there > 0
