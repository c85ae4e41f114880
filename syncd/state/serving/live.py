"""Live versions by the record, the function versions staged for each binding, and the versions live before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.plan.phases import ReleasePhase
from syncd.state.content import base_images, versions
from syncd.state.db.rows import among, fetch_all, fetch_one, insert, insert_new
from syncd.state.db.schema import function_versions as staged
from syncd.state.db.schema import live, releases
from syncd.state.records import FunctionVersion, Live, Release


def get(conn: sa.Connection, binding: str) -> Live | None:
    """What a binding serves; None if syncd never flipped it."""
    return fetch_one(conn, Live, sa.select(live).where(live.c.binding == binding))


def all(conn: sa.Connection) -> list[Live]:  # noqa: A001 -- read as `live.all`
    """What each binding serves, ordered by name."""
    return fetch_all(conn, Live, sa.select(live).order_by(live.c.binding))


def of(conn: sa.Connection, bindings: Collection[str]) -> dict[str, Live]:
    """What each of these bindings serves, by name, in one statement; no entry for one that syncd never flipped."""
    found = fetch_all(conn, Live, sa.select(live).where(among(conn, live.c.binding, bindings)))
    return {each.binding: each for each in found}


def refs(conn: sa.Connection, model: str) -> list[str]:
    """The names of the versions of a model that its bindings serve, sorted."""
    serving = {row.models[model] for row in all(conn) if model in row.models}
    return sorted({versions.get(conn, version_id).name for version_id in serving})


def record(
    conn: sa.Connection,
    binding: str,
    function_version: str | None,
    models: Mapping[str, str],
    release_id: str | None,
    now: datetime,
) -> Live:
    """Record what a binding serves from `now` on, in the transaction that records its flip."""
    values = {"function_version": function_version, "models": dict(models), "release_id": release_id, "since": now}
    row = insert(conn, live).values(binding=binding, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[live.c.binding], set_=values))
    return Live(binding, function_version, dict(models), release_id, now)


def function_versions(conn: sa.Connection, binding: str) -> list[FunctionVersion]:
    """The recorded function versions of a binding, oldest first."""
    query = sa.select(staged).where(staged.c.binding == binding).order_by(staged.c.staged_at, staged.c.function_version)
    return fetch_all(conn, FunctionVersion, query)


def function_version(conn: sa.Connection, binding: str, number: str | None) -> FunctionVersion | None:
    """A staged function version; None if syncd did not stage it."""
    mine = sa.select(staged).where(staged.c.binding == binding, staged.c.function_version == number)
    return fetch_one(conn, FunctionVersion, mine)


def carrying(conn: sa.Connection, version_id: str) -> list[FunctionVersion]:
    """The function versions with this version of a model, oldest first."""
    query = sa.select(staged).order_by(staged.c.staged_at, staged.c.binding, staged.c.function_version)
    return [found for found in fetch_all(conn, FunctionVersion, query) if version_id in found.models.values()]


def note_function_version(conn: sa.Connection, seen: FunctionVersion) -> None:
    """Record a published function version. It never changes, so the first record stays; repeating it is success."""
    values = {"models": dict(seen.models), "change_digest": seen.change_digest, "release_id": seen.release_id}
    key = {"binding": seen.binding, "function_version": seen.function_version}
    insert_new(conn, staged, **key, **values, staged_at=seen.staged_at)


def forget_renumbered(conn: sa.Connection, bindings: Sequence[str], function_version: str) -> None:
    """Forget function versions of these bindings from a number on, which has just been given out.

    Numbers only grow, so these belong to a function that was deleted and created again under its name.
    """
    numbers = sa.select(staged.c.binding, staged.c.function_version).where(staged.c.binding.in_(tuple(bindings)))
    for binding, number in conn.execute(numbers).all():
        if int(number) >= int(function_version):
            conn.execute(sa.delete(staged).where(staged.c.binding == binding, staged.c.function_version == number))


def previous_release(conn: sa.Connection, model: str) -> Release | None:
    """The target of a rollback of the model: the release that was live before the current one.

    A rollback removes the releases above the version it returned to, so that a second one in a row goes further
    back, and one too many finds nothing. A removed release is not found again unless it is released anew. The same
    version in another image, over a newer base, counts as another release.
    """
    stack = _standing(conn, model)
    return stack[-2] if len(stack) > 1 else None


def was_live(conn: sa.Connection, model: str) -> list[Release]:
    """The releases of a model that were live, newest first."""
    was = sa.and_(releases.c.model == model, releases.c.phase == ReleasePhase.LIVE)
    return fetch_all(conn, Release, sa.select(releases).where(was).order_by(releases.c.number.desc()))


def current_release(conn: sa.Connection, model: str) -> Release | None:
    """The release whose version is live by the record."""
    stack = _standing(conn, model)
    return stack[-1] if stack else None


def is_again(conn: sa.Connection, release: Release) -> bool:
    """Whether a release has the version that is live already: undoing it would change nothing."""
    stack = _standing(conn, release.model)
    return bool(stack) and _is_alike(stack[-1], release, base_images.of_model(conn, release.model))


def _is_alike(one: Release, other: Release, over: Mapping[str, Mapping[str, Digest]]) -> bool:
    mine, its = over.get(one.id, {}), over.get(other.id, {})
    return one.version_id == other.version_id and not any(mine[at] != its[at] for at in mine.keys() & its.keys())


def _standing(conn: sa.Connection, model: str) -> list[Release]:
    """The stack of live releases, the current one last; neighbours serve different versions."""
    over = base_images.of_model(conn, model)
    was_live = sa.and_(releases.c.model == model, releases.c.phase == ReleasePhase.LIVE)
    stack: list[Release] = []
    for release in fetch_all(conn, Release, sa.select(releases).where(was_live).order_by(releases.c.number)):
        # From the top: of a version that was live twice, the nearest release below counts.
        below = next((n for n in reversed(range(len(stack))) if _is_alike(stack[n], release, over)), None)
        if release.rollback and below is not None:
            del stack[below + 1 :]
        elif not stack or not _is_alike(stack[-1], release, over):
            stack.append(release)
    return stack
