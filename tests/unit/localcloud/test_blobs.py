"""Data files: checksummed as they come, pinned while they are read, removed when nobody names them."""

import hashlib
import io
import os
from pathlib import Path

import pytest
from syncd.localcloud.oss.crc64 import crc64
from syncd.localcloud.oss.storage.blobs import BlobDirectory, PinnedPieces, PinnedSource
from syncd.localcloud.oss.storage.entries import BlobPiece, StoredBlob


def _receive(blobs: BlobDirectory, data: bytes) -> StoredBlob:
    return blobs.receive(io.BytesIO(data), len(data))


def _files(root: Path) -> int:
    return len(list(root.glob("*/*")))


def test_bytes_are_stored_with_their_checksums(tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    stored = _receive(BlobDirectory(tmp_path), data)
    assert BlobDirectory(tmp_path).path(stored.blob).read_bytes() == data
    assert (stored.size_bytes, stored.crc) == (len(data), crc64(data))
    assert stored.md5_hex == hashlib.md5(data).hexdigest()


def test_a_source_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        def readinto(self, view: memoryview, /) -> int:
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        BlobDirectory(tmp_path).receive(Broken())
    assert _files(tmp_path) == 0


def test_a_pinned_file_outlives_its_discarding(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    piece = _receive(blobs, b"0123456789").piece
    one, two = PinnedPieces(blobs, [piece], 0, 10), PinnedPieces(blobs, [piece], 3, 2)
    blobs.discard([piece])
    reader = PinnedSource(two)
    buffer = memoryview(bytearray(8))
    assert (reader.readinto(buffer), bytes(buffer[:2]), reader.readinto(buffer)) == (2, b"34", 0)
    two.close()
    two.close()  # once more does not take another reader's pin
    assert blobs.path(piece.blob).exists()
    one.close()
    assert not blobs.path(piece.blob).exists()


def test_a_run_over_several_pieces_names_only_what_it_needs(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    pieces = [_receive(blobs, data).piece for data in (b"abc", b"defg", b"", b"hi")]
    body = PinnedPieces(blobs, pieces, 2, 6)
    assert [(file.offset_bytes, file.size_bytes) for file in body] == [(2, 1), (0, 4), (0, 1)]
    body.close()
    nothing = PinnedPieces(blobs, pieces, 0, 0)
    assert list(nothing) == []
    nothing.close()


def test_pieces_are_joined_into_one_file(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    pieces = [_receive(blobs, data).piece for data in (b"abc", b"defg")]
    whole = blobs.join(pieces)
    assert (whole.size_bytes, blobs.path(whole.blob).read_bytes()) == (7, b"abcdefg")


def test_a_file_shorter_than_its_record_is_an_error(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    piece = _receive(blobs, b"abc").piece
    claimed = BlobPiece(piece.blob, 5)
    with pytest.raises(OSError, match="2 bytes early"):
        blobs.join([claimed])
    body = PinnedPieces(blobs, [claimed], 0, 5)
    reader = PinnedSource(body)
    buffer = memoryview(bytearray(8))
    assert reader.readinto(buffer) == 3
    with pytest.raises(OSError, match="2 bytes early"):
        reader.readinto(buffer)
    reader.close()
    body.close()


def test_a_sweep_removes_unreferenced_files(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    kept, stray = _receive(blobs, b"1").blob, _receive(blobs, b"2").blob
    assert blobs.sweep({kept}) == 1
    assert blobs.path(kept).exists()
    assert not blobs.path(stray).exists()
