"""Contents of sealed versions at a target: bytes that a new version can copy there instead of sending them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from syncd.artifact.blocks import BLOCK_BYTES, COPY_BYTES_MIN
from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.plan.phases import PlacementPhase
from syncd.state.content import versions as known
from syncd.state.db.rows import fetch_all, insert
from syncd.state.db.schema import contents, files, placements, versions
from syncd.targets.base import HeldRange, Origin

_BASES: Final = 3  # versions of one model: a fine-tune seldom starts from an older one
_ASKED_AT_ONCE: Final = 500  # variables of one query; SQLite allows some thousands


@dataclass(frozen=True, slots=True)
class _ContentFile:
    version_id: str
    path: FilePath
    sha256: Digest
    crc64: int | None
    blocks: bytes


def record(conn: sa.Connection, sha256: Digest, blocks: bytes, leaves: bytes = b"") -> None:
    """Record how a content is cut into parts, and its leaf digests if there are any; replaces an older cut."""
    known = {"blocks": blocks} | ({"leaves": leaves} if leaves else {})
    row = insert(conn, contents).values(sha256=sha256, **known)
    conn.execute(row.on_conflict_do_update(index_elements=["sha256"], set_=known))


def leaves(conn: sa.Connection, version_id: str) -> dict[FilePath, bytes]:
    """The leaf digests of a version's files, of those that have any."""
    query = (
        sa.select(files.c.path, contents.c.leaves)
        .join(contents, contents.c.sha256 == files.c.sha256)
        .where(files.c.version_id == version_id, contents.c.leaves.is_not(None))
    )
    return {FilePath(path): packed for path, packed in conn.execute(query)}


def held_blocks(conn: sa.Connection, version_id: str, target: str, parts_max: int) -> list[HeldRange]:
    """See `targets.base.Journal.held`. A file of the version that several others contain is listed once."""
    own = sa.select(files.c.sha256).where(files.c.version_id == version_id)
    others = _at(target).where(files.c.version_id != version_id)
    whole = fetch_all(conn, _ContentFile, others.where(files.c.sha256.in_(own), files.c.size_bytes >= COPY_BYTES_MIN))
    found = {file.sha256: file for file in reversed(whole)}
    bases = others.where(files.c.version_id.in_(_bases(conn, version_id, target)), contents.c.blocks.is_not(None))
    room_bytes = parts_max * BLOCK_BYTES
    for file in fetch_all(conn, _ContentFile, bases):
        if file.sha256 not in found:
            room_bytes -= len(file.blocks)
            if room_bytes < 0:
                break
            found[file.sha256] = file
    manifests = {id_: known.manifest(conn, id_) for id_ in {file.version_id for file in found.values()}}
    return [HeldRange(Origin(manifests[f.version_id], f.path), f.sha256, f.crc64, f.blocks) for f in found.values()]


def copyable(conn: sa.Connection, target: str, wanted: Collection[Digest]) -> set[Digest]:
    """Those of `wanted` that a version sealed at this target contains, so that they can be copied whole."""
    asked, found = list(wanted), set[Digest]()
    for begin in range(0, len(asked), _ASKED_AT_ONCE):
        some = files.c.sha256.in_(asked[begin : begin + _ASKED_AT_ONCE])
        query = _at(target).where(some, files.c.size_bytes >= COPY_BYTES_MIN, files.c.crc64.is_not(None))
        found |= {file.sha256 for file in fetch_all(conn, _ContentFile, query)}
    return found


def _at(target: str) -> sa.Select[tuple[object, ...]]:
    """Files of all versions sealed at this target, newest first."""
    columns = (files.c.version_id, files.c.path, files.c.sha256, files.c.crc64)
    blocks = sa.func.coalesce(contents.c.blocks, b"", type_=sa.LargeBinary).label("blocks")
    return (
        sa.select(*columns, blocks)
        .join_from(files, versions, files.c.version_id == versions.c.id)
        .join(placements, placements.c.version_id == versions.c.id)
        .outerjoin(contents, contents.c.sha256 == files.c.sha256)
        .where(placements.c.target == target, placements.c.phase == PlacementPhase.SEALED)
        .order_by(versions.c.created_at.desc(), versions.c.id, files.c.path)
    )


def _bases(conn: sa.Connection, version_id: str, target: str) -> list[str]:
    model = sa.select(versions.c.model).where(versions.c.id == version_id).scalar_subquery()
    sealed = (
        sa.select(versions.c.id)
        .join(placements, placements.c.version_id == versions.c.id)
        .where(versions.c.model == model, versions.c.id != version_id)
        .where(placements.c.target == target, placements.c.phase == PlacementPhase.SEALED)
        .order_by(versions.c.created_at.desc(), versions.c.id)
        .limit(_BASES)
    )
    return list(conn.execute(sealed).scalars())
