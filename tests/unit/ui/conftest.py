"""A served dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.state.state import State
from syncd.ui.routes import routes_of

from tests.support.rooms import Site, World, site
from tests.unit.api.serving import Served, serving


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def state(usual_database_url: str) -> Iterator[State]:
    opened = State(usual_database_url)
    yield opened
    opened.close()


@pytest.fixture
def at(world: World, state: State) -> Site:
    return site(world, state)


@pytest.fixture
def served(at: Site) -> Iterator[Served]:
    with serving(at, pages=routes_of()) as made:
        yield made
