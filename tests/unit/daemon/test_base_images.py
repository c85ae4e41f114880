"""Base image checks at intervals, and their back-off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from syncd.daemon.base_images import BaseImageChecks
from syncd.errors import Unavailable
from syncd.state.content import base_images
from syncd.state.state import State

from tests.support.rooms import Site, World, site

NAME = "registry.local/team/server:1"


class Shelf:
    """A target of images that supports only the check of its base, and has none."""

    settings = SimpleNamespace(base=NAME)

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self.now_s = 0.0
        self.retry_after_s: float | None = None

    def base(self) -> object:
        self.asked_s.append(self.now_s)
        raise Unavailable("429 TOOMANYREQUESTS", retry_after_s=self.retry_after_s)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def at(tmp_path: Path, sqlite_template: Path, shelf: Shelf) -> Iterator[Site]:
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield site(World(tmp_path / "registry"), state, images={"img": shelf})
    state.close()


def checks(at: Site, shelf: Shelf, lasts_s: float) -> list[float]:
    """When the registry was queried, with the job run every ten seconds."""
    job = BaseImageChecks(at.context, "img", 600.0, clock=lambda: shelf.now_s)
    while shelf.now_s < lasts_s:
        with suppress(Unavailable):
            job()
        shelf.now_s += 10.0
    return shelf.asked_s


def test_a_failing_base_is_checked_less_and_less_often(at: Site, shelf: Shelf) -> None:
    assert checks(at, shelf, 2400.0) == [0.0, 60.0, 180.0, 420.0, 900.0, 1500.0, 2100.0]
    with at.state.read() as conn:
        seen = base_images.seen(conn, "img")
    assert seen is not None
    assert (seen.base, seen.digest, seen.reason) == (NAME, None, "429 TOOMANYREQUESTS")
    assert seen.failing_since is not None


def test_a_delay_that_the_registry_requests_is_kept(at: Site, shelf: Shelf) -> None:
    shelf.retry_after_s = 1000.0
    assert checks(at, shelf, 2400.0) == [0.0, 1000.0, 2000.0]
