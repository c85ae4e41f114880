"""A store that throttles: each call is tried again by itself, so a version of many files becomes whole all the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from syncd.errors import NotFound, Unavailable
from syncd.retry import Retry
from syncd.store.base import Buffer, PutMode, Stat
from syncd.store.memory import MemoryStore, MemoryStream
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings, Destination, Progress, copy
from tests.support.cloud_process import cloud_process
from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.journals import FileJournal, MemoryJournal
from tests.support.sources import content, generated, generated_manifest, manifest_of
from tests.support.throttling import throttling
from tests.support.transfers import Bench

QUICK = Retry(attempts_max=6, elapsed_max_s=60.0, base_s=0.001, cap_s=0.01)
PART_BYTES = 128 << 10
SETTINGS = CopySettings(buffer_bytes=16 * PART_BYTES, part_bytes=PART_BYTES, parts_in_flight=4, retry=QUICK)
SIZES = {"a.safetensors": 5 * PART_BYTES + 7, "b.safetensors": PART_BYTES + 1} | {f"s/{n}": 200 + n for n in range(300)}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud.endpoint(REGION)


@pytest.mark.parametrize("throttled", [0.01, 0.05, 0.10])
def test_a_version_of_many_files_is_sealed_through_503s_and_lost_answers(endpoint: str, throttled: float) -> None:
    bucket, journal, manifest = RawBucket(endpoint), MemoryJournal(), generated_manifest(SIZES)
    with throttling(endpoint, throttled, 0.02) as proxy:
        target = TreeTarget("hz", RawBucket(proxy.endpoint, bucket.name).store(), QUICK)
        report = copy(
            manifest,
            generated,
            [Destination(target, journal)],
            SETTINGS,
            progress=Progress(manifest, ["hz"]),
            stop=Event(),
        )
        assert report.failed == {}
        target.seal(manifest, journal)
        assert target.inspect(manifest, Depth.CHECKSUMS, journal).whole
        # Each refused or lost call costs itself, and what settles a lost one.
        needed = 2 * (len(SIZES) + 30)
        assert needed / 2 < proxy.counts["calls"] < needed * (1 + 3 * (throttled + 0.02)) + 40
        assert proxy.counts["throttled"] > 0
    found = TreeTarget("hz", bucket.store()).inspect(manifest, Depth.BYTES, journal)
    assert found.sealed
    assert found.whole


def test_a_copy_that_was_killed_goes_on_through_503s_and_lost_answers(tmp_path: Path) -> None:
    with cloud_process(tmp_path / "cloud", REGION) as endpoints:
        sizes = dict(list(SIZES.items())[:120])
        bucket, manifest = RawBucket(endpoints[REGION]), generated_manifest(sizes)
        with throttling(endpoints[REGION], 0.05, 0.02) as proxy:
            place = {"endpoint": proxy.endpoint, "bucket": bucket.name, "region": REGION}
            (tmp_path / "journals").mkdir()
            order = {"sizes": sizes, "places": {"hz": place}, "journals": str(tmp_path / "journals"), "tell": True}
            order |= {"settings": {"part_bytes": PART_BYTES, "buffer_bytes": 16 * PART_BYTES, "parts_in_flight": 4}}
            command = [sys.executable, "-m", "tests.support.copier", json.dumps(order)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for _ in range(50):
                    process.stdout.readline()
                process.send_signal(signal.SIGKILL)
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            report = json.loads(done.stdout.splitlines()[-1])
            assert report["failed"] == {}
            assert report["targets"]["hz"]["parts_kept"] >= 40
            target = TreeTarget("hz", RawBucket(proxy.endpoint, bucket.name).store(), QUICK)
            target.seal(manifest, FileJournal(tmp_path / "journals" / "hz"))
            assert proxy.counts["throttled"] > 10


class Throttled(MemoryStore):
    """Refuses every call of a verb that `refuses` says so of."""

    def __init__(self) -> None:
        super().__init__()
        self.stats: list[str] = []
        self.refused: set[str] = set()

    def stat(self, key: str) -> Stat:
        self.stats.append(key)
        if key in self.refused:
            raise Unavailable(f"{key}: 503 SlowDown", throttled="503 SlowDown")
        return super().stat(key)

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        if key in self.refused:
            raise Unavailable(f"{key}: 503 SlowDown", throttled="503 SlowDown")
        return super().put(key, data, mode)


FILES = {f"f{n}": content(f"f{n}", 50) for n in range(40)}


def there(store: Throttled) -> tuple[TreeTarget, MemoryJournal, list[str]]:
    """Every file is there, put by a process that is gone; and the keys."""
    bench = Bench(FILES, hz=store)
    assert bench.copy().failed == {}
    return TreeTarget("hz", store, QUICK), bench.journals["hz"], [f"{bench.manifest.directory}/{p}" for p in FILES]


def test_what_an_inspection_proved_before_it_failed_is_not_asked_for_again() -> None:
    store = Throttled()
    target, journal, keys = there(store)
    manifest = manifest_of(FILES)
    store.refused, store.stats = {keys[-1]}, []
    with pytest.raises(Unavailable, match=r"throttled: 503 SlowDown, \d+ of \d+ calls: .*f39") as failed:
        target.inspect(manifest, Depth.CHECKSUMS, journal)
    assert failed.value.progressed
    proven = {key for key in store.stats if key not in store.refused}
    assert len(proven) > 20
    store.refused, store.stats = set(), []
    assert target.inspect(manifest, Depth.CHECKSUMS, journal).whole
    assert proven.isdisjoint(store.stats)
    assert keys[-1] in store.stats


def test_an_inspection_that_proves_nothing_new_has_not_progressed() -> None:
    store = Throttled()
    target, journal, keys = there(store)
    store.refused = {keys[-1]}
    for progressed in (True, False):
        with pytest.raises(Unavailable) as failed:
            target.inspect(manifest_of(FILES), Depth.CHECKSUMS, journal)
        assert failed.value.progressed is progressed


def test_other_bytes_at_the_same_key_are_asked_for_again() -> None:
    store = Throttled()
    target, journal, keys = there(store)
    store.refused = {keys[-1]}
    with pytest.raises(Unavailable):
        target.inspect(manifest_of(FILES), Depth.CHECKSUMS, journal)
    store.refused = set()
    store.put(keys[0], bytes(50), PutMode.OVERWRITE)
    found = target.inspect(manifest_of(FILES), Depth.CHECKSUMS, journal)
    assert list(found.wrong) == ["f0"]


def test_a_sealed_version_is_checked_anew_every_time() -> None:
    store = Throttled()
    target, journal, keys = there(store)
    target.seal(manifest_of(FILES), journal)
    for _ in range(2):
        store.stats = []
        assert target.inspect(manifest_of(FILES), Depth.CHECKSUMS, journal).whole
        assert set(keys) <= set(store.stats)


def test_every_call_of_a_seal_is_tried_again() -> None:
    store = Throttled()
    _, journal, _ = there(store)
    tries: list[str] = []

    class Once(Throttled):
        def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
            tries.append(key)
            if tries.count(key) == 1:
                raise Unavailable(f"{key}: 503", throttled="503 SlowDown")
            return super().put(key, data, mode)

    once = Once()
    once.objects = store.objects
    TreeTarget("hz", once, QUICK).seal(manifest_of(FILES), journal)
    assert len(tries) == 2 * len(set(tries))


def test_a_version_whose_seal_cannot_be_read_is_not_called_absent() -> None:
    class Lost(MemoryStore):
        def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> MemoryStream:
            raise Unavailable(f"{key}: the connection broke")

    with pytest.raises(Unavailable):
        TreeTarget("hz", Lost(), QUICK).inspect(manifest_of(FILES), Depth.SEAL, MemoryJournal())
    with pytest.raises(NotFound):
        MemoryStore().open("absent")
