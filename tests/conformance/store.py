"""What every store must do. A binding supplies the store and raw access, so that no store is its own judge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from syncd.artifact.digest import crc64, crc64_combine
from syncd.artifact.parts import Part, cut
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, SyncdError
from syncd.store.base import PutMode, Stat, Store, Upload
from syncd.values.source import ends_at

from tests.support.sources import rest_of

PART_BYTES: Final = 128 << 10  # above OSS's smallest
DATA: Final = bytes(n * 31 % 251 for n in range(2 * PART_BYTES + 1000))
PARTS: Final = cut(len(DATA), PART_BYTES)
CRC: Final = crc64(DATA)


def piece(part: Part, data: bytes = DATA) -> bytes:
    return data[part.offset_bytes : part.offset_bytes + part.size_bytes]


def send(upload: Upload, *parts: Part, data: bytes = DATA) -> None:
    for part in parts:
        upload.send(part, piece(part, data), crc64(piece(part, data)))


def read(store: Store, key: str, offset_bytes: int = 0) -> bytes:
    buffer = memoryview(bytearray(50_000))
    found = bytearray()
    with store.open(key, offset_bytes) as stream:
        while count := stream.readinto(buffer):
            found += buffer[:count]
    return bytes(found)


class RawAccess(ABC):
    """What a binding supplies beside its `store` fixture."""

    @abstractmethod
    def raw_read(self, store: Store, key: str) -> bytes | None:
        """What lies at the key, or None, without asking the store."""

    @abstractmethod
    def raw_write(self, store: Store, key: str, data: bytes) -> None:
        """Put something at the key behind the store's back."""

    @abstractmethod
    def raw_keys(self, store: Store) -> set[str]:
        """Every key a reader would see."""

    @abstractmethod
    def damage_part(self, store: Store, upload: Upload, part: Part) -> None:
        """Change one byte of a part that was accepted."""

    @abstractmethod
    def again(self, store: Store) -> Store:
        """The same place seen by a process that was started anew."""


class StoreConformance(RawAccess):
    """Subclass, give it a `store` fixture and the raw looks, and name it Test…."""

    # whole objects

    @pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "one", "large"])
    @pytest.mark.parametrize("mode", list(PutMode))
    def test_what_is_put_is_there_with_its_size_and_time(self, store: Store, data: bytes, mode: PutMode) -> None:
        stat = store.put("a/b c/ü+%.bin", data, mode)
        assert (stat.key, stat.size_bytes) == ("a/b c/ü+%.bin", len(data))
        assert abs(stat.modified_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert self.raw_read(store, "a/b c/ü+%.bin") == data
        assert read(store, "a/b c/ü+%.bin") == data

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_can_be_put(self, store: Store, kind: type) -> None:
        store.put("k", kind(b"12345"), PutMode.CREATE)
        assert self.raw_read(store, "k") == b"12345"

    def test_create_never_replaces_other_bytes(self, store: Store) -> None:
        self.raw_write(store, "d/k", b"theirs")
        with pytest.raises(Conflict, match="d/k"):
            store.put("d/k", b"ours..", PutMode.CREATE)
        assert self.raw_read(store, "d/k") == b"theirs"

    def test_creating_the_same_bytes_again_is_success(self, store: Store) -> None:
        store.put("d/k", b"ours", PutMode.CREATE)
        assert store.put("d/k", b"ours", PutMode.CREATE).size_bytes == 4

    def test_overwrite_replaces(self, store: Store) -> None:
        self.raw_write(store, "k", b"theirs")
        store.put("k", b"ours", PutMode.OVERWRITE)
        assert self.raw_read(store, "k") == b"ours"

    def test_of_many_creators_one_wins(self, store: Store) -> None:
        def create(n: int) -> bool:
            try:
                store.put("race/k", b"writer %d" % n, PutMode.CREATE)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert won.count(True) == 1
        assert self.raw_read(store, "race/k") == b"writer %d" % won.index(True)

    @pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", ".", "a/.", "a\nb", "a\x00b", "a\\b", "x" * 1100])
    def test_a_key_that_could_lead_astray_is_refused(self, store: Store, key: str) -> None:
        for call in (
            lambda: store.put(key, b"", PutMode.CREATE),
            lambda: store.upload(key, PARTS),
            lambda: store.open(key),
            lambda: store.stat(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(Invalid):
                call()

    def test_a_prefix_that_is_not_a_directory_is_refused(self, store: Store) -> None:
        for listing in (store.list, store.pending):
            with pytest.raises(Invalid):
                list(listing("mod"))

    # looking

    def test_absence_is_not_found(self, store: Store) -> None:
        for call in (lambda: store.stat("no/such"), lambda: store.open("no/such")):
            with pytest.raises(NotFound, match="no/such"):
                call()
        assert list(store.list("no/")) == []
        assert list(store.pending("no/")) == []

    def test_stat_tells_what_is_really_there(self, store: Store) -> None:
        self.raw_write(store, "d/k", DATA)
        stat = store.stat("d/k")
        assert (stat.key, stat.size_bytes) == ("d/k", len(DATA))
        assert stat.crc64 == (CRC if store.traits.stat_has_crc64 else None)

    def test_a_directory_is_not_an_object(self, store: Store) -> None:
        self.raw_write(store, "d/e/k", b"1")
        with pytest.raises(NotFound):
            store.stat("d/e")

    @pytest.mark.parametrize("offset_bytes", [0, 1, PART_BYTES, len(DATA) - 1, len(DATA), len(DATA) + 5])
    def test_reading_begins_at_the_offset(self, store: Store, offset_bytes: int) -> None:
        self.raw_write(store, "k", DATA)
        assert read(store, "k", offset_bytes) == DATA[offset_bytes:]

    def test_a_part_ends_where_the_stream_says(self, store: Store) -> None:
        self.raw_write(store, "k", DATA)
        for offset_bytes, until_bytes in ((0, 100), (7, PART_BYTES), (100, len(DATA))):
            with store.open(key="k", offset_bytes=offset_bytes, until_bytes=until_bytes) as stream:
                end_bytes = ends_at(stream) or len(DATA)
                assert end_bytes in {until_bytes, len(DATA)}
                assert rest_of(stream) == DATA[offset_bytes:end_bytes]

    def test_an_empty_object_reads_as_nothing(self, store: Store) -> None:
        self.raw_write(store, "k", b"")
        assert read(store, "k") == b""

    def test_list_shows_what_is_below_a_prefix_and_nothing_else(self, store: Store) -> None:
        for key in ("m/a", "m/b/c", "m/b/d", "ma", "n/m/a"):
            self.raw_write(store, key, key.encode())
        store.upload("m/half", PARTS)
        found = {stat.key: stat.size_bytes for stat in store.list("m/")}
        assert found == {"m/a": 3, "m/b/c": 5, "m/b/d": 5}
        assert {stat.key for stat in store.list("")} == {"m/a", "m/b/c", "m/b/d", "ma", "n/m/a"}

    def test_list_goes_on_past_a_page(self, store: Store) -> None:
        keys = {f"many/{n:04d} é" for n in range(self.many)}
        for key in keys:
            self.raw_write(store, key, b"")
        found = [stat.key for stat in store.list("many/")]
        assert len(found) == len(keys)
        assert set(found) == keys

    many = 30  # should be some pages of the store

    def test_directory_markers_are_objects_where_they_are_needed(self, store: Store) -> None:
        if not store.traits.needs_directory_markers:
            with pytest.raises(Invalid):
                store.put("d/", b"", PutMode.CREATE)
            return
        store.put("d/", b"", PutMode.CREATE)
        assert self.raw_read(store, "d/") == b""
        assert [stat.key for stat in store.list("d/")] == ["d/"]

    def test_delete_removes_and_repeats(self, store: Store) -> None:
        self.raw_write(store, "d/e/k", b"1")
        self.raw_write(store, "d/e/l", b"2")
        store.delete("d/e/k")
        store.delete("d/e/k")
        store.delete("never/was")
        assert self.raw_keys(store) == {"d/e/l"}

    # uploads

    def test_an_upload_is_invisible_until_it_is_complete(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, *PARTS)
        assert self.raw_keys(store) == set()
        with pytest.raises(NotFound):
            store.stat("d/k")
        stat = upload.complete(CRC)
        assert (stat.key, stat.size_bytes) == ("d/k", len(DATA))
        assert self.raw_read(store, "d/k") == DATA
        assert list(store.pending("")) == []

    def test_an_upload_to_a_key_that_is_taken_is_not_begun(self, store: Store) -> None:
        self.raw_write(store, "d/k", b"theirs")
        with pytest.raises(Conflict, match="d/k"):
            store.upload("d/k", PARTS)
        assert list(store.pending("")) == []

    def test_parts_may_come_in_any_order_and_from_several_threads(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda part: send(upload, part), reversed(PARTS)))
        upload.complete(CRC)
        assert self.raw_read(store, "d/k") == DATA

    def test_the_receipt_is_of_what_is_held(self, store: Store) -> None:
        part = PARTS[0]
        receipt = store.upload("k", PARTS).send(part, memoryview(DATA)[: part.size_bytes], crc64(piece(part)))
        assert (receipt.size_bytes, receipt.crc64) == (part.size_bytes, crc64(piece(part)))

    def test_sending_a_part_again_replaces_it(self, store: Store) -> None:
        upload = store.upload("k", PARTS)
        send(upload, *PARTS, data=bytes(len(DATA)))
        send(upload, *PARTS)
        upload.complete(CRC)
        assert self.raw_read(store, "k") == DATA

    def test_data_is_not_kept_after_send(self, store: Store) -> None:
        upload = store.upload("k", PARTS)
        buffer = bytearray(PART_BYTES)
        for part in PARTS:
            buffer[: part.size_bytes] = piece(part)
            with memoryview(buffer)[: part.size_bytes] as view:
                upload.send(part, view, crc64(piece(part)))
            buffer[:] = bytes(PART_BYTES)
        upload.complete(CRC)
        assert self.raw_read(store, "k") == DATA

    def test_a_part_with_a_wrong_crc_is_refused(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        with pytest.raises(Corrupt, match=r"d/k.*part 1"):
            upload.send(PARTS[0], piece(PARTS[0]), CRC ^ 1)
        assert self.raw_keys(store) == set()

    def test_a_whole_with_a_wrong_crc_is_not_made_visible(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, *PARTS)
        with pytest.raises(Corrupt, match="d/k"):
            upload.complete(CRC ^ 1)
        assert self.raw_keys(store) == set()

    def test_a_missing_part_is_not_made_visible(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, PARTS[0], PARTS[1])
        with pytest.raises(Corrupt, match="d/k"):
            upload.complete(CRC)
        assert self.raw_keys(store) == set()

    def test_a_part_damaged_after_it_was_accepted_is_not_made_visible(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, *PARTS)
        self.damage_part(store, upload, PARTS[1])
        with pytest.raises(Corrupt, match="d/k"):
            upload.complete(CRC)
        assert self.raw_keys(store) == set()

    def test_complete_never_replaces_another_object(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, *PARTS)
        self.raw_write(store, "d/k", b"theirs")
        with pytest.raises(Conflict, match="d/k"):
            upload.complete(CRC)
        assert self.raw_read(store, "d/k") == b"theirs"

    def test_complete_over_the_same_bytes_is_success(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, *PARTS)
        self.raw_write(store, "d/k", DATA)
        assert upload.complete(CRC).size_bytes == len(DATA)
        assert list(store.pending("")) == []

    def test_completing_again_is_success(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, *PARTS)
        upload.complete(CRC)
        assert upload.complete(CRC).size_bytes == len(DATA)
        with pytest.raises((Conflict, Corrupt)):
            upload.complete(CRC ^ 1)
        assert self.raw_read(store, "d/k") == DATA

    def test_an_upload_of_no_bytes_is_possible(self, store: Store) -> None:
        upload = store.upload("k", cut(0))
        upload.send(cut(0)[0], b"", 0)
        upload.complete(0)
        assert self.raw_read(store, "k") == b""

    def test_an_upload_is_resumed_by_another_process(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, PARTS[0], PARTS[1])
        later = self.again(store).upload("d/k", PARTS, resume=upload.token)
        assert later.token == upload.token
        has = [later.has(part, crc64(piece(part))) for part in PARTS]
        assert has == [True, True, False]
        send(later, PARTS[2])
        later.complete(CRC)
        assert self.raw_read(store, "d/k") == DATA

    def test_a_part_left_by_another_attempt_is_not_trusted(self, store: Store) -> None:
        upload = store.upload("k", PARTS)
        send(upload, PARTS[0], data=bytes(len(DATA)))
        later = self.again(store).upload("k", PARTS, resume=upload.token)
        assert not later.has(PARTS[0], crc64(piece(PARTS[0])))
        send(later, *PARTS)
        later.complete(CRC)
        assert self.raw_read(store, "k") == DATA

    def test_a_part_of_another_layout_is_not_trusted(self, store: Store) -> None:
        upload = store.upload("k", PARTS)
        send(upload, *PARTS)
        others = cut(len(DATA), PART_BYTES + 1024)
        later = self.again(store).upload("k", others, resume=upload.token)
        for part in others:
            if not later.has(part, crc64(piece(part))):
                send(later, part)
        later.complete(CRC)
        assert self.raw_read(store, "k") == DATA

    @pytest.mark.parametrize("token", ["", "../../etc", "0123456789abcdef-" + "0" * 32, "x" * 300])
    def test_a_token_that_names_nothing_is_not_found(self, store: Store, token: str) -> None:
        with pytest.raises(NotFound):
            store.upload("k", PARTS, resume=token)

    def test_a_token_of_another_key_is_not_found(self, store: Store) -> None:
        token = store.upload("k", PARTS).token
        with pytest.raises(NotFound):
            store.upload("other", PARTS, resume=token)

    def test_an_upload_that_ended_cannot_be_resumed(self, store: Store) -> None:
        completed, aborted = store.upload("k", PARTS), store.upload("l", PARTS)
        send(completed, *PARTS)
        completed.complete(CRC)
        aborted.abort()
        for key, upload in (("k", completed), ("l", aborted)):
            with pytest.raises(NotFound):
                self.again(store).upload(key, PARTS, resume=upload.token)

    def test_abort_leaves_nothing_and_repeats(self, store: Store) -> None:
        upload = store.upload("d/k", PARTS)
        send(upload, PARTS[0])
        upload.abort()
        upload.abort()
        assert list(store.pending("")) == []
        assert self.raw_keys(store) == set()
        with pytest.raises(NotFound):
            send(upload, PARTS[1])
        with pytest.raises(NotFound):
            upload.complete(CRC)
        store.put("s", bytes(PARTS[0].size_bytes), PutMode.CREATE)
        with pytest.raises(NotFound):  # it is gone, whatever else would be wrong with the copy
            upload.copy(PARTS[0], "s", 0, CRC)

    def test_aborting_what_was_completed_does_not_remove_it(self, store: Store) -> None:
        upload = store.upload("k", PARTS)
        send(upload, *PARTS)
        upload.complete(CRC)
        upload.abort()
        assert self.raw_read(store, "k") == DATA

    def test_pending_shows_what_was_begun_and_not_ended(self, store: Store) -> None:
        tokens = {store.upload(key, PARTS).token: key for key in ("m/a", "m/a", "m/b/c é", "n/a")}
        found = {pending.token: pending.key for pending in self.again(store).pending("m/")}
        assert found == {token: key for token, key in tokens.items() if key.startswith("m/")}
        started = [pending.started_at for pending in store.pending("")]
        assert len(started) == len(tokens)
        assert all(abs(at - datetime.now(UTC)) < timedelta(minutes=5) for at in started)

    def test_of_many_completers_one_wins(self, store: Store) -> None:
        versions = [bytes([n]) * len(DATA) for n in range(4)]

        uploads = [store.upload("race/k", PARTS) for _ in versions]

        def write(upload: Upload, data: bytes) -> Stat | SyncdError:
            send(upload, *PARTS, data=data)
            try:
                return upload.complete(crc64(data))
            except Conflict as error:
                return error

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(write, uploads, versions))
        winners = [n for n, result in enumerate(results) if isinstance(result, Stat)]
        assert len(winners) == 1
        assert self.raw_read(store, "race/k") == versions[winners[0]]

    def test_crcs_of_parts_combine_to_that_of_the_whole(self, store: Store) -> None:
        upload = store.upload("k", PARTS)
        whole = 0
        for part in PARTS:
            receipt = upload.send(part, piece(part), crc64(piece(part)))
            whole = crc64_combine(whole, receipt.crc64, receipt.size_bytes)
        assert whole == CRC

    def test_there_is_room(self, store: Store) -> None:
        store.check_room()
