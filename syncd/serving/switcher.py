"""Switcher: several models of one function in a memory budget, the least recently used one evicted.

A request holds the model that it began with until it ends. A model is loaded by one thread, outside of every lock;
memory is given back by a thread of its own. So a request for a resident model waits for nobody.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Condition, Thread

from .arena import Arena, ArenaPool
from .errors import NoRoom
from .loader import LoadedModel, arena_bytes, load_sealed
from .seal import ModelSource, SealedVersion, read_seal

_WAIT_S = 600.0


@dataclass
class _Resident:
    model: LoadedModel
    users: int = 0


class ModelSwitcher:
    """The models of one process. Safe from several threads.

    `sources` names where each model is mounted, `budget_bytes` bounds the memory of all models together; `on_load` is
    called with each model before it is used, for example to move it to a GPU, and `on_evict` before its memory goes.
    """

    def __init__(
        self,
        sources: Mapping[str, ModelSource | str | os.PathLike[str]],
        budget_bytes: int,
        *,
        on_load: Callable[[str, LoadedModel], None] | None = None,
        on_evict: Callable[[str, LoadedModel], None] | None = None,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._sources = {name: _as_source(name, source) for name, source in sources.items()}
        self._on_load, self._on_evict = on_load, on_evict
        self._wait_s = wait_s
        self._changed = Condition()
        self._resident: OrderedDict[str, _Resident] = OrderedDict()  # least recently used first
        self._replaced: list[_Resident] = []  # no new request gets them; they go with their last user
        self._loading: set[str] = set()
        self._pool = ArenaPool(budget_bytes)
        self._going = 0  # arenas whose memory is on its way back
        self._releasing: SimpleQueue[_Release | None] = SimpleQueue()
        self._releaser = Thread(target=self._release_all, daemon=True)
        self._releaser.start()

    def close(self) -> None:
        """End the thread that releases memory. Models stay valid for who has them."""
        self._releasing.put(None)
        self._releaser.join()

    def resident(self) -> list[str]:
        """The names of the models in memory, the least recently used first."""
        with self._changed:
            return list(self._resident)

    @contextmanager
    def use(self, name: str) -> Iterator[LoadedModel]:
        """The model for one request: resident, or loaded now. It stays whole until the block ends.

        Raises:
            NotSealed: The model is unknown, or no sealed version of it is mounted.
            WrongBytes, UnreadableMount: It cannot be loaded.
            NoRoom: It does not fit into the budget beside the models that requests use, for too long.
        """
        held = self._acquire(name)
        try:
            yield held.model
        finally:
            self._end(name, held)

    def replace(self, name: str, source: ModelSource | str | os.PathLike[str]) -> LoadedModel:
        """Load another version of a model and let requests from now on have it; those under way keep the old one.

        While it loads, requests get the old version. If it cannot be loaded, they go on getting it.

        Raises: as `use`.
        """
        new = _as_source(name, source)
        with self._changed:
            while name in self._loading:
                self._wait(name)
            self._loading.add(name)
        try:
            loaded = self._load(name, new)
        finally:
            with self._changed:
                self._loading.discard(name)
                self._changed.notify_all()
        with self._changed:
            self._sources[name] = new
            old = self._resident.pop(name, None)
            self._resident[name] = loaded
            if old is not None and old.users:
                self._replaced.append(old)
            elif old is not None:
                self._let_go(name, old)
            self._changed.notify_all()
        return loaded.model

    def _acquire(self, name: str) -> _Resident:
        with self._changed:
            while True:
                found = self._resident.get(name)
                if found is not None:
                    found.users += 1
                    self._resident.move_to_end(name)
                    return found
                if name not in self._loading:
                    self._loading.add(name)
                    break
                self._wait(name)
        try:
            loaded = self._load(name, self._source(name))
            with self._changed:
                loaded.users = 1
                self._resident[name] = loaded
            return loaded
        finally:
            with self._changed:
                self._loading.discard(name)
                self._changed.notify_all()

    def _end(self, name: str, held: _Resident) -> None:
        with self._changed:
            held.users -= 1
            if not held.users:
                if held in self._replaced:
                    self._replaced.remove(held)
                    self._let_go(name, held)
                self._changed.notify_all()

    def _source(self, name: str) -> ModelSource:
        if name not in self._sources:
            raise NoRoom(f"no model {name!r} in this function; it has {', '.join(sorted(self._sources))}")
        return self._sources[name]

    def _load(self, name: str, source: ModelSource) -> _Resident:
        began = time.monotonic()
        version = read_seal(source.directory, source.digest)
        seal_s = time.monotonic() - began
        arena = self._memory(version)
        try:
            model = load_sealed(version, seal_s, arena=arena)
            if self._on_load is not None:
                self._on_load(name, model)
        except BaseException:
            self._put_back(arena, is_free=True)
            raise
        return _Resident(model)

    def _memory(self, version: SealedVersion) -> Arena:
        """An arena for a version: a free one, or a new one within the budget, after evictions."""
        want = arena_bytes(version)
        what = f"{version.model}@{version.version} of {want} bytes"
        if want > self._pool.budget_bytes:
            raise NoRoom(f"{what} is larger than the budget of {self._pool.budget_bytes} bytes")
        with self._changed:
            while True:
                arena = self._pool.free(want)
                if arena is not None:
                    return arena
                if self._pool.reserve(want):
                    break
                if not self._going:
                    self._make_room()
                self._wait(what)
        return Arena(want)

    def _make_room(self) -> None:
        """Begin to drop a free arena, or to evict the model that was used least recently, if one is not in use."""
        surplus = self._pool.surplus()
        if surplus is not None:
            self._going += 1
            self._releasing.put(_Release("", surplus))
            return
        name = next((name for name, each in self._resident.items() if not each.users), None)
        if name is not None:
            self._let_go(name, self._resident.pop(name))

    def _let_go(self, name: str, held: _Resident) -> None:
        self._going += 1
        self._releasing.put(_Release(name, held.model.arena, held.model))

    def _release_all(self) -> None:
        """Give memory back: unmapping gigabytes takes long, and no request waits for it."""
        while (release := self._releasing.get()) is not None:
            if release.model is not None and self._on_evict is not None:
                try:
                    self._on_evict(release.name, release.model)
                except Exception:  # noqa: BLE001 -- a callback that fails must not end all evictions
                    traceback.print_exc()
            self._put_back(release.arena, is_free=release.model is not None)
            del release
            with self._changed:
                self._going -= 1
                self._changed.notify_all()

    def _put_back(self, arena: Arena, *, is_free: bool) -> None:
        is_free = is_free and arena.reset()
        size_bytes = arena.size_bytes
        with self._changed:
            if is_free:
                self._pool.give(arena)
        if not is_free:
            del arena
            with self._changed:
                self._pool.forget(size_bytes)
        with self._changed:
            self._changed.notify_all()

    def _wait(self, what: str) -> None:
        """Wait for a change. Raises NoRoom where there was none for too long."""
        if not self._changed.wait(self._wait_s):
            raise NoRoom(f"{what}: waited {self._wait_s:g} s for other requests to end; raise the budget or the number")


@dataclass
class _Release:
    name: str
    arena: Arena
    model: LoadedModel | None = None


def _as_source(name: str, source: ModelSource | str | os.PathLike[str]) -> ModelSource:
    return source if isinstance(source, ModelSource) else ModelSource(name, Path(source))
