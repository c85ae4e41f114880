"""A place in memory, and the process that forks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.driver import Driver, driving
from tests.support.directories import quick_directory


@pytest.fixture
def driver() -> Iterator[Driver]:
    with driving() as made:
        yield made


@pytest.fixture
def base() -> Iterator[Path]:
    with quick_directory() as made:
        yield made
