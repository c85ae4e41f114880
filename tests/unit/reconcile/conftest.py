"""A world of a test's own, and a process at work in it, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.state.state import State

from tests.rooms import Site, World, site


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def here(world: World, database_url: str) -> Iterator[Site]:
    """The process, by the world's clock."""
    state = State(database_url, now=world.now)
    yield site(world, state)
    state.close()
