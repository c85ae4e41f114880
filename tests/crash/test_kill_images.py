"""kill -9 before and after every effect of a release from one image to the next; then start again.

A real process dies, in front of a real registry, and functions answer out of the images that were pushed. Effects are
what changes something: requests to the registry, calls of functions, commits. A look at the registry changes nothing:
to die at one is to die after the effect before it. Of each kind one moment is chosen, of the calls those that
matter most, and one commit; `make long` meets every moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.crash.cases import Tally, chosen, kill_at_each
from tests.crash.driver import Driver
from tests.crash.images import IMAGED, ImageStage, chunks
from tests.emulators.distribution import Distribution, distribution
from tests.support.lengths import LONG
from tests.unit.oci.kitchen import push_base

CALLS: Final = ("update_function", "publish_function_version", "update_alias prod ")
pytestmark = pytest.mark.needs_docker_registry


@pytest.fixture
def registry(base: Path) -> Iterator[Distribution]:
    (base / "images").mkdir()
    with distribution(base / "images") as made:
        push_base(made)
        yield made


def test_a_release_from_image_to_image_killed_at_an_effect_ends_live(
    base: Path, driver: Driver, registry: Distribution
) -> None:
    stage = ImageStage(base, driver, registry, base / "images/blobs")
    try:
        stage.settle("v1")
        moments, effects = stage.moments("v2")
        stage.sent_whole = chunks(moments)
        assert {line.split()[2] for line in moments if line.startswith("registry")} == {"POST", "PATCH", "PUT"}
        assert [line for line in moments if "update_alias prod " in line], stage.child_log()
        tally = Tally("images", effects)
        kill_at_each(stage, _met(moments), "v2", lambda _: stage.check_live("v2"), tally)
        assert tally.parts_sent_again_max <= len(IMAGED), "a chunk for each of the two that are sent at once"
    finally:
        stage.fleet.stop()


def _met(moments: list[str]) -> list[str]:
    if LONG:
        return moments
    kinds = chosen(moments)
    noted = [line for line in kinds if line.startswith("sql layer_uploads")]
    calls = [line for line in kinds if any(call in line for call in CALLS)]
    return [line for line in kinds if line.startswith("registry")] + calls + noted[-1:]
