"""Proof in memory: a challenge to a staged function version, and the answer that syncd computes from its own store.

The functions' side is `syncd.serving`: the ranges that a nonce chooses are the same there and here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Final

import sqlalchemy as sa

from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath, parse_model, parse_version
from syncd.errors import Unavailable
from syncd.plan.binding import Binding, BoundModel, ProofGrade
from syncd.reconcile.context import Attempt
from syncd.registry.base import RevisionSource
from syncd.serving import challenge
from syncd.serving.challenge import Challenge
from syncd.state.content import versions
from syncd.state.db.schema import events as event_rows
from syncd.state.db.schema import releases as release_rows
from syncd.state.records import Flip, Version
from syncd.state.releases import events
from syncd.targets.verify import together
from syncd.transfer import Source
from syncd.values.function import Golden
from syncd.values.source import Revision

PROVEN: Final = "binding.proven"  # the event
_READS_IN_FLIGHT: Final = 8  # × 64 KiB


def proof_request(job: Attempt, binding: Binding, flip: Flip, grade: ProofGrade) -> Golden | None:
    """The challenge to a function version, with the expected answers; None where the binding asks for no proof.

    The nonce is new each time. A rollback to a version that was proven in this binding before is not held up by a
    function that cannot answer, but by one that answers wrongly.

    Raises:
        Unavailable: The bytes could not be read from syncd's own store.
    """
    if grade is ProofGrade.NONE:
        return None
    asked = Challenge(grade.value, secrets.token_hex(challenge.NONCE_BYTES))
    expected: dict[str, object] = {}
    for model, version_id in flip.serves.items():
        with job.context.state.read() as conn:
            version, manifest = versions.get(conn, version_id), versions.manifest(conn, version_id)
        (bound,) = (each for each in binding.models if each.model == model)
        expected[f"proofs.{version.digest.hex}"] = _expected(job, bound, version, manifest, asked)
    with job.context.state.read() as conn:
        may_lack = job.release.rollback and _was_proven(conn, binding, job.release.version_id)
    return Golden(f"proof in memory ({grade.value})", asked.body(), expected, may_lack=may_lack)


def record_proof(conn: sa.Connection, job: Attempt, binding: Binding, flip: Flip) -> None:
    """Record that a function version has proven what it serves, in the transaction that ends its probe."""
    if job.release.rollback and _was_proven(conn, binding, job.release.version_id):
        return  # it may have been tolerated that it could not answer
    detail: dict[str, object] = {"grade": binding.proof.value, "function_version": flip.to_version}
    now = job.context.state.now(conn)
    events.append(conn, PROVEN, now=now, release_id=job.release.id, subject=binding.name, detail=detail)


def _was_proven(conn: sa.Connection, binding: Binding, version_id: str | None) -> bool:
    query = (
        sa.select(event_rows.c.id)
        .join(release_rows, release_rows.c.id == event_rows.c.release_id)
        .where(event_rows.c.kind == PROVEN, event_rows.c.subject == binding.name)
        .where(release_rows.c.version_id == version_id)
        .limit(1)
    )
    return conn.execute(query).first() is not None


def _expected(job: Attempt, bound: BoundModel, version: Version, manifest: Manifest, asked: Challenge) -> str:
    entries = {entry.path: entry for entry in manifest.entries}
    files = challenge.proven_files((entry.path, entry.size_bytes) for entry in manifest.entries)
    pieces = challenge.ranges(asked.nonce, files)
    read = partial(_read, _source(job, bound, version, manifest), entries)
    bytes_of = dict(zip(pieces, together(read, pieces, _READS_IN_FLIGHT), strict=True))
    sample = challenge.sample_answer(asked.nonce, files, lambda path, at, size: bytes_of[path, at, size])
    if asked.grade == challenge.SAMPLE:
        return sample
    return challenge.full_answer(
        asked.nonce, sample, [(path, entries[FilePath(path)].sha256.hex) for path, _size in files]
    )


def _source(job: Attempt, bound: BoundModel, version: Version, manifest: Manifest) -> Source:
    """The target that the function mounts; for an image, whose files lie packed in layers, the registry."""
    if bound.target in job.context.targets:
        return partial(job.context.targets[bound.target].open, manifest)
    registry = job.context.registries[version.registry]
    revision = Revision(parse_version(version.name), version.pin)
    return RevisionSource(registry, parse_model(version.model), revision)


def _read(source: Source, entries: Mapping[FilePath, Entry], piece: tuple[str, int, int]) -> bytes:
    path, offset, size_bytes = piece
    found = bytearray(size_bytes)
    done = 0
    with source(entries[FilePath(path)], offset) as stream:
        while done < size_bytes:
            got = stream.readinto(memoryview(found)[done:])
            if not got:
                raise Unavailable(f"{path}: ends at {offset + done}, expected {offset + size_bytes} bytes")
            done += got
    return bytes(found)
