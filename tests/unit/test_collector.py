"""The garbage collector of a process of syncd."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from syncd import collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_it_looks_seldom_and_still_does() -> None:
    collector.set_for_modules()
    assert gc.isenabled()
    assert gc.get_threshold()[0] > 10_000


def test_the_last_look_finds_nothing_to_go_through() -> None:
    collector.leave()
    assert gc.get_freeze_count() > 10_000
