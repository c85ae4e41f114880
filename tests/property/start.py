"""The start of a machine: two models live in every region, made once and copied for each run."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from syncd.engine.upgrade import create
from syncd.reconcile.requests.operations import publish
from syncd.runtime.memory import MemoryFunction
from syncd.state.state import State
from syncd.store.memory import StoredObject

from tests.support.rooms import LORA, SDXL, World, site

MODELS: Final = (SDXL, LORA)


@dataclass(frozen=True)
class Start:
    """A directory with a record and a registry, and what the clouds hold besides."""

    home: Path
    objects: dict[str, dict[str, StoredObject]]
    functions: dict[str, dict[str, MemoryFunction]]
    time: datetime

    def copied(self) -> tuple[Path, World]:
        """A directory of its own, and a world that has the same in it."""
        home = Path(tempfile.mkdtemp(prefix="syncd-machine-", dir=quick_place()))
        shutil.copytree(self.home, home, dirs_exist_ok=True)
        world = World(home / "registry")
        world.time = self.time
        for name, objects in self.objects.items():
            world.stores[name].objects = deepcopy(objects)
        for region, functions in self.functions.items():
            world.runtimes[region].functions.update(deepcopy(functions))
        return home, world


@functools.cache
def start() -> Start:
    """The first version of each model is live."""
    home = Path(tempfile.mkdtemp(prefix="syncd-start-", dir=quick_place()))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    url = url_of(home)
    create(url)
    world = World(home / "registry")
    state = State(url, now=world.now)
    here = site(world, state)
    for model in MODELS:
        world.deliver(model, "v1")
        publish(here.requester, model, "v1")
    here.settle(patient=True)
    here.assert_record_is_true()
    state.close()
    return Start(
        home,
        {name: store.objects for name, store in world.stores.items()},
        {region: runtime.functions for region, runtime in world.runtimes.items()},
        world.time,
    )


def url_of(home: Path) -> str:
    return f"sqlite:///{home / 'state.db'}"


def quick_place() -> Path | None:
    """Where files are quick, and need not outlive the machine."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None
