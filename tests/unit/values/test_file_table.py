"""A table of files is what the list of them is, in a fraction of the memory."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.values import file_table
from syncd.values.file_table import FileTable, PathTable, sizes_by_path
from syncd.values.source import SourceFile

DIGESTS = st.none() | st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
FILES = st.dictionaries(
    st.text(min_size=1, max_size=12),
    st.tuples(st.integers(0, 1 << 62), DIGESTS, st.sampled_from(["", "", "a symbolic link"])),
    max_size=12,
).map(lambda found: [SourceFile(FilePath(path), *found[path]) for path in sorted(found)])
BYTES_A_FILE_MAX = 110  # of which 30 are its path here; 24 are its size, its time and where its path ends


def tabled(files: Sequence[SourceFile]) -> FileTable:
    return FileTable(
        PathTable(file.path for file in files),
        array("q", (file.size_bytes for file in files)),
        {at: file.sha256 for at, file in enumerate(files) if file.sha256},
        {at: file.refusal for at, file in enumerate(files) if file.refusal},
    )


@given(FILES)
def test_it_reads_as_the_list(files: list[SourceFile]) -> None:
    table = tabled(files)
    assert list(table) == files
    assert table == files
    assert [table[at] for at in range(-len(files), len(files))] == files + files
    assert table[1:7:2] == files[1:7:2]
    assert table.paths[::-1] == [file.path for file in files][::-1]
    assert list(table.refused) == [file for file in files if file.refusal]
    assert dict(sizes_by_path(table)) == dict(sizes_by_path(files))
    with pytest.raises(IndexError):
        table[len(files)]


@pytest.mark.parametrize("indexed_max", [0, 20_000])
@given(files=FILES, other=st.text(max_size=3))
def test_it_finds_what_is_there_and_nothing_else(indexed_max: int, files: list[SourceFile], other: str) -> None:
    with mock.patch.object(file_table, "_INDEXED_MAX", indexed_max):
        find_all(files, other)


def find_all(files: list[SourceFile], other: str) -> None:
    paths = [file.path for file in files]
    table = tabled(files)
    assert [table.paths.find(path) for path in paths] == list(range(len(paths)))
    assert (table.paths.find(other) is not None) == (other in paths)
    assert (other in sizes_by_path(table)) == (other in paths)


@given(FILES, st.sets(st.integers(0, 11)))
def test_a_part_of_it_is_that_part_of_the_list(files: list[SourceFile], left: set[int]) -> None:
    chosen = [file for at, file in enumerate(files) if at not in left]
    part = tabled(files).where(lambda path: FilePath(path) in {file.path for file in chosen})
    assert part == chosen
    assert tabled(files) != [*files, SourceFile(FilePath("more"), 0, None)]
    assert tabled(files) != "files"


def test_all_of_it_is_itself() -> None:
    table = tabled([SourceFile(FilePath("a"), 1, None)])
    assert table.where(lambda _: True) is table
    assert hash(table) == hash(tabled(list(table)))


def test_a_listing_of_a_directory_takes_as_much_for_each_file_however_many_there_are(tmp_path: Path) -> None:
    """A million of them have to fit into 300 MB, so what each one adds is counted."""
    held = [_held_bytes(tmp_path, count) for count in (1000, 3000)]
    assert (held[1] - held[0]) / 2000 < BYTES_A_FILE_MAX


def _held_bytes(root: Path, count: int) -> int:
    version = root / f"m/v{count}"
    for folder in range(count // 100):
        (version / f"unet-{folder:04}").mkdir(parents=True)
        for n in range(100):
            (version / f"unet-{folder:04}" / f"file-{n:07}.bin").write_bytes(b"1")
    (version / "READY").touch()

    def listing() -> object:
        registry = DirectoryRegistry(DirectorySettings(root, settle_s=0.0))
        listed = registry.listing(ModelName("m"), registry.resolve(ModelName("m"), version.name))
        assert len(listed) == count
        return registry, listed

    listing()  # fills the bounded cache of paths that were checked
    tracemalloc.start()
    try:
        kept = listing()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept
    return held_bytes
