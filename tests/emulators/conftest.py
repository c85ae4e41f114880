"""A local cloud of three regions, made anew for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.localcloud.account import AccountKey
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import REGIONS, STS_KEY, STS_SECRET, STS_TOKEN, Clock


@pytest.fixture
def clock() -> Clock:
    """The cloud's clock, which a test may move."""
    return Clock()


@pytest.fixture
def cloud(tmp_path: Path, clock: Clock) -> Iterator[LocalCloud]:
    """A started cloud."""
    temporary = (
        AccountKey(STS_KEY, STS_SECRET, STS_TOKEN),
        AccountKey("STS.expired", STS_SECRET, STS_TOKEN, expires_at_s=1.0),
    )
    made = LocalCloud(tmp_path / "cloud", REGIONS, temporary_credentials=temporary, clock=clock)
    with made:
        yield made
