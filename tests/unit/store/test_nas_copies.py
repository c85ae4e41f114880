"""Copies inside a mounted directory: what the kernel may say to them, and what must not be followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import cut
from syncd.errors import Corrupt, NotFound, Refused, SyncdError, Unavailable
from syncd.store.base import PutMode
from syncd.store.nas import posix
from syncd.store.nas.store import STAGING, NasSettings, NasStore

DATA = bytes(n * 7 % 253 for n in range(3 << 20))
PARTS = cut(len(DATA), 1_500_000)
Copy = Callable[[int, int, int, int, int], int]


@pytest.fixture
def store(tmp_path: Path) -> NasStore:
    store = NasStore(NasSettings(tmp_path))
    store.put("old/k", DATA, PutMode.CREATE)
    return store


def copied(store: NasStore) -> bytes:
    upload = store.upload("new/k", PARTS)
    for part in PARTS:
        piece = DATA[part.offset_bytes : part.offset_bytes + part.size_bytes]
        upload.copy(part, "old/k", part.offset_bytes, crc64(piece))
    upload.complete(crc64(DATA))
    found = bytearray(len(DATA))
    with store.open("new/k") as stream:
        assert stream.readinto(memoryview(found)) == len(DATA)
    return bytes(found)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_kernel_cannot_copy_the_bytes_pass_through_here(
    store: NasStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked = []

    def cannot(*places: int) -> int:
        asked.append(places)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    assert copied(store) == DATA
    assert len(asked) == len(PARTS)  # once for each, not for each piece


def test_a_kernel_that_copies_nothing_without_saying_so_is_not_believed(
    store: NasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    assert copied(store) == DATA


def test_a_kernel_that_copies_a_little_at_a_time_is_asked_again(
    store: NasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Copy = os.copy_file_range

    def little(source: int, to: int, size_bytes: int, *offsets: int) -> int:
        return whole(source, to, min(size_bytes, 400_000), *offsets)

    monkeypatch.setattr(os, "copy_file_range", little)
    assert copied(store) == DATA


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, Unavailable), (errno.EIO, Unavailable), (errno.ESTALE, Unavailable), (errno.EACCES, Refused)],
)
def test_what_else_the_kernel_says_is_the_callers_to_decide(
    store: NasStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[SyncdError]
) -> None:
    def fails(*_: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", fails)
    upload = store.upload("new/k", PARTS)
    with pytest.raises(kind, match="new/k"):
        upload.copy(PARTS[0], "old/k", 0, crc64(DATA[: PARTS[0].size_bytes]))
    assert not upload.has(PARTS[0], crc64(DATA[: PARTS[0].size_bytes]))


def test_a_source_that_shrinks_meanwhile_is_corrupt(
    store: NasStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = posix.copy_region

    def shrunk(source: tuple[int, int], to: tuple[int, int], size_bytes: int) -> None:
        os.truncate(tmp_path / "old/k", 1000)
        real(source, to, size_bytes)

    monkeypatch.setattr(posix, "copy_region", shrunk)
    upload = store.upload("new/k", PARTS)
    with pytest.raises(Corrupt, match=r"part 1: 1000 bytes"):
        upload.copy(PARTS[0], "old/k", 0, crc64(DATA[: PARTS[0].size_bytes]))


def test_a_symlink_is_no_source(store: NasStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(DATA)
    (tmp_path / "old/link").symlink_to(outside)
    (tmp_path / "way").symlink_to(tmp_path / "old")
    upload = store.upload("new/k", PARTS)
    for key in ("old/link", "way/k"):
        with pytest.raises(Refused) as caught:
            upload.copy(PARTS[0], key, 0, crc64(DATA[: PARTS[0].size_bytes]))
        assert "symlink" in caught.value.hint


def test_a_directory_is_no_source_and_neither_is_what_is_staged(store: NasStore) -> None:
    upload = store.upload("new/k", PARTS)
    with pytest.raises(NotFound):
        upload.copy(PARTS[0], "old", 0, 0)
    with pytest.raises(SyncdError, match=STAGING):
        upload.copy(PARTS[0], f"{STAGING}/{upload.token}.data", 0, 0)
