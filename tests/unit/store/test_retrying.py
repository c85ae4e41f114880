"""A store each of whose calls is retried: lists page by page, streams from where they broke off."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.errors import Conflict, Corrupt, NotFound, Unavailable
from syncd.retry import Pace, PacedCaller, Retry, once
from syncd.store.base import Buffer, Put, PutMode, Stat
from syncd.store.memory import MemoryStore
from syncd.store.nas.store import NasSettings, NasStore
from syncd.store.retrying import RetryingStore
from syncd.values.source import Stream
from tests.support.clouds import REGION, RawBucket, cloud_at
from tests.support.throttling import throttling

QUICK = Retry(attempts_max=8, elapsed_max_s=60.0, base_s=0.001, cap_s=0.01)
DATA = bytes(range(256)) * 20


def patient(store: MemoryStore | NasStore) -> RetryingStore:
    return RetryingStore(store, PacedCaller(QUICK, Pace()))


class Breaking(MemoryStore):
    """Its streams break off after so many bytes, and every second call fails before it does anything."""

    def __init__(self, after_bytes: int) -> None:
        super().__init__()
        self.after_bytes = after_bytes
        self.opened: list[int] = []

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> Stream:  # type: ignore[override]
        self.opened.append(offset_bytes)
        return _Breaking(super().open(key, offset_bytes), self.after_bytes)


class _Breaking:
    def __init__(self, stream: Stream, left_bytes: int) -> None:
        self._stream, self._left_bytes = stream, left_bytes

    def readinto(self, buffer: memoryview) -> int:
        if self._left_bytes <= 0:
            raise Unavailable("the connection broke")
        count = self._stream.readinto(buffer[: self._left_bytes])
        self._left_bytes -= count
        return count

    def __enter__(self) -> _Breaking:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is open."""


def test_a_stream_that_breaks_off_is_opened_again_where_it_was() -> None:
    store = Breaking(1000)
    store.put("k", DATA, PutMode.CREATE)
    found, piece = bytearray(), memoryview(bytearray(400))
    with patient(store).open("k") as stream:
        while count := stream.readinto(piece):
            found += piece[:count]
    assert bytes(found) == DATA
    assert store.opened == [0, 1000, 2000, 3000, 4000, 5000]


def test_a_reader_that_opens_again_itself_is_given_the_stores_own_stream() -> None:
    store = Breaking(10)
    store.put("k", DATA, PutMode.CREATE)
    plain = RetryingStore(store, PacedCaller(QUICK, Pace()), resumes_streams=False)
    piece = memoryview(bytearray(100))
    with plain.open("k") as stream, pytest.raises(Unavailable):
        while stream.readinto(piece):
            pass
    assert store.opened == [0]


def test_a_list_of_many_pages_is_whole_where_a_third_of_all_calls_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.store.oss.store.PAGE", 5)
    with cloud_at(tmp_path) as cloud:
        bucket = RawBucket(cloud.endpoint(REGION))
        for n in range(60):
            bucket.write(f"models/{n:02}", b"x")
        own = bucket.store()
        tokens = {own.upload(f"models/up{n}", cut(3)).token for n in range(20)}
        with throttling(cloud.endpoint(REGION), 0.25, 0.10) as proxy:
            store = RetryingStore(RawBucket(proxy.endpoint, bucket.name).store(), PacedCaller(QUICK, Pace()))
            assert [seen.key for seen in store.list("models/")] == [f"models/{n:02}" for n in range(60)]
            assert {begun.token for begun in store.pending("models/")} == tokens
            assert proxy.counts["throttled"] + proxy.counts["lost"] > 0
            assert proxy.counts["passed"] < 12 + 4 + 4


def failing_once(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """The first call of a function of `os` fails with EIO."""

    real: Callable[..., object] = getattr(os, name)
    calls: list[int] = []

    def call(*arguments: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EIO, "I/O error")
        return real(*arguments, **more)

    monkeypatch.setattr(os, name, call)
    return calls


@pytest.mark.parametrize("name", ["listdir", "readv", "stat"])
def test_one_io_error_of_a_nas_costs_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    store = NasStore(NasSettings(tmp_path))
    store.put("models/a", DATA, PutMode.CREATE)
    calls = failing_once(monkeypatch, name)
    retrying = patient(store)
    assert [seen.key for seen in retrying.list("models/")] == ["models/a"]
    assert retrying.stat("models/a").size_bytes == len(DATA)
    piece = memoryview(bytearray(len(DATA)))
    with retrying.open("models/a") as stream:
        assert stream.readinto(piece) == len(DATA)
    assert list(retrying.pending("")) == []
    assert calls


def test_puts_deletes_and_uploads_go_through_and_absence_is_told_at_once() -> None:
    store = patient(MemoryStore())
    (told,) = store.put_all([Put("a", b"1")], PutMode.CREATE, 1)
    assert not isinstance(told, Exception)
    with pytest.raises(Conflict):
        store.put("a", b"2", PutMode.CREATE)
    upload = store.upload("b", cut(3))
    assert upload.has(cut(3)[0], crc64(b"abc")) is False
    upload.send(cut(3)[0], b"abc", crc64(b"abc"))
    assert upload.complete(crc64(b"abc")).size_bytes == 3
    store.upload("c", cut(3)).abort()
    store.delete("a")
    with pytest.raises(NotFound):
        store.stat("a")
    assert store.traits.create_is_atomic


def test_a_put_that_arrives_damaged_is_sent_anew_and_given_up_when_that_repeats() -> None:
    class Flipping(MemoryStore):
        damaged = 0

        def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
            if self.damaged:
                self.damaged -= 1
                raise Corrupt("stored other bytes; it is deleted again")
            return super().put(key, data, mode)

    store = Flipping()
    store.damaged = 2
    assert RetryingStore(store, once).put("seal", b"x", PutMode.CREATE).size_bytes == 1
    store.damaged = 3
    with pytest.raises(Corrupt):
        RetryingStore(store, once).put("other", b"x", PutMode.CREATE)
