"""One release under one fault, in this process: the real wiring on a local cloud, with little patience."""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass
from typing import Final

from syncd.daemon.process import Process
from syncd.daemon.settings import settings_of
from syncd.engine.memory import MemoryEngine
from syncd.plan.phases import RELEASE_ENDS, ReleasePhase
from syncd.reconcile.context import Context
from syncd.reconcile.requests import operations
from syncd.retry import Retry
from syncd.state.releases import releases
from syncd.state.serving import live
from syncd.state.state import State
from syncd.transfer import CopySettings
from syncd.wiring import context_of, targets_of

from tests.support.fleet import MODEL, PART_BYTES, Fleet

LIMIT_S: Final = 120.0  # nothing here takes that long on an idle machine; past it, it waits for ever
UNDOING_S: Final = 1.5  # how long an alias that has to go back is left without its service


@dataclass(frozen=True)
class Outcome:
    """How a release ended. `phase` is "waits" where it did not."""

    phase: str
    reason: str
    seconds: float
    hits: int  # of the fault
    undone_after_the_fault: bool = False


def rooms_for(fleet: Fleet, state: State) -> Context:
    """The rooms of `syncd run`, but for an engine in memory, small parts and short tempers."""
    config = fleet.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDKs' own
        context = context_of(config, state)
    retry = Retry(attempts_max=3, elapsed_max_s=20.0, base_s=0.01, cap_s=0.05)
    transfer = CopySettings(buffer_bytes=16 << 20, part_bytes=PART_BYTES, parts_in_flight=2, retry=retry)
    targets = targets_of(config, retry)
    return dataclasses.replace(context, targets=targets, transfer=transfer, engine=MemoryEngine())


def release(fleet: Fleet, version: str) -> Outcome:
    """Publish, and work until it has ended. A release that cannot go back is given its service again after a while."""
    state = State(fleet.url)
    began = time.monotonic()
    undoing_since: list[float] = []
    hits: list[int] = []
    try:
        context = rooms_for(fleet, state)
        requester = operations.Requester(context, "test")
        operations.unhold(requester, MODEL)
        asked = operations.publish(requester, MODEL, version)

        def enough() -> bool:
            with state.read() as conn:
                phase = releases.get(conn, asked.id).phase
            if phase is ReleasePhase.UNDOING:
                undoing_since.append(time.monotonic())
                if time.monotonic() - undoing_since[0] > UNDOING_S:
                    hits.append(_hits(fleet))
                    fleet.whole.cloud.faults.clear()
            return phase in RELEASE_ENDS or time.monotonic() - began > LIMIT_S

        Process(context, settings_of(fleet.config, polls=False), sole=True).run(until=enough)
        with state.read() as conn:
            ended = releases.get(conn, asked.id)
        phase = ended.phase.value if ended.phase in RELEASE_ENDS else f"waits in {ended.phase}"
        is_late = bool(undoing_since) and undoing_since[-1] - undoing_since[0] > UNDOING_S
        hits.append(_hits(fleet))
        reason = f"{ended.reason} {ended.hint}".strip()
        return Outcome(phase, reason, round(time.monotonic() - began, 2), max(hits), is_late)
    finally:
        state.close()


def _hits(fleet: Fleet) -> int:
    return sum(rule["hits"] for rule in fleet.whole.cloud.faults.to_list())


def served(fleet: Fleet) -> dict[str, str | None]:
    """What the record says each binding's alias points at."""
    state = State(fleet.url)
    try:
        with state.read() as conn:
            return {row.binding: row.function_version for row in live.all(conn)}
    finally:
        state.close()
