"""What every store, and every target, must do when it is given several small things at once."""

from __future__ import annotations

import itertools
from typing import Final

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.manifest import Manifest
from syncd.errors import Conflict, Corrupt, Invalid, SyncdError
from syncd.store.base import Put, PutMode, Stat, Store
from syncd.targets.base import Depth, SmallFile, Target

from tests.conformance import store as stores
from tests.conformance import target as targets
from tests.conformance.target import entry_of
from tests.support.journals import MemoryJournal

PUTS: Final = [Put(f"d/{n}", b"%d" % n * n) for n in range(20)]


class StorePutsConformance(stores.RawAccess):
    """To be mixed into a store's binding."""

    @pytest.mark.parametrize("at_once", [1, 3, 100])
    def test_all_are_put_and_told_in_their_order(self, store: Store, at_once: int) -> None:
        told = list(store.put_all(PUTS, PutMode.CREATE, at_once))
        assert [(stat.key, stat.size_bytes) for stat in told if isinstance(stat, Stat)] == [
            (put.key, len(put.data)) for put in PUTS
        ]
        assert {put.key: self.raw_read(store, put.key) for put in PUTS} == {put.key: put.data for put in PUTS}
        again = list(store.put_all(PUTS, PutMode.CREATE, at_once))
        assert not any(isinstance(stat, SyncdError) for stat in again), "repeating it is success"

    @pytest.mark.parametrize("at_once", [1, 4])
    def test_what_fails_says_so_in_its_place_and_the_others_go_on(self, store: Store, at_once: int) -> None:
        self.raw_write(store, "d/3", b"theirs")
        puts = [*PUTS[:7], Put("../out", b"1"), *PUTS[7:]]
        told = list(store.put_all(puts, PutMode.CREATE, at_once))
        kinds = {n: type(error) for n, error in enumerate(told) if isinstance(error, SyncdError)}
        assert kinds == {3: Conflict, 7: Invalid}
        assert self.raw_read(store, "d/3") == b"theirs"
        assert self.raw_keys(store) == {put.key for put in PUTS}

    def test_of_those_that_are_not_asked_for_few_are_put(self, store: Store) -> None:
        told = store.put_all(PUTS, PutMode.CREATE, 3)
        assert not any(isinstance(stat, SyncdError) for stat in itertools.islice(told, 2))
        told.close()  # type: ignore[attr-defined]  # all of ours are generators
        there = self.raw_keys(store)
        assert {"d/0", "d/1"} <= there <= {f"d/{n}" for n in range(5)}
        assert [*store.put_all(PUTS, PutMode.CREATE, 3)]
        assert self.raw_keys(store) == {put.key for put in PUTS}


class TargetPutsConformance(targets.RawAccess):
    """To be mixed into a target's binding."""

    def small(self, manifest: Manifest) -> list[SmallFile]:
        return [
            SmallFile(entry_of(manifest, path), targets.FILES[path], crc64(targets.FILES[path]))
            for path in ("config.json", "empty")
        ]

    @pytest.mark.parametrize("at_once", [1, 8])
    def test_small_files_are_there_whole_and_their_checksums_known(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, at_once: int
    ) -> None:
        for _ in range(2):
            assert list(target.put_all(manifest, self.small(manifest), journal, at_once)) == [None, None]
        assert self.visible(manifest) == {"config.json", "empty"}
        assert self.raw_read(f"{manifest.directory}/config.json") == targets.FILES["config.json"]
        assert journal.crcs == {file.entry.path: file.crc64 for file in self.small(manifest)}
        assert target.inspect(manifest, Depth.BYTES, MemoryJournal()).present == {"config.json", "empty"}
        assert target.puts_at_once >= 1

    def test_bytes_that_changed_while_they_were_held_are_not_left_there(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        right, other = self.small(manifest)
        wrong = SmallFile(right.entry, b'{"a": 2}', right.crc64)
        told = list(target.put_all(manifest, [wrong, other], journal, 2))
        assert isinstance(told[0], Corrupt)
        assert "config.json" in told[0].message
        assert told[1] is None
        assert self.visible(manifest) == {"empty"}
        assert list(journal.crcs) == ["empty"]

    def test_what_somebody_else_put_at_a_small_files_name_stays(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        self.raw_write(f"{manifest.directory}/config.json", b"somebody's")
        told = list(target.put_all(manifest, self.small(manifest), journal, 2))
        assert isinstance(told[0], Conflict)
        assert told[1] is None
        assert self.raw_read(f"{manifest.directory}/config.json") == b"somebody's"
