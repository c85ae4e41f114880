"""Several sources of the same bytes: who is asked, who is passed over, and who has the last word."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest
from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, NotFound, Refused, SyncdError, Unavailable
from syncd.retry import Retry
from syncd.transfer import FailoverSource, Source
from syncd.transfer.sources.producer import SourceReader
from syncd.values.source import Stream
from tests.support.sources import Files, content, manifest_of

DATA = {"a": content("a", 300_000), "b": content("b", 1000)}
A, B = manifest_of(DATA).entries
POLICY = Retry(attempts_max=3, elapsed_max_s=10.0, base_s=0.0)


def failing(error: SyncdError) -> Callable[[Entry, int], Stream]:
    def source(entry: Entry, offset_bytes: int) -> Stream:
        raise error

    return source


def read(source: Callable[[Entry, int], Stream], entry: Entry) -> bytes:
    found = bytearray(entry.size_bytes)
    stop = Event()
    with SourceReader(entry, source, POLICY, stop.wait) as reader:
        reader.fill(memoryview(found))
        reader.expect_end()
    return bytes(found)


def test_the_first_source_gives_everything_and_the_others_are_not_asked() -> None:
    first, second = Files(DATA), Files(DATA)
    preferred = FailoverSource([("hz", first), ("registry", second)])
    assert (read(preferred, A), read(preferred, B)) == (DATA["a"], DATA["b"])
    assert second.opened == []
    assert first.closed == len(first.opened) == 2


@pytest.mark.parametrize("error", [NotFound("gone"), Refused("no permission"), Unavailable("unreachable")])
def test_a_source_that_cannot_give_a_file_is_passed_over_for_that_file(error: SyncdError) -> None:
    last = Files(DATA)
    asked: list[str] = []

    def first(entry: Entry, offset_bytes: int) -> Stream:
        asked.append(entry.path)
        if entry == A:
            raise error
        return Files(DATA)(entry, offset_bytes)

    preferred = FailoverSource([("hz", first), ("registry", last)])
    assert (read(preferred, A), read(preferred, A), read(preferred, B)) == (DATA["a"], DATA["a"], DATA["b"])
    assert asked == ["a", "b"]
    assert [path for path, _ in last.opened] == ["a", "a"]


def test_where_one_breaks_off_the_next_goes_on() -> None:
    first, last = Files(DATA, {"a": [120_000]}), Files(DATA)
    assert read(FailoverSource([("hz", first), ("registry", last)]), A) == DATA["a"]
    assert last.opened == [("a", 120_000)]
    assert first.closed == 1


def test_all_are_tried_in_their_order() -> None:
    last = Files(DATA)
    sources: list[tuple[str, Source]] = [
        ("hz", failing(NotFound("gone"))),
        ("sg", failing(Refused("no"))),
        ("registry", last),
    ]
    assert read(FailoverSource(sources), A) == DATA["a"]


def test_the_last_one_is_asked_as_often_as_the_reader_likes_and_its_errors_count() -> None:
    last = Files(DATA, {"a": [50_000, 90_000]})
    assert read(FailoverSource([("registry", last)]), A) == DATA["a"]
    assert last.opened == [("a", 0), ("a", 50_000), ("a", 90_000)]
    with pytest.raises(NotFound, match="nowhere"):
        read(FailoverSource([("hz", failing(Unavailable("slow"))), ("registry", failing(NotFound("nowhere")))]), A)


@pytest.mark.parametrize("when", ["opening", "reading"])
def test_being_told_to_stop_is_no_reason_to_ask_another(when: str) -> None:
    class Stopped:
        def readinto(self, buffer: memoryview) -> int:
            raise Cancelled("stopped")

        def __enter__(self) -> Stopped:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

    def first(entry: Entry, offset_bytes: int) -> Stream:
        if when == "opening":
            raise Cancelled("stopped")
        return Stopped()

    last = Files(DATA)
    with pytest.raises(Cancelled):
        read(FailoverSource([("hz", first), ("registry", last)]), A)
    assert last.opened == []
