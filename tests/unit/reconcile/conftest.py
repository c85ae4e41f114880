"""A world of a test's own, and a process at work in it; and repositories of images."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.state.state import State

from tests.emulators.distribution import Distribution, distribution
from tests.support.bases import WATCHED
from tests.support.directories import quick_directory
from tests.support.images import Gallery, live
from tests.support.rooms import Site, World, site
from tests.unit.oci.kitchen import push_base

_numbers = itertools.count(1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def on_sqlite(world: World, sqlite_template: Path) -> Iterator[Site]:
    """The process on SQLite alone: for what is not about SQL. A file of tests calls it `here`."""
    with quick_directory() as home:
        shutil.copyfile(sqlite_template, home / "state.db")
        state = State(f"sqlite:///{home / 'state.db'}", now=world.now)
        yield site(world, state)
        state.close()


@pytest.fixture
def here(world: World, usual_database_url: str) -> Iterator[Site]:
    """The process, by the world's clock."""
    state = State(usual_database_url, now=world.now)
    yield site(world, state)
    state.close()


@pytest.fixture
def on_each(world: World, database_url: str) -> Iterator[Site]:
    """The process on each kind of database: for what is about SQL. A file of tests calls it `here`."""
    state = State(database_url, now=world.now)
    yield site(world, state)
    state.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def registry(home: Path) -> Iterator[Distribution]:
    with distribution(home) as made:
        yield made


@pytest.fixture
def gallery(registry: Distribution) -> Gallery:
    """Repositories and a base of a test's own."""
    name = f"case-{next(_numbers)}"
    push_base(registry, f"{name}/base")
    return Gallery(registry, name, base=f"{name}/base:1.0")


@pytest.fixture
def there(world: World, gallery: Gallery, tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    """A process that follows the base of its images, over a version that is live."""
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    made = site(world, state, **gallery.context(WATCHED))
    live(made, "v1")
    yield made
    state.close()
