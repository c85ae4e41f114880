"""A served dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.state.state import State
from syncd.ui.routes import routes_of

from tests.support.rooms import Site, World, site
from tests.unit.api.serving import Served, serving
from tests.unit.ui.openid import provider


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def state(usual_state: State) -> State:
    return usual_state


@pytest.fixture
def at(world: World, state: State) -> Site:
    return site(world, state)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with provider(tmp_path_factory.mktemp("provider")) as url:
        yield url


@pytest.fixture
def served(at: Site) -> Iterator[Served]:
    with serving(at, pages=routes_of()) as made:
        yield made
