"""The stage of the kill tests: a fleet, a copy of it for each case, and the process that forks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.crash.driver import Driver, Ended, Job
from tests.crash.effects import AFTER, BEFORE
from tests.crash.world import check_any_time, check_barrier, sent_again
from tests.support.fleet import Fleet

AHEAD_S: Final = 300.0  # more than any lease: what was left to itself for as long is gone on with
SHARE: Final = 0.1


class Stage:
    """A fleet, a copy of it to begin each case from, and the process that forks."""

    def __init__(
        self,
        base: Path,
        driver: Driver,
        *,
        delivered: tuple[str, ...] = ("v1", "v2"),
        strategy: str = "",
        binding: str = "",
        fleet: Fleet | None = None,
    ) -> None:
        self.base = base
        self.driver = driver
        self.names = delivered
        self.cancels = False  # whether a release is cancelled in its first pause
        self.does = ""  # what is done instead of a release
        self.share = SHARE if strategy else 0.0  # that an alias may have for a second version
        self.fleet = fleet or Fleet(base / "now", strategy=strategy, binding=binding)
        self.fleet.home.mkdir()
        self.fleet.make()
        for name in delivered:
            self.fleet.deliver(name)

    def work(self, version: str, crash: str = "") -> tuple[Ended, list[str]]:
        """One life of the process, and the effects it had."""
        log = self.base / "effects.log"
        log.unlink(missing_ok=True)
        errors = self.base / "child.log"
        errors.unlink(missing_ok=True)
        job = Job(
            str(self.fleet.config_file),
            self.fleet.environment,
            version,
            str(log),
            crash,
            str(errors),
            self.cancels,
            self.does,
            AHEAD_S if self.does and not crash else 0.0,
        )
        ended = self.driver.run(job)
        return ended, log.read_text().splitlines() if log.exists() else []  # each "<effect> #n|before<TAB>thread"

    def settle(self, *requests: str) -> None:
        """Do these without a kill, and keep what there is then."""
        for version in requests:
            ended, _ = self.work(version)
            assert ended.code == 0, (self.base / "child.log").read_text()[-2000:]
        self.fleet.stop()
        self.fleet.save(self.base / "copy")
        self.fleet.start()

    def again(self) -> None:
        """Begin a case."""
        self.fleet.restore(self.base / "copy")

    def check_held(self, wish: str) -> None:
        """What holds at any time, right after a kill too."""
        check_any_time(self.fleet, self.names, self.share)
        if wish:
            check_barrier(self.fleet, self.fleet.manifest(self.names[0]), self.fleet.manifest(wish))

    def sent_again(self, first: list[str], second: list[str]) -> tuple[int, int]:
        """Parts that two lives sent twice, and those that were on their way when the first one was killed."""
        return sent_again(self.fleet, first, second)

    def child_log(self) -> str:
        return (self.base / "child.log").read_text()[-3000:]

    def moments(self, version: str) -> tuple[list[str], int]:
        """Every moment to be killed at, and how many effects they lie around."""
        found: dict[str, None] = {}
        effects: set[str] = set()
        for _ in range(2):  # some effects come up in some runs only
            self.again()
            ended, lines = self.work(version)
            assert ended.code == 0, self.child_log()
            new = [line for line in lines if _effect(line) not in effects]
            found |= dict.fromkeys(_distinct(lines, set(new)))
            effects |= {_effect(line) for line in new}
        return list(found), len(effects)


def _effect(line: str) -> str:
    return line.partition("|")[0]


def _distinct(lines: list[str], wanted: set[str]) -> Iterator[str]:
    """The moments among `lines`, less each `before` that only repeats the `after` of its thread's last effect."""
    last: dict[str, str] = {}
    for line in lines:
        text, _, thread = line.partition("\t")
        before = last.get(thread, "")
        is_same = text.endswith(BEFORE) and before.partition("\t")[0].endswith(AFTER) and before in wanted
        last[thread] = line
        if line in wanted and not is_same and text.endswith((BEFORE, AFTER)):
            yield text
