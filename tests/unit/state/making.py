"""Rows that tests of the record need first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.plan.phases import FlipPhase, ReleasePhase, StepKind
from syncd.state.content import versions
from syncd.state.records import Event, Release, Step, Version
from syncd.state.releases import events, releases, steps
from syncd.state.releases.events import advance
from syncd.state.serving import flips

NOON: Final = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def after_s(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def manifest(model: str = "sdxl", version: str = "v1", content: str = "a") -> Manifest:
    files = {"config.json": 12, "unet/model.safetensors": 7_000_000_000}
    entries = [Entry(FilePath(path), size, Digest(content * 64)) for path, size in files.items()]
    return Manifest.of(model, version, entries)


def make_version(conn: sa.Connection, model: str = "sdxl", name: str = "v1", content: str = "a") -> Version:
    return versions.record(conn, manifest(model, name, content), "local", "pin", NOON)


def make_release(conn: sa.Connection, model: str = "sdxl", *, rollback: bool = False) -> Release:
    return releases.create(
        conn, model=model, ref="latest", registry="local", requested_by="ci", rollback=rollback, now=NOON
    )


def make_step(conn: sa.Connection, subject: str = "oss", release: Release | None = None) -> Step:
    release = release or make_release(conn)
    return steps.ensure(conn, release.id, StepKind.PLACE, subject, "q", NOON)


def make_running(conn: sa.Connection, lease_s: float = 10) -> Step:
    step = steps.hand_over(conn, make_step(conn), NOON)
    return steps.begin(conn, step.id, step.attempt, "worker-1", lease_s, NOON)


def go(conn: sa.Connection, release: Release, *phases: ReleasePhase) -> Release:
    for phase in phases:
        release = advance(conn, release, phase, now=NOON)
    return release


def go_live(conn: sa.Connection, model: str, version: Version, *, rollback: bool = False) -> Release:
    release = releases.pin(conn, make_release(conn, model, rollback=rollback), version.id, NOON)
    steps_to_live = (ReleasePhase.PLACING, ReleasePhase.STAGING, ReleasePhase.FLIPPING, ReleasePhase.LIVE)
    return go(conn, release, *steps_to_live)


def end_flip(conn: sa.Connection, release: Release, binding: str) -> None:
    advance(conn, flips.get(conn, release.id, binding), FlipPhase.ABANDONED, now=NOON)


def all_events(conn: sa.Connection) -> list[Event]:
    return events.after(conn, 0, 1000)


def kinds(conn: sa.Connection) -> list[str]:
    return [event.kind for event in all_events(conn)]
