"""One reading feeds every target; what fails drops out; nothing wrong becomes visible."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.manifest import Entry
from syncd.artifact.names import FilePath
from syncd.errors import Cancelled, Conflict, Corrupt, Invalid, Refused, Unavailable
from syncd.retry import Retry
from syncd.store.base import PutMode
from syncd.store.memory import MemoryStore
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.source import Stream
from tests.support.journals import MemoryJournal
from tests.support.sources import Files, FilesStream, content
from tests.support.transfers import FILES, PART, PARTS, SETTINGS, SIZE, Bench, Faulty, refusing


def test_every_target_gets_every_file_from_one_reading() -> None:
    bench = Bench(FILES, t1=Faulty(), t2=Faulty(), t3=Faulty())
    report = bench.copy()
    assert report.failed == {}
    assert all(bench.visible(name) == FILES for name in bench.stores)
    assert report.bytes_read == SIZE
    assert bench.source.read_bytes == {path: len(data) for path, data in FILES.items()}
    assert sorted(bench.source.opened) == sorted((path, 0) for path in FILES)
    for seen in report.targets.values():
        assert (seen.bytes_total, seen.bytes_sent, seen.bytes_kept) == (SIZE, SIZE, 0)
        assert (seen.parts_sent, seen.parts_kept, seen.parts_resent) == (PARTS, 0, 0)
        assert seen.files_finished == len(FILES)


def test_copying_seals_nothing_but_leaves_all_for_the_seal() -> None:
    bench = Bench(FILES, t=MemoryStore())
    bench.copy()
    target = TreeTarget("t", bench.stores["t"])
    assert not target.inspect(bench.manifest, Depth.SEAL, MemoryJournal()).sealed
    assert bench.journals["t"].crcs == {path: crc64(data) for path, data in FILES.items()}
    assert bench.journals["t"].tokens == {}
    target.seal(bench.manifest, bench.journals["t"])
    assert target.inspect(bench.manifest, Depth.BYTES, MemoryJournal()).whole


def test_larger_files_come_first() -> None:
    bench = Bench(FILES, t=MemoryStore())
    bench.copy(replace(SETTINGS, files_in_flight=1))
    sizes = [len(FILES[path]) for path, _ in bench.source.opened]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_there_is_neither_read_nor_sent_again() -> None:
    bench = Bench(FILES, t=Faulty())
    bench.copy()
    bench.source.opened.clear()
    report = bench.copy()
    assert bench.source.opened == []
    assert report.bytes_read == 0
    seen = report.targets["t"]
    assert (seen.bytes_sent, seen.bytes_kept, seen.parts_kept) == (0, SIZE, PARTS)
    assert seen.files_finished == len(FILES)


def test_a_file_is_read_for_those_alone_who_lack_it() -> None:
    bench = Bench(FILES, t1=Faulty(), t2=Faulty())
    bench.copy()
    del bench.stores["t2"].objects[f"{bench.manifest.directory}/b/exact.bin"]
    bench.source.opened.clear()
    report = bench.copy()
    assert bench.source.opened == [("b/exact.bin", 0)]
    assert report.targets["t1"].bytes_sent == 0
    assert report.targets["t2"].bytes_sent == 2 * PART
    assert bench.visible("t2") == FILES


def test_a_target_that_keeps_failing_drops_out_and_the_others_go_on() -> None:
    bad = Faulty(refusing("send", Unavailable("the region is down"), since=4))
    bench = Bench(FILES, good=Faulty(), bad=bad)
    report = bench.copy()
    assert set(report.failed) == {"bad"}
    assert "the region is down" in report.failed["bad"].message
    assert bench.visible("good") == FILES
    assert report.targets["good"].bytes_sent == SIZE
    assert "a/large.bin" not in bench.visible("bad")


@pytest.mark.parametrize("verb", ["put", "upload", "send", "complete"])
def test_a_refusal_is_not_tried_again(verb: str) -> None:
    bad = Faulty(refusing(verb, Refused("no permission")))
    bench = Bench(FILES, good=MemoryStore(), bad=bad)
    report = bench.copy(replace(SETTINGS, parts_in_flight=1, files_in_flight=1))
    assert isinstance(report.failed["bad"], Refused)
    assert bad.counts[verb] == 1
    assert bench.visible("good") == FILES


@pytest.mark.parametrize("verb", ["put", "upload", "send", "complete"])
def test_a_passing_failure_is_survived(verb: str) -> None:
    store = Faulty(refusing(verb, Unavailable("once more"), since=2, until=3))
    bench = Bench(FILES, t=store)
    report = bench.copy(replace(SETTINGS, parts_in_flight=1))
    assert report.failed == {}
    assert bench.visible("t") == FILES
    assert report.targets["t"].parts_resent == (2 if verb in {"send", "put"} else 0)
    assert report.targets["t"].parts_sent == PARTS


def test_a_bit_flipped_on_the_wire_is_sent_again() -> None:
    bench = Bench(FILES, t=Faulty(refusing("send", Corrupt("part 2: crc64 differs"), since=2, until=2)))
    report = bench.copy()
    assert report.failed == {}
    assert report.targets["t"].parts_resent == 1


def test_bits_that_keep_flipping_put_the_target_out() -> None:
    bench = Bench(FILES, t=Faulty(refusing("send", Corrupt("crc64 differs"))))
    report = bench.copy()
    assert isinstance(report.failed["t"], Corrupt)
    assert "a/large.bin" not in bench.visible("t")


@pytest.mark.parametrize("path", ["a/large.bin", "config.json"])
def test_a_bit_flipped_at_the_source_is_never_visible(path: str) -> None:
    flipped = bytearray(FILES[path])
    flipped[len(flipped) // 2] ^= 4
    bench = Bench(FILES, t1=MemoryStore(), t2=MemoryStore())
    with pytest.raises(Corrupt, match=rf"{path}: sha256 of the source is .*, the manifest says .*, after") as caught:
        bench.copy(source=Files({**FILES, path: bytes(flipped)}))
    entry = next(entry for entry in bench.manifest.entries if entry.path == path)
    assert entry.sha256.hex in caught.value.message
    for name, store in bench.stores.items():
        assert path not in bench.visible(name)
        assert [begun.key for begun in store.uploads.values() if begun.key.endswith(path)] == []


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"!"], ids=["shorter", "longer"])
@pytest.mark.parametrize("path", ["a/large.bin", "config.json"])
def test_a_source_of_another_size_is_never_visible(change: Callable[[bytes], bytes], path: str) -> None:
    bench = Bench(FILES, t=MemoryStore())
    with pytest.raises(Corrupt, match=path):
        bench.copy(source=Files({**FILES, path: change(FILES[path])}))
    assert path not in bench.visible("t")


def test_a_source_that_breaks_off_is_read_on_without_reading_twice() -> None:
    bench = Bench(FILES, t1=MemoryStore(), t2=MemoryStore())
    bench.source.breaks["a/large.bin"] = [0, PART + 1, 3 * PART, 7 * PART + 5]
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("t1") == bench.visible("t2") == FILES
    assert bench.source.read_bytes["a/large.bin"] == len(FILES["a/large.bin"])


def test_a_source_that_is_gone_ends_the_copy_and_keeps_what_was_sent() -> None:
    bench = Bench(FILES, t=Faulty())
    bench.source.breaks["a/large.bin"] = [5 * PART] * 9
    with pytest.raises(Unavailable, match="broke off"):
        bench.copy()
    bench.source.breaks.clear()
    report = bench.copy()
    assert report.targets["t"].bytes_kept >= 5 * PART
    assert bench.visible("t") == FILES


def test_stopping_ends_within_a_part_and_the_next_copy_goes_on() -> None:
    def stop_at_the_third(verb: str, n: int) -> None:
        if verb == "send" and n == 3:
            bench.stop.set()

    store = Faulty(stop_at_the_third)
    bench = Bench(FILES, t=store)
    with pytest.raises(Cancelled):
        bench.copy()
    assert store.counts["send"] < 3 + SETTINGS.parts_in_flight
    assert "a/large.bin" not in bench.visible("t")
    accepted = bench.progress.snapshot()["t"].bytes_sent
    bench.stop.clear()
    report = bench.copy()
    assert bench.visible("t") == FILES
    assert report.targets["t"].bytes_kept == accepted
    assert report.targets["t"].bytes_sent == SIZE - accepted


def test_a_copy_that_is_stopped_before_it_begins_does_nothing() -> None:
    bench = Bench(FILES, t=MemoryStore())
    bench.stop.set()
    with pytest.raises(Cancelled):
        bench.copy()
    assert bench.source.opened == []


def test_stopping_ends_a_wait_at_once() -> None:
    def stop(verb: str, n: int) -> None:
        bench.stop.set()
        raise Unavailable("wait an hour", retry_after_s=3600)

    bench = Bench({"f": b"1"}, t=Faulty(stop))
    with pytest.raises(Cancelled):
        bench.copy(replace(SETTINGS, retry=Retry(3, 1e6, 1, 1)))


def test_parts_that_were_accepted_are_not_sent_again() -> None:
    bench = Bench(FILES, t=Faulty(refusing("send", Refused("quota"), since=6)))
    assert set(bench.copy(replace(SETTINGS, files_in_flight=1)).failed) == {"t"}
    accepted = sum(len(data) for begun in bench.stores["t"].uploads.values() for data in begun.parts.values())
    assert accepted == 5 * PART
    bench.stores["t"].before = lambda verb, n: None  # type: ignore[attr-defined]  # a Faulty
    report = bench.copy()
    assert report.targets["t"].bytes_kept >= accepted
    assert bench.visible("t") == FILES


def test_parts_that_changed_in_the_store_are_sent_again() -> None:
    bench = Bench(FILES, t=Faulty(refusing("send", Refused("quota"), since=6)))
    bench.copy(replace(SETTINGS, files_in_flight=1))
    (begun,) = bench.stores["t"].uploads.values()
    held = max(begun.parts)  # which ones arrived first is the threads' affair
    begun.parts[held] = b"?" + begun.parts[held][1:]
    bench.stores["t"].before = lambda verb, n: None  # type: ignore[attr-defined]  # a Faulty
    assert bench.copy().failed == {}
    assert bench.visible("t") == FILES


def test_a_part_that_changes_before_the_file_is_complete_is_never_visible() -> None:
    def flip(verb: str, n: int) -> None:
        if verb == "complete":
            for begun in store.uploads.values():
                begun.parts[1] = b"?" + begun.parts[1][1:]

    store = Faulty(flip)
    bench = Bench({"f": FILES["a/large.bin"]}, t=store)
    report = bench.copy()
    assert isinstance(report.failed["t"], Corrupt)
    assert bench.visible("t") == {}
    assert store.uploads == {}


@pytest.mark.parametrize("wrong", [b"[]", b"{} "])
def test_a_wrong_file_below_a_version_that_is_not_sealed_is_replaced(wrong: bytes) -> None:
    bench = Bench(FILES, t=MemoryStore(), other=MemoryStore())
    bench.stores["t"].put(f"{bench.manifest.directory}/config.json", wrong, PutMode.CREATE)
    assert bench.copy().failed == {}
    assert bench.visible("t") == FILES


def test_a_wrong_file_of_a_sealed_version_is_not_touched() -> None:
    bench = Bench(FILES, t=MemoryStore(), other=MemoryStore())
    directory, store = bench.manifest.directory, bench.stores["t"]
    store.put(f"{directory}/config.json", b"[]", PutMode.CREATE)
    store.put(f"{directory}/.syncd/manifest.json", bench.manifest.canonical, PutMode.CREATE)
    report = bench.copy()
    assert isinstance(report.failed["t"], Corrupt)
    assert "config.json" in report.failed["t"].message
    with pytest.raises(Conflict, match="is sealed"):
        TreeTarget("t", store).remove_wrong(bench.manifest, {FilePath("config.json"): "2 bytes"})
    assert store.objects[f"{directory}/config.json"].data == b"[]"
    assert bench.visible("other") == FILES


def test_when_no_target_is_left_the_source_is_not_read_to_its_end() -> None:
    files = {"huge": content("huge", 200 * PART)}
    bench = Bench(files, t=Faulty(refusing("send", Refused("quota"), since=2)))
    report = bench.copy()
    assert isinstance(report.failed["t"], Refused)
    assert report.bytes_read < 50 * PART


def test_memory_is_bounded_though_a_target_hangs() -> None:
    go_on, full = Event(), Event()
    buffers = SETTINGS.buffer_bytes // PART

    def hang(verb: str, n: int) -> None:
        if verb == "send":
            assert go_on.wait(30)

    class Watched(FilesStream):
        def readinto(self, buffer: memoryview) -> int:
            count = super().readinto(buffer)
            if bench.source.read_bytes["huge"] == buffers * PART:
                full.set()
            return count

    bench = Bench({"huge": content("huge", 40 * PART)}, slow=Faulty(hang), fast=MemoryStore())
    with ThreadPoolExecutor(1) as pool:
        copying = pool.submit(lambda: bench.copy(source=lambda e, n: Watched(bench.source, e.path, n)))
        assert full.wait(30)
        assert bench.progress.snapshot()["slow"].bytes_sent == 0
        assert bench.source.read_bytes["huge"] == buffers * PART
        go_on.set()
        assert copying.result().failed == {}


def test_parts_larger_than_the_buffers_are_refused_with_advice() -> None:
    bench = Bench(FILES, t=MemoryStore())
    with pytest.raises(Invalid) as caught:
        bench.copy(replace(SETTINGS, buffer_bytes=PART // 2))
    assert "transfer.buffer_bytes" in caught.value.hint


def test_a_mistake_of_ours_is_not_swallowed() -> None:
    def slip(verb: str, n: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Bench(FILES, t=Faulty(slip)).copy()

    def slip_too(entry: Entry, offset_bytes: int) -> Stream:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Bench(FILES, t=MemoryStore()).copy(source=slip_too)


def test_a_version_without_targets_is_not_read() -> None:
    bench = Bench(FILES)
    assert bench.copy().bytes_read == 0
