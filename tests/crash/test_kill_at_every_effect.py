"""kill -9 before and after every single effect of a release, of a rollback and of a first release; then start again.

The effects are found by runs that are not killed, and none is left out. Between two effects of one thread there is
one moment, which is after the one and before the other: it is one case. A case begins with the same record and the
same cloud, restored from a copy.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.crash.driver import Driver, driving
from tests.crash.stage import Stage
from tests.crash.world import check_any_time, check_barrier, check_live, check_undone, sent_again
from tests.fleet import Fleet, quick_directory

Check = Callable[[Fleet], None]
SHARDS: Final = 4
SHARE: Final = 0.1
CANARY: Final = 'waves = [["cn-hangzhou"]]\nsteps = ["10% 1s"]\njudge_samples = 2'
CANARY_KILLS: Final = 40  # drawn with a seed where there are more; each takes some seconds, for its pauses
DOUBLES: Final = 20


def is_live(name: str) -> Check:
    """That a version is live everywhere."""
    return partial(check_live, name=name)


@dataclass
class Tally:
    """What a run of many cases came to."""

    scenario: str
    effects: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    not_met: int = 0  # the effect did not come up in that run: there was nothing to be killed at
    parts_sent_again: int = 0
    parts_sent_again_max: int = 0
    seconds: float = 0.0
    slowest_restart_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def tell(self) -> None:
        """Print it, and write it where `SYNCD_CRASH_REPORT` says."""
        rows = {key: value for key, value in vars(self).items() if key not in {"wrong", "kinds"}} | dict(self.kinds)
        print("\n" + "\n".join(f"{key:>24}  {value}" for key, value in rows.items()))  # noqa: T201 -- the summary
        where = os.environ.get("SYNCD_CRASH_REPORT")
        if where:
            path = Path(where)
            path.mkdir(parents=True, exist_ok=True)
            (path / f"{self.scenario}.json").write_text(json.dumps({**vars(self), "kinds": dict(self.kinds)}, indent=1))


@pytest.fixture
def driver() -> Iterator[Driver]:
    with driving() as made:
        yield made


@pytest.fixture
def base() -> Iterator[Path]:
    with quick_directory() as made:
        yield made


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_release_killed_at_any_effect_ends_live(base: Path, driver: Driver, shard: int) -> None:
    stage = Stage(base, driver)
    try:
        stage.settle("v1")
        everything, effects = stage.moments("v2")
        tally = Tally(f"release-{shard + 1}-of-{SHARDS}", effects)
        _kill_at_each(stage, everything[shard::SHARDS], "v2", is_live("v2"), tally)
    finally:
        stage.fleet.stop()


def test_a_rollback_killed_at_any_effect_ends_live(base: Path, driver: Driver) -> None:
    stage = Stage(base, driver)
    try:
        stage.settle("v1", "v2")
        everything, effects = stage.moments("")
        assert not [line for line in everything if line.startswith(("oss", "nas"))], "a rollback moves no byte"
        _kill_at_each(stage, everything, "", is_live("v1"), Tally("rollback", effects))
    finally:
        stage.fleet.stop()


def test_a_first_release_killed_at_any_call_of_a_function_ends_live(base: Path, driver: Driver) -> None:
    """The aliases do not exist yet: they are created, not moved."""
    stage = Stage(base, driver, delivered=("v1",))
    try:
        stage.settle()
        calls = [line for line in stage.moments("v1")[0] if line.startswith("fc")]
        assert [line for line in calls if "create_alias prod " in line]
        _kill_at_each(stage, calls, "v1", is_live("v1"), Tally("first-release", len(calls)))
    finally:
        stage.fleet.stop()


@pytest.mark.parametrize("end", ["live", "cancelled"])
def test_a_canary_killed_at_an_effect_of_its_steps_ends_whole(base: Path, driver: Driver, end: str) -> None:
    """Two waves, each with a share and a pause; to its end, or cancelled in the first pause."""
    stage = Stage(base, driver, strategy=CANARY)
    try:
        stage.settle("v1")
        stage.cancels = end == "cancelled"
        moments = [line for line in stage.moments("v2")[0] if _is_of_steps(line)]
        assert [line for line in moments if "update_alias prod " in line]
        chosen = random.Random(7).sample(moments, min(CANARY_KILLS, len(moments)))
        check = is_live("v2") if end == "live" else partial(check_undone, name="v1")
        _kill_at_each(stage, chosen, "v2", check, Tally(f"canary-{end}", len(moments)))
    finally:
        stage.fleet.stop()


def test_a_rollback_of_a_canary_killed_at_a_call_of_a_function_ends_live(base: Path, driver: Driver) -> None:
    stage = Stage(base, driver, strategy=CANARY)
    try:
        stage.settle("v1", "v2")
        calls = [line for line in stage.moments("")[0] if line.startswith("fc")]
        assert not [line for line in calls if "update_alias prod #4" in line], "it moves each alias once, at once"
        _kill_at_each(stage, calls, "", is_live("v1"), Tally("canary-rollback", len(calls)))
    finally:
        stage.fleet.stop()


def _is_of_steps(line: str) -> bool:
    """Whether an effect is one that only a release in steps has, or has in the middle of them."""
    return any(word in line for word in ("rollouts", "canaries", "flips", "update_alias prod ", "releases", "invoke"))


def test_a_release_killed_twice_ends_live(base: Path, driver: Driver) -> None:
    """Twenty pairs of moments, drawn with a seed."""
    stage = Stage(base, driver)
    chance = random.Random(20)
    try:
        stage.settle("v1")
        effects = stage.moments("v2")[1]
        tally, total = Tally("two-kills", effects), 2 * effects
        for _ in range(DOUBLES):
            first = chance.randrange(1, total)
            second = chance.randrange(1, max(2, total - first))
            _case(stage, [f"@{first}", f"@{second}"], "v2", is_live("v2"), tally)
        _judge(tally)
    finally:
        stage.fleet.stop()


def _kill_at_each(stage: Stage, lines: list[str], wish: str, ended: Check, tally: Tally) -> None:
    for line in lines:
        tally.kinds[line.split()[0]] += 1
        _case(stage, [line], wish, ended, tally)
    _judge(tally)


def _case(stage: Stage, crashes: list[str], wish: str, check: Check, tally: Tally) -> None:
    began = time.monotonic()
    stage.again()
    told = " then ".join(crashes)
    lives: list[list[str]] = []
    for crash in crashes:
        ended, lines = stage.work(wish, crash)
        lives.append(lines)
        tally.killed += ended.killed
        tally.not_met += not ended.killed
        if not ended.killed and ended.code:
            tally.wrong.append(f"{told}: the process ended with {ended.code}: {stage.child_log()}")
            return
        _held(stage, wish, told, tally)
    ended, lines = stage.work(wish)
    tally.slowest_restart_s = max(tally.slowest_restart_s, ended.seconds)
    if ended.code:
        tally.wrong.append(f"{told}: started again it ended with {ended.code}: {stage.child_log()}")
        return
    _held(stage, wish, told, tally)
    try:
        check(stage.fleet)
    except AssertionError as wrong:
        tally.wrong.append(f"{told}: {wrong}")
    if len(crashes) == 1:
        _count(stage, lives[0], lines, told, tally)
    tally.seconds = round(tally.seconds + time.monotonic() - began, 3)


def _held(stage: Stage, wish: str, told: str, tally: Tally) -> None:
    """What holds at any time, looked at right after the kill."""
    try:
        check_any_time(stage.fleet, stage.names, SHARE if stage.fleet.strategy else 0.0)
        if wish:
            check_barrier(stage.fleet, stage.fleet.manifest(stage.names[0]), stage.fleet.manifest(wish))
    except AssertionError as wrong:
        tally.wrong.append(f"{told}: right after it: {wrong}")


def _count(stage: Stage, first: list[str], second: list[str], told: str, tally: Tally) -> None:
    again, on_their_way = sent_again(stage.fleet, first, second)
    tally.parts_sent_again += again
    tally.parts_sent_again_max = max(tally.parts_sent_again_max, again)
    if again > on_their_way:
        tally.wrong.append(f"{told}: {again} parts were sent again, {on_their_way} were on their way")


def _judge(tally: Tally) -> None:
    tally.tell()
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.killed} cases:\n" + "\n".join(tally.wrong)
    assert tally.not_met <= max(3, tally.killed // 10), "too many effects did not come up again"
