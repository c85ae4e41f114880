"""Retrying store: a wrapper that retries each call by itself, so a lost answer costs one call and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from syncd.artifact.parts import Part
from syncd.errors import Corrupt, SyncdError, Unavailable
from syncd.retry import CallPolicy, once
from syncd.store.base import Buffer, PendingUpload, Put, PutMode, Receipt, Stat, Store, Traits, Upload
from syncd.values.source import Location, Stream

_DAMAGED_MAX: Final = 2  # puts of one object that may arrive damaged before that counts as a failure


class RetryingStore:
    """See `syncd.store.base.Store`. `call` makes each call; a stream that breaks off is opened again where it was.

    Unless `resumes_streams`, `open` is the store's own: for readers that open again themselves.
    """

    def __init__(self, store: Store, call: CallPolicy, *, resumes_streams: bool = True) -> None:
        self._store = store
        self._call = call
        self._resumes_streams = resumes_streams

    def __repr__(self) -> str:
        return repr(self._store)

    @property
    def traits(self) -> Traits:
        return self._store.traits

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        for _ in range(_DAMAGED_MAX):
            try:
                return self._call(partial(self._store.put, key, data, mode))
            except Corrupt:  # damaged on its way, and deleted again by the store: it is sent anew
                continue
        return self._call(partial(self._store.put, key, data, mode))

    def put_all(self, puts: Iterable[Put], mode: PutMode, at_once: int) -> Iterator[Stat | SyncdError]:
        puts = list(puts)
        for put, answer in zip(puts, self._store.put_all(puts, mode, at_once), strict=True):
            yield self._put_again(put, mode) if isinstance(answer, Unavailable) else answer

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> Upload:
        return _RetryingUpload(self._call(partial(self._store.upload, key, parts, resume)), self._call)

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> Stream:
        if not self._resumes_streams:
            return self._store.open(key, offset_bytes, until_bytes)
        return _ResumingStream(partial(self._store.open, key), offset_bytes, self._call)

    def stat(self, key: str) -> Stat:
        return self._call(partial(self._store.stat, key))

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        return self._store.list(prefix, self._call if each is once else each)

    def pending(self, prefix: str, each: CallPolicy = once) -> Iterator[PendingUpload]:
        return self._store.pending(prefix, self._call if each is once else each)

    def delete(self, key: str) -> None:
        self._call(partial(self._store.delete, key))

    def check_room(self) -> None:
        self._store.check_room()

    def _put_again(self, put: Put, mode: PutMode) -> Stat | SyncdError:
        try:
            return self.put(put.key, put.data, mode)
        except SyncdError as error:
            return error


class _RetryingUpload:
    """See `syncd.store.base.Upload`."""

    def __init__(self, upload: Upload, call: CallPolicy) -> None:
        self.token: Final = upload.token
        self._upload = upload
        self._call = call

    def has(self, part: Part, crc64: int) -> bool:
        return self._call(partial(self._upload.has, part, crc64))

    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        return self._call(partial(self._upload.send, part, data, crc64))

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        return self._call(partial(self._upload.copy, part, source, offset_bytes, crc64))

    def complete(self, crc64: int) -> Stat:
        return self._call(partial(self._upload.complete, crc64))

    def abort(self) -> None:
        self._call(self._upload.abort)


class _ResumingStream:
    """The bytes of one object. For one thread."""

    def __init__(self, open_at: partial[Stream], offset_bytes: int, call: CallPolicy) -> None:
        self._open_at = open_at
        self._offset_bytes = offset_bytes
        self._call = call
        self._opened = ExitStack()
        self._stream: Stream | None = call(self._open)

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._read(buffer)
        except Unavailable:
            self._close()
            count = self._call(partial(self._read_again, buffer))
        self._offset_bytes += count
        return count

    def __enter__(self) -> _ResumingStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _read_again(self, buffer: memoryview) -> int:
        try:
            return self._read(buffer)
        except Unavailable:
            self._close()
            raise

    def _read(self, buffer: memoryview) -> int:
        if self._stream is None:
            self._stream = self._open()
        return self._stream.readinto(buffer)

    def _open(self) -> Stream:
        return self._opened.enter_context(self._open_at(self._offset_bytes))

    def _close(self) -> None:
        self._stream = None
        self._opened.close()
