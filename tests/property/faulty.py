"""Processes that are cut off, that die, and that are paused in the middle of an effect and wake up when it is late."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import sqlalchemy as sa
from syncd.errors import NotFound, OutcomeUnknown, Unavailable
from syncd.reconcile.controller.tick import tick
from syncd.runtime.fc import alias as fc_alias
from syncd.runtime.memory import MemoryRuntime
from syncd.state.releases import steps
from syncd.state.state import State
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.function import AliasState

from tests.support.rooms import TARGETS, TRANSFER, Site, World, site

STARTS_S: Final = 60.0  # nothing here takes that long: past it, it is a thread that waits for ever


class Killed(BaseException):
    """The process is dead: nothing it still does has an effect."""


class Faults:
    """What goes wrong with the effects of one process. `cut` is of the world, and shared by all of them."""

    def __init__(self, cut: dict[str, str]) -> None:
        self.cut = cut  # region -> when, "before" or "after" the effect
        self.kill_in: tuple[int, str] | None = None  # after this many effects, before or after the next one
        self.pause_at: tuple[str, str] | None = None  # an effect by its name: to stand still there
        self.lose: tuple[str, str] | None = None  # an effect by its name: cut off there, once
        self.is_dead = False
        self.paused: Final = threading.Event()
        self.awake: Final = threading.Event()
        self.awake.set()

    def around(self, region: str, name: str, effect: Callable[[], Any]) -> Any:
        """Do an effect, or not, or die of it."""
        self.kill_in, dies = _counted(self.kill_in)
        pauses = self.pause_at[1] if self.pause_at and self.pause_at[0] == name else ""
        self._live("before", dies, pauses)
        lost = OutcomeUnknown if name == "write" else Unavailable
        cut = self.cut.get(region, "")
        if self.lose and self.lose[0] == name:
            cut, self.lose = self.lose[1], None
        if cut == "before":
            raise lost(f"{region} is cut off")
        result = effect()
        self._live("after", dies, pauses)
        if cut == "after":
            raise lost(f"the answer of {region} is lost")
        return result

    def _live(self, moment: str, dies: str, pauses: str) -> None:
        if pauses == moment:
            self.pause_at = None
            self.awake.clear()
            self.paused.set()
            self.awake.wait()
            self.paused.clear()
        self.is_dead |= dies == moment
        if self.is_dead:
            raise Killed


def _counted(planned: tuple[int, str] | None) -> tuple[tuple[int, str] | None, str]:
    if planned is None:
        return None, ""
    left, when = planned
    return (None, when) if left == 0 else ((left - 1, when), "")


class Faulty:
    """A store, an upload or a runtime whose effects go through the faults."""

    def __init__(self, real: Any, region: str, faults: Faults, effects: frozenset[str]) -> None:
        self._real, self._region, self._faults, self._effects = real, region, faults, effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in self._effects:
            return found

        @functools.wraps(found)
        def effect(*arguments: Any, **named: Any) -> Any:
            result = self._faults.around(self._region, name, lambda: found(*arguments, **named))
            return Faulty(result, self._region, self._faults, UPLOAD) if name == "upload" else result

        return effect


class Platform(Faulty):
    """A region's functions as the platform has them: an alias is read, written over blindly, and read back.

    It can be cut off, killed or paused at each of these calls; "move" are the moments around all of them.
    """

    def __init__(self, real: MemoryRuntime, region: str, faults: Faults) -> None:
        super().__init__(real, region, faults, RUNTIME)
        self._calls = fc_alias.AliasCalls(self.read, self._look, self._write)

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        return self._moved(lambda: fc_alias.flip(self._calls, function, alias, to, expect))

    def split(self, function: str, alias: str, to: str, expect: str, share: float) -> AliasState:
        return self._moved(lambda: fc_alias.split(self._calls, function, alias, to, expect, share))

    def _moved(self, move: Callable[[], AliasState]) -> AliasState:
        moved: AliasState = self._faults.around("", "move", move)
        return moved

    def _look(self, function: str, version: str) -> None:
        if version not in self._real.functions[function].versions:
            raise NotFound(f"{function} has no version {version}")

    def _write(self, function: str, alias: str, now: AliasState, to: AliasState) -> None:
        self._faults.around(self._region, "write", lambda: self._written(function, alias, now, to))

    def _written(self, function: str, alias: str, now: AliasState, to: AliasState) -> None:
        with self._real.lock:
            aliases = self._real.functions[function].aliases
            is_there = alias in aliases
            if is_there == (now.function_version is None):
                raise OutcomeUnknown(f"{function}:{alias} is {'' if is_there else 'not '}there")
            if to.function_version is None:
                del aliases[alias]
            else:
                aliases[alias] = to


STORE = frozenset({"put", "upload", "delete", "stat", "open"})
UPLOAD = frozenset({"send", "complete", "abort", "has"})
RUNTIME = frozenset({"read", "latest", "stage", "ask", "probe", "retire", "descriptions"})


class Frozen(State):
    """The record as a process sees it that may be paused: meanwhile its other threads do not write either."""

    def __init__(self, url: str, awake: threading.Event, now: Callable[[sa.Connection], Any]) -> None:
        super().__init__(url, now=now)
        self._awake = awake

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self._awake.wait()
        with super().write() as conn:
            yield conn


def process(world: World, url: str, faults: Faults, owner: str, **context: object) -> Site:
    """A process over a world and a record, all of whose effects go through its faults."""
    return site(
        world,
        Frozen(url, faults.awake, world.now),
        owner=owner,
        targets={
            name: TreeTarget(name, Faulty(store, TARGETS[name], faults, STORE), TRANSFER.retry)
            for name, store in world.stores.items()
        },
        runtimes={region: Platform(runtime, region, faults) for region, runtime in world.runtimes.items()},
        **context,
    )


class Paused:
    """A process that stands still in the middle of an attempt, in a thread of its own."""

    def __init__(self, here: Site, faults: Faults, at: tuple[str, str], attempts_max: int) -> None:
        """Work until an attempt stands still at an effect of this name, or for so many attempts."""
        self.faults, self.at = faults, at
        faults.pause_at = at
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(here, attempts_max), daemon=True)
        self._thread.start()
        while not faults.paused.wait(0.001) and not self._ended.is_set():
            pass
        faults.pause_at = None
        with here.state.read() as conn:
            running = [step for step in steps.open_steps(conn) if step.owner == here.context.owner]
        self.subject = running[0].subject if self.stands and running else ""
        self.release = running[0].release_id if self.stands and running else ""

    @property
    def stands(self) -> bool:
        """Whether it has come to that effect, and has not been woken."""
        return self.faults.paused.is_set()

    def wake(self) -> None:
        """Let it go on, to its end."""
        self.faults.awake.set()
        assert self._ended.wait(STARTS_S), "it goes on for ever"
        self._thread.join()

    def _run(self, here: Site, attempts_max: int) -> None:
        try:
            with suppress(Killed):
                for _ in range(attempts_max):
                    moved = tick(here.context)
                    if not (here.run_one() or moved) or self.faults.pause_at is None:
                        break
        finally:
            self._ended.set()
