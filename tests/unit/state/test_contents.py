"""Contents of sealed versions at a target, according to the record."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from syncd.artifact.blocks import BLOCK_BYTES, Block, pack
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.plan.phases import PlacementPhase
from syncd.state.content import contents, placements, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Version
from syncd.state.releases.events import advance
from syncd.state.state import State

from tests.unit.state.making import NOON

HZ, SG = "oss-hz", "oss-sg"
MIB = 1 << 20


def digest(letter: str) -> Digest:
    return Digest(letter * 64)


def blocks(count: int) -> bytes:
    return pack(Block(n * 10, 10, n, bytes([n]) * 32) for n in range(count))


def make(
    conn: sa.Connection, name: str, files: dict[str, tuple[str, int]], *sealed: str, model: str = "sdxl"
) -> Version:
    """A version with these files, as path -> (content, size), sealed at these targets; each is newer than the last."""
    entries = [Entry(FilePath(path), size, digest(letter)) for path, (letter, size) in files.items()]
    age = timedelta(seconds=len(versions.known(conn, model)))
    version = versions.record(conn, Manifest.of(model, name, entries), "local", "pin", NOON + age)
    for target in sealed:
        placement = placements.ensure(conn, version.id, target, NOON)
        placement = advance(conn, placement, PlacementPhase.COPYING, now=NOON)
        advance(conn, placement, PlacementPhase.SEALED, now=NOON)
    return version


def seen(journal: SqlJournal, parts_max: int = 100) -> list[tuple[str, str, int]]:
    return [
        (file.origin.manifest.version, file.origin.path, len(file.blocks) // BLOCK_BYTES)
        for file in journal.held(parts_max)
    ]


def test_files_of_the_newest_versions_of_the_model_are_listed_with_their_parts(state: State) -> None:
    with state.write() as conn:
        for n in range(5):
            make(conn, f"v{n}", {"w": (str(n), MIB), "small": ("f", 10)}, HZ)
        make(conn, "v9", {"w": ("9", MIB)}, HZ, model="other")
        new = make(conn, "new", {"w": ("a", MIB)})
        contents.record(conn, digest("0"), blocks(1))
        for n in (1, 2, 3, 4, 9):
            contents.record(conn, digest(str(n)), blocks(n))
    journal = SqlJournal(state, new.id, HZ)
    assert seen(journal) == [("v4", "w", 4), ("v3", "w", 3), ("v2", "w", 2)]
    assert seen(journal, parts_max=7) == [("v4", "w", 4), ("v3", "w", 3)]
    assert seen(journal, parts_max=3) == []


def test_only_versions_sealed_at_this_target_are_listed(state: State) -> None:
    with state.write() as conn:
        make(conn, "v1", {"w": ("1", MIB)}, HZ)
        old = make(conn, "v2", {"w": ("2", MIB)}, HZ, SG)
        new = make(conn, "new", {"w": ("1", MIB), "x": ("3", MIB)}, HZ)
        for n in (1, 2, 3):
            contents.record(conn, digest(str(n)), blocks(n))
    assert seen(SqlJournal(state, new.id, HZ)) == [("v1", "w", 1), ("v2", "w", 2)]
    assert seen(SqlJournal(state, new.id, SG)) == [("v2", "w", 2)]
    with state.write() as conn:
        advance(conn, placements.get(conn, old.id, SG), PlacementPhase.WITHDRAWING, now=NOON)
    assert seen(SqlJournal(state, new.id, SG)) == []


def test_a_file_of_the_version_is_listed_from_any_model_and_without_parts_as_well(state: State) -> None:
    with state.write() as conn:
        make(conn, "v1", {"vae": ("1", MIB), "tiny": ("2", 1000)}, HZ, model="other")
        make(conn, "v2", {"again": ("1", MIB)}, HZ, model="other")
        new = make(conn, "new", {"vae": ("1", MIB), "tiny": ("2", 1000)})
    journal = SqlJournal(state, new.id, HZ)
    [file] = journal.held(0)
    assert (str(file.origin.manifest), file.origin.path, file.origin.offset_bytes) == ("other@v2", "again", 0)
    assert (file.sha256, file.crc64, file.blocks) == (digest("1"), None, b"")


def test_files_that_can_be_copied_whole_are_found_by_content(state: State) -> None:
    with state.write() as conn:
        old = make(conn, "v1", {"a": ("1", MIB), "b": ("2", MIB), "tiny": ("3", 1000)}, HZ)
    journal = SqlJournal(state, old.id, HZ)
    for path in ("a", "tiny"):
        journal.proven(FilePath(path), 7)
    journal.settle()
    wanted = [digest(letter) for letter in "123456789abcdef"]
    many = [Digest(f"{n:064x}") for n in range(1200)]
    with state.read() as conn:
        assert contents.copyable(conn, HZ, wanted) == {digest("1")}
        assert contents.copyable(conn, HZ, [*many, *wanted]) == {digest("1")}
        assert contents.copyable(conn, SG, wanted) == set()
        assert contents.copyable(conn, HZ, []) == set()


def test_a_new_cut_of_a_content_replaces_the_old_one(state: State) -> None:
    with state.write() as conn:
        make(conn, "v1", {"w": ("1", MIB)}, HZ)
        new = make(conn, "new", {"w": ("2", MIB)})
    journal = SqlJournal(state, new.id, HZ)
    for count in (5, 2):
        journal.learned(digest("1"), blocks(count))
    assert seen(journal) == [("v1", "w", 2)]


def test_a_version_that_was_never_recorded_can_copy_nothing(state: State) -> None:
    with state.read() as conn:
        assert contents.held_blocks(conn, "unknown@v1#123456789012", HZ, 10) == []
