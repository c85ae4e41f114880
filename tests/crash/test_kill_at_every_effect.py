"""kill -9 before and after every single effect of a release, of a rollback and of a first release; then start again.

The effects are found by runs that are not killed. `make long` meets every moment before and after them; `make test`
meets one before and one after each kind of effect. Between two effects of one thread there is one moment, which is
after the one and before the other: it is one case. A case begins with the same record and the same cloud, restored
from a copy.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.crash.cases import CANARY, Tally, case, chosen, is_live, judge, kill_at_each
from tests.crash.driver import Driver
from tests.crash.stage import Stage
from tests.crash.world import check_undone
from tests.support.lengths import LONG, TIMES

SHARDS: Final = 4 if LONG else 2
DOUBLES: Final = 2 * TIMES


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_release_killed_at_any_effect_ends_live(base: Path, driver: Driver, shard: int) -> None:
    stage = Stage(base, driver)
    try:
        stage.settle("v1")
        everything, effects = stage.moments("v2")
        tally = Tally(f"release-{shard + 1}-of-{SHARDS}", effects)
        kill_at_each(stage, chosen(everything)[shard::SHARDS], "v2", is_live("v2"), tally)
    finally:
        stage.fleet.stop()


def test_a_rollback_killed_at_any_effect_ends_live(base: Path, driver: Driver) -> None:
    stage = Stage(base, driver)
    try:
        stage.settle("v1", "v2")
        everything, effects = stage.moments("")
        assert not [line for line in everything if line.startswith(("oss", "nas"))], "a rollback moves no byte"
        kill_at_each(stage, chosen(everything), "", is_live("v1"), Tally("rollback", effects))
    finally:
        stage.fleet.stop()


def test_a_first_release_killed_at_any_call_of_a_function_ends_live(base: Path, driver: Driver) -> None:
    """The aliases do not exist yet: they are created, not moved."""
    stage = Stage(base, driver, delivered=("v1",))
    try:
        stage.settle()
        calls = [line for line in stage.moments("v1")[0] if line.startswith("fc")]
        assert [line for line in calls if "create_alias prod " in line]
        kill_at_each(stage, chosen(calls), "v1", is_live("v1"), Tally("first-release", len(calls)))
    finally:
        stage.fleet.stop()


@pytest.mark.parametrize("end", ["live", "cancelled"])
def test_a_canary_killed_at_an_effect_of_its_steps_ends_whole(base: Path, driver: Driver, end: str) -> None:
    """Two waves, each with a share and a pause; to its end, or cancelled in the first pause."""
    stage = Stage(base, driver, strategy=CANARY)
    try:
        stage.settle("v1")
        stage.cancels = end == "cancelled"
        moments, effects = stage.moments("v2")
        assert [line for line in moments if "update_alias prod " in line]
        played = chosen(line for line in moments if LONG or _is_of_steps(line))
        check = is_live("v2") if end == "live" else partial(check_undone, name="v1")
        kill_at_each(stage, played, "v2", check, Tally(f"canary-{end}", effects))
    finally:
        stage.fleet.stop()


def test_a_rollback_of_a_canary_killed_at_an_effect_ends_live(base: Path, driver: Driver) -> None:
    stage = Stage(base, driver, strategy=CANARY)
    try:
        stage.settle("v1", "v2")
        moments, effects = stage.moments("")
        assert not [line for line in moments if "update_alias prod #4" in line], "it moves each alias once, at once"
        kill_at_each(stage, chosen(moments), "", is_live("v1"), Tally("canary-rollback", effects))
    finally:
        stage.fleet.stop()


def _is_of_steps(line: str) -> bool:
    """Whether an effect is of what comes after the copying, in which steps make no difference."""
    words = ("fc ", "rollouts", "canaries", "flips", "releases", "holds")
    return any(word in line for word in words)


def test_a_release_killed_twice_ends_live(base: Path, driver: Driver) -> None:
    """Pairs of moments, drawn with a seed: two, or twenty in `make long`."""
    stage = Stage(base, driver)
    chance = random.Random(20)
    try:
        stage.settle("v1")
        effects = stage.moments("v2")[1]
        tally, total = Tally("two-kills", effects), 2 * effects
        for _ in range(DOUBLES):
            first = chance.randrange(1, total)
            second = chance.randrange(1, max(2, total - first))
            case(stage, [f"@{first}", f"@{second}"], "v2", is_live("v2"), tally)
        judge(tally)
    finally:
        stage.fleet.stop()
