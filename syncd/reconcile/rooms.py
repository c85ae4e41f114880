"""What the passes work with. Built by wiring; holds no state of its own but the two signals of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.engine.base import Engine
from syncd.plan.backoff import Patience
from syncd.plan.fleet import Fleet
from syncd.plan.gate import Gates
from syncd.plan.strategy import Strategies
from syncd.registry.base import Registry
from syncd.runtime.base import Runtime
from syncd.signals.base import Signal
from syncd.state.state import State
from syncd.target.base import Target
from syncd.transfer import TransferSettings

if TYPE_CHECKING:
    from syncd.target.image import ImageTarget  # it brings httpx, and most commands contact nobody


@dataclass(frozen=True)
class Rooms:
    """The concrete rooms behind their seams, and the few numbers the passes need."""

    state: State
    engine: Engine
    fleet: Fleet
    registries: Mapping[str, Registry]
    targets: Mapping[str, Target]
    runtimes: Mapping[str, Runtime]
    transfer: TransferSettings
    patience: Patience
    lease_s: float
    owner: str  # this process, new at each boot
    chance: Callable[[], float]
    gates: Gates = field(default_factory=Gates)
    strategies: Strategies = field(default_factory=Strategies)
    signals: Mapping[str, Signal] = field(default_factory=dict)
    images: Mapping[str, ImageTarget] = field(default_factory=dict)
    wake: threading.Event = field(default_factory=threading.Event)  # something changed: look now
    draining: threading.Event = field(default_factory=threading.Event)  # begin nothing, stop what runs
