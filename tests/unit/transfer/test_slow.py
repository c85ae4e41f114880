"""A target that is slow, or hangs, is let go: the others go on, and it is fed afterwards with what they have."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.manifest import Entry, Manifest
from syncd.errors import Corrupt, Refused, Unavailable
from syncd.store.memory import MemoryStore, StoredObject
from syncd.store.nas.store import NasSettings, NasStore
from syncd.targets.base import Depth
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopyReport, Destination, Progress, copy
from syncd.transfer.flow.buffers import BufferPool
from syncd.values.source import Stream
from tests.support.journals import MemoryJournal
from tests.support.sources import content
from tests.support.tensors import safetensors
from tests.support.transfers import PART, SETTINGS, Bench, Faulty

WAIT_S = 60
QUICK = replace(SETTINGS, patience_s=0.15)
FILES = {
    "big": content("big", 60 * PART + 7),
    "middle": content("middle", 20 * PART),
    **{f"small/{n}": content(f"small{n}", 1000 + n) for n in range(12)},
}
SIZE = sum(map(len, FILES.values()))


class Gate:
    """The first `free` sends pass; the others wait until it is opened, or fail if they are told to."""

    def __init__(self, free: int = 0) -> None:
        self.opened = Event()
        self.free = free
        self.fails = False

    def __call__(self, verb: str, n: int) -> None:
        if verb == "send" and n > self.free:
            assert self.opened.wait(WAIT_S)
            if self.fails:
                raise Unavailable("no answer within 60 s")


@contextmanager
def copying(bench: Bench, *gates: Gate) -> Iterator[ThreadPoolExecutor]:
    """A thread for the copy; the gates are opened whatever happens, so that nothing hangs on them."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool
        finally:
            for gate in gates:
                gate.opened.set()


def finish_of(bench: Bench, *names: str) -> dict[str, Event]:
    events = {name: Event() for name in names}
    for name, event in events.items():
        bench.finished[name] = event.set
    return events


@pytest.mark.parametrize("free", [0, 5, 17])
def test_the_fast_ones_are_finished_before_the_slow_one_has_taken_a_third(free: int) -> None:
    gate = Gate(free)
    bench = Bench(FILES, fast1=MemoryStore(), slow=Faulty(gate), fast2=MemoryStore())
    done = finish_of(bench, "fast1", "fast2", "slow")
    with copying(bench, gate) as pool:
        report = pool.submit(bench.copy, QUICK)
        assert done["fast1"].wait(WAIT_S)
        assert done["fast2"].wait(WAIT_S)
        assert bench.progress.snapshot()["slow"].bytes_sent < SIZE / 3
        assert not done["slow"].is_set()
        assert bench.visible("fast1") == bench.visible("fast2") == FILES
        gate.opened.set()
        _, _ = report.result(WAIT_S), done["slow"].wait(WAIT_S)
    assert report.result().failed == {}
    assert bench.visible("slow") == FILES


def test_the_source_is_read_once_and_no_accepted_part_is_sent_again() -> None:
    gate = Gate(7)
    slow = Faulty(gate)
    bench = Bench(FILES, fast=MemoryStore(), slow=slow)
    done = finish_of(bench, "fast")
    with copying(bench, gate) as pool:
        copied = pool.submit(bench.copy, QUICK)
        assert done["fast"].wait(WAIT_S)
        gate.opened.set()
        report = copied.result(WAIT_S)
    assert report.bytes_read == SIZE
    assert bench.source.read_bytes == {path: len(data) for path, data in FILES.items()}
    assert slow.counts["send"] == 61 + 20
    for seen in report.targets.values():
        assert (seen.bytes_sent, seen.bytes_kept, seen.parts_resent) == (SIZE, 0, 0)
        assert (seen.parts_sent, seen.files_finished) == (61 + 20 + 12, len(FILES))


def test_a_file_with_tensors_is_cut_alike_for_who_is_fed_later_from_another_target() -> None:
    gate = Gate(7)
    slow = Faulty(gate)
    bench = Bench({"m.safetensors": safetensors({f"{n}": content(f"{n}", 3 * PART + n) for n in range(20)})},
                  fast=MemoryStore(), slow=slow)  # fmt: skip
    done = finish_of(bench, "fast")
    with copying(bench, gate) as pool:
        copied = pool.submit(bench.copy, QUICK)
        assert done["fast"].wait(WAIT_S)
        gate.opened.set()
        targets = copied.result(WAIT_S).targets
    assert targets["fast"].parts_sent == targets["slow"].parts_sent == slow.counts["send"] > 80
    assert bench.visible("slow") == bench.visible("fast")
    assert bench.journals["slow"].blocks == bench.journals["fast"].blocks


def test_memory_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[BufferPool] = []

    class Watched(BufferPool):
        def __init__(self, limit_bytes: int, common_bytes: int | None = None) -> None:
            super().__init__(limit_bytes, common_bytes)
            pools.append(self)

    monkeypatch.setattr("syncd.transfer.sources.producer.BufferPool", Watched)
    gate = Gate(3)
    bench = Bench(FILES, slow=Faulty(gate), fast=MemoryStore())
    done = finish_of(bench, "fast")
    with copying(bench, gate) as pool:
        copied = pool.submit(bench.copy, QUICK)
        assert done["fast"].wait(WAIT_S)
        assert pools[0].allocated_bytes <= QUICK.buffer_bytes
        gate.opened.set()
        assert copied.result(WAIT_S).failed == {}
    assert pools[0].allocated_bytes <= QUICK.buffer_bytes


@pytest.mark.parametrize("hanging", [1, 2, 4])
def test_targets_that_hang_until_they_time_out_do_not_stop_the_last_one(hanging: int) -> None:
    gates = [Gate(4 * n) for n in range(hanging)]
    for gate in gates:
        gate.fails = True
    stores: dict[str, MemoryStore] = {f"hung{n}": Faulty(gate) for n, gate in enumerate(gates)}
    bench = Bench(FILES, **stores, fast=MemoryStore())
    done = finish_of(bench, "fast")
    with copying(bench, *gates) as pool:
        copied = pool.submit(bench.copy, QUICK)
        assert done["fast"].wait(WAIT_S)
        assert bench.visible("fast") == FILES
        assert not copied.done()
        for gate in gates:
            gate.opened.set()
        report = copied.result(WAIT_S)
    assert set(report.failed) == set(stores)
    assert all("no answer within 60 s" in error.message for error in report.failed.values())
    assert report.bytes_read == SIZE


def test_who_has_nobody_to_be_fed_from_is_fed_from_the_source() -> None:
    gate = Gate(2)

    def refuse(verb: str, n: int) -> None:
        if verb == "send" and n > 30:
            gate.opened.set()
            raise Refused("quota")

    bench = Bench({"big": FILES["big"]}, slow=Faulty(gate), bad=Faulty(refuse))
    with copying(bench, gate) as pool:
        report = pool.submit(bench.copy, QUICK).result(WAIT_S)
    assert set(report.failed) == {"bad"}
    assert bench.visible("slow") == {"big": FILES["big"]}
    assert len(FILES["big"]) <= report.bytes_read == bench.source.read_bytes["big"]


def test_bytes_that_rot_where_they_are_read_back_are_not_passed_on() -> None:
    gate = Gate(2)
    bench = Bench({"big": FILES["big"]}, slow=Faulty(gate), fast=MemoryStore())

    def rot() -> None:
        key = f"{bench.manifest.directory}/big"
        held = bench.stores["fast"].objects[key]
        bench.stores["fast"].objects[key] = StoredObject(held.data[:-1] + b"?", held.modified_at)
        gate.opened.set()

    bench.finished["fast"] = rot
    with copying(bench, gate) as pool:
        report = pool.submit(bench.copy, QUICK).result(WAIT_S)
    assert report.failed == {}
    assert bench.visible("slow") == {"big": FILES["big"]}


def test_what_is_passed_on_is_proven_by_the_manifest() -> None:
    """Also where the source itself is wrong by the time it is read once more."""
    gate = Gate(2)
    bench = Bench({"big": FILES["big"]}, slow=Faulty(gate), bad=MemoryStore())

    def vanish() -> None:
        del bench.stores["bad"].objects[f"{bench.manifest.directory}/big"]
        bench.source.files = {"big": FILES["big"][:-1] + b"?"}
        gate.opened.set()

    bench.finished["bad"] = vanish
    with copying(bench, gate) as pool, pytest.raises(Corrupt, match="big: sha256 of the source"):
        pool.submit(bench.copy, QUICK).result(WAIT_S)
    assert bench.visible("slow") == {}


def test_stopping_ends_a_copy_that_has_somebody_late() -> None:
    gate = Gate(2)
    bench = Bench(FILES, slow=Faulty(gate), fast=MemoryStore())
    done = finish_of(bench, "fast")
    with copying(bench, gate) as pool:
        copied = pool.submit(bench.copy, QUICK)
        assert done["fast"].wait(WAIT_S)
        bench.stop.set()
        gate.opened.set()
        assert copied.exception(WAIT_S) is not None
    bench.stop.clear()
    assert bench.copy().failed == {}
    assert bench.visible("slow") == FILES


def test_a_target_is_sealed_while_another_is_still_copied_to() -> None:
    gate = Gate(2)
    bench = Bench(FILES, slow=Faulty(gate), fast=MemoryStore())
    target = TreeTarget("fast", bench.stores["fast"])

    def seal() -> None:
        target.seal(bench.manifest, bench.journals["fast"])
        gate.opened.set()

    bench.finished["fast"] = seal
    with copying(bench, gate) as pool:
        assert pool.submit(bench.copy, QUICK).result(WAIT_S).failed == {}
    assert target.inspect(bench.manifest, Depth.BYTES, MemoryJournal()).sealed


def test_what_goes_wrong_when_a_target_is_finished_is_that_targets_failure() -> None:
    bench = Bench(FILES, one=MemoryStore(), other=MemoryStore())

    def refuse() -> None:
        raise Refused("sealing is not allowed")

    bench.finished["one"] = refuse
    report = bench.copy()
    assert set(report.failed) == {"one"}
    assert bench.visible("other") == FILES


def test_a_target_that_has_everything_is_finished_without_reading() -> None:
    bench = Bench(FILES, one=MemoryStore())
    bench.copy()
    done = finish_of(bench, "one")
    bench.source.opened.clear()
    bench.copy()
    assert done["one"].is_set()
    assert bench.source.opened == []


class Held1(TreeTarget):
    """Counts what is read back."""

    read = 0

    def open(self, manifest: Manifest, entry: Entry, offset_bytes: int = 0) -> Stream:
        self.read += 1
        return super().open(manifest, entry, offset_bytes)


def test_a_nas_feeds_the_slow_one(tmp_path: Path) -> None:
    gate = Gate(3)
    bench = Bench(FILES, slow=Faulty(gate))
    nas = Held1("nas", NasStore(NasSettings(tmp_path)))
    to = [
        Destination(TreeTarget("slow", bench.stores["slow"]), MemoryJournal()),
        Destination(nas, MemoryJournal(), gate.opened.set),
    ]

    def run() -> CopyReport:
        progress = Progress(bench.manifest, ["slow", "nas"])
        return copy(bench.manifest, bench.source, to, QUICK, progress=progress, stop=bench.stop)

    with copying(bench, gate) as pool:
        report = pool.submit(run).result(WAIT_S)
    assert report.failed == {}
    assert nas.read > 0
    assert report.bytes_read == SIZE
    assert {path: crc64(data) for path, data in bench.visible("slow").items()} == to[0].journal.crcs  # type: ignore[attr-defined]  # a MemoryJournal
