"""Processes that are cut off, that die, and that are paused in the middle of an effect and wake up when it is late."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from syncd.engine.upgrade import upgrade
from syncd.errors import Unavailable
from syncd.reconcile.tick import tick
from syncd.state.state import State
from syncd.target.tree import TreeTarget

from tests.rooms import TARGETS, Site, World, site

STARTS_S: Final = 60.0  # nothing here takes that long: past it, it is a thread that waits for ever


class Killed(BaseException):
    """The process is dead: nothing it still does has an effect."""


class Faults:
    """What goes wrong with the effects of one process. `cut` is of the world, and shared by all of them."""

    def __init__(self, cut: dict[str, str]) -> None:
        self.cut = cut  # region -> when, "before" or "after" the effect
        self.kill_in: tuple[int, str] | None = None  # after this many effects, before or after the next one
        self.pause_at: tuple[str, str] | None = None  # an effect by its name: to stand still there
        self.is_dead = False
        self.paused: Final = threading.Event()
        self.awake: Final = threading.Event()
        self.awake.set()

    def around(self, region: str, name: str, effect: Callable[[], Any]) -> Any:
        """Do an effect, or not, or die of it."""
        self.kill_in, dies = _counted(self.kill_in)
        pauses = self.pause_at[1] if self.pause_at and self.pause_at[0] == name else ""
        self._live("before", dies, pauses)
        if self.cut.get(region) == "before":
            raise Unavailable(f"{region} is cut off")
        result = effect()
        self._live("after", dies, pauses)
        if self.cut.get(region) == "after":
            raise Unavailable(f"the answer of {region} is lost")
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


STORE = frozenset({"put", "upload", "delete", "stat", "open"})
UPLOAD = frozenset({"send", "complete", "abort", "has"})
RUNTIME = frozenset({"read", "latest", "stage", "flip", "split", "ask", "probe"})


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


def process(world: World, url: str, faults: Faults, owner: str, **rooms: object) -> Site:
    """A process over a world and a record, all of whose effects go through its faults."""
    return site(
        world,
        Frozen(url, faults.awake, world.now),
        owner=owner,
        targets={
            name: TreeTarget(name, Faulty(store, TARGETS[name], faults, STORE)) for name, store in world.stores.items()
        },
        runtimes={region: Faulty(runtime, region, faults, RUNTIME) for region, runtime in world.runtimes.items()},
        **rooms,
    )


class Paused:
    """A process that stands still in the middle of an attempt, in a thread of its own."""

    def __init__(self, here: Site, faults: Faults, at: tuple[str, str], attempts_max: int) -> None:
        """Work until an attempt stands still at an effect of this name, or for so many attempts."""
        self.faults = faults
        faults.pause_at = at
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(here, attempts_max), daemon=True)
        self._thread.start()
        while not faults.paused.wait(0.001) and not self._ended.is_set():
            pass
        faults.pause_at = None

    def wake(self) -> None:
        """Let it go on, to its end."""
        self.faults.awake.set()
        assert self._ended.wait(STARTS_S), "it goes on for ever"
        self._thread.join()

    def _run(self, here: Site, attempts_max: int) -> None:
        try:
            with suppress(Killed):
                for _ in range(attempts_max):
                    tick(here.rooms)
                    here.run_one()
                    if self.faults.pause_at is None:
                        break
        finally:
            self._ended.set()


def quick_place() -> Path | None:
    """Where files are quick, and need not outlive the machine."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


@functools.cache
def template() -> Path:
    """A SQLite file that was upgraded, once for all runs of the machine."""
    file = Path(tempfile.mkdtemp(prefix="syncd-template-", dir=quick_place())) / "state.db"
    upgrade(f"sqlite:///{file}")
    return file
