"""A version sends only what is new at each target: the rest is copied there by the target itself, or sent after all."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from syncd.errors import Cancelled, Conflict, Corrupt, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.store.memory import MemoryStore
from syncd.targets.base import HeldRange
from tests.support.journals import MemoryJournal
from tests.support.sources import Files, content
from tests.support.tensors import gguf, safetensors
from tests.support.transfers import PART, SETTINGS, Bench, Faulty, refusing

FIRST = PART // 4
TENSORS = {f"layer.{n}": content(f"layer {n}", 2 * PART + 1000 * n) for n in range(8)}
CHANGED = TENSORS | {"layer.3": content("another", len(TENSORS["layer.3"]))}
OLD = {"unet.safetensors": safetensors(TENSORS), "vae.bin": content("vae", 3 * PART), "config.json": b"{}"}
NEW = OLD | {"unet.safetensors": safetensors(CHANGED)}
SIZE = sum(map(len, NEW.values()))
GONE: Sequence[SyncdError] = (NotFound("gone"), Refused("no"), Corrupt("changed"), Invalid("shorter"))


def placed(files: dict[str, bytes] = OLD, **stores: MemoryStore) -> Bench:
    bench = Bench(files, **(stores or {"t": Faulty()}))
    assert bench.copy().failed == {}
    return bench


def test_of_a_fine_tune_only_the_changed_tensor_is_sent() -> None:
    bench = placed()
    bench.become(NEW)
    report = bench.copy()
    seen = report.targets["t"]
    assert report.failed == {}
    assert bench.visible("t") == NEW
    changed = len(TENSORS["layer.3"])
    assert changed <= seen.bytes_sent <= changed + len(OLD["config.json"])
    assert seen.bytes_copied == SIZE - seen.bytes_sent
    assert seen.bytes_kept == 0
    assert bench.journals["t"].tokens == {}


def test_a_header_that_grows_and_shifts_everything_costs_one_small_part() -> None:
    bench = placed()
    grown = safetensors(TENSORS, {"note": "x" * 5000})
    bench.become({"unet.safetensors": grown})
    seen = bench.copy().targets["t"]
    assert bench.visible("t") == {"unet.safetensors": grown}
    assert seen.bytes_sent <= FIRST + len(grown) - sum(map(len, TENSORS.values()))


def test_a_model_in_other_shards_sends_little_but_headers() -> None:
    names = list(TENSORS)

    def shards(each: int) -> dict[str, bytes]:
        groups = [names[n : n + each] for n in range(0, len(names), each)]
        return {f"{n}-of-{len(groups)}.safetensors": safetensors({k: TENSORS[k] for k in g})
                for n, g in enumerate(groups)}  # fmt: skip

    bench = placed(shards(2))
    bench.become(shards(3))
    seen = bench.copy().targets["t"]
    assert bench.visible("t") == shards(3)
    assert seen.bytes_sent <= 0.1 * seen.bytes_total


def test_gguf_is_cut_along_its_tensors_as_well() -> None:
    bench = placed({"m.gguf": gguf(TENSORS)})
    new = {"m.gguf": gguf(CHANGED, {"general.name": (8, (9).to_bytes(8, "little") + b"fine tune")})}
    bench.become(new)
    seen = bench.copy().targets["t"]
    assert bench.visible("t") == new
    assert seen.bytes_sent <= len(TENSORS["layer.3"]) + FIRST + 2000


def test_a_file_that_is_there_under_another_version_is_copied_and_not_read() -> None:
    bench = placed(one=Faulty(), two=Faulty())
    renamed = {"other/unet.safetensors": OLD["unet.safetensors"], "config.json": b"{}"}
    bench.become(renamed)
    report = bench.copy()
    assert report.failed == {}
    assert bench.source.opened == [("config.json", 0)]
    for name in ("one", "two"):
        seen = report.targets[name]
        assert bench.visible(name) == renamed
        assert (seen.bytes_sent, seen.bytes_copied, seen.files_finished) == (2, len(OLD["unet.safetensors"]), 2)


def test_a_large_file_is_copied_in_runs_and_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.transfer.targets.server_side_copy.RUN_BYTES", 4 * PART)
    store = Faulty()
    bench = placed(t=store)
    new = {"again.safetensors": OLD["unet.safetensors"]}
    bench.become(new)
    store.counts.clear()
    store.before = stop_at(bench, "copy", 3)
    with pytest.raises(Cancelled):
        bench.copy(replace(SETTINGS, parts_in_flight=1))
    before = bench.progress.snapshot()["t"]
    bench.stop.clear()
    report = bench.copy()
    seen = report.targets["t"]
    assert bench.visible("t") == new
    assert before.parts_copied == seen.parts_kept == 3
    assert seen.bytes_kept == before.bytes_copied
    assert store.counts["copy"] == 3 + seen.parts_copied
    assert seen.bytes_sent == report.bytes_read == 0


def test_a_run_that_cannot_be_copied_has_the_whole_file_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.transfer.targets.server_side_copy.RUN_BYTES", 4 * PART)
    store = Faulty()
    bench = placed(t=store)
    new = {"again.safetensors": OLD["unet.safetensors"]}
    bench.become(new)
    store.counts.clear()
    store.before = refusing("copy", NotFound("gone"), since=3)
    report = bench.copy(replace(SETTINGS, parts_in_flight=4))
    seen = report.targets["t"]
    assert report.failed == {}
    assert bench.visible("t") == new
    assert report.bytes_read == seen.bytes_sent + seen.bytes_kept + seen.bytes_copied == len(OLD["unet.safetensors"])


def test_each_target_copies_what_it_has_and_one_reading_feeds_the_others() -> None:
    bench = placed(one=Faulty(), two=Faulty())
    bench.become(NEW)
    bench.stores["two"].objects.clear()
    bench.journals["two"].holds = []
    report = bench.copy()
    assert report.failed == {}
    assert report.bytes_read == SIZE
    assert report.targets["one"].bytes_copied > 0.8 * SIZE
    assert report.targets["two"].bytes_sent == SIZE
    assert bench.visible("one") == bench.visible("two") == NEW


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("since", [1, 5])
def test_what_cannot_be_copied_is_sent(error: SyncdError, since: int) -> None:
    store = Faulty()
    bench = placed(t=store)
    bench.become(NEW)
    store.counts.clear()
    store.before = refusing("copy", error, since=since)
    report = bench.copy(replace(SETTINGS, parts_in_flight=1))
    assert report.failed == {}
    assert bench.visible("t") == NEW
    seen = report.targets["t"]
    assert seen.bytes_sent + seen.bytes_copied == SIZE
    assert store.counts["copy"] <= since + 2, "what failed once is not tried for each part"


def test_a_base_that_is_withdrawn_in_the_middle_is_no_loss() -> None:
    store = Faulty()
    bench = placed(t=store)
    bench.become(NEW)
    store.counts.clear()

    def withdraw(verb: str, n: int) -> None:
        if verb == "copy" and n == 4:
            old = bench.journals["t"].holds[0].origin.manifest.directory
            for key in [key for key in store.objects if key.startswith(old)]:
                del store.objects[key]

    store.before = withdraw
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("t") == NEW


def test_bytes_that_changed_where_they_lie_are_not_copied() -> None:
    bench = placed()
    bench.become(NEW)
    for held in bench.stores["t"].objects.values():
        held.data = bytes(len(held.data))
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("t") == NEW
    assert report.targets["t"].bytes_sent == SIZE


def test_a_copy_that_fails_in_passing_is_tried_again() -> None:
    store = Faulty()
    bench = placed(t=store)
    bench.become(NEW)
    store.counts.clear()
    store.before = refusing("copy", Unavailable("once more"), since=2, until=3)
    report = bench.copy()
    assert report.failed == {}
    assert report.targets["t"].bytes_copied > 0.8 * SIZE
    assert bench.visible("t") == NEW


@pytest.mark.parametrize("files", [NEW, {"again.safetensors": OLD["unet.safetensors"]}], ids=["parts", "whole"])
def test_a_file_of_copies_that_is_wrong_is_done_once_more_and_sent(files: dict[str, bytes]) -> None:
    store = Faulty()
    bench = placed(t=store)
    bench.become(files)
    store.counts.clear()
    store.before = refusing("complete", Corrupt("crc64 of the whole differs"), until=1)
    report = bench.copy(replace(SETTINGS, files_in_flight=1, parts_in_flight=1))
    assert report.failed == {}
    assert bench.visible("t") == files
    seen = report.targets["t"]
    total = sum(map(len, files.values()))
    assert seen.bytes_sent + seen.bytes_copied == total
    assert seen.bytes_sent + seen.bytes_copied + seen.bytes_kept == total
    assert bench.journals["t"].tokens == {}
    assert store.uploads == {}


def test_copies_that_are_never_right_end_in_a_failure() -> None:
    store = Faulty()
    bench = placed(t=store)
    bench.become(NEW)
    store.before = refusing("complete", Corrupt("crc64 of the whole differs"))
    report = bench.copy()
    assert isinstance(report.failed["t"], Corrupt)
    assert "unet.safetensors" not in bench.visible("t")


def test_an_error_at_the_final_name_is_the_targets_failure() -> None:
    store = Faulty()
    bench = placed(t=store)
    bench.become({"again.safetensors": OLD["unet.safetensors"]})
    store.before = refusing("complete", Conflict("other bytes are there"))
    error = bench.copy().failed["t"]
    assert isinstance(error, Unavailable)
    assert "other bytes are there; the next attempt inspects the target again" in error.message


@pytest.mark.parametrize("verb", ["copy", "upload"])
def test_a_target_that_cannot_be_reached_for_a_copy_drops_out(verb: str) -> None:
    bad = Faulty()
    bench = placed(good=Faulty(), bad=bad)
    bench.become({"again.safetensors": OLD["unet.safetensors"], "config.json": b"{}"})
    bad.before = refusing(verb, Unavailable("the region is down"))
    report = bench.copy()
    assert set(report.failed) == {"bad"}
    assert bench.visible("good")["again.safetensors"] == OLD["unet.safetensors"]


def stop_at(bench: Bench, verb: str, number: int) -> Callable[[str, int], None]:
    def before(called: str, n: int) -> None:
        if called == verb and n == number:
            bench.stop.set()

    return before


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_copy_that_was_stopped_goes_on_with_what_was_copied(at: int) -> None:
    store = Faulty()
    bench = placed(t=store)
    new = {"unet.safetensors": NEW["unet.safetensors"]}
    bench.become(new)
    store.counts.clear()
    store.before = stop_at(bench, "copy", at)
    with pytest.raises(Cancelled):
        bench.copy(replace(SETTINGS, parts_in_flight=1))
    before = bench.progress.snapshot()["t"]
    bench.stop.clear()
    store.before = lambda verb, n: None
    report = bench.copy()
    seen = report.targets["t"]
    assert report.failed == {}
    assert bench.visible("t") == new
    assert seen.bytes_kept >= before.bytes_copied + before.bytes_sent > 0
    assert seen.bytes_sent <= len(TENSORS["layer.3"])


class Silent(MemoryJournal):
    """A journal that cannot be asked, or told, what could be copied."""

    def __init__(self, *, tells: bool) -> None:
        super().__init__()
        self.tells = tells

    def held(self, parts_max: int) -> list[HeldRange]:
        if not self.tells:
            raise Unavailable("the record cannot be read now")
        return super().held(parts_max)

    def learned(self, sha256: object, blocks: bytes, leaves: bytes = b"") -> None:
        raise Unavailable("the record cannot be written now")


@pytest.mark.parametrize("tells", [False, True])
def test_without_the_record_everything_is_sent_and_nothing_fails(*, tells: bool) -> None:
    bench = placed()
    bench.become(NEW)
    journal = Silent(tells=tells)
    journal.holds = bench.journals["t"].holds
    bench.journals["t"] = journal
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("t") == NEW
    assert (report.targets["t"].bytes_sent == SIZE) is not tells


def test_a_damaged_record_is_no_record() -> None:
    bench = placed()
    bench.become(NEW)
    bench.journals["t"].holds = [replace(held, blocks=b"damaged") for held in bench.journals["t"].holds]
    report = bench.copy()
    assert report.failed == {}
    assert bench.visible("t") == NEW
    assert report.targets["t"].bytes_copied == 0


def test_a_file_whose_checksum_nobody_knows_is_read() -> None:
    bench = placed()
    bench.become({"again.bin": OLD["vae.bin"]})
    bench.journals["t"].holds = [replace(held, crc64=None) for held in bench.journals["t"].holds]
    report = bench.copy()
    assert report.bytes_read == len(OLD["vae.bin"])
    assert report.targets["t"].bytes_copied == len(OLD["vae.bin"]), "its parts are copied all the same"


def test_a_source_that_is_not_what_was_pinned_is_not_hidden_by_copies() -> None:
    bench = placed()
    bench.become(NEW)
    flipped = bytearray(NEW["unet.safetensors"])
    flipped[-1] ^= 1
    with pytest.raises(Corrupt, match="sha256 of the source"):
        bench.copy(source=Files(NEW | {"unet.safetensors": bytes(flipped)}))
    assert "unet.safetensors" not in bench.visible("t")


def test_the_source_is_read_once_and_in_one_stream_though_its_head_is_looked_at() -> None:
    bench = Bench({"m.safetensors": OLD["unet.safetensors"], "m.gguf": gguf(TENSORS)}, t=Faulty())
    bench.source.breaks = {"m.safetensors": [3, 300]}
    report = bench.copy()
    assert report.failed == {}
    assert bench.source.read_bytes == {path: len(data) for path, data in bench.source.files.items()}
    assert bench.source.opened.count(("m.gguf", 0)) == 1
    assert bench.visible("t") == bench.source.files


def test_any_file_comes_out_whole_whatever_was_there_before() -> None:
    chance = random.Random(7)
    pool = [content(f"tensor {n}", chance.choice([100, FIRST, 3 * FIRST, PART, 3 * PART + 77])) for n in range(12)]
    bench = placed({"m.safetensors": safetensors({f"{n}": data for n, data in enumerate(pool)})})
    for _ in range(6):
        some = chance.sample(pool, chance.randrange(4, 12))
        files = {"m.safetensors": safetensors({f"{n}": data for n, data in enumerate(some)})}
        bench.become(files)
        assert bench.copy().failed == {}
        assert bench.visible("t") == files
