"""What every target must do. A binding supplies the target and raw access to the place behind it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from syncd.artifact.digest import Digest, crc64
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.artifact.parts import Part, cut
from syncd.errors import Conflict, Corrupt, NotFound
from syncd.targets.base import Depth, Journal, Target, Writer

from tests.support.journals import MemoryJournal
from tests.support.sources import content, manifest_of

PART_BYTES: Final = 128 << 10
FILES: Final = {
    "config.json": b'{"a": 1}',
    "empty": b"",
    "unet/model.safetensors": content("unet", 3 * PART_BYTES + 17),
    "vae/model é.bin": content("vae", 2 * PART_BYTES),
}
LARGE: Final = FilePath("unet/model.safetensors")
SEAL: Final = ".syncd/manifest.json"
LOOKS: Final = [Depth.SIZES, Depth.CHECKSUMS, Depth.BYTES]


def layout(entry: Entry) -> tuple[Part, ...]:
    return cut(entry.size_bytes, PART_BYTES)


def entry_of(manifest: Manifest, path: str) -> Entry:
    return next(entry for entry in manifest.entries if entry.path == path)


def send(writer: Writer, entry: Entry, data: bytes) -> None:
    for part in layout(entry):
        piece = data[part.offset_bytes : part.offset_bytes + part.size_bytes]
        if not writer.has(part, crc64(piece)):
            writer.send(part, piece, crc64(piece))


def write(target: Target, manifest: Manifest, journal: Journal, *paths: str) -> None:
    for path in paths or FILES:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        send(writer, entry, FILES[path])
        writer.finish(entry.sha256, crc64(FILES[path]))


class RawAccess(ABC):
    """What a binding supplies beside its `target` fixture, and what every test is given."""

    @pytest.fixture
    def manifest(self) -> Manifest:
        return manifest_of(FILES)

    @pytest.fixture
    def journal(self) -> MemoryJournal:
        return MemoryJournal()

    @abstractmethod
    def raw_read(self, key: str) -> bytes | None:
        """What a reader finds at `key` below the target's root."""

    @abstractmethod
    def raw_write(self, key: str, data: bytes) -> None:
        """Put something there behind the target's back."""

    @abstractmethod
    def raw_delete(self, key: str) -> None:
        """Remove it behind the target's back."""

    @abstractmethod
    def raw_keys(self) -> set[str]:
        """Everything a reader sees, directory markers left out."""

    @abstractmethod
    def raw_uploads(self) -> int:
        """How many uploads were begun and not ended."""

    def visible(self, manifest: Manifest) -> set[str]:
        return {key.removeprefix(manifest.directory + "/") for key in self.raw_keys()}


class TargetConformance(RawAccess):
    """Subclass, give it a `target` fixture and the raw looks, and name it Test…."""

    # looking

    @pytest.mark.parametrize("depth", list(Depth))
    def test_an_absent_version_is_an_answer(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, depth: Depth
    ) -> None:
        found = target.inspect(manifest, depth, journal)
        assert not found.sealed
        assert found.present == frozenset()
        if depth > Depth.SEAL:
            assert found.missing == set(FILES)

    @pytest.mark.parametrize("depth", LOOKS)
    def test_what_is_there_is_seen(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, depth: Depth
    ) -> None:
        write(target, manifest, journal, "config.json", LARGE)
        found = target.inspect(manifest, depth, journal)
        assert not found.sealed
        assert found.present == {"config.json", LARGE}
        assert found.missing == {"empty", "vae/model é.bin"}
        assert found.wrong == {}

    @pytest.mark.parametrize("depth", LOOKS)
    def test_a_file_of_another_size_is_wrong(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, depth: Depth
    ) -> None:
        write(target, manifest, journal)
        self.raw_write(f"{manifest.directory}/config.json", b"{}")
        found = target.inspect(manifest, depth, journal)
        assert set(found.wrong) == {"config.json"}
        assert "2 bytes" in found.wrong[FilePath("config.json")]
        assert "8" in found.wrong[FilePath("config.json")]
        assert not found.whole

    @pytest.mark.parametrize("depth", [Depth.CHECKSUMS, Depth.BYTES])
    @pytest.mark.parametrize("path", ["config.json", LARGE])
    @pytest.mark.parametrize("remembered", ["proven", "forgotten"])
    def test_a_flipped_bit_is_wrong(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, depth: Depth, path: str, remembered: str
    ) -> None:
        write(target, manifest, journal)
        data = bytearray(FILES[path])
        data[len(data) // 2] ^= 1
        self.raw_write(f"{manifest.directory}/{path}", bytes(data))
        found = target.inspect(manifest, depth, journal if remembered == "proven" else MemoryJournal())
        assert set(found.wrong) == {path}
        assert found.missing == frozenset()

    def test_what_is_proven_by_reading_is_remembered(self, target: Target, manifest: Manifest) -> None:
        write(target, manifest, MemoryJournal())
        journal = MemoryJournal()
        assert target.inspect(manifest, Depth.CHECKSUMS, journal).whole
        assert journal.crcs == {path: crc64(data) for path, data in FILES.items()}

    def test_nothing_remembered_is_believed(self, target: Target, manifest: Manifest, journal: MemoryJournal) -> None:
        write(target, manifest, journal)
        self.raw_delete(f"{manifest.directory}/{LARGE}")
        assert target.inspect(manifest, Depth.SIZES, journal).missing == {LARGE}

    def test_files_nobody_declared_are_left_out(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        write(target, manifest, journal)
        self.raw_write(f"{manifest.directory}/notes.txt", b"?")
        found = target.inspect(manifest, Depth.BYTES, journal)
        assert found.whole
        assert found.present == set(FILES)

    # writing

    @pytest.mark.parametrize("path", list(FILES))
    def test_a_file_is_invisible_until_it_is_finished(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        send(writer, entry, FILES[path])
        assert self.visible(manifest) == set()
        writer.finish(entry.sha256, crc64(FILES[path]))
        assert self.visible(manifest) == {path}
        assert self.raw_read(f"{manifest.directory}/{path}") == FILES[path]
        assert journal.crcs == {path: crc64(FILES[path])}
        assert journal.tokens == {}

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_finishing_again_is_success(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        send(writer, entry, FILES[path])
        writer.finish(entry.sha256, crc64(FILES[path]))
        writer.finish(entry.sha256, crc64(FILES[path]))

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_another_digest_finishes_nothing_and_throws_the_parts_away(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        send(writer, entry, FILES[path])
        other = Digest(hashlib.sha256(b"other").hexdigest())
        with pytest.raises(Corrupt, match=rf"{other}.*{entry.sha256}"):
            writer.finish(other, crc64(FILES[path]))
        assert self.visible(manifest) == set()
        assert self.raw_uploads() == 0
        assert journal.tokens == {}

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_another_checksum_finishes_nothing(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        send(writer, entry, FILES[path])
        with pytest.raises(Corrupt):
            writer.finish(entry.sha256, crc64(FILES[path]) ^ 1)
        assert self.visible(manifest) == set()
        assert self.raw_uploads() == 0

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_a_missing_part_finishes_nothing(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        with pytest.raises(Corrupt, match=path):
            writer.finish(entry.sha256, crc64(FILES[path]))
        assert self.visible(manifest) == set()

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_other_bytes_at_the_final_name_stay(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        self.raw_write(f"{manifest.directory}/{path}", b"theirs")
        with pytest.raises(Conflict):
            write(target, manifest, journal, path)
        assert self.raw_read(f"{manifest.directory}/{path}") == b"theirs"
        assert self.raw_uploads() == 0

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_a_part_with_a_wrong_crc_is_refused(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        part = layout(entry)[0]
        piece = FILES[path][: part.size_bytes]
        with pytest.raises(Corrupt):
            writer.send(part, piece, crc64(piece) ^ 1)

    def test_an_abandoned_file_is_resumed(self, target: Target, manifest: Manifest, journal: MemoryJournal) -> None:
        entry, data = entry_of(manifest, LARGE), FILES[LARGE]
        first, *rest = layout(entry)
        piece = data[: first.size_bytes]
        writer = target.writer(manifest, entry, layout(entry), journal)
        writer.send(first, piece, crc64(piece))
        writer.abandon()
        again = target.writer(manifest, entry, layout(entry), journal)
        assert again.has(first, crc64(piece))
        assert not again.has(first, crc64(piece) ^ 1)
        assert not any(again.has(part, 0) for part in rest)
        send(again, entry, data)
        again.finish(entry.sha256, crc64(data))
        assert self.raw_read(f"{manifest.directory}/{LARGE}") == data
        assert self.raw_uploads() == 0

    @pytest.mark.parametrize("path", ["config.json", LARGE])
    def test_a_file_another_writer_finished_meanwhile_is_proven_not_written(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str
    ) -> None:
        write(target, manifest, MemoryJournal(), path)
        journal.opened(FilePath(path), "0123456789abcdef-" + "0" * 32)
        entry = entry_of(manifest, path)
        writer = target.writer(manifest, entry, layout(entry), journal)
        send(writer, entry, FILES[path])
        with pytest.raises(Corrupt):
            writer.finish(Digest("0" * 64), crc64(FILES[path]))
        again = target.writer(manifest, entry, layout(entry), journal)
        send(again, entry, FILES[path])
        again.finish(entry.sha256, crc64(FILES[path]))
        assert journal.crcs == {path: crc64(FILES[path])}
        assert self.raw_read(f"{manifest.directory}/{path}") == FILES[path]
        assert self.raw_uploads() == 0

    def test_an_upload_that_is_gone_is_begun_anew(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        journal.opened(LARGE, "0123456789abcdef-" + "0" * 32)
        write(target, manifest, journal, LARGE)
        assert self.visible(manifest) == {LARGE}
        assert journal.tokens == {}

    # reading back

    @pytest.mark.parametrize("offset_bytes", [0, 1, PART_BYTES + 3, 3 * PART_BYTES + 17])
    def test_a_finished_file_is_read_from_an_offset_before_the_seal(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, offset_bytes: int
    ) -> None:
        write(target, manifest, journal, LARGE)
        found, buffer = bytearray(), memoryview(bytearray(100_000))
        with target.open(manifest, entry_of(manifest, LARGE), offset_bytes) as stream:
            while count := stream.readinto(buffer):
                found += buffer[:count]
        assert found == FILES[LARGE][offset_bytes:]

    @pytest.mark.parametrize("begun", ["begun", "absent"])
    def test_a_file_that_is_not_finished_is_not_read(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, begun: str
    ) -> None:
        entry = entry_of(manifest, LARGE)
        if begun == "begun":
            send(target.writer(manifest, entry, layout(entry), journal), entry, FILES[LARGE])
        with pytest.raises(NotFound), target.open(manifest, entry) as stream:
            stream.readinto(memoryview(bytearray(1)))

    # sealing

    def test_the_seal_is_the_manifest_and_comes_last(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        write(target, manifest, journal)
        assert self.visible(manifest) == set(FILES)
        target.seal(manifest, journal)
        assert self.raw_read(f"{manifest.directory}/{SEAL}") == manifest.canonical
        for depth in Depth:
            found = target.inspect(manifest, depth, journal)
            assert found.sealed
            assert found.whole

    def test_sealing_again_is_success(self, target: Target, manifest: Manifest, journal: MemoryJournal) -> None:
        write(target, manifest, journal)
        target.seal(manifest, journal)
        target.seal(manifest, journal)

    def test_a_version_with_a_missing_file_is_not_sealed(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        write(target, manifest, journal, "config.json", LARGE)
        with pytest.raises(NotFound, match="empty"):
            target.seal(manifest, journal)
        assert self.raw_read(f"{manifest.directory}/{SEAL}") is None

    @pytest.mark.parametrize("data", [b"", b'{"a": 2}'], ids=["size", "bytes"])
    def test_a_version_with_a_wrong_file_is_not_sealed(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, data: bytes
    ) -> None:
        write(target, manifest, journal)
        self.raw_write(f"{manifest.directory}/config.json", data)
        with pytest.raises(Corrupt, match=r"config\.json"):
            target.seal(manifest, journal)
        assert self.raw_read(f"{manifest.directory}/{SEAL}") is None

    @pytest.mark.parametrize("depth", list(Depth))
    @pytest.mark.parametrize("seal", [b"", b"{}", manifest_of({"x": b"1"}).canonical], ids=["empty", "json", "other"])
    def test_another_seal_is_a_conflict_at_every_look(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, depth: Depth, seal: bytes
    ) -> None:
        write(target, manifest, journal)
        self.raw_write(f"{manifest.directory}/{SEAL}", seal)
        with pytest.raises(Conflict, match="seal"):
            target.inspect(manifest, depth, journal)
        with pytest.raises(Conflict):
            target.seal(manifest, journal)
        assert self.raw_read(f"{manifest.directory}/{SEAL}") == seal

    def test_a_sealed_version_leaves_no_uploads_behind(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        entry = entry_of(manifest, LARGE)
        target.writer(manifest, entry, layout(entry), MemoryJournal())  # one whose journal was lost
        write(target, manifest, journal)
        target.seal(manifest, journal)
        assert self.raw_uploads() == 0

    def test_versions_lie_side_by_side(self, target: Target, manifest: Manifest, journal: MemoryJournal) -> None:
        other = manifest_of(FILES, version="v2")
        write(target, manifest, journal)
        target.seal(manifest, journal)
        assert not target.inspect(other, Depth.SEAL, journal).sealed
        write(target, other, journal)
        target.seal(other, journal)
        target.withdraw(other, journal)
        assert target.inspect(manifest, Depth.BYTES, journal).whole

    # withdrawing

    def test_withdrawing_leaves_nothing_and_repeats(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        write(target, manifest, journal)
        target.seal(manifest, journal)
        self.raw_write(f"{manifest.directory}/notes.txt", b"?")
        target.withdraw(manifest, journal)
        target.withdraw(manifest, journal)
        assert self.raw_keys() == set()
        assert not target.inspect(manifest, Depth.SEAL, journal).sealed

    def test_withdrawing_aborts_what_is_half_done(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        entry = entry_of(manifest, LARGE)
        target.writer(manifest, entry, layout(entry), journal)
        target.writer(manifest, entry, layout(entry), MemoryJournal())
        target.withdraw(manifest, journal)
        assert self.raw_uploads() == 0
        assert journal.tokens == {}

    def test_a_withdrawn_version_can_come_back(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        for _ in range(2):
            write(target, manifest, journal)
            target.seal(manifest, journal)
            assert target.inspect(manifest, Depth.BYTES, journal).whole
            target.withdraw(manifest, journal)

    def test_files_may_be_written_side_by_side(
        self, target: Target, manifest: Manifest, journal: MemoryJournal
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda path: write(target, manifest, journal, path), FILES))
        assert target.inspect(manifest, Depth.BYTES, journal).whole
