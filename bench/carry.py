"""What one run of syncd does: from a directory registry to OSS buckets, journal in SQLite, every digest on."""

import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from syncd.artifact.manifest import Manifest
from syncd.artifact.names import parse_model
from syncd.reconcile.discovery.catalog import catalog
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.secret import Secret
from syncd.state.content import versions
from syncd.state.content.journal import SqlJournal
from syncd.state.state import State
from syncd.store.oss.store import Credentials, OssSettings, OssStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings, Destination, Progress, copy
from syncd.values.source import Revision

REGISTRY = "files"


@dataclass(frozen=True, slots=True)
class Order:
    """What to carry where. `part_bytes` is syncd's own choice when it is 0."""

    registry: str
    model: str
    version: str
    endpoint: str
    buckets: list[str]
    record: str
    seal: bool = False
    part_bytes: int = 0


def run(order: Order) -> dict[str, float]:
    """Carry it. CPU seconds: before `copy`, in it, and after it."""
    state = State(f"sqlite:///{order.record}")
    registry = DirectoryRegistry(DirectorySettings(Path(order.registry)))
    model = parse_model(order.model)
    revision = registry.resolve(model, order.version)
    manifest = catalog(registry, model, revision, Event())
    with state.write() as conn:
        known = versions.record(conn, manifest, REGISTRY, revision.pin, state.now(conn))
    destinations = [
        Destination(TreeTarget(bucket, _store(order, bucket)), SqlJournal(state, known.id, bucket))
        for bucket in order.buckets
    ]
    before_s = time.process_time()
    _copy(order, registry, (revision, manifest), destinations)
    copied_s = time.process_time()
    for destination in destinations if order.seal else ():
        destination.target.seal(manifest, destination.journal)
    state.close()
    return {
        "before_s": before_s,
        "copy_s": copied_s - before_s,
        "after_s": time.process_time() - copied_s,
    }


def _copy(
    order: Order,
    registry: DirectoryRegistry,
    what: tuple[Revision, Manifest],
    destinations: list[Destination],
) -> None:
    revision, manifest = what
    settings = CopySettings()
    if order.part_bytes:
        buffers = max(settings.buffer_bytes, 8 * order.part_bytes)
        settings = CopySettings(part_bytes=order.part_bytes, buffer_bytes=buffers)
    report = copy(
        manifest,
        lambda entry, offset_bytes: registry.open(manifest.model, revision, entry.path, offset_bytes),
        destinations,
        settings,
        progress=Progress(manifest, order.buckets),
        stop=Event(),
    )
    if report.failed:
        raise SystemExit(f"failed: {report.failed}")


def _store(order: Order, bucket: str) -> OssStore:
    return OssStore(
        OssSettings(
            endpoint=order.endpoint,
            bucket=bucket,
            region="cn-hangzhou",
            credentials=lambda: Credentials("key", Secret("secret")),
        )
    )
