"""The short form of the fleet: two controllers and three workers, each kind of process killed, one stopped."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.fleet import Play
from tests.foreign.world import World

KINDS = ["kill a controller", "kill a worker", "stop a controller"]


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that the database server may enter, which is another user where root runs the tests."""
    root = Path(tempfile.mkdtemp(prefix="syncd-fleet-"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def test_a_fleet_whose_processes_are_killed_releases_everything_and_agrees_with_every_region(root: Path) -> None:
    with World(root / "world", database="postgresql", seed=3) as world:
        report = Play(world, 3).run(0, KINDS)
    assert report.wrong == [], report.table()
    assert report.releases >= len(KINDS) + 1
    assert (len(report.after_kill_s), len(report.after_stop_s)) == (1, 1), report.table()
