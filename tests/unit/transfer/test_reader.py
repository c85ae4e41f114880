"""A file is read once, from its beginning to its end, and must be exactly as long as the manifest says."""

from __future__ import annotations

import pytest
from syncd.errors import Cancelled, Corrupt, Unavailable
from syncd.retry import Retry
from syncd.transfer.sources.producer import SourceReader
from tests.support.sources import Files, manifest_of

DATA = bytes(range(256)) * 400
ENTRY = manifest_of({"f": DATA}).entries[0]
POLICY = Retry(attempts_max=3)


def go_on(seconds: float) -> bool:
    return False


def read(files: Files, *, pieces: int = 4) -> bytes:
    buffer = bytearray(len(DATA))
    size_bytes = len(DATA) // pieces
    with SourceReader(ENTRY, files, POLICY, go_on) as reader:
        for n in range(pieces):
            reader.fill(memoryview(buffer)[n * size_bytes : (n + 1) * size_bytes])
        reader.expect_end()
    return bytes(buffer)


def test_a_file_is_opened_once_and_closed() -> None:
    files = Files({"f": DATA}, piece_bytes=1000)
    assert read(files) == DATA
    assert files.opened == [("f", 0)]
    assert files.closed == 1
    assert files.read_bytes == {"f": len(DATA)}


@pytest.mark.parametrize("sizes", [[8], [8, 200], [8, 60_000, 90_000], [len(DATA)], [0]])
def test_the_head_is_looked_at_and_handed_over_all_the_same(sizes: list[int]) -> None:
    files = Files({"f": DATA}, piece_bytes=1000, breaks={"f": [5, 70_000]})
    buffer = bytearray(len(DATA))
    with SourceReader(ENTRY, files, POLICY, go_on) as reader:
        for size_bytes in sizes:
            assert reader.head(size_bytes) == DATA[:size_bytes]
        reader.fill(memoryview(buffer)[:100])
        reader.fill(memoryview(buffer)[100:80_000])
        reader.fill(memoryview(buffer)[80_000:])
        reader.expect_end()
    assert buffer == DATA
    assert files.read_bytes == {"f": len(DATA)}


def test_a_file_that_is_shorter_than_its_head_is_corrupt() -> None:
    with (
        pytest.raises(Corrupt, match="ends after 1000 bytes"),
        SourceReader(ENTRY, Files({"f": DATA[:1000]}), POLICY, go_on) as r,
    ):
        r.head(2000)


def test_a_source_that_breaks_off_is_opened_again_where_it_broke() -> None:
    files = Files({"f": DATA}, breaks={"f": [0, 5, 30_000, 30_000, len(DATA)]})
    assert read(files) == DATA
    assert files.opened == [("f", 0), ("f", 0), ("f", 5), ("f", 30_000), ("f", 30_000), ("f", len(DATA))]
    assert files.closed == len(files.opened)
    assert files.read_bytes == {"f": len(DATA)}


def test_a_source_that_keeps_breaking_off_is_given_up() -> None:
    files = Files({"f": DATA}, breaks={"f": [7] * 9})
    with pytest.raises(Unavailable, match="broke off at 7"):
        read(files)
    assert len(files.opened) == 3
    assert files.closed == 3


def test_a_wait_can_be_cancelled() -> None:
    files = Files({"f": DATA}, breaks={"f": [7]})
    with pytest.raises(Cancelled), SourceReader(ENTRY, files, POLICY, lambda _: True) as reader:
        reader.fill(memoryview(bytearray(10)))


def test_a_short_file_is_corrupt_with_got_and_want() -> None:
    with pytest.raises(Corrupt, match=r"f: the source ends after 1000 bytes, the manifest says 102400"):
        read(Files({"f": DATA[:1000]}))


def test_a_long_file_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="more than the 102400 bytes"):
        read(Files({"f": DATA + b"x"}))


def test_an_empty_file_is_opened_to_see_that_it_is() -> None:
    entry = manifest_of({"f": b""}).entries[0]
    files = Files({"f": b"not empty"})
    with SourceReader(entry, files, POLICY, go_on) as reader:
        reader.fill(memoryview(b""))
        with pytest.raises(Corrupt, match="more than the 0 bytes"):
            reader.expect_end()
