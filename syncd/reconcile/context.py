"""The dependencies of the passes: a read-only world, the context of a process that works on it, and one attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from syncd.advice.facts import ServingLimits
from syncd.cost.price_list import PriceList
from syncd.cost.shipped import shipped
from syncd.errors import Cancelled
from syncd.plan.gate import Gates
from syncd.plan.quota import Quota
from syncd.plan.retention import RetentionPolicy
from syncd.plan.routing import Routing
from syncd.plan.strategy import Strategies
from syncd.trust.policy import TrustPolicy

if TYPE_CHECKING:  # most commands only need the record, and contact no region
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from syncd.engine.base import Engine
    from syncd.plan.backoff import RetryPolicy
    from syncd.plan.topology import Topology
    from syncd.registry.base import Registry
    from syncd.runtime.base import Runtime
    from syncd.signals.base import Signal
    from syncd.state.records import Release, Step
    from syncd.state.state import State
    from syncd.targets.base import Target
    from syncd.targets.image import ImageTarget
    from syncd.transfer import CopySettings


@dataclass(frozen=True, kw_only=True)
class World:
    """The record, the configured shape, and the seams to the places that syncd reads. It has no engine."""

    state: State
    topology: Topology
    registries: Mapping[str, Registry]
    targets: Mapping[str, Target]
    runtimes: Mapping[str, Runtime]
    strategies: Strategies = field(default_factory=Strategies)
    trust: TrustPolicy = field(default_factory=TrustPolicy)
    images: Mapping[str, ImageTarget] = field(default_factory=dict)
    quotas: Mapping[str, Quota] = field(default_factory=dict)  # by runtime
    limit_at: Callable[[datetime], int] = lambda _at: 0  # bytes a second that a process may send then; 0: no limit
    prices: Callable[[], PriceList] = shipped
    site: str = "china"  # of the account, for prices
    limits: ServingLimits = field(default_factory=ServingLimits)
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)


@dataclass(frozen=True, kw_only=True)
class Context(World):
    """A world that a process works on: with the engine that runs steps, and the limits of the work.

    It holds no state of its own but the signals of the process.
    """

    engine: Engine
    transfer: CopySettings
    patience: RetryPolicy
    lease_s: float
    owner: str  # this process, new at each boot
    chance: Callable[[], float]
    gates: Gates = field(default_factory=Gates)
    signals: Mapping[str, Signal] = field(default_factory=dict)
    keys: Callable[[], frozenset[str]] = frozenset  # the fingerprints of the access keys in use now
    routing: Callable[[Connection], Routing] = lambda _conn: Routing()  # what is left to workers of regions now
    is_shared: bool = False  # other processes may work on this record: a worker that is cut off stops within its lease
    wake: threading.Event = field(default_factory=threading.Event)  # something changed: run a pass now
    draining: threading.Event = field(default_factory=threading.Event)  # begin nothing, stop what runs
    yielding: threading.Event = field(default_factory=threading.Event)  # stop what runs, others go on with it


@dataclass
class Attempt:
    """One attempt under way. `stop` is set when it has to end: cancelled, fenced off, or the process drains."""

    context: Context
    step: Step
    release: Release
    stop: threading.Event = field(default_factory=threading.Event)
    stop_wanted: bool = False
    on_beat: list[Callable[[], None]] = field(default_factory=list)
    pin: str = ""  # of the version in the registry, as soon as it is known

    def waiting(self, what: str) -> None:
        """Called between two polls of the platform. Raises Cancelled when the attempt has to end."""
        if self.stop.is_set():
            raise Cancelled(f"stopped while {what}")


StepHandler = Callable[[Attempt], None]
