"""kill -9 of a release through an image, at some of its effects on the registry and on the function; then once more.

That every effect is survived is shown in one process by the tests of `reconcile`. Here a real process dies, in front of
a real registry, and the function answers out of the image that was pushed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.foresee import verify
from syncd.runtime.base import Runtime
from syncd.state import images, placements, releases
from syncd.state.state import State
from syncd.target.base import Depth
from syncd.wiring import looker_of, runtimes_of

from tests.crash.driver import Driver, Ended, Job, driving
from tests.emulators.distribution import Distribution, distribution
from tests.fleet import FUNCTION, MODEL, PLACES, Fleet, answered, quick_directory
from tests.unit.oci.kitchen import push_base

PLACE: Final = "hangzhou"
CELLS: Final = 4  # drawn with a seed, beside those that are named; each takes two processes
pytestmark = pytest.mark.needs_docker_registry


@dataclass
class ImageFleet(Fleet):
    """One region, whose function has the model in its image. `repository` is of this case alone."""

    host: str = ""
    repository: str = ""

    def _place(self, place: str, region: str) -> list[str]:
        if place != PLACE:
            return []
        told = super()._place(place, region)
        told[0] = (
            f'[targets.{place}]\nregion = "{region}"\nkind = "image"\n'
            f'repository = "{self.host}/{self.repository}"\nbase = "{self.host}/bases/server:1.0"'
        )
        told[-2] = told[-2].replace('\nmount_dir = "/mnt/m"', "")
        return told

    @property
    def runtime(self) -> Runtime:
        return runtimes_of(self.config)[PLACES[PLACE]]


@dataclass
class Hall:
    """Where the cases play: a registry for all of them, and a fleet for each."""

    home: Path
    driver: Driver
    registry: Distribution
    number: int = 0

    def fleet(self) -> ImageFleet:
        self.number += 1
        home = self.home / str(self.number)
        home.mkdir()
        host = self.registry.origin.removeprefix("http://")
        fleet = ImageFleet(home, host=host, repository=f"case-{self.number}/{MODEL}")
        fleet.make()
        fleet.deliver("v1")
        return fleet

    def work(self, fleet: ImageFleet, crash: str = "") -> tuple[Ended, list[str]]:
        """One life of a process, and the moments it passed."""
        log, errors = fleet.home / "effects.log", fleet.home / "child.log"
        log.unlink(missing_ok=True)
        ended = self.driver.run(
            Job(str(fleet.config_file), fleet.environment, "v1", str(log), crash, errors=str(errors))
        )
        assert ended.killed or ended.code == 0, errors.read_text()[-3000:]
        return ended, [line.partition("\t")[0] for line in log.read_text().splitlines()]


@pytest.fixture
def hall() -> Iterator[Hall]:
    with quick_directory() as home, driving() as driver:
        (home / "registry").mkdir()
        with distribution(home / "registry") as registry:
            push_base(registry)
            yield Hall(home, driver, registry)


def test_a_release_through_an_image_killed_at_an_effect_ends_live(hall: Hall) -> None:
    whole = hall.fleet()
    try:
        _, lines = hall.work(whole)
        check(hall, whole, "not killed")
    finally:
        whole.stop()
    mine = [line for line in lines if line.startswith(("registry", "fc")) and line.endswith("|after")]
    named = [next(line for line in reversed(mine) if line.startswith(kind)) for kind in ("registry", "fc")]
    drawn = random.Random(6).sample([line for line in mine if line not in named], CELLS)
    assert {line.split()[2] for line in mine if line.startswith("registry")} >= {"POST", "PATCH", "PUT"}
    killed = 0
    for line in [*named, *drawn]:
        fleet = hall.fleet()
        try:
            ended, _ = hall.work(fleet, line)
            killed += ended.killed
            reached(fleet, line)
            hall.work(fleet)
            check(hall, fleet, line)
        finally:
            fleet.stop()
    assert killed >= CELLS, "effects did not come up again"


def reached(fleet: ImageFleet, told: str) -> None:
    """Right after the kill: what an alias leads to, if there is one, serves."""
    version, _ = fleet.pointed(PLACE)
    if version:
        answer = fleet.runtime.ask(FUNCTION, "prod", b"{}", 20.0)
        assert answered(answer) == fleet.manifest("v1").digest.hex, told


def check(hall: Hall, fleet: ImageFleet, told: str) -> None:
    """Live, proven to the byte, answered out of the image; one image and one function version."""
    state = State(fleet.url)
    try:
        with state.read() as conn:
            latest = releases.latest(conn, MODEL)
            assert latest is not None, told
            assert latest.phase is ReleasePhase.LIVE, (told, latest.reason)
            version_id = latest.version_id or ""
            assert placements.get(conn, version_id, PLACE).phase is PlacementPhase.SEALED, told
            placed = images.find(conn, version_id, PLACE)
        assert placed is not None, told
        wrong = [f for f in verify(looker_of(fleet.config, state), MODEL, Depth.BYTES) if f.wrong]
        assert not wrong, (told, wrong)
    finally:
        state.close()
    assert hall.registry.tags(fleet.repository) == [placed.tag], told
    assert len(fleet.published(PLACE)) == 1, told
    assert answered(fleet.runtime.ask(FUNCTION, "prod", b"{}", 20.0)) == fleet.manifest("v1").digest.hex, told
    config = fleet._function(PLACE).versions["1"].running
    assert config.config["customContainerConfig"]["image"] == placed.reference.partition("@")[0], told
    assert config.image is not None, told
    assert config.image.endswith(f"@sha256:{placed.digest}"), told
