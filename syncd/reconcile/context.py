"""What the passes work with. Built by wiring; holds no state of its own but the two signals of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.engine.base import Engine
from syncd.errors import Cancelled
from syncd.plan.backoff import RetryPolicy
from syncd.plan.gate import Gates
from syncd.plan.strategy import Strategies
from syncd.plan.topology import Topology
from syncd.registry.base import Registry
from syncd.runtime.base import Runtime
from syncd.signals.base import Signal
from syncd.state.records import Release, Step
from syncd.state.state import State
from syncd.targets.base import Target
from syncd.transfer import CopySettings

if TYPE_CHECKING:
    from syncd.targets.image import ImageTarget  # it brings httpx, and most commands contact nobody


@dataclass(frozen=True)
class Context:
    """The concrete rooms behind their seams, and the few numbers the passes need."""

    state: State
    engine: Engine
    topology: Topology
    registries: Mapping[str, Registry]
    targets: Mapping[str, Target]
    runtimes: Mapping[str, Runtime]
    transfer: CopySettings
    patience: RetryPolicy
    lease_s: float
    owner: str  # this process, new at each boot
    chance: Callable[[], float]
    gates: Gates = field(default_factory=Gates)
    strategies: Strategies = field(default_factory=Strategies)
    signals: Mapping[str, Signal] = field(default_factory=dict)
    images: Mapping[str, ImageTarget] = field(default_factory=dict)
    wake: threading.Event = field(default_factory=threading.Event)  # something changed: look now
    draining: threading.Event = field(default_factory=threading.Event)  # begin nothing, stop what runs


@dataclass(frozen=True)
class World:
    """What looking needs: the record and the seams, no engine."""

    state: State
    topology: Topology
    registries: Mapping[str, Registry]
    targets: Mapping[str, Target]
    runtimes: Mapping[str, Runtime]
    strategies: Strategies = field(default_factory=Strategies)
    images: Mapping[str, ImageTarget] = field(default_factory=dict)


@dataclass
class Attempt:
    """One attempt under way. `stop` is set when it has to end: cancelled, fenced off, or the process drains."""

    context: Context
    step: Step
    release: Release
    stop: threading.Event = field(default_factory=threading.Event)
    stop_wanted: bool = False
    on_beat: list[Callable[[], None]] = field(default_factory=list)

    def waiting(self, what: str) -> None:
        """Called between looks while the platform works. Raises Cancelled when the attempt has to end."""
        if self.stop.is_set():
            raise Cancelled(f"stopped while {what}")

    def describe(self) -> dict[str, object]:
        """What every log line of this attempt carries."""
        return {
            "release": self.release.id,
            "model": self.release.model,
            "version": self.release.ref,
            "step": self.step.kind.value,
            "subject": self.step.subject,
            "attempt": self.step.attempt,
        }


StepHandler = Callable[[Attempt], None]
