"""A store against a dictionary: operations in any order, with processes that die in between."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from syncd.artifact.digest import crc64
from syncd.artifact.parts import Part, cut
from syncd.errors import Conflict, Corrupt, Invalid, NotFound
from syncd.localcloud.server import LocalCloud
from syncd.store.base import PutMode, Store, Upload
from syncd.store.memory import MemoryStore
from syncd.store.nas.store import NasSettings, NasStore

from tests.conformance.store import read
from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.lengths import TIMES

KEYS = st.sampled_from(["a", "d/a", "d/b", "d/e/a", "dd/a"])
PART_BYTES = 100 << 10  # the least OSS takes
CONTENTS = [b"", b"x", *(bytes([n]) * (2 * PART_BYTES + n) for n in (1, 2, 3))]
DATA = st.sampled_from(CONTENTS)


class Begun:
    """What the model knows of one upload."""

    def __init__(self, key: str, data: bytes, upload: Upload) -> None:
        self.key, self.data, self.upload = key, data, upload
        self.parts = cut(len(data), PART_BYTES)
        self.accepted: dict[int, int] = {}  # part number -> CRC of what was sent
        self.ended = ""

    def piece(self, part: Part) -> bytes:
        return self.data[part.offset_bytes : part.offset_bytes + part.size_bytes]

    @property
    def is_complete(self) -> bool:
        return all(self.accepted.get(part.number) == crc64(self.piece(part)) for part in self.parts)


class StoreMachine(RuleBasedStateMachine):
    """Rules are what a caller may do; the invariant is that readers see the dictionary and nothing else."""

    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.store = self.new_store()
        self.model: dict[str, bytes] = {}
        self.begun: list[Begun] = []

    @abstractmethod
    def new_store(self) -> Store:
        """An empty place."""

    def again(self) -> Store:
        """The same place after the process died."""
        return self.store

    @rule(key=KEYS, data=DATA, mode=st.sampled_from(PutMode))
    def put(self, key: str, data: bytes, mode: PutMode) -> None:
        there = self.model.get(key, data)
        if mode is PutMode.CREATE and there != data:
            with pytest.raises(Conflict):
                self.store.put(key, data, mode)
            return
        assert self.store.put(key, data, mode).size_bytes == len(data)
        self.model[key] = data

    @rule(target=uploads, key=KEYS, data=DATA.filter(bool))  # nothing has to be sent of an empty one
    def begin(self, key: str, data: bytes) -> Any:
        if key in self.model:
            with pytest.raises(Conflict):
                self.store.upload(key, cut(len(data), PART_BYTES))
            return multiple()
        begun = Begun(key, data, self.store.upload(key, cut(len(data), PART_BYTES)))
        self.begun.append(begun)
        return begun

    @rule(begun=uploads, number=st.integers(0, 2), wrong=st.booleans())
    def send(self, begun: Begun, number: int, wrong: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        part = begun.parts[min(number, len(begun.parts) - 1)]
        piece = bytes(part.size_bytes) if wrong else begun.piece(part)
        if begun.ended:
            with pytest.raises(NotFound):
                begun.upload.send(part, piece, crc64(piece))
            return
        begun.upload.send(part, piece, crc64(piece))
        begun.accepted[part.number] = crc64(piece)

    @rule(begun=uploads, number=st.integers(0, 2), source=KEYS, shift=st.sampled_from([0, 1]))
    def copy(self, begun: Begun, number: int, source: str, shift: int) -> None:
        part = begun.parts[min(number, len(begun.parts) - 1)]
        offset_bytes, want = part.offset_bytes + shift, crc64(begun.piece(part))
        run = self.model.get(source, b"")[offset_bytes : offset_bytes + part.size_bytes]
        if begun.ended or source not in self.model or len(run) < part.size_bytes:
            with pytest.raises((NotFound, Invalid)):
                begun.upload.copy(part, source, offset_bytes, want)
        elif run != begun.piece(part):
            with pytest.raises(Corrupt):
                begun.upload.copy(part, source, offset_bytes, want)
            self.send(begun, number, wrong=False)  # what the failed copy left is not to be trusted
        else:
            assert begun.upload.copy(part, source, offset_bytes, want).crc64 == want
            begun.accepted[part.number] = want

    @rule(begun=uploads)
    def send_rest(self, begun: Begun) -> None:
        for n in range(0 if begun.ended else len(begun.parts)):
            self.send(begun, n, wrong=False)

    @rule(target=uploads, begun=consumes(uploads))
    def crash(self, begun: Begun) -> Any:
        self.store = self.again()
        if begun.ended:
            with pytest.raises(NotFound):
                self.store.upload(begun.key, begun.parts, resume=begun.upload.token)
            return multiple()
        begun.upload = self.store.upload(begun.key, begun.parts, resume=begun.upload.token)
        for part in begun.parts:
            want = crc64(begun.piece(part))
            assert begun.upload.has(part, want) == (begun.accepted.get(part.number) == want)
        return begun

    @rule(begun=uploads)
    def complete(self, begun: Begun) -> None:
        whole = crc64(begun.data)
        if begun.ended:
            self.complete_ended(begun, whole)
        elif not begun.is_complete:
            with pytest.raises(Corrupt):
                begun.upload.complete(whole)
        elif self.model.get(begun.key, begun.data) != begun.data:
            with pytest.raises(Conflict):
                begun.upload.complete(whole)
        else:
            assert begun.upload.complete(whole).size_bytes == len(begun.data)
            self.model[begun.key] = begun.data
            begun.ended = "completed"

    def complete_ended(self, begun: Begun, whole: int) -> None:
        there = self.model.get(begun.key)
        if there == begun.data:
            with contextlib.suppress(Corrupt):  # a store that looks at the parts first may miss some
                begun.upload.complete(whole)
            return
        with pytest.raises((NotFound, Conflict, Corrupt)):
            begun.upload.complete(whole)

    @rule(begun=uploads)
    def abort(self, begun: Begun) -> None:
        begun.upload.abort()
        begun.ended = begun.ended or "aborted"

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def look(self, key: str) -> None:
        if key not in self.model:
            with pytest.raises(NotFound):
                self.store.stat(key)
            return
        data = self.model[key]
        stat = self.store.stat(key)
        assert stat.size_bytes == len(data)
        assert stat.crc64 in {None, crc64(data)}
        assert read(self.store, key) == data
        assert read(self.store, key, len(data) // 2) == data[len(data) // 2 :]

    @rule(prefix=st.sampled_from(["", "d/", "d/e/", "dd/", "none/"]))
    def look_below(self, prefix: str) -> None:
        found = {stat.key: stat.size_bytes for stat in self.store.list(prefix)}
        assert found == {key: len(data) for key, data in self.model.items() if key.startswith(prefix)}
        pending = sorted((pending.key, pending.token) for pending in self.store.pending(prefix))
        open_drifts = [begun for begun in self.begun if not begun.ended and begun.key.startswith(prefix)]
        assert pending == sorted((begun.key, begun.upload.token) for begun in open_drifts)

    @invariant()
    def readers_see_the_model(self) -> None:
        assert {stat.key for stat in self.store.list("")} == set(self.model)


class MemoryMachine(StoreMachine):
    def new_store(self) -> Store:
        return MemoryStore()


class NasMachine(StoreMachine):
    def new_store(self) -> Store:
        self.root = Path(tempfile.mkdtemp())
        return self.again()

    def again(self) -> Store:
        return NasStore(NasSettings(self.root))

    def teardown(self) -> None:
        shutil.rmtree(self.root)


class OssMachine(StoreMachine):
    endpoint = ""

    def new_store(self) -> Store:
        self.bucket = RawBucket(self.endpoint)
        return self.again()

    def again(self) -> Store:
        return self.bucket.store()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


def run(machine: type[StoreMachine], examples: int, steps: int) -> None:
    bounds = settings(
        max_examples=examples * TIMES,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=bounds)


def test_memory_agrees_with_a_dictionary() -> None:
    run(MemoryMachine, 30, 30)


def test_nas_agrees_with_a_dictionary() -> None:
    run(NasMachine, 20, 25)


def test_oss_agrees_with_a_dictionary(cloud: LocalCloud) -> None:
    run(type("Oss", (OssMachine,), {"endpoint": cloud.endpoint(REGION)}), 8, 25)
