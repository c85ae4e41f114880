"""Many cases of one scenario: each restored from a copy, killed at a moment, started again, and checked."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.crash.stage import Stage
from tests.crash.world import check_live
from tests.support.fleet import PLACES, Fleet
from tests.support.lengths import one_of_each

Check = Callable[[Fleet], None]
CANARY: Final = 'waves = [["cn-hangzhou"]]\nsteps = ["10% 1s"]\njudge_samples = 2'
_PLACE: Final = re.compile("|".join(sorted({*PLACES, *PLACES.values()})))


def is_live(name: str) -> Check:
    """That a version is live everywhere."""
    return partial(check_live, name=name)


def chosen(moments: Iterable[str]) -> list[str]:
    """Of each kind of effect one moment before it and one after it, from region to region; or all of them."""
    return one_of_each(moments, _kind)


def _kind(line: str) -> str:
    name, _, when = line.rpartition("|")
    return f"{_PLACE.sub('*', name.rpartition(' #')[0])}|{when}"


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


def kill_at_each(stage: Stage, lines: list[str], wish: str, ended: Check, tally: Tally) -> None:
    """Play a case for each moment, and find nothing wrong."""
    for line in lines:
        tally.kinds[line.split()[0]] += 1
        case(stage, [line], wish, ended, tally)
    judge(tally)


def case(stage: Stage, crashes: list[str], wish: str, check: Check, tally: Tally) -> None:
    """Be killed at each of these moments, one life after another, then come to an end; what was wrong is counted."""
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
        stage.check_held(wish)
    except AssertionError as wrong:
        tally.wrong.append(f"{told}: right after it: {wrong}")


def _count(stage: Stage, first: list[str], second: list[str], told: str, tally: Tally) -> None:
    again, on_their_way = stage.sent_again(first, second)
    tally.parts_sent_again += again
    tally.parts_sent_again_max = max(tally.parts_sent_again_max, again)
    if again > on_their_way:
        tally.wrong.append(f"{told}: {again} parts were sent again, {on_their_way} were on their way")


def judge(tally: Tally) -> None:
    """Tell how it went. Raises AssertionError where anything was wrong."""
    tally.tell()
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.killed} cases:\n" + "\n".join(tally.wrong)
    assert tally.not_met <= max(3, tally.killed // 10), "too many effects did not come up again"
