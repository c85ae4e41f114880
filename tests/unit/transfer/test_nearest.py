"""Where bytes are nearest: who answers first, who is not waited for, and who cannot answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, Unavailable
from syncd.transfer import CopySettings, Source, nearest_first
from syncd.values.source import Stream
from syncd.watchdog import note_activity
from tests.support.sources import GeneratedStream, generated, generated_manifest

ENTRY = generated_manifest({"weights.bin": 2 << 20}).entries[0]
SETTINGS = CopySettings(stall_s=20.0, grace_s=0.2)


class Far(GeneratedStream):
    """Gives nothing until it is let go, or nobody waits for it any more."""

    def __init__(self, let_go: Event) -> None:
        super().__init__("weights.bin", ENTRY.size_bytes, 0)
        self._let_go = let_go

    def readinto(self, buffer: memoryview) -> int:
        while not self._let_go.wait(0.01):
            note_activity()
        return super().readinto(buffer)


@contextmanager
def far() -> Iterator[Source]:
    let_go = Event()
    yield lambda entry, offset_bytes: Far(let_go)
    let_go.set()


def broken(entry: Entry, offset_bytes: int) -> Stream:
    raise Unavailable(f"{entry.path}: the connection broke")


def counted(opened: list[int], inner: Source = generated) -> Callable[[Entry, int], Stream]:
    def source(entry: Entry, offset_bytes: int) -> Stream:
        opened.append(offset_bytes)
        return inner(entry, offset_bytes)

    return source


def test_the_quickest_comes_first_and_nobody_waits_for_one_that_is_far() -> None:
    with far() as slow:
        sources: dict[str, Source] = {"a-far": slow, "b-near": generated, "c-broken": broken}
        assert nearest_first(ENTRY, sources, SETTINGS, Event()) == ("b-near", "a-far", "c-broken")


def test_where_nobody_answers_they_come_by_name() -> None:
    opened: list[int] = []
    sources = {"b": counted(opened, broken), "a": counted(opened, broken)}
    assert nearest_first(ENTRY, sources, SETTINGS, Event()) == ("a", "b")
    assert opened == [0, 0]  # each once: what cannot answer at once is not near


def test_a_single_place_is_not_asked() -> None:
    opened: list[int] = []
    assert nearest_first(ENTRY, {"only": counted(opened)}, SETTINGS, Event()) == ("only",)
    assert nearest_first(ENTRY, {}, SETTINGS, Event()) == ()
    assert opened == []


def test_a_file_smaller_than_the_trial_will_do() -> None:
    entry = generated_manifest({"config.json": 10}).entries[0]
    with far() as slow:
        assert nearest_first(entry, {"a": slow, "b": generated}, SETTINGS, Event()) == ("b", "a")


def test_looking_ends_when_it_is_told_to_stop() -> None:
    stop = Event()
    stop.set()
    with far() as one, far() as other, pytest.raises(Cancelled, match="measuring the sources"):
        nearest_first(ENTRY, {"one": one, "other": other}, SETTINGS, stop)


def test_places_that_are_all_silent_are_not_waited_for_longer_than_one_may_be_silent() -> None:
    settings = CopySettings(stall_s=0.2, grace_s=0.1)
    with far() as one, far() as other:
        assert nearest_first(ENTRY, {"b": one, "a": other}, settings, Event()) == ("a", "b")
