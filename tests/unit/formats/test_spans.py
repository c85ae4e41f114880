"""Parsers are answered by few reads and little memory, by ranges and from passing bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syncd.errors import Corrupt, Invalid
from syncd.formats.spans import HELD_BYTES, OPENS_MAX, SKIP_BYTES_MAX, NoRangesError, Passing, Ranges, Span, Steps

from tests.unit.formats.reading import Reads

DATA = bytes(range(256)) * (6 * HELD_BYTES // 256)


def asking(*spans: tuple[int, int]) -> Steps[list[bytes]]:
    found = []
    for begin, size_bytes in spans:
        data = yield Span(begin, size_bytes)
        found.append(data)
    return found


def wanted(*spans: tuple[int, int]) -> list[bytes]:
    return [DATA[begin : begin + size_bytes] for begin, size_bytes in spans]


@pytest.mark.parametrize(
    ("spans", "opens"),
    [
        ([], 0),
        ([(0, 0)], 0),
        ([(0, 8), (0, 100), (8, 20), (5, 10)], 1),
        ([(0, 8), (8, 1000), (1008, 1)], 1),
        ([(0, 8), (5 * HELD_BYTES, 8)], 1),
        ([(0, 8), (5 * HELD_BYTES, 8), (5 * HELD_BYTES - 9, 8)], 2),
        ([(len(DATA) - 100, 100), (len(DATA) - 22, 22), (0, 4)], 2),
        ([(0, 3 * HELD_BYTES), (3 * HELD_BYTES - 50, 50), (10, 10)], 2),
    ],
)
def test_what_is_near_is_read_on_and_what_is_far_is_opened(spans: list[tuple[int, int]], opens: int) -> None:
    reads = Reads(DATA)
    ranges = Ranges("m", reads.open_at)
    assert ranges.run(asking(*spans)) == wanted(*spans)
    assert ranges.opens == len(reads.opened) == opens


def test_a_long_gap_is_not_read() -> None:
    size_bytes = 3 * SKIP_BYTES_MAX
    reads = Reads(bytes(size_bytes))
    Ranges("m", reads.open_at).run(asking((0, 8), (size_bytes - 8, 8)))
    assert reads.bytes_read == 16
    assert reads.opened == [0, size_bytes - 8]


def test_a_file_that_takes_too_many_reads_is_given_up() -> None:
    reads = Reads(bytes(SKIP_BYTES_MAX + 10))
    ranges = Ranges("m", reads.open_at)
    spans = [(0, 1), (SKIP_BYTES_MAX + 9, 1)] * OPENS_MAX
    with pytest.raises(NoRangesError):
        ranges.run(asking(*spans))
    assert len(reads.opened) == OPENS_MAX


def test_a_source_that_ends_early_is_not_read_for_ever() -> None:
    for spans in ([(0, 100)], [(0, 5), (50, 10)]):
        with pytest.raises(Corrupt, match=r"m ends after 1?"):
            Ranges("m", Reads(b"0123456789").open_at).run(asking(*spans))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 2 * HELD_BYTES), min_size=1, max_size=8), st.data())
def test_passing_bytes_answer_what_ranges_answer(sizes: list[int], data: st.DataObject) -> None:
    """Forwards, from where the last span began, or a little before where it ended."""
    spans, begin, end = list[tuple[int, int]](), 0, 0
    for most_bytes in sizes:
        back = data.draw(st.integers(0, min(HELD_BYTES, end)))
        begin = data.draw(st.sampled_from([begin, max(begin, end), end - back, min(end + 3 * HELD_BYTES, len(DATA))]))
        begin = min(begin, len(DATA))
        size_bytes = min(most_bytes, len(DATA) - begin)
        spans.append((begin, size_bytes))
        end = begin + size_bytes
    passing = Passing(asking(*spans))
    piece_bytes = data.draw(st.sampled_from([4096, 100_000, len(DATA)]))
    held = 0
    for at in range(0, len(DATA), piece_bytes):
        passing.add(memoryview(DATA)[at : at + piece_bytes])
        held = max(held, passing.held_bytes)
    found = passing.end()
    assert found == wanted(*spans) or _goes_back(spans)
    assert held <= max((size for _, size in spans), default=0) + 4 * HELD_BYTES + piece_bytes
    assert passing.at_bytes == len(DATA)


def _goes_back(spans: list[tuple[int, int]]) -> bool:
    """Whether a span begins further back than what is held of the one that began last."""
    latest = 0
    for begin, _ in spans:
        if begin < latest - HELD_BYTES:
            return True
        latest = max(latest, begin)
    return False


def test_what_was_not_held_ends_the_parser_without_a_result() -> None:
    passing = Passing(asking((0, 8), (len(DATA) - 8, 8), (8, 8)))
    for at in range(0, len(DATA), HELD_BYTES):
        passing.add(DATA[at : at + HELD_BYTES])
    assert passing.end() is None


def test_a_file_that_ends_before_the_parser_has_no_result() -> None:
    passing = Passing(asking((0, 8), (100, 8)))
    passing.add(DATA[:50])
    assert passing.end() is None


@pytest.mark.parametrize("kind", [Corrupt, Invalid])
def test_a_refusal_comes_at_the_end(kind: type[Corrupt | Invalid]) -> None:
    def refusing() -> Steps[None]:
        yield Span(0, 1)
        raise kind("m is wrong")

    passing = Passing(refusing())
    passing.add(DATA[:50])
    passing.add(DATA[50:])
    with pytest.raises(kind, match="m is wrong"):
        passing.end()


def test_a_parser_that_asks_for_nothing_ends_at_once() -> None:
    passing = Passing(asking())
    passing.add(b"1")
    assert passing.end() == []
