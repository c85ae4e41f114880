"""What every store must do when it is asked to copy by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from syncd.artifact.digest import crc64
from syncd.artifact.parts import Part, cut
from syncd.errors import Corrupt, Invalid, NotFound, Refused
from syncd.store.base import Store
from syncd.values.source import Location

from tests.conformance.store import CRC, DATA, PART_BYTES, PARTS, RawAccess, piece, send

SOURCE: Final = b"a longer header" * 100 + DATA + b"and a tail"
KEPT_AT: Final = SOURCE.index(DATA[:1000])


class CopyConformance(RawAccess):
    """To be mixed into a store's binding."""

    def test_parts_are_copied_from_an_object_at_whatever_offset(self, store: Store) -> None:
        self.raw_write(store, "old/ü k+%", SOURCE)
        upload = store.upload("new/k", PARTS)
        for part in PARTS:
            want = crc64(piece(part))
            receipt = upload.copy(part, "old/ü k+%", KEPT_AT + part.offset_bytes, want)
            assert (receipt.size_bytes, receipt.crc64) == (part.size_bytes, want)
        assert self.raw_keys(store) == {"old/ü k+%"}
        assert upload.complete(CRC).size_bytes == len(DATA)
        assert self.raw_read(store, "new/k") == DATA
        assert self.raw_read(store, "old/ü k+%") == SOURCE

    def test_copied_and_sent_parts_make_one_object(self, store: Store) -> None:
        self.raw_write(store, "old/k", DATA)
        upload = store.upload("new/k", PARTS)
        upload.copy(PARTS[1], "old/k", PARTS[1].offset_bytes, crc64(piece(PARTS[1])))
        send(upload, PARTS[0], PARTS[2])
        upload.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    def test_a_whole_object_is_copied_as_one_part(self, store: Store) -> None:
        self.raw_write(store, "old/k", b"12345")
        upload = store.upload("new/k", cut(5))
        upload.copy(cut(5)[0], "old/k", 0, crc64(b"12345"))
        upload.complete(crc64(b"12345"))
        assert self.raw_read(store, "new/k") == b"12345"

    def test_the_last_byte_of_the_source_can_be_copied(self, store: Store) -> None:
        self.raw_write(store, "old/k", b"12345")
        upload = store.upload("new/k", cut(1))
        upload.copy(cut(1)[0], "old/k", 4, crc64(b"5"))
        upload.complete(crc64(b"5"))
        assert self.raw_read(store, "new/k") == b"5"

    def test_parts_are_copied_from_several_threads(self, store: Store) -> None:
        self.raw_write(store, "old/k", DATA)
        upload = store.upload("new/k", PARTS)

        def copy(part: Part) -> None:
            upload.copy(part, "old/k", part.offset_bytes, crc64(piece(part)))

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(copy, reversed(PARTS)))
        upload.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    def test_copying_again_and_sending_afterwards_replace_the_part(self, store: Store) -> None:
        self.raw_write(store, "old/k", bytes(PART_BYTES))
        self.raw_write(store, "old/l", DATA)
        upload = store.upload("new/k", PARTS)
        for part in PARTS[:2]:
            upload.copy(part, "old/k", 0, crc64(bytes(PART_BYTES)))
        upload.copy(PARTS[0], "old/l", 0, crc64(piece(PARTS[0])))
        send(upload, *PARTS[1:])
        upload.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    def test_a_source_with_other_bytes_is_corrupt_and_completes_nothing(self, store: Store) -> None:
        self.raw_write(store, "old/k", bytes(len(DATA)))
        upload = store.upload("new/k", PARTS)
        send(upload, *PARTS[1:])
        with pytest.raises(Corrupt, match=r"new/k.*part 1"):
            upload.copy(PARTS[0], "old/k", 0, crc64(piece(PARTS[0])))
        with pytest.raises(Corrupt):
            upload.complete(CRC)
        assert self.raw_keys(store) == {"old/k"}
        send(upload, PARTS[0])
        upload.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    def test_a_copied_part_is_found_by_another_process(self, store: Store) -> None:
        self.raw_write(store, "old/k", DATA)
        upload = store.upload("new/k", PARTS)
        upload.copy(PARTS[0], "old/k", 0, crc64(piece(PARTS[0])))
        later = self.again(store).upload("new/k", PARTS, resume=upload.token)
        assert [later.has(part, crc64(piece(part))) for part in PARTS] == [True, False, False]
        for part in PARTS[1:]:
            later.copy(part, "old/k", part.offset_bytes, crc64(piece(part)))
        later.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    def test_a_copied_part_damaged_afterwards_is_not_made_visible(self, store: Store) -> None:
        self.raw_write(store, "old/k", DATA)
        upload = store.upload("new/k", PARTS)
        for part in PARTS:
            upload.copy(part, "old/k", part.offset_bytes, crc64(piece(part)))
        self.damage_part(store, upload, PARTS[1])
        with pytest.raises(Corrupt):
            upload.complete(CRC)
        assert self.raw_keys(store) == {"old/k"}

    def test_a_source_that_is_gone_is_not_found_and_the_part_can_be_sent(self, store: Store) -> None:
        upload = store.upload("new/k", PARTS)
        with pytest.raises(NotFound, match="old/none"):
            upload.copy(PARTS[0], "old/none", 0, crc64(piece(PARTS[0])))
        send(upload, *PARTS)
        upload.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    def test_an_upload_that_is_gone_is_not_found(self, store: Store) -> None:
        self.raw_write(store, "old/k", DATA)
        upload = store.upload("new/k", PARTS)
        upload.abort()
        with pytest.raises(NotFound, match="new/k"):
            upload.copy(PARTS[0], "old/k", 0, crc64(piece(PARTS[0])))
        assert list(store.pending("")) == []

    @pytest.mark.parametrize(
        ("offset_bytes", "size_bytes"),
        [(len(DATA) - PART_BYTES + 1, PART_BYTES), (len(DATA), 10), (1 << 40, 10), (-1, 10), (0, 0)],
        ids=["past the end", "at the end", "far behind", "before the beginning", "empty"],
    )
    def test_a_run_that_is_not_inside_the_source_is_invalid(
        self, store: Store, offset_bytes: int, size_bytes: int
    ) -> None:
        self.raw_write(store, "old/k", DATA)
        upload = store.upload("new/k", cut(size_bytes))
        with pytest.raises(Invalid, match="old/k"):
            upload.copy(cut(size_bytes)[0], "old/k", offset_bytes, crc64(DATA[:size_bytes]))
        assert self.raw_keys(store) == {"old/k"}

    def test_a_bucket_in_another_region_is_refused_and_the_part_can_be_sent(self, store: Store) -> None:
        upload = store.upload("new/k", PARTS)
        with pytest.raises(Refused, match="elsewhere"):
            upload.copy(PARTS[0], Location("elsewhere-1", "bucket", "old/k"), 0, crc64(piece(PARTS[0])))
        send(upload, *PARTS)
        upload.complete(CRC)
        assert self.raw_read(store, "new/k") == DATA

    @pytest.mark.parametrize("key", ["", "/a", "a/../b", "a\\b"])
    def test_a_source_that_could_lead_astray_is_refused(self, store: Store, key: str) -> None:
        upload = store.upload("new/k", PARTS)
        with pytest.raises(Invalid):
            upload.copy(PARTS[0], key, 0, 0)
