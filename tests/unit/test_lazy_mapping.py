"""Lazy mapping: each value is created once, and names are known before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from syncd.errors import Unavailable
from syncd.lazy_mapping import LazyMapping


def test_names_are_listed_without_creating_a_value() -> None:
    def fail() -> int:
        raise AssertionError

    values = LazyMapping({"one": fail, "two": fail})
    assert list(values) == ["one", "two"]
    assert len(values) == 2
    assert "one" in values
    assert "three" not in values
    with pytest.raises(KeyError):
        values["three"]


def test_each_is_made_once_however_many_ask_at_once() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    values = LazyMapping({name: lambda name=name: make(name) for name in ("one", "two")})  # type: ignore[misc]
    together = Barrier(8)

    def ask(number: int) -> str:
        together.wait(60)
        return values[("one", "two")[number % 2]]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"one", "two"}
    assert sorted(made) == ["one", "two"]


def test_what_could_not_be_made_is_tried_again() -> None:
    tries = iter([Unavailable("not yet"), None])

    def make() -> int:
        if error := next(tries):
            raise error
        return 7

    values = LazyMapping({"one": make})
    with pytest.raises(Unavailable):
        values["one"]
    assert values["one"] == 7
