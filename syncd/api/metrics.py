"""Metrics for Prometheus: figures of the record, events counted since the start, and the process itself.

A scrape makes a constant number of statements. Labels come from the configuration and from enums, never from models,
versions or releases, so the number of series is bounded by registries, targets, regions and webhooks.
"""

from __future__ import annotations

import threading
from collections import Counter as Counts
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from syncd.daemon.health import Health
from syncd.errors import SyncdError
from syncd.plan.drift import ALIAS, FUNCTION_VERSION, IMAGE, WEIGHTS
from syncd.plan.phases import RELEASE_ENDS, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.topology import CONTROL_QUEUE, TRANSFER_QUEUE, Topology
from syncd.state.access import figures
from syncd.state.access.figures import Pending, RecordFigures
from syncd.state.records import Event
from syncd.state.releases import events
from syncd.state.state import State

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
EVENTS_MAX: Final = 5_000  # counted by one scrape; the next one goes on
OTHER: Final = "other"  # a name that the record has and the configuration has not
UNKNOWN_HOOK: Final = "unknown"
_SKEWS_MAX: Final = 1_000  # releases whose first flip is remembered
_DIFFERENCES: Final = (ALIAS, WEIGHTS, FUNCTION_VERSION, IMAGE, OTHER)  # other: a mount or a variable of LATEST
_STEP_ENDS: Final = ("done", "failed", "postponed", "stalled", "cancelled", "lost")
_STEP_BUCKETS_S: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
_SKEW_BUCKETS_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_OPEN_STEPS: Final = (StepState.WAITING, StepState.QUEUED, StepState.RUNNING)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which Prometheus does not need


class Metrics:
    """The metrics of one process. Safe from several threads; scrapes take turns."""

    def __init__(self, state: State, topology: Topology, pulse: Health, hooks: Collection[str]) -> None:
        self._state, self._topology, self._pulse = state, topology, pulse
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._record = _RecordGauges(self._registry, topology)
        self._events = _EventCounters(self._registry, topology)
        self._loop = self._gauge("syncd_loop_silent_seconds", "Seconds since the main loop began a pass.")
        self._polled = Gauge(
            "syncd_registry_poll_ended_timestamp_seconds",
            "When the last poll of the registry ended, well or not.",
            ["registry"],
            registry=self._registry,
        )
        self._deliveries = Counter(
            "syncd_deliveries",
            "Deliveries of webhooks since the start, by their outcome.",
            ["webhook", "outcome"],
            registry=self._registry,
        )
        self._hooks = frozenset(hooks)
        for hook in (*self._hooks, UNKNOWN_HOOK):
            for outcome in ("accepted", "refused"):
                self._deliveries.labels(hook, outcome)
        self._seen: int | None = None
        with suppress(SyncdError):  # the first scrape that reaches the record begins there
            self._begin()

    def count_delivery(self, hook: str, outcome: str) -> None:
        """Count one delivery. A hook that is not configured counts as unknown."""
        self._deliveries.labels(hook if hook in self._hooks else UNKNOWN_HOOK, outcome).inc()

    def scrape(self) -> bytes:
        """The text of one scrape.

        Raises:
            SyncdError: The record cannot be read.
        """
        with self._lock:
            seen = self._begin() if self._seen is None else self._seen
            with self._state.read() as conn:
                now = self._state.now(conn)
                found = figures.read(conn, now)
                new = events.after(conn, seen, EVENTS_MAX)
            self._record.set(found, now)
            for event in new:
                self._events.count(event)
            if new:
                self._seen = new[-1].id
            self._loop.set(self._pulse.silent_s())
            for registry, ended_s in self._pulse.poll_ended_s().items():
                self._polled.labels(registry).set(ended_s)
            return generate_latest(self._registry)

    def _begin(self) -> int:
        with self._state.read() as conn:
            self._seen = events.newest(conn)
        return self._seen

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self._registry)


class _EventCounters:
    """Counters that follow the events of the record."""

    def __init__(self, registry: CollectorRegistry, topology: Topology) -> None:
        self._topology = topology
        self._flipped: OrderedDict[str, tuple[datetime, datetime]] = OrderedDict()  # the first and the last flip
        self._ends = Counter(
            "syncd_releases_ended", "Releases that ended since the start, by phase.", ["phase"], registry=registry
        )
        self._flips = Counter("syncd_flips", "Aliases moved since the start, by region.", ["region"], registry=registry)
        self._skew = Histogram(
            "syncd_release_flip_skew_seconds",
            "Time between the first and the last flip of a release that went live.",
            buckets=_SKEW_BUCKETS_S,
            registry=registry,
        )
        self._steps = Counter(
            "syncd_step_attempts", "Attempts of steps since the start, by outcome.", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "syncd_step_seconds", "Duration of attempts that ended.", ["kind"], buckets=_STEP_BUCKETS_S,
            registry=registry,
        )  # fmt: skip
        self._quarantined = Counter(
            "syncd_versions_quarantined", "Versions that a registry showed with other bytes.", registry=registry
        )
        self._rolled_back = Counter("syncd_rollbacks_requested", "Rollbacks requested.", registry=registry)
        for phase in RELEASE_ENDS:
            self._ends.labels(phase.value)
        for region in {*topology.regions.values(), OTHER}:
            self._flips.labels(region)
        for kind in StepKind:
            self._seconds.labels(kind.value)
            for outcome in _STEP_ENDS:
                self._steps.labels(kind.value, outcome)

    def count(self, event: Event) -> None:
        """Count one event."""
        thing, _, what = event.kind.partition(".")
        match thing:
            case "release":
                self._count_release(event, what)
            case "step" if what in _STEP_ENDS:
                self._count_step(event, what)
            case "flip" if what == "flipped":
                self._count_flip(event)
            case "version" if what == "quarantined":
                self._quarantined.inc()
            case _:
                pass

    def _count_release(self, event: Event, what: str) -> None:
        if what == "requested" and event.detail.get("rollback"):
            self._rolled_back.inc()
        if what not in RELEASE_ENDS:
            return
        self._ends.labels(what).inc()
        times = self._flipped.pop(event.release_id or "", None)
        if what == ReleasePhase.LIVE and times is not None:
            self._skew.observe((times[1] - times[0]).total_seconds())

    def _count_step(self, event: Event, outcome: str) -> None:
        kind = (event.step_id or "").split("/", 2)[1:2]
        if not kind or kind[0] not in set(StepKind):
            return
        self._steps.labels(kind[0], outcome).inc()
        seconds = event.detail.get("seconds")
        if isinstance(seconds, int | float):
            self._seconds.labels(kind[0]).observe(max(0.0, seconds))

    def _count_flip(self, event: Event) -> None:
        self._flips.labels(_region(self._topology, event.subject)).inc()
        release = event.release_id or ""
        first, last = self._flipped.get(release, (event.at, event.at))
        self._flipped[release] = (min(first, event.at), max(last, event.at))
        while len(self._flipped) > _SKEWS_MAX:
            self._flipped.popitem(last=False)


class _RecordGauges:
    """Gauges that are set anew from the record by each scrape."""

    def __init__(self, registry: CollectorRegistry, topology: Topology) -> None:
        self._topology = topology

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"syncd_{name}", about, labels, registry=registry)

        self._steps = gauge("steps", "Steps that have not ended, by queue and state.", "queue", "state")
        self._step_age = gauge("step_oldest_seconds", "How long the oldest due step of a queue waits.", "queue")
        self._releases = gauge("releases_in_flight", "Releases in flight, by phase.", "phase")
        self._release_age = gauge("release_oldest_seconds", "Age of the oldest release in flight.")
        self._placements = gauge("placements", "Versions at a target, by phase.", "target", "phase")
        self._seal = gauge(
            "target_oldest_seal_timestamp_seconds",
            "When the copy at the target that was proven longest ago was sealed; absent without one.",
            "target",
        )
        self._proof = gauge(
            "target_oldest_proof_timestamp_seconds",
            "When the copy at the target whose proof is the oldest was proven; absent without one.",
            "target",
        )
        self._damaged = gauge("target_damaged_copies", "Copies whose newest check found a fault.", "target")
        self._bytes = gauge("target_copy_bytes", "Bytes of the newest copy of each version.", "target", "how")
        self._waiting = gauge("deliveries_waiting", "Deliveries that are not processed yet.", "registry")
        self._waiting_age = gauge("delivery_oldest_seconds", "Age of the oldest of them.", "registry")
        self._drifts = gauge("drifts", "Open drift, by region and what differs.", "region", "what")
        self._scan_age = gauge("drift_scan_oldest_seconds", "Time since the oldest comparison of a binding.", "region")
        self._differ = gauge("models_differing", "Models with different live versions in bindings, none in flight.")
        self._holds = gauge("holds", "Models on hold.")
        self._freezes = gauge("freezes", "Freezes that apply now.")
        self._quarantined = gauge("versions_in_quarantine", "Versions in quarantine.")
        self._repairs = gauge("repairs", "Repairs that have not ended.")

    def set(self, found: RecordFigures, now: datetime) -> None:
        """Set every gauge."""
        self._set_work(found, now)
        self._set_targets(found)
        self._set_serving(found, now)
        for registry in self._topology.registries:
            waiting = found.deliveries.get(registry, Pending(0))
            self._waiting.labels(registry).set(waiting.count)
            self._waiting_age.labels(registry).set(_age(waiting, now))
        self._holds.set(found.holds)
        self._freezes.set(found.freezes)
        self._quarantined.set(found.quarantined)
        self._repairs.set(found.repairs)

    def _set_work(self, found: RecordFigures, now: datetime) -> None:
        for queue in (CONTROL_QUEUE, TRANSFER_QUEUE):
            known = {state: found.steps.get((queue, state), Pending(0)) for state in _OPEN_STEPS}
            for state, pending in known.items():
                self._steps.labels(queue, state.value).set(pending.count)
            idle = [_age(known[state], now) for state in (StepState.WAITING, StepState.QUEUED)]
            self._step_age.labels(queue).set(max(idle))
        for phase in ReleasePhase:
            if phase not in RELEASE_ENDS:
                self._releases.labels(phase.value).set(found.releases.get(phase, Pending(0)).count)
        self._release_age.set(max((_age(each, now) for each in found.releases.values()), default=0.0))

    def _set_targets(self, found: RecordFigures) -> None:
        for target in sorted({bound.target for b in self._topology.bindings.values() for bound in b.models}):
            known = found.targets.get(target)
            for phase in PlacementPhase:
                self._placements.labels(target, phase.value).set(known.phases.get(phase, 0) if known else 0)
            sums = (known.bytes_sent, known.bytes_copied, known.bytes_kept) if known else (0, 0, 0)
            for how, size_bytes in zip(("sent", "copied", "kept"), sums, strict=True):
                self._bytes.labels(target, how).set(size_bytes)
            if known is not None and known.oldest_seal is not None:
                self._seal.labels(target).set(known.oldest_seal.timestamp())
            else:
                with suppress(KeyError):
                    self._seal.remove(target)
            proof = next((each for each in found.proofs if each.target == target), None)
            self._damaged.labels(target).set(proof.damaged if proof else 0)
            if proof is not None:
                self._proof.labels(target).set(proof.oldest_proof_at.timestamp())
            else:
                with suppress(KeyError):
                    self._proof.remove(target)

    def _set_serving(self, found: RecordFigures, now: datetime) -> None:
        regions = sorted({self._topology.regions[each.runtime] for each in self._topology.bindings.values()})
        for region in regions:
            mine = [what for binding, what in found.drifts if _region(self._topology, binding) == region]
            counted = Counts(what if what in _DIFFERENCES else OTHER for what in mine)
            for what in _DIFFERENCES:
                self._drifts.labels(region, what).set(counted[what])
            scans = [at for name, at in found.scans.items() if _region(self._topology, name) == region]
            self._scan_age.labels(region).set((now - min(scans)).total_seconds() if scans else 0.0)
        self._differ.set(0 if found.releases else self._differing(found))

    def _differing(self, found: RecordFigures) -> int:
        serving: dict[str, set[str | None]] = {}
        for name, binding in self._topology.bindings.items():
            recorded = found.live.get(name, {})
            for model in {bound.model for bound in binding.models}:
                serving.setdefault(model, set()).add(recorded.get(model))
        return sum(len(served) > 1 for served in serving.values())


def _region(topology: Topology, binding: str) -> str:
    known = topology.bindings.get(binding)
    return topology.regions[known.runtime] if known else OTHER


def _age(pending: Pending, now: datetime) -> float:
    return max(0.0, (now - pending.oldest).total_seconds()) if pending.oldest else 0.0
