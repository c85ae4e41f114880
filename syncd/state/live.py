"""What is served by the record, which function versions were staged for it, and what was served before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.plan.phases import ReleasePhase
from syncd.state import bases
from syncd.state.records import FunctionVersion, Live, Release
from syncd.state.rows import every, insert, insert_new, one
from syncd.state.schema import function_versions as staged
from syncd.state.schema import live, releases


def get(conn: sa.Connection, binding: str) -> Live | None:
    """What a binding serves; None if syncd never flipped it."""
    return one(conn, Live, sa.select(live).where(live.c.binding == binding))


def all(conn: sa.Connection) -> list[Live]:  # noqa: A001 -- read as `live.all`
    """What each binding serves, in the order of their names."""
    return every(conn, Live, sa.select(live).order_by(live.c.binding))


def record(
    conn: sa.Connection,
    binding: str,
    function_version: str | None,
    models: Mapping[str, str],
    release_id: str | None,
    now: datetime,
) -> Live:
    """Say what a binding serves from `now` on, in the transaction that says so of its flip."""
    values = {"function_version": function_version, "models": dict(models), "release_id": release_id, "since": now}
    row = insert(conn, live).values(binding=binding, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[live.c.binding], set_=values))
    return Live(binding, function_version, dict(models), release_id, now)


def function_versions(conn: sa.Connection, binding: str) -> list[FunctionVersion]:
    """What was staged for a binding and not forgotten, oldest first."""
    query = sa.select(staged).where(staged.c.binding == binding).order_by(staged.c.staged_at, staged.c.function_version)
    return every(conn, FunctionVersion, query)


def function_version(conn: sa.Connection, binding: str, number: str | None) -> FunctionVersion | None:
    """A function version as it was staged; None where syncd did not."""
    mine = sa.select(staged).where(staged.c.binding == binding, staged.c.function_version == number)
    return one(conn, FunctionVersion, mine)


def carrying(conn: sa.Connection, version_id: str) -> list[FunctionVersion]:
    """The function versions that were staged with a version of a model in them, oldest first."""
    query = sa.select(staged).order_by(staged.c.staged_at, staged.c.binding, staged.c.function_version)
    return [found for found in every(conn, FunctionVersion, query) if version_id in found.models.values()]


def note_function_version(conn: sa.Connection, seen: FunctionVersion) -> None:
    """Remember a published function version. It never changes, so the first note stays; repeating is success."""
    values = {"models": dict(seen.models), "change_digest": seen.change_digest, "release_id": seen.release_id}
    key = {"binding": seen.binding, "function_version": seen.function_version}
    insert_new(conn, staged, **key, **values, staged_at=seen.staged_at)


def previous_release(conn: sa.Connection, model: str) -> Release | None:
    """The release to whose version a rollback of the model goes: the one that was live before the current one.

    A rollback takes back what lies above the version it returned to, so that a second one in a row goes further
    back, and one too many finds nothing. What was taken back is not found again unless it is released anew. The same
    version in another image, over a newer base, is another thing to go back from.
    """
    was_live = sa.and_(releases.c.model == model, releases.c.phase == ReleasePhase.LIVE)
    history = every(conn, Release, sa.select(releases).where(was_live).order_by(releases.c.number))
    stack = _standing(history, bases.of_model(conn, model))
    return stack[-2] if len(stack) > 1 else None


def _standing(history: Iterable[Release], over: Mapping[str, Mapping[str, Digest]]) -> list[Release]:
    """The releases that lie below one another, the current one last; none serves what its neighbour does."""

    def alike(one: Release, other: Release) -> bool:
        mine, its = over.get(one.id, {}), over.get(other.id, {})
        return one.version_id == other.version_id and not any(mine[at] != its[at] for at in mine.keys() & its.keys())

    stack: list[Release] = []
    for release in history:
        # From the top: a version that was live twice is gone back to where it stands nearest below.
        below = next((n for n in reversed(range(len(stack))) if alike(stack[n], release)), None)
        if release.rollback and below is not None:
            del stack[below + 1 :]
        elif not stack or not alike(stack[-1], release):
            stack.append(release)
    return stack
