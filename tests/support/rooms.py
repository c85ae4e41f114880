"""A world in memory for tests of the passes: a registry directory, stores, runtimes, a clock; and an engine by hand.

Two regions serve `sdxl`, each from its own target; the function in the first serves `lora` as well, below a root
mount. A function answers with the digests of those versions it was told to serve that are sealed and whole in its
region's store, so that a probe proves what lies there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa
from syncd.artifact.manifest import SEAL_PATH, Manifest
from syncd.engine.base import ExecutionStatus, MayServe, RunStep, always
from syncd.plan.backoff import RetryPolicy
from syncd.plan.binding import Binding, BoundModel, ModelLocation, MountMode
from syncd.plan.phases import ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.context import Context
from syncd.reconcile.context import World as ReadOnlyWorld
from syncd.reconcile.controller.attempt import run_attempt
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.discovery.poll import poll_model, served_from
from syncd.reconcile.requests.operations import Requester
from syncd.reconcile.steps.handlers import STEP_HANDLERS
from syncd.registry.base import Registry
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.retry import Retry
from syncd.runtime.memory import MemoryRuntime
from syncd.state.content import placements, versions
from syncd.state.records import Event, Flip, Live, Placement, Release, Step
from syncd.state.releases import events, releases, steps
from syncd.state.serving import flips, live
from syncd.state.state import State
from syncd.store.memory import MemoryStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings
from syncd.values.function import AliasState, Change, MountKind

from tests.unit.registry.trees import THEN_S, write

SDXL, LORA, DRAW = "sdxl", "lora", "draw"
TARGETS: Final = {"hz": "hangzhou", "sg": "singapore"}
NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE: Final = RetryPolicy(failures_max=4, base_s=1.0, cap_s=8.0)
LEASE_S: Final = 30.0
_TICKS_MAX: Final = 200
_BIG_BYTES: Final = 100_000
_NO_MORE: Final[Mapping[str, bytes]] = MappingProxyType({})

BINDINGS: Final = (
    Binding(
        "draw-hz",
        "hangzhou",
        DRAW,
        "prod",
        "next",
        (
            BoundModel(SDXL, "hz", MountMode.VERSION, "/mnt/sdxl", "SDXL_DIGEST", "SDXL_PATH", "SDXL_VERSION"),
            BoundModel(LORA, "hz", MountMode.ROOT, "/mnt/models", versions_variable="MODELS"),
        ),
    ),
    Binding(
        "draw-sg",
        "singapore",
        DRAW,
        "prod",
        "next",
        (BoundModel(SDXL, "sg", MountMode.VERSION, "/mnt/sdxl", "SDXL_DIGEST"),),
    ),
)
FLEET: Final = Topology(
    bindings={binding.name: binding for binding in BINDINGS},
    places={name: ModelLocation(MountKind.OSS, f"bucket-{name}", "") for name in TARGETS},
    regions=TARGETS | {region: region for region in TARGETS.values()},
    registries={"models": ("*",)},
)
TRANSFER: Final = CopySettings(
    buffer_bytes=1 << 20,
    part_bytes=40_000,
    files_in_flight=1,
    parts_in_flight=1,
    retry=Retry(attempts_max=2, elapsed_max_s=1.0, base_s=0.0),
)


class HandEngine:
    """`Engine` that runs nothing by itself: a test says when, in its own thread. Forgets all when it is dropped."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], ExecutionStatus] = {}
        self.queues: dict[tuple[str, int], tuple[int, str]] = {}
        self.run: RunStep | None = None

    def submit(self, conn: sa.Connection, step_id: str, attempt: int, queue: str, priority: int) -> None:
        self.known.setdefault((step_id, attempt), ExecutionStatus.WAITING)
        self.queues[step_id, attempt] = (priority, queue)

    def wake(self) -> None:
        """It runs nothing by itself."""

    def cancel(self, step_id: str, attempt: int) -> None:
        self.known[step_id, attempt] = ExecutionStatus.ENDED

    def status(self, step_id: str, attempt: int) -> ExecutionStatus:
        return self.known.get((step_id, attempt), ExecutionStatus.MISSING)

    def serve(self, slots: Mapping[str, int], run: RunStep, may: MayServe = always) -> None:
        self.run = run

    def stop(self, grace_s: float) -> None:
        self.run = None

    def forget(self, older_than: datetime) -> int:
        ended = [key for key, carried in self.known.items() if carried is ExecutionStatus.ENDED]
        for key in ended:
            del self.known[key]
        return len(ended)

    def waiting(self) -> list[tuple[str, int]]:
        """What is to be run, the smallest priority first."""
        waiting = [key for key, carried in self.known.items() if carried is ExecutionStatus.WAITING]
        return sorted(waiting, key=lambda key: self.queues[key][0])

    def take(self, release_id: str = "") -> tuple[str, int] | None:
        """The next attempt, of one release or of all, claimed."""
        mine = [key for key in self.waiting() if not release_id or key[0].startswith(f"{release_id}/")]
        if not mine:
            return None
        self.known[mine[0]] = ExecutionStatus.RUNNING
        return mine[0]


@dataclass
class World:
    """All that outlives a process but the record."""

    root: Path
    stores: dict[str, MemoryStore] = field(default_factory=lambda: {name: MemoryStore() for name in TARGETS})
    runtimes: dict[str, MemoryRuntime] = field(default_factory=dict)
    time: datetime = NOON
    wrong: set[tuple[str, str]] = field(default_factory=set)  # models and versions that no function answers with

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for target, region in TARGETS.items():
            self.runtimes[region] = MemoryRuntime(lambda change, target=target: self._answer(target, change))  # type: ignore[misc]
            self.runtimes[region].have_function(DRAW, environment={"OWNER": "team"})
        self.registry = DirectoryRegistry(DirectorySettings(self.root, settle_s=0.0))

    def now(self, _conn: sa.Connection) -> datetime:
        """A clock that moves a millisecond with each look, and when a test pushes it."""
        self.time += timedelta(milliseconds=1)
        return self.time

    def deliver(
        self, model: str, version: str, content: str = "", more: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        """Put a version into the registry, as a training job does, with `more` files. Newer ones get later times."""
        place = self.root / model / version
        number = sum(1 for _ in self.root.rglob("SHA256SUMS"))
        data = hashlib.shake_128(f"{model} {version} {content}".encode()).digest(_BIG_BYTES)
        files = {"weights.bin": data, "config.json": f"{model} {version} {content}".encode(), **more}
        listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items())
        write(place, files, THEN_S + number)
        write(place, {"SHA256SUMS": listed.encode()}, THEN_S + number)

    def change(self, model: str, version: str, content: str) -> None:
        """Write other bytes under a version that is there, and list them."""
        (self.root / model / version / "SHA256SUMS").unlink()
        self.deliver(model, version, content)

    def alias(self, region: str, alias: str = "prod") -> AliasState:
        return self.runtimes[region].read(DRAW, alias)

    def serves(self, region: str, alias: str = "prod") -> list[str]:
        """The digests that the alias answers with."""
        told: list[str] = json.loads(self.runtimes[region].ask(DRAW, alias, b"", 1.0))
        return told

    def sealed(self, target: str) -> dict[str, Manifest]:
        """The versions a reader finds at a target, by digest; asserts that each of them is whole."""
        store = self.stores[target]
        found = {}
        for key, held in store.objects.items():
            if not key.endswith(SEAL_PATH):
                continue
            manifest = Manifest.parse(held.data)
            for entry in manifest.entries:
                data = store.objects[f"{manifest.directory}/{entry.path}"].data
                assert hashlib.sha256(data).hexdigest() == entry.sha256.hex, (target, manifest, entry.path)
            found[manifest.digest.hex] = manifest
        return found

    def _answer(self, target: str, change: Change) -> bytes:
        told = set(re.findall(r"[0-9a-f]{64}", json.dumps(dict(change.environment))))
        right = {digest for digest, m in self.sealed(target).items() if (m.model, m.version) not in self.wrong}
        return json.dumps(sorted(told & right)).encode()


@dataclass
class Site:
    """A process's rooms over a world and a record, and short questions about both."""

    world: World
    state: State
    context: Context
    engine: HandEngine
    as_made: bool = False  # whether no part of the context was replaced

    @property
    def requester(self) -> Requester:
        return Requester(self.context, "ops")

    @property
    def looker(self) -> ReadOnlyWorld:
        return self.context

    def run_one(self, release_id: str = "") -> bool:
        """Run the next attempt there is, of one release or of all. Whether there was one."""
        key = self.engine.take(release_id)
        if key is None:
            return False
        run_attempt(self.context, STEP_HANDLERS, *key)
        self.engine.known[key] = ExecutionStatus.ENDED
        return True

    def settle(self, *, patient: bool = False) -> None:
        """Tick and run until nothing is due; `patient` moves the clock to what waits, until nothing does."""
        for _ in range(_TICKS_MAX):
            moved = tick(self.context)
            if self.run_one() or moved:
                continue
            waiting = self.waiting_until()
            if not patient or waiting is None:
                return
            self.world.time = max(self.world.time, waiting) + timedelta(seconds=1)
        raise AssertionError(f"no rest after {_TICKS_MAX} ticks: {[self.release(r.id) for r in self.unfinished()]}")

    def until(self, phase: ReleasePhase, release_id: str) -> Release:
        """Tick, and run this release's steps only, until it is in a phase."""
        for _ in range(_TICKS_MAX):
            if self.release(release_id).phase is phase:
                return self.release(release_id)
            tick(self.context)
            if self.release(release_id).phase is not phase:
                self.run_one(release_id)
        raise AssertionError(self.release(release_id))

    def waiting_until(self) -> datetime | None:
        with self.state.read() as conn:
            due = [step.lease_until or step.due_at for step in steps.open_steps(conn)]
        return max(due, default=None)

    def unfinished(self) -> list[Release]:
        with self.state.read() as conn:
            return releases.unfinished(conn)

    def release(self, release_id: str) -> Release:
        with self.state.read() as conn:
            return releases.get(conn, release_id)

    def all_releases(self) -> list[Release]:
        with self.state.read() as conn:
            return releases.recent(conn, 10_000)

    def steps(self, release_id: str) -> dict[str, Step]:
        """The steps of a release by `<kind>/<subject>`."""
        with self.state.read() as conn:
            return {step.id.partition("/")[2]: step for step in steps.of_release(conn, release_id)}

    def flips(self, release_id: str) -> dict[str, Flip]:
        with self.state.read() as conn:
            return {flip.binding: flip for flip in flips.of_release(conn, release_id)}

    def live(self, binding: str) -> Live | None:
        with self.state.read() as conn:
            return live.get(conn, binding)

    def placements(self, model: str, version: str) -> dict[str, Placement]:
        with self.state.read() as conn:
            found = versions.find(conn, model, version)
            return {} if found is None else {p.target: p for p in placements.of_version(conn, found.id)}

    def events(self, release_id: str | None = None) -> list[Event]:
        with self.state.read() as conn:
            return events.of_release(conn, release_id) if release_id else events.after(conn, 0, 100_000)

    def digest(self, model: str, version: str) -> str:
        with self.state.read() as conn:
            found = versions.find(conn, model, version)
        assert found is not None
        return found.digest.hex

    def assert_record_is_true(self) -> None:
        """What the record says is served is where the aliases point, and what they answer with."""
        for binding in self.context.topology.bindings.values():
            recorded = self.live(binding.name)
            pointed = self.world.runtimes[binding.runtime].read(binding.function, binding.alias)
            assert pointed == AliasState(recorded.function_version if recorded else None), binding.name
            if recorded and recorded.function_version:
                with self.state.read() as conn:
                    want = sorted(versions.get(conn, v).digest.hex for v in recorded.models.values())
                assert self.world.serves(binding.runtime, binding.alias) == want, binding.name


def site(world: World, state: State, owner: str = "worker-1", **changes: object) -> Site:
    """A process at work. `changes` replace rooms."""
    given: dict[str, object] = {
        "state": state,
        "engine": HandEngine(),
        "topology": FLEET,
        "registries": registries_of(world),
        "targets": {name: TreeTarget(name, store, TRANSFER.retry) for name, store in world.stores.items()},
        "runtimes": dict(world.runtimes),
        "transfer": TRANSFER,
        "patience": PATIENCE,
        "lease_s": LEASE_S,
        "owner": owner,
        "chance": lambda: 0.5,
    }
    context = Context(**(given | changes))  # type: ignore[arg-type]
    engine = context.engine
    return Site(world, state, context, engine if isinstance(engine, HandEngine) else HandEngine(), not changes)


def registries_of(world: World) -> dict[str, Registry]:
    return {"models": world.registry}


def look(context: Context, registry: str, *, auto_release: bool) -> list[Release]:
    """One look at each model of a registry that is served, one after the other."""
    served = served_from(context, registry)
    return [release for model in served for release in poll_model(context, registry, model, auto_release=auto_release)]
