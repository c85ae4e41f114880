"""What every target must do when it is asked to copy what it has."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
from syncd.artifact.digest import Digest, crc64
from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath
from syncd.artifact.parts import Part
from syncd.errors import Conflict, Corrupt, Invalid, NotFound
from syncd.targets.base import Depth, Origin, Target, Writer

from tests.conformance.target import FILES, LARGE, RawAccess, entry_of, layout, send, write
from tests.support.journals import MemoryJournal
from tests.support.sources import content, manifest_of

SMALL: Final = "config.json"
HEADER: Final = b"a header that grew"
OLD: Final = {
    "old.safetensors": HEADER + FILES[LARGE] + b"tail",
    "old.json": HEADER + FILES[SMALL],
    "other": content("other", len(FILES[LARGE])),
}
FROM: Final = {LARGE: "old.safetensors", SMALL: "old.json"}


class TargetCopyConformance(RawAccess):
    """To be mixed into a target's binding."""

    @pytest.fixture
    def old(self, target: Target) -> Manifest:
        """A version that is sealed here and has our bytes, at other offsets of other files."""
        old, journal = manifest_of(OLD, version="v0"), MemoryJournal()
        for path, data in OLD.items():
            entry = entry_of(old, path)
            writer = target.writer(old, entry, layout(entry), journal)
            send(writer, entry, data)
            writer.finish(entry.sha256, crc64(data))
        target.seal(old, journal)
        return old

    def begun(self, target: Target, manifest: Manifest, journal: MemoryJournal, path: str) -> Writer:
        entry = entry_of(manifest, path)
        return target.writer(manifest, entry, layout(entry), journal)

    def copy(self, writer: Writer, manifest: Manifest, old: Manifest, path: str) -> None:
        for part in layout(entry_of(manifest, path)):
            origin = Origin(old, FilePath(FROM[path]), len(HEADER) + part.offset_bytes)
            writer.copy(part, origin, crc_of(path, part))

    @pytest.mark.parametrize("path", [SMALL, LARGE])
    def test_a_file_is_copied_from_another_version_and_visible_when_it_is_finished(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest, path: str
    ) -> None:
        writer = self.begun(target, manifest, journal, path)
        self.copy(writer, manifest, old, path)
        assert not any(key.startswith(manifest.directory) for key in self.raw_keys())
        for _ in range(2):
            writer.finish(entry_of(manifest, path).sha256, crc64(FILES[path]))
        assert self.raw_read(f"{manifest.directory}/{path}") == FILES[path]
        assert journal.crcs[path] == crc64(FILES[path])
        assert journal.tokens == {}
        assert self.raw_uploads() == 0
        assert target.inspect(old, Depth.BYTES, MemoryJournal()).whole

    def test_copied_and_sent_parts_make_one_file(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest
    ) -> None:
        entry = entry_of(manifest, LARGE)
        writer = self.begun(target, manifest, journal, LARGE)
        part = layout(entry)[1]
        writer.copy(part, Origin(old, FilePath(FROM[LARGE]), len(HEADER) + part.offset_bytes), crc_of(LARGE, part))
        for other in (layout(entry)[0], *layout(entry)[2:]):
            writer.send(other, piece_of(LARGE, other), crc_of(LARGE, other))
        writer.finish(entry.sha256, crc64(FILES[LARGE]))
        assert self.raw_read(f"{manifest.directory}/{LARGE}") == FILES[LARGE]

    @pytest.mark.parametrize("path", [SMALL, LARGE])
    def test_other_bytes_at_the_origin_are_corrupt_and_the_part_can_be_sent(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest, path: str
    ) -> None:
        writer = self.begun(target, manifest, journal, path)
        part = layout(entry_of(manifest, path))[0]
        with pytest.raises(Corrupt):
            writer.copy(part, Origin(old, FilePath("other")), crc_of(path, part))
        with pytest.raises((NotFound, Invalid)):
            writer.copy(part, Origin(old, FilePath("gone")), crc_of(path, part))
        with pytest.raises(Invalid):
            writer.copy(part, Origin(old, FilePath("other"), len(OLD["other"])), crc_of(path, part))
        send(writer, entry_of(manifest, path), FILES[path])
        writer.finish(entry_of(manifest, path).sha256, crc64(FILES[path]))
        assert self.raw_read(f"{manifest.directory}/{path}") == FILES[path]
        assert self.raw_uploads() == 0

    @pytest.mark.parametrize("path", [SMALL, LARGE])
    @pytest.mark.parametrize("wrong", ["sha256", "crc64", "missing"])
    def test_what_is_not_proven_finishes_nothing(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest, path: str, wrong: str
    ) -> None:
        entry = entry_of(manifest, path)
        writer = self.begun(target, manifest, journal, path)
        if wrong == "missing":
            with pytest.raises(Corrupt):
                writer.copy(layout(entry)[0], Origin(old, FilePath("other")), crc_of(path, layout(entry)[0]))
        else:
            self.copy(writer, manifest, old, path)
        sha256 = Digest(hashlib.sha256(b"other").hexdigest()) if wrong == "sha256" else entry.sha256
        with pytest.raises(Corrupt):
            writer.finish(sha256, crc64(FILES[path]) ^ (wrong == "crc64"))
        assert not any(key.startswith(manifest.directory) for key in self.raw_keys())
        assert self.raw_uploads() == 0

    @pytest.mark.parametrize("path", [SMALL, LARGE])
    def test_a_file_that_is_there_already_is_proven_not_copied(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest, path: str
    ) -> None:
        write(target, manifest, MemoryJournal(), path)
        writer = self.begun(target, manifest, journal, path)
        self.copy(writer, manifest, old, path)
        writer.finish(entry_of(manifest, path).sha256, crc64(FILES[path]))
        assert journal.crcs[path] == crc64(FILES[path])
        assert self.raw_uploads() == 0

    @pytest.mark.parametrize("path", [SMALL, LARGE])
    def test_a_copy_never_replaces_other_bytes_at_the_final_name(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest, path: str
    ) -> None:
        self.raw_write(f"{manifest.directory}/{path}", b"theirs")
        writer = self.begun(target, manifest, journal, path)
        self.copy(writer, manifest, old, path)
        with pytest.raises(Conflict):
            writer.finish(entry_of(manifest, path).sha256, crc64(FILES[path]))
        assert self.raw_read(f"{manifest.directory}/{path}") == b"theirs"

    def test_an_abandoned_copy_is_resumed(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest
    ) -> None:
        writer = self.begun(target, manifest, journal, LARGE)
        self.copy(writer, manifest, old, LARGE)
        writer.abandon()
        again = self.begun(target, manifest, journal, LARGE)
        entry = entry_of(manifest, LARGE)
        assert all(again.has(part, crc_of(LARGE, part)) for part in layout(entry))
        again.finish(entry.sha256, crc64(FILES[LARGE]))
        assert self.raw_read(f"{manifest.directory}/{LARGE}") == FILES[LARGE]

    def test_an_abandoned_copy_of_a_small_file_leaves_nothing(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest
    ) -> None:
        writer = self.begun(target, manifest, journal, SMALL)
        self.copy(writer, manifest, old, SMALL)
        writer.abandon()
        assert self.raw_uploads() == 0

    def test_what_a_crash_left_of_a_copy_ends_with_the_seal(
        self, target: Target, manifest: Manifest, journal: MemoryJournal, old: Manifest
    ) -> None:
        for path in (SMALL, LARGE):
            self.copy(self.begun(target, manifest, journal, path), manifest, old, path)
        write(target, manifest, journal)
        target.seal(manifest, journal)
        assert self.raw_uploads() == 0
        assert target.inspect(manifest, Depth.BYTES, MemoryJournal()).whole


def piece_of(path: str, part: Part) -> bytes:
    return FILES[path][part.offset_bytes : part.offset_bytes + part.size_bytes]


def crc_of(path: str, part: Part) -> int:
    return crc64(piece_of(path, part))
