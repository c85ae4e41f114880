"""Switching models: nobody is dropped, nobody is answered by a mixture, and memory stays in its budget."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from syncd.serving import LoadedModel, ModelSource, ModelSwitcher, NoRoom, NotSealed, WrongBytes

from tests.support.sealed_models import safetensors, sealed

SIZE = 300_000
ROOM = 400_000  # of one model with its pages


def _model(directory: Path, letter: str) -> Path:
    """A model of one letter: any other byte in it is another model's."""
    sealed(directory, {"model.safetensors": safetensors({"w": letter.encode() * SIZE, "v": letter.encode()})})
    return directory


@contextmanager
def _switcher(sources: dict[str, Path], budget_bytes: int, **options: float) -> Iterator[ModelSwitcher]:
    switcher = ModelSwitcher(dict(sources), budget_bytes, **options)  # type: ignore[arg-type]
    try:
        yield switcher
    finally:
        switcher.close()


def _letter(model: LoadedModel) -> set[str]:
    return {chr(byte) for tensor in model.tensors().values() for byte in set(bytes(tensor.data))}


def test_a_resident_model_is_not_loaded_again(tmp_path: Path) -> None:
    loads: list[str] = []
    switcher = ModelSwitcher(
        {"a": _model(tmp_path / "a", "a")}, 2 * ROOM, on_load=lambda name, _model: loads.append(name)
    )
    for _ in range(3):
        with switcher.use("a") as model:
            assert _letter(model) == {"a"}
    switcher.close()

    assert loads == ["a"]


def test_the_least_recently_used_model_is_evicted_and_its_memory_used_again(tmp_path: Path) -> None:
    evicted: list[str] = []
    sources = {letter: _model(tmp_path / letter, letter) for letter in "abc"}
    switcher = ModelSwitcher(sources, 2 * ROOM, on_evict=lambda name, _model: evicted.append(name))
    with switcher.use("a") as model:
        first_arena = model.arena
    with switcher.use("b") as model:
        second_arena = model.arena
    with switcher.use("a"):
        pass
    with switcher.use("c") as model:
        assert _letter(model) == {"c"}
        assert model.arena is second_arena
    assert switcher.resident() == ["a", "c"]
    with switcher.use("b") as model:
        assert model.arena is first_arena
        assert _letter(model) == {"b"}
    switcher.close()

    assert evicted == ["b", "a"]


def test_a_model_in_use_is_not_evicted(tmp_path: Path) -> None:
    sources = {letter: _model(tmp_path / letter, letter) for letter in "ab"}
    with _switcher(sources, ROOM) as switcher, ThreadPoolExecutor(1) as other:
        with switcher.use("a") as model:
            waiting = other.submit(_use, switcher, "b")
            time.sleep(0.05)
            assert _letter(model) == {"a"}
            assert not waiting.done()
        assert waiting.result(30) == {"b"}


def _use(switcher: ModelSwitcher, name: str) -> set[str]:
    with switcher.use(name) as model:
        return _letter(model)


def test_memory_that_somebody_still_reads_is_not_used_again(tmp_path: Path) -> None:
    sources = {letter: _model(tmp_path / letter, letter) for letter in "ab"}
    with _switcher(sources, ROOM) as switcher:
        with switcher.use("a") as model:
            kept = model.tensors()["w"].numpy()
        assert _use(switcher, "b") == {"b"}
        assert set(kept.tolist()) == {ord("a")}


def test_a_model_larger_than_the_budget_is_refused(tmp_path: Path) -> None:
    with _switcher({"a": _model(tmp_path, "a")}, ROOM // 2) as switcher:
        with pytest.raises(NoRoom, match="larger than the budget"), switcher.use("a"):
            pass
        with pytest.raises(NoRoom, match="no model 'z' in this function; it has a"), switcher.use("z"):
            pass


def test_a_request_that_finds_no_room_for_too_long_is_told(tmp_path: Path) -> None:
    sources = {letter: _model(tmp_path / letter, letter) for letter in "ab"}
    with (
        _switcher(sources, ROOM, wait_s=0.05) as switcher,
        switcher.use("a"),
        pytest.raises(NoRoom, match="waited"),
        switcher.use("b"),
    ):
        pass


def test_a_load_that_fails_leaves_room_for_the_next(tmp_path: Path) -> None:
    sources = {letter: _model(tmp_path / letter, letter) for letter in "ab"}
    file = tmp_path / "a" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with _switcher(sources, ROOM) as switcher:
        for _ in range(3):
            with pytest.raises(WrongBytes), switcher.use("a"):
                pass
        assert _use(switcher, "b") == {"b"}


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one(tmp_path: Path) -> None:
    with _switcher({"a": _model(tmp_path / "a", "a")}, 2 * ROOM) as switcher:
        assert _use(switcher, "a") == {"a"}
        with pytest.raises(NotSealed):
            switcher.replace("a", ModelSource("a", tmp_path / "nowhere"))
        assert _use(switcher, "a") == {"a"}


def test_two_hundred_requests_over_switches_are_answered_each_by_one_version(tmp_path: Path) -> None:
    """More models than memory, and new versions of one of them while requests run."""
    sources = {letter: _model(tmp_path / letter, letter) for letter in "abc"}
    versions = [_model(tmp_path / f"a{number}", letter) for number, letter in enumerate("ABCD")]
    allowed = {"a": set("aABCD"), "b": {"b"}, "c": {"c"}}
    everybody = threading.Barrier(200)

    def ask(switcher: ModelSwitcher, name: str) -> list[tuple[str, frozenset[str]]]:
        everybody.wait(60)
        found = []
        for _ in range(3):
            with switcher.use(name) as model:
                before = _letter(model)
                time.sleep(0.001)
                found.append((name, frozenset(before | _letter(model))))
        return found

    with _switcher(sources, 3 * ROOM) as switcher, ThreadPoolExecutor(200) as pool:
        names = itertools.islice(itertools.cycle("aaabac"), 200)
        asked = [pool.submit(ask, switcher, name) for name in names]
        for version in versions:
            switcher.replace("a", version)
        answers = [answer for each in asked for answer in each.result(120)]
        assert _use(switcher, "a") == {"D"}

    assert len(answers) == 600
    assert all(len(letters) == 1 and letters <= allowed[name] for name, letters in answers)


def test_requests_for_a_resident_model_wait_for_no_load_and_no_eviction(tmp_path: Path) -> None:
    """The callbacks stand for a slow load and a slow eviction: they block until the test lets them go."""
    sources = {letter: _model(tmp_path / letter, letter) for letter in "abc"}
    entered, go_on = threading.Semaphore(0), threading.Event()

    def slow(name: str, _model: LoadedModel) -> None:
        if name in ("b", "c"):
            entered.release()
            assert go_on.wait(60)

    switcher = ModelSwitcher(sources, 2 * ROOM, on_load=slow, on_evict=slow)
    with ThreadPoolExecutor(2) as pool:
        assert _use(switcher, "a") == {"a"}
        loading = pool.submit(_use, switcher, "b")
        assert entered.acquire(timeout=60)
        assert _use(switcher, "a") == {"a"}
        go_on.set()
        assert loading.result(60) == {"b"}
        assert entered.acquire(blocking=False) is False
        assert _use(switcher, "a") == {"a"}
        go_on.clear()
        evicting = pool.submit(_use, switcher, "c")
        assert entered.acquire(timeout=60)  # b is being evicted
        assert _use(switcher, "a") == {"a"}
        go_on.set()
        assert evicting.result(60) == {"c"}
    switcher.close()


def test_a_model_of_real_size_is_switched_in_bounded_memory(tmp_path: Path) -> None:
    data = {letter: os.urandom(1 << 20) * 4 for letter in "ab"}
    for letter, each in data.items():
        sealed(tmp_path / letter, {"model.bin": each})
    with _switcher({letter: tmp_path / letter for letter in data}, 5 << 20) as switcher:
        arenas = set()
        for letter in "abab":
            with switcher.use(letter) as model:
                assert bytes(model.files["model.bin"]) == data[letter]
                arenas.add(id(model.arena))
        assert len(arenas) == 1
