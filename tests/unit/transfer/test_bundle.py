"""Small files go several at a time, and each of them as if it went alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from syncd.artifact.manifest import Entry
from syncd.errors import Corrupt, Refused, Unavailable
from syncd.store.base import PutMode
from syncd.store.memory import MemoryStore
from syncd.transfer.targets.bundle import SMALL_BYTES, group_small_files
from syncd.transfer.targets.target_copy import TargetCopy
from tests.support.sources import Files, content, manifest_of
from tests.support.transfers import SETTINGS, Bench, Faulty, refusing

MANY = {f"many/{n:04}": content(f"many{n}", 50 + n % 90) for n in range(400)}
MIXED = MANY | {"large": content("large", 4 * SETTINGS.part_bytes), "edge": content("edge", SMALL_BYTES + 1)}


def lacking(*sizes: int, crews: tuple[TargetCopy, ...] = ()) -> dict[Entry, tuple[TargetCopy, ...]]:
    manifest = manifest_of({f"f{n:05}": bytes(size) for n, size in enumerate(sizes)})
    return dict.fromkeys(sorted(manifest.entries, key=lambda entry: -entry.size_bytes), crews)


def sizes_of(works: Sequence[tuple[tuple[Entry, ...], object]]) -> list[int]:
    return [len(entries) for entries, _ in works]


def test_large_files_go_alone_and_small_ones_together() -> None:
    works = group_small_files(lacking(SMALL_BYTES + 1, SMALL_BYTES, *[10] * 639), 8 << 20, 5)
    assert sizes_of(works) == [1] + [32] * 20
    assert [entry for entries, _ in works for entry in entries] == list(
        lacking(*[SMALL_BYTES + 1, SMALL_BYTES], *[10] * 639)
    )


@pytest.mark.parametrize(("files", "most"), [(1, 1), (5, 1), (40, 2), (200, 10), (10_000, 32)])
def test_there_is_enough_for_every_thread_that_sends(files: int, most: int) -> None:
    sizes = sizes_of(group_small_files(lacking(*[10] * files), 8 << 20, 5))
    assert max(sizes) == most
    assert sum(sizes) == files


def test_a_file_of_several_parts_is_not_small() -> None:
    assert sizes_of(group_small_files(lacking(*[2000] * 100), 1000, 1)) == [1] * 100


def test_what_is_lacking_in_different_places_is_not_mixed() -> None:
    here: dict[Entry, tuple[TargetCopy, ...]] = lacking(*[10] * 200)
    there = {entry: (object(),) if n % 2 else () for n, entry in enumerate(here)}
    assert sizes_of(group_small_files(there, 8 << 20, 1)) == [1] * 200  # type: ignore[arg-type]  # only compared


def test_many_small_files_and_some_large_ones_arrive_at_every_target() -> None:
    bench = Bench(MIXED, a=MemoryStore(), b=Faulty())
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("a") == bench.visible("b") == MIXED
    assert report.bytes_read == sum(map(len, MIXED.values()))
    for seen in report.targets.values():
        assert (seen.files_finished, seen.parts_resent) == (len(MIXED), 0)
        assert seen.bytes_sent == seen.bytes_total
    assert bench.journals["a"].crcs.keys() == MIXED.keys()


def test_one_that_fails_for_a_while_is_put_again_and_the_others_are_not() -> None:
    store = Faulty(refusing("put", Unavailable("not now"), since=100, until=102))
    bench = Bench(MANY, t=store)
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("t") == MANY
    assert store.counts["put"] == len(MANY) + 3
    assert report.targets["t"].parts_sent == len(MANY)
    assert report.targets["t"].parts_resent == 3


def test_one_without_remedy_puts_the_target_out_and_what_is_there_is_kept_for_the_next_time() -> None:
    store = Faulty(refusing("put", Refused("no permission"), since=200))
    bench = Bench(MANY, t=store, good=MemoryStore())
    assert isinstance(bench.copy().failed["t"], Refused)
    assert bench.visible("good") == MANY
    there = bench.visible("t")
    assert 100 < len(there) < 200
    store.before = lambda verb, n: None
    again = bench.copy()
    assert again.failed == {}
    assert bench.visible("t") == MANY
    assert again.targets["t"].bytes_kept == sum(map(len, there.values()))


def test_a_wrong_small_file_is_named_and_not_put_while_those_before_it_are() -> None:
    bench = Bench(MANY, t=MemoryStore())
    bench.source = Files(MANY | {"many/0200": content("other", len(MANY["many/0200"]))})
    with pytest.raises(Corrupt, match="many/0200: sha256"):
        bench.copy(replace(SETTINGS, files_in_flight=1))
    there = bench.visible("t")
    assert "many/0200" not in there
    assert there
    assert there.items() <= MANY.items()


def test_another_ones_file_is_never_written_over() -> None:
    bench = Bench(MANY, t=MemoryStore())
    key = f"{bench.manifest.directory}/many/0007"

    class Late(MemoryStore):
        """Somebody writes there after everything was looked at."""

        def put(self, at: str, data: object, mode: PutMode) -> object:  # type: ignore[override]
            if at == key and key not in self.objects:
                super().put(key, b"theirs", PutMode.OVERWRITE)
            return super().put(at, data, mode)  # type: ignore[arg-type]

    bench.stores["t"] = Late()
    assert set(bench.copy().failed) == {"t"}
    assert bench.stores["t"].objects[key].data == b"theirs"
