"""One cloud for a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import Cloud, Stage, cloud_up


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_up(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def stage(cloud: Cloud, tmp_path: Path) -> Stage:
    """Two regions, nothing published."""
    return cloud.stage(tmp_path)


@pytest.fixture
def one_region(cloud: Cloud, tmp_path: Path) -> Stage:
    """A bucket and a function, nothing published."""
    return cloud.stage(tmp_path, second=False)
