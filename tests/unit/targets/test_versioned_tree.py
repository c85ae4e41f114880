"""What a tree does beyond the promise every target keeps: markers, orders of writes, layouts, looks that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import structlog
from syncd.artifact.digest import crc64
from syncd.artifact.parts import Part, cut
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from syncd.retry import Retry
from syncd.store.base import Buffer, PutMode, Receipt, Stat
from syncd.store.memory import TRAITS, MemoryStore, MemoryStream, MemoryUpload
from syncd.targets.base import Depth
from syncd.targets.checksum_cache import ChecksumCache
from syncd.targets.versioned_tree import TreeTarget
from syncd.targets.writers import LargeWriter
from tests.support.journals import MemoryJournal
from tests.support.sources import manifest_of

FILES = {"a": b"1", "unet/b": b"22"}
MANIFEST = manifest_of(FILES)
QUICK = Retry(attempts_max=3, elapsed_max_s=1.0, base_s=0.0)
MARKERS = ["models/", "models/team/", "models/team/sdxl/", f"{MANIFEST.directory}/"]


class Recording(MemoryStore):
    """Remembers what was written and removed, in order; `failing` is called first."""

    def __init__(self, failing: Callable[[str, str], None] = lambda verb, key: None) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []
        self.failing = failing

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        self.failing("put", key)
        self.calls.append(("put", key))
        return super().put(key, data, mode)

    def delete(self, key: str) -> None:
        self.failing("delete", key)
        self.calls.append(("delete", key))
        super().delete(key)

    def stat(self, key: str) -> Stat:
        self.failing("stat", key)
        return super().stat(key)


def placed(store: MemoryStore) -> tuple[TreeTarget, MemoryJournal]:
    target, journal = TreeTarget("t", store, QUICK), MemoryJournal()
    for entry in MANIFEST.entries:
        parts, data = cut(entry.size_bytes), FILES[entry.path]
        writer = target.writer(MANIFEST, entry, parts, journal)
        writer.send(parts[0], data, crc64(data))
        writer.finish(entry.sha256, crc64(data))
    return target, journal


def test_the_seal_is_written_last_after_every_marker() -> None:
    store = Recording()
    target, journal = placed(store)
    store.calls.clear()
    target.seal(MANIFEST, journal)
    seal = f"{MANIFEST.directory}/.syncd/manifest.json"
    assert store.calls == [("put", key) for key in (*MARKERS, seal)]
    assert all(store.objects[marker].data == b"" for marker in MARKERS)


def test_the_seal_is_removed_first_and_the_marker_last() -> None:
    store = Recording()
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    store.calls.clear()
    target.withdraw(MANIFEST, journal)
    assert store.calls[0] == ("delete", f"{MANIFEST.directory}/.syncd/manifest.json")
    assert store.calls[-1] == ("delete", f"{MANIFEST.directory}/")


def test_withdrawing_keeps_the_directories_that_others_mount() -> None:
    store = MemoryStore()
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    target.withdraw(MANIFEST, journal)
    assert sorted(store.objects) == sorted(MARKERS[:-1])


def test_a_marker_of_somebody_else_serves_as_well() -> None:
    store = MemoryStore()
    store.put("models/", b"made by a console", PutMode.CREATE)
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    assert store.objects["models/"].data == b"made by a console"


def test_stores_that_need_no_markers_get_none() -> None:
    store = MemoryStore(replace(TRAITS, needs_directory_markers=False))
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    target.withdraw(MANIFEST, journal)
    assert store.objects == {}


@pytest.mark.parametrize("depth", [Depth.CHECKSUMS, Depth.BYTES])
def test_a_store_without_checksums_is_read(depth: Depth) -> None:
    store = MemoryStore(replace(TRAITS, stat_has_crc64=False))
    target, journal = placed(store)
    assert target.inspect(MANIFEST, depth, journal).whole
    store.objects[f"{MANIFEST.directory}/a"].data = b"2"
    found = target.inspect(MANIFEST, depth, journal)
    assert set(found.wrong) == {"a"}


def test_a_look_that_fails_says_nothing_about_what_is_there() -> None:
    def fail(verb: str, key: str) -> None:
        if verb == "stat":
            raise Unavailable("the region is down")

    store = Recording(fail)
    _, journal = placed(store)
    target = TreeTarget("t", store, QUICK)  # of another process: it has put nothing itself
    with pytest.raises(Unavailable):
        target.inspect(MANIFEST, Depth.CHECKSUMS, journal)
    assert target.inspect(MANIFEST, Depth.SIZES, journal).whole


def test_a_file_that_vanishes_during_the_look_is_missing() -> None:
    def vanish(verb: str, key: str) -> None:
        if verb == "stat":
            store.objects.pop(f"{MANIFEST.directory}/a", None)

    store = Recording(vanish)
    _, journal = placed(store)
    found = TreeTarget("t", store).inspect(MANIFEST, Depth.CHECKSUMS, journal)
    assert (found.missing, found.present) == (frozenset({"a"}), frozenset({"unet/b"}))


def test_a_seal_that_could_not_be_removed_leaves_everything() -> None:
    def fail(verb: str, key: str) -> None:
        if verb == "delete":
            raise Unavailable("the region is down")

    store = Recording(fail)
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    with pytest.raises(Unavailable):
        target.withdraw(MANIFEST, journal)
    assert target.inspect(MANIFEST, Depth.BYTES, journal).whole


def test_an_endless_seal_is_not_read_to_its_end() -> None:
    store = MemoryStore()
    target, journal = placed(store)
    store.put(f"{MANIFEST.directory}/.syncd/manifest.json", MANIFEST.canonical + bytes(20 << 20), PutMode.CREATE)
    with pytest.raises(Conflict, match="not a manifest"):
        target.inspect(MANIFEST, Depth.SEAL, journal)


def test_files_nobody_declared_are_logged_with_examples() -> None:
    store = MemoryStore()
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    with structlog.testing.capture_logs() as logs:
        target.inspect(MANIFEST, Depth.SIZES, journal)
        assert logs == []
        store.put(f"{MANIFEST.directory}/notes.txt", b"?", PutMode.CREATE)
        target.inspect(MANIFEST, Depth.SIZES, journal)
    assert [(log["event"], log["examples"]) for log in logs] == [("target.unknown_files", ["notes.txt"])]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((), "0 bytes"),
        ((Part(1, 0, 3),), "3 bytes"),
        ((Part(1, 0, 1), Part(2, 1, 1)), "2 parts of 1 to 1"),
    ],
)
def test_a_layout_the_store_would_refuse_is_refused_before_a_byte_is_sent(parts: tuple[Part, ...], reason: str) -> None:
    store = MemoryStore(replace(TRAITS, part_min_bytes=2))
    with pytest.raises(Invalid, match=reason):
        TreeTarget("t", store).writer(MANIFEST, MANIFEST.entries[1], parts, MemoryJournal())
    assert store.uploads == {}


def asking(seen: list[str]) -> Recording:
    """A store that notes which files it is asked for one by one."""
    return Recording(lambda verb, key: seen.append(key.rpartition(MANIFEST.directory)[2]) if verb == "stat" else None)


def test_sealing_asks_for_no_file_that_this_process_has_just_put() -> None:
    seen: list[str] = []
    target, journal = placed(asking(seen))
    target.seal(MANIFEST, journal)
    assert seen == []
    assert target.inspect(MANIFEST, Depth.CHECKSUMS, journal).whole
    assert sorted(seen) == ["/a", "/unet/b"]  # a look believes nothing remembered


def test_sealing_asks_for_every_file_after_a_restart() -> None:
    seen: list[str] = []
    store = asking(seen)
    _, journal = placed(store)
    TreeTarget("t", store).seal(MANIFEST, journal)
    assert sorted(seen) == ["/a", "/unet/b"]


def test_sealing_asks_for_a_file_that_somebody_wrote_again() -> None:
    seen: list[str] = []
    store = asking(seen)
    target, journal = placed(store)
    store.objects[f"{MANIFEST.directory}/a"].data = b"2"
    with pytest.raises(Corrupt, match="a: crc64"):
        target.seal(MANIFEST, journal)
    assert set(seen) == {"/a"}


def test_sealing_trusts_no_answer_about_other_bytes_than_were_proven() -> None:
    seen: list[str] = []
    target, journal = placed(asking(seen))
    journal.crcs["a"] ^= 1
    with pytest.raises(Corrupt, match="a: crc64"):
        target.seal(MANIFEST, journal)
    assert set(seen) == {"/a"}


def test_what_was_withdrawn_is_not_remembered() -> None:
    seen: list[str] = []
    store = asking(seen)
    target, journal = placed(store)
    objects = dict(store.objects)
    target.withdraw(MANIFEST, journal)
    store.objects |= objects
    target.seal(MANIFEST, journal)
    assert sorted(seen) == ["/a", "/unet/b"]


def test_the_answers_for_the_latest_versions_are_kept() -> None:
    receipts = ChecksumCache()
    stat = Stat("k", 1, 2, datetime.now(UTC), "tag")
    for n in range(17):
        receipts.keep(f"models/{n}", stat)
    receipts.keep("models/16", replace(stat, key="l"))

    def has(directory: str, seen: Stat, crc64: int | None = 2) -> bool:
        return receipts.is_in(receipts.of(directory), seen, crc64)

    assert not has("models/0", stat)
    assert has("models/1", stat)
    assert has("models/1", replace(stat, crc64=None, modified_at=datetime.fromtimestamp(0, UTC)))
    assert has("models/16", stat)
    assert has("models/16", replace(stat, key="l"))
    receipts.forget("models/16")
    assert not has("models/16", stat)


def test_an_answer_is_for_that_very_object_alone() -> None:
    receipts = ChecksumCache()
    stat = Stat("k", 1, 2, datetime.now(UTC), "tag")
    receipts.keep("d", stat)
    marks = receipts.of("d")
    others = [replace(stat, key="l"), replace(stat, size_bytes=2), replace(stat, tag="other"), replace(stat, tag="")]
    assert not any(receipts.is_in(marks, other, 2) for other in others)
    assert not receipts.is_in(marks, stat, 3)
    assert not receipts.is_in(marks, stat, None)


def test_a_small_file_whose_bytes_change_while_they_are_held_is_not_written() -> None:
    store = MemoryStore()
    entry = MANIFEST.entries[1]
    writer = TreeTarget("t", store).writer(MANIFEST, entry, cut(2), MemoryJournal())
    buffer = bytearray(b"22")
    writer.send(cut(2)[0], buffer, crc64(b"22"))
    buffer[0] = 0
    with pytest.raises(Exception, match="changed while they were held"):
        writer.finish(entry.sha256, crc64(b"22"))
    writer.abandon()
    assert store.objects == {}


def test_an_upload_that_expires_before_it_is_finished_is_forgotten() -> None:
    store, journal, data = MemoryStore(), MemoryJournal(), bytes(300)
    manifest = manifest_of({"large": data})
    writer = TreeTarget("t", store).writer(manifest, manifest.entries[0], cut(300, 200), journal)
    for part in cut(300, 200):
        writer.send(part, bytes(part.size_bytes), crc64(bytes(part.size_bytes)))
    store.uploads.clear()
    with pytest.raises(NotFound):
        writer.finish(manifest.entries[0].sha256, crc64(data))
    assert journal.tokens == {}
    writer.abandon()


def test_a_store_that_confesses_to_hold_other_bytes_is_believed() -> None:
    class Confessing(MemoryUpload):
        def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
            return Receipt(part.size_bytes, crc64 ^ 1)

    store, entry = MemoryStore(), MANIFEST.entries[0]
    upload = Confessing(store, "k", cut(1), store.upload("k", cut(1)).token)
    with pytest.raises(Corrupt, match="the store holds 1 bytes"):
        LargeWriter(upload, "k", entry, MemoryJournal(), lambda stat: None).send(cut(1)[0], b"1", crc64(b"1"))


def test_the_target_names_itself() -> None:
    assert "TreeTarget(t, " in repr(TreeTarget("t", MemoryStore()))


class Flipping(MemoryStore):
    """Flips one bit in what is read, as often as is left for a key: another bit each time, unless it is `stuck`."""

    def __init__(self, *, stuck: bool = False, has_crc64: bool = True) -> None:
        super().__init__(replace(TRAITS, stat_has_crc64=has_crc64))
        self.left: dict[str, int] = {}
        self.reads: list[str] = []
        self.stuck = stuck

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> MemoryStream:
        self.reads.append(key)
        if not self.left.get(key):
            return super().open(key, offset_bytes)
        self.left[key] -= 1
        kept = self.objects[key].data
        bit = 0 if self.stuck else self.left[key]
        self.objects[key].data = bytes([kept[0] ^ (1 << bit)]) + kept[1:]
        stream = super().open(key, offset_bytes)
        self.objects[key].data = kept
        return stream


A, SEAL = f"{MANIFEST.directory}/a", f"{MANIFEST.directory}/.syncd/manifest.json"


@pytest.mark.parametrize("depth", [Depth.CHECKSUMS, Depth.BYTES])
@pytest.mark.parametrize("times", [1, 2])
def test_a_bit_that_flips_on_the_way_back_is_no_damage(depth: Depth, times: int) -> None:
    store = Flipping(has_crc64=False)
    target, journal = placed(store)
    store.left[A] = times
    with structlog.testing.capture_logs() as logs:
        assert target.inspect(MANIFEST, depth, journal).whole
    assert store.reads.count(A) == times + 1
    assert store.reads.count(f"{MANIFEST.directory}/unet/b") == 1
    assert [line["event"] for line in logs] == ["target.read_again"] * times


@pytest.mark.parametrize("depth", [Depth.CHECKSUMS, Depth.BYTES])
def test_damage_is_reported_once_it_was_read_twice(depth: Depth) -> None:
    store = Flipping(has_crc64=False)
    target, journal = placed(store)
    store.objects[A].data = b"2"
    assert set(target.inspect(MANIFEST, depth, journal).wrong) == {"a"}
    assert store.reads.count(A) == 2


def test_a_file_that_reads_differently_each_time_is_neither_right_nor_damaged() -> None:
    store = Flipping()
    target, journal = placed(store)
    store.left[A] = 8
    with pytest.raises(Unavailable, match="a: 4 reads gave different bytes each time"):
        target.inspect(MANIFEST, Depth.BYTES, journal)


def test_a_bit_that_flips_on_the_way_back_of_a_seal_changes_nothing() -> None:
    store = Flipping()
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    store.left[SEAL] = 1
    assert target.inspect(MANIFEST, Depth.SEAL, journal).sealed
    store.left[SEAL] = 1
    assert [found.digest for found in target.sealed()] == [MANIFEST.digest]
    store.left[SEAL] = 8
    with pytest.raises(Unavailable, match="different bytes each time"):
        target.inspect(MANIFEST, Depth.SEAL, journal)


def test_a_seal_that_is_wrong_twice_is_a_conflict() -> None:
    store = Flipping(stuck=True)
    target, journal = placed(store)
    target.seal(MANIFEST, journal)
    store.left[SEAL] = 2
    with pytest.raises(Conflict, match=r"bytes that are no(t a)? manifest"):
        target.inspect(MANIFEST, Depth.SEAL, journal)
    assert store.objects[SEAL].data == MANIFEST.canonical
