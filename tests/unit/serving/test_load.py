"""Loading: every byte is read once, checked before it is given out, and proven from memory."""

import hashlib
import itertools
import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import syncd
from safetensors.numpy import save
from syncd.localcloud.fuse import MountPace, can_mount, slow_mount
from syncd.serving import (
    Arena,
    Challenge,
    NoRoom,
    ServingError,
    UnreadableMount,
    WrongBytes,
    fetch,
    load,
    parse_challenge,
)
from syncd.serving.arena import HugePages
from syncd.serving.challenge import full_answer, proven_files, ranges, sample_answer
from syncd.serving.descriptor import Descriptor
from syncd.serving.leaves import LEAF_BYTES, LEAVES_PATH, pack_leaves
from syncd.serving.loader import load_sealed
from syncd.serving.seal import read_seal
from syncd.serving.tensors import spans

from tests.support.sealed_models import safetensors, sealed

NONCE = "ab" * 16
BIG = os.urandom(1 << 20) * 9 + b"tail"  # no whole number of pages or leaves
needs_fuse = pytest.mark.skipif(not can_mount(), reason="needs /dev/fuse and the right to mount")


@pytest.mark.parametrize("leaves_from_bytes", [1, 1 << 60])
@pytest.mark.parametrize("readers", [0, 1, 3, 64])
def test_a_version_is_loaded_byte_for_byte(tmp_path: Path, readers: int, leaves_from_bytes: int) -> None:
    files = {"model.safetensors": safetensors({"a": BIG, "b": b"small"}), "config.json": b"{}", "empty": b""}
    manifest = sealed(tmp_path, files, leaves_from_bytes=leaves_from_bytes)

    loaded = load(tmp_path, manifest.digest.hex, readers=readers)

    assert {path: bytes(data) for path, data in loaded.files.items()} == files
    tensors = loaded.tensors()
    assert bytes(tensors["a"].data) == BIG
    assert bytes(tensors["b"].data) == b"small"
    assert loaded.fetched.bytes_read == sum(len(data) for data in files.values())
    assert loaded.describe()["digest"] == manifest.digest.hex
    assert loaded.describe()["parameters"] == len(BIG) + 5
    assert list(loaded.stages) == ["seal", "memory", "read", "check", "tensors"]
    assert loaded.fetched.mode == ("stream" if readers == 1 else loaded.fetched.mode)
    if readers > 1:
        assert loaded.fetched.mode == ("stripes" if leaves_from_bytes == 1 else "ordered")


@pytest.mark.parametrize("leaves_from_bytes", [1, 1 << 60])
@pytest.mark.parametrize("at", [0, LEAF_BYTES, len(BIG) - 1])
def test_a_flipped_byte_is_found_before_the_model_is_given_out(tmp_path: Path, at: int, leaves_from_bytes: int) -> None:
    sealed(tmp_path, {"model.bin": BIG}, leaves_from_bytes=leaves_from_bytes)
    with (tmp_path / "model.bin").open("r+b") as file:
        file.seek(at)
        file.write(bytes([BIG[at] ^ 1]))

    with pytest.raises(WrongBytes, match=r"model\.bin: expected sha256"):
        load(tmp_path)


@needs_fuse
@pytest.mark.parametrize("leaves_from_bytes", [1, 1 << 60])
@pytest.mark.parametrize("splits", [True, False])
def test_a_byte_that_a_mount_serves_wrongly_is_found(tmp_path: Path, leaves_from_bytes: int, *, splits: bool) -> None:
    root, where = tmp_path / "root", tmp_path / "mnt"
    where.mkdir()
    sealed(root, {"model.bin": BIG}, leaves_from_bytes=leaves_from_bytes)

    with slow_mount(root, where, MountPace(latency_s=0.001, splits=splits)):
        loaded = load(where)
        assert bytes(loaded.files["model.bin"]) == BIG
        assert loaded.fetched.direct
    with (
        slow_mount(root, where, MountPace(splits=splits), flips=[("model.bin", 5_000_000)]),
        pytest.raises(WrongBytes),
    ):
        load(where)


@needs_fuse
def test_a_mount_is_asked_for_each_byte_once(tmp_path: Path) -> None:
    root, where, counted = tmp_path / "root", tmp_path / "mnt", tmp_path / "counted.json"
    where.mkdir()
    sealed(root, {"model.bin": BIG}, leaves_from_bytes=1)

    with slow_mount(root, where, MountPace(), counts=counted):
        load(where)

    of_the_seal = sum(each.stat().st_size for each in (root / ".syncd").iterdir())
    assert int(counted.read_text()) == len(BIG) + of_the_seal


def test_wrong_leaf_digests_do_not_keep_right_bytes_from_being_loaded(tmp_path: Path) -> None:
    manifest = sealed(tmp_path, {"model.bin": BIG}, leaves_from_bytes=1)
    count = len(read_seal(tmp_path).files[0].leaves)
    (tmp_path / LEAVES_PATH).write_bytes(pack_leaves(manifest.digest.hex, {"model.bin": bytes(32 * count)}))

    assert bytes(load(tmp_path, readers=4).files["model.bin"]) == BIG


def test_a_mount_is_measured_once_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(tmp_path, {"model.bin": BIG}, leaves_from_bytes=1)
    fetch.forget_mounts()
    load(tmp_path)
    monkeypatch.setitem(fetch._chosen, tmp_path.stat().st_dev, (7, time.monotonic()))

    assert load(tmp_path).fetched.readers == 7
    monkeypatch.setitem(fetch._chosen, tmp_path.stat().st_dev, (7, time.monotonic() - 1000))
    assert load(tmp_path).fetched.readers != 7  # long ago
    fetch.forget_mounts()


def test_a_file_that_is_shorter_than_its_size_said_ends_the_load(tmp_path: Path) -> None:
    sealed(tmp_path, {"model.bin": BIG})
    version = read_seal(tmp_path)
    with (tmp_path / "model.bin").open("r+b") as file:
        file.truncate(5_000_001)

    with pytest.raises(WrongBytes, match="ends at"):
        load_sealed(version)


def test_a_file_that_vanishes_ends_the_load(tmp_path: Path) -> None:
    sealed(tmp_path, {"model.bin": BIG})
    version = read_seal(tmp_path)
    (tmp_path / "model.bin").unlink()

    with pytest.raises(UnreadableMount, match="No such file"):
        load_sealed(version)


def test_a_place_without_o_direct_is_read_through_the_page_cache(tmp_path: Path) -> None:
    """/proc refuses O_DIRECT with EINVAL, as some file systems do."""
    reading = Descriptor(Path("/proc/self/status"), direct=True)
    memory = memoryview(bytearray(8192))
    try:
        reading.read_into(memory, 0, 5)
    finally:
        reading.close()

    assert bytes(memory[:5]) == b"Name:"
    assert not reading.direct


def test_an_arena_is_used_again_and_old_views_of_it_are_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "one", {"model.safetensors": safetensors({"w": b"1" * 5000})})
    sealed(tmp_path / "two", {"model.safetensors": safetensors({"w": b"2" * 5000})})
    arena = Arena(1 << 20, hugepages=True)
    first = load(tmp_path / "one", arena=arena)
    old = first.tensors()["w"].data

    assert arena.reset()
    second = load(tmp_path / "two", arena=arena)

    assert bytes(second.tensors()["w"].data) == b"2" * 5000
    with pytest.raises(ValueError, match="released"):
        old[0]


@pytest.mark.parametrize(
    ("each_s", "pages"),
    [(0.0001, 32), (0.005, 3)],  # at hand, and made by moving pages: 3 × 5 ms > 10 ms + 3 × 0.6 ms
)
def test_huge_pages_are_given_up_where_they_are_dear(each_s: float, pages: int) -> None:
    """The clock is the test's: a page costs what it says."""
    clock = itertools.count()
    memory = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    huge = HugePages(memory, lambda: next(clock) * each_s)

    huge.touch(16 << 20)
    huge.touch(64 << 20)
    huge.touch(64 << 20)

    assert next(clock) == 2 * pages  # read before and after each page
    assert huge.are_wanted == (pages == 32)
    memory[-1] = 1  # what was not touched is memory all the same
    assert memory[-1] == 1


@pytest.mark.parametrize("keep", ["array", "slice"])
def test_an_arena_that_somebody_still_reads_is_not_used_again(tmp_path: Path, keep: str) -> None:
    sealed(tmp_path, {"model.safetensors": safetensors({"w": b"1" * 5000})})
    arena = Arena(1 << 20)
    tensor = load(tmp_path, arena=arena).tensors()["w"]
    held = tensor.numpy() if keep == "array" else tensor.data[:10]

    assert not arena.reset()
    assert bytes(held[:3]) == b"111"


def test_an_arena_that_is_too_small_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path, {"model.bin": BIG})

    with pytest.raises(NoRoom, match="needs"):
        load(tmp_path, arena=Arena(4096))


def test_tensors_of_safetensors_are_those_that_the_library_saved(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([[True], [False]]),
        "c": np.array([1], dtype=np.float16),
    }
    sealed(tmp_path, {"model.safetensors": save(arrays)})

    found = load(tmp_path).tensors("model.safetensors")

    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].numpy(), array)


def test_tensors_of_gguf_are_those_that_the_library_saved(tmp_path: Path) -> None:
    array = np.arange(64, dtype=np.float32).reshape(2, 32)
    blocks = gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(tmp_path / "saved.gguf", "llama")
    writer.add_array("words", ["a", "b"])
    writer.add_custom_alignment(64)
    writer.add_string("name", "m")
    writer.add_tensor("plain", array)
    writer.add_tensor("blocks", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    sealed(tmp_path / "v", {"model.gguf": (tmp_path / "saved.gguf").read_bytes()})

    found = load(tmp_path / "v").tensors()

    np.testing.assert_array_equal(found["plain"].numpy(), array)
    assert (found["blocks"].dtype, found["blocks"].shape) == ("Q8_0", (2, 32))
    assert bytes(found["blocks"].data) == blocks.tobytes()
    with pytest.raises(ServingError, match="NumPy has no type for Q8_0"):
        found["blocks"].numpy()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("a.safetensors", b"short"),
        ("a.safetensors", safetensors({"a": b"12345678"})[:-4]),
        ("a.safetensors", safetensors({"a": b"1"}).replace(b"data_offsets", b"date_offsets")),
        ("a.gguf", b"GGML" + bytes(20)),
        ("a.gguf", b"GGUF" + b"\xff" * 20),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(path: str, data: bytes) -> None:
    with pytest.raises(WrongBytes):
        spans(path, memoryview(data))


def test_one_name_in_two_files_has_to_be_chosen(tmp_path: Path) -> None:
    sealed(tmp_path, {"a.safetensors": safetensors({"w": b"1"}), "b.safetensors": safetensors({"w": b"2"})})
    loaded = load(tmp_path)

    with pytest.raises(ServingError, match="in another file too"):
        loaded.tensors()
    assert bytes(loaded.tensors("b.safetensors")["w"].data) == b"2"


def _expected(path: Path, grade: str, nonce: str) -> str:
    """What syncd computes from its own store."""
    files = proven_files((each.name, each.stat().st_size) for each in path.iterdir() if each.is_file())
    sample = sample_answer(nonce, files, lambda name, at, size: (path / name).read_bytes()[at : at + size])
    digests = [(name, hashlib.sha256((path / name).read_bytes()).hexdigest()) for name, _size in files]
    return sample if grade == "sample" else full_answer(nonce, sample, digests)


@pytest.mark.parametrize("grade", ["sample", "full"])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_proof_is_made_of_what_is_in_memory(tmp_path: Path, grade: str, *, elsewhere: bool) -> None:
    sealed(tmp_path, {"model.safetensors": safetensors({"a": BIG, "b": b"small" * 9}), "config.json": b"{}"})
    loaded = load(tmp_path)
    if elsewhere:
        moved = BIG
        loaded.keep_elsewhere("model.safetensors", "a", lambda: moved)
        memory = loaded.tensors()["a"].data
        memory[:] = bytes(len(memory))  # the arena is not asked any more

    assert loaded.prove(Challenge(grade, NONCE)) == _expected(tmp_path, grade, NONCE)
    assert loaded.prove(Challenge(grade, "cd" * 16)) != _expected(tmp_path, grade, NONCE)


def _swap_weights(loaded: dict[str, bytes]) -> None:
    loaded["model.safetensors"] = safetensors({"a": os.urandom(1 << 20) * 9, "b": b"small"})


@pytest.mark.parametrize(
    ("what", "grades"),
    [("swapped weights", {"sample", "full"}), ("stale cache", {"sample", "full"}), ("one flipped byte", {"full"})],
)
def test_what_is_wrong_in_memory_is_seen(tmp_path: Path, what: str, grades: set[str]) -> None:
    """Headers, sizes and times are those of the right model: only bytes tell."""
    sealed(tmp_path, {"model.safetensors": safetensors({"a": BIG, "b": b"small"})})
    loaded = load(tmp_path)
    memory = loaded.tensors()["a"].data
    if what == "swapped weights":
        memory[:] = os.urandom(len(memory))
    elif what == "stale cache":
        memory[:] = BIG[1:] + BIG[:1]
    else:
        memory[7_345_678] ^= 1
        chosen = ranges(NONCE, [("model.safetensors", len(loaded.files["model.safetensors"]))])
        assert not any(
            at <= 7_345_678 + len(loaded.files["model.safetensors"]) - len(BIG) < at + n for _, at, n in chosen
        )

    for grade in grades:
        assert loaded.prove(Challenge(grade, NONCE)) != _expected(tmp_path, grade, NONCE)


def test_an_adapter_that_was_merged_answers_with_its_own_tensors(tmp_path: Path) -> None:
    sealed(tmp_path, {"adapter.safetensors": safetensors({"lora_a": b"A" * 100, "lora_b": b"B" * 100})})
    loaded = load(tmp_path)
    applied = {"lora_a": b"A" * 100, "lora_b": b"B" * 100}
    loaded.keep_elsewhere("adapter.safetensors", "lora_a", lambda: applied["lora_a"])
    loaded.keep_elsewhere("adapter.safetensors", "lora_b", lambda: applied["lora_b"])
    assert loaded.prove(Challenge("sample", NONCE)) == _expected(tmp_path, "sample", NONCE)

    applied["lora_b"] = bytes(100)  # it was not applied
    assert loaded.prove(Challenge("sample", NONCE)) != _expected(tmp_path, "sample", NONCE)
    applied["lora_b"] = b"B" * 99
    with pytest.raises(ServingError, match="it was loaded with 100"):
        loaded.prove(Challenge("sample", NONCE))


def test_a_sample_is_sixty_four_ranges_of_sixty_four_kibibytes_across_all_files() -> None:
    files = [("a", 3 << 30), ("b", 1), ("c", 2 << 30)]

    chosen = ranges(NONCE, files)

    assert sum(size for _path, _at, size in chosen) == 64 * (64 << 10)
    assert {path for path, _at, _size in chosen} >= {"a", "c"}
    assert ranges(NONCE, [("a", 10), ("b", 5)]) == [("a", 0, 10), ("b", 0, 5)]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"syncd_proof":1}', b'{"syncd_proof":{"grade":"sample","nonce":"zz"}}',
     b'{"syncd_proof":{"grade":"half","nonce":"abababababababababababababababab"}}'],
)  # fmt: skip
def test_other_requests_are_no_challenges(body: bytes) -> None:
    assert parse_challenge(body) is None


def test_a_challenge_is_read_back() -> None:
    assert parse_challenge(Challenge("full", NONCE).body()) == Challenge("full", NONCE)


@pytest.mark.parametrize("layout", ["package", "folder"])
def test_the_package_imports_the_standard_library_only(tmp_path: Path, layout: str) -> None:
    """As after `pip install --no-deps syncd`, and as one copied folder."""
    source = Path(syncd.__file__).parent
    if layout == "package":
        shutil.copytree(source, tmp_path / "syncd")
    else:
        shutil.copytree(source / "serving", tmp_path / "serving")
    sealed(tmp_path / "model", {"model.safetensors": safetensors({"w": b"1"})})
    name = "syncd.serving" if layout == "package" else "serving"
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {name} as serving; "
        f"print(serving.load({str(tmp_path / 'model')!r}).parameters)"
    )

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("1\n", "")
