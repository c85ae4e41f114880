"""A fleet of any size: its configuration, and a record of it that syncd's own functions write."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath, parse_model, parse_version
from syncd.engine.upgrade import create
from syncd.plan.phases import ReleasePhase
from syncd.state.content import versions
from syncd.state.releases import releases
from syncd.state.releases.events import advance
from syncd.state.serving import live
from syncd.state.state import State

ENVIRONMENT = {"BENCH_SECRET": "bench"}
_AT_ONCE = 200  # models in one transaction
_TO_LIVE = (ReleasePhase.PLACING, ReleasePhase.STAGING, ReleasePhase.FLIPPING, ReleasePhase.LIVE)
_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FleetShape:
    """How many models, in how many regions each, with how many releases each."""

    models: int
    regions: int
    releases: int = 1

    def names(self) -> list[str]:
        """The models."""
        return [f"model-{number:05}" for number in range(self.models)]

    def binding(self, model: str, region: int) -> str:
        """The name of a model's binding in a region."""
        return f"{model}-r{region}"


def write_config(shape: FleetShape, url: str, file: Path, registry: Path) -> None:
    """Write a configuration with one binding for each model and region."""
    parts = [f'[state]\nurl = "{url}"\n[credentials.main]\naccess_key_id = "id"\n']
    parts.append('access_key_secret = { env = "BENCH_SECRET" }\n')
    parts.append(f'[registries.all]\nkind = "directory"\npath = "{registry}"\nmodels = ["*"]\n')
    parts.extend(
        f'[targets.t{region}]\nkind = "oss"\nregion = "cn-r{region}"\nendpoint = "http://127.0.0.1:9"\n'
        f'bucket = "bucket-{region}"\ncredentials = "main"\n[runtimes.r{region}]\nkind = "fc"\n'
        f'region = "cn-r{region}"\nendpoint = "127.0.0.1:{9000 + region}"\nprotocol = "http"\ncredentials = "main"\n'
        for region in range(shape.regions)
    )
    for model in shape.names():
        parts.extend(
            f'[bindings.{shape.binding(model, region)}]\nruntime = "r{region}"\nfunction = "{model}"\n'
            f'models = [{{ model = "{model}", target = "t{region}", mount_dir = "/mnt/m" }}]\n'
            for region in range(shape.regions)
        )
    file.write_text("".join(parts))


def write_record(shape: FleetShape, url: str) -> None:
    """Create the record: every model live in every region, each with as many releases as the shape has."""
    create(url)
    state = State(url)
    try:
        names = shape.names()
        for first in range(0, len(names), _AT_ONCE):
            with state.write() as conn:
                for model in names[first : first + _AT_ONCE]:
                    _serve(conn, shape, model)
    finally:
        state.close()


def _serve(conn: sa.Connection, shape: FleetShape, model: str) -> None:
    for number in range(shape.releases):
        name = f"v{number}"
        digest = Digest(hashlib.sha256(f"{model}@{name}".encode()).hexdigest())
        manifest = Manifest.of(parse_model(model), parse_version(name), [Entry(FilePath("weights.bin"), 7, digest)])
        version = versions.record(conn, manifest, "all", "pin", _NOW)
        release = releases.create(conn, model=model, ref=name, registry="all", requested_by="bench", now=_NOW)
        release = releases.pin(conn, release, version.id, _NOW)
        for phase in _TO_LIVE:
            release = advance(conn, release, phase, now=_NOW)
    for region in range(shape.regions):
        live.record(conn, shape.binding(model, region), str(shape.releases), {model: version.id}, release.id, _NOW)


def leave_unfinished(shape: FleetShape, url: str, every: int = 100) -> None:
    """Request a release of one model of so many, as a poll would, and have one of as many stall."""
    state = State(url)
    try:
        with state.write() as conn:
            for number, model in enumerate(shape.names()):
                if number % every not in {0, 1}:
                    continue
                release = releases.create(conn, model=model, ref="v9", registry="all", requested_by="bench", now=_NOW)
                release = advance(conn, release, ReleasePhase.PLACING, now=_NOW)
                if number % every == 1:
                    advance(conn, release, ReleasePhase.STALLED, now=_NOW, reason="the key is refused")
    finally:
        state.close()
