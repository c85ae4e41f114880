"""Flips: the move of one alias within one release, which holds the alias from its claim to its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from syncd.errors import Conflict, NotFound
from syncd.plan.phases import FLIP_ENDS, UNMOVED, FlipPhase
from syncd.state.db.rows import among, fetch_all, fetch_one, insert_new
from syncd.state.db.schema import FLIP_UNFINISHED, flips, releases
from syncd.state.db.schema import events as history
from syncd.state.db.schema_serving import resolutions
from syncd.state.records import Flip, Release
from syncd.state.releases import events

_UNFINISHED: Final = sa.text(f"flips.{FLIP_UNFINISHED}")  # in the words of its index
_ROUNDS: Final = 3  # the holder may end between our insert and our read; three times in a row is a bug


def claim(conn: sa.Connection, release: Release, bindings: Sequence[str], now: datetime) -> str | None:
    """Claim every binding for the release, or none of them.

    None: all are claimed, now or by this release before. Else the holder of one: the id of a release, or a
    description of a restore that is under way.

    Raises:
        Conflict: This release has finished its flip of one of them already.
    """
    for _ in range(_ROUNDS):
        with conn.begin_nested() as savepoint:
            mine = {flip.binding for flip in of_release(conn, release.id)}
            # Sorted, so that two releases that want the same bindings wait for each other in one order.
            wanted = [binding for binding in sorted(set(bindings)) if binding not in mine]
            refused = next((binding for binding in wanted if not _insert(conn, release.id, binding, now)), None)
            if refused is None:
                _check_not_ended(conn, release, bindings)
                restore = _restore_of(conn, wanted)  # after our rows are in: a resolution that begins later finds them
                if restore is None:
                    return None
                savepoint.rollback()
                return restore
            savepoint.rollback()
        holding = holder(conn, refused)
        if holding is not None:
            return holding
    raise Conflict(f"{refused} is claimed and released again and again")


def of_release(conn: sa.Connection, release_id: str) -> list[Flip]:
    """The flips of a release, ordered by binding."""
    return fetch_all(conn, Flip, sa.select(flips).where(flips.c.release_id == release_id).order_by(flips.c.binding))


def unfinished(conn: sa.Connection) -> list[Flip]:
    """Flips that hold their aliases now."""
    return fetch_all(conn, Flip, sa.select(flips).where(_UNFINISHED).order_by(flips.c.release_id, flips.c.binding))


def of_releases(conn: sa.Connection, release_ids: Collection[str]) -> list[Flip]:
    """The flips of these releases, ordered by binding, in one statement."""
    mine = among(conn, flips.c.release_id, release_ids)
    return fetch_all(conn, Flip, sa.select(flips).where(mine).order_by(flips.c.binding))


def before_undo(conn: sa.Connection, release_ids: Collection[str]) -> dict[str, dict[str, FlipPhase]]:
    """The phase of each flip of these releases before it was to go back, by release and binding, in one statement."""
    columns = (history.c.release_id, history.c.subject, history.c.detail)
    mine = sa.and_(among(conn, history.c.release_id, release_ids), history.c.kind == f"flip.{FlipPhase.UNDOING}")
    found: dict[str, dict[str, FlipPhase]] = {}
    for release_id, binding, detail in conn.execute(sa.select(*columns).where(mine).order_by(history.c.id)):
        found.setdefault(release_id, {})[binding] = FlipPhase(detail["was"])
    return found


def get(conn: sa.Connection, release_id: str, binding: str) -> Flip:
    """Raises NotFound: the release never claimed this binding."""
    found = fetch_one(conn, Flip, sa.select(flips).where(_key(release_id, binding)))
    if found is None:
        raise NotFound(f"release {release_id} never claimed {binding}")
    return found


def holder(conn: sa.Connection, binding: str) -> str | None:
    """The id of the release that holds a binding now."""
    query = sa.select(flips.c.release_id).where(flips.c.binding == binding, _UNFINISHED)
    return conn.execute(query).scalar_one_or_none()


def held_by_others(conn: sa.Connection, release_id: str, bindings: Sequence[str]) -> list[Flip]:
    """The unfinished flips of other releases that hold some of these bindings, in the order of the bindings."""
    theirs = sa.and_(flips.c.binding.in_(tuple(bindings)), flips.c.release_id != release_id, _UNFINISHED)
    return fetch_all(conn, Flip, sa.select(flips).where(theirs).order_by(flips.c.binding))


def yield_to(conn: sa.Connection, flip: Flip, taker: str, now: datetime) -> None:
    """Give up the claim of a flip that has moved nothing to the release `taker`. Its release has to claim it again.

    Raises:
        Conflict: The flip has moved since it was read.
    """
    query = sa.delete(flips).where(_key(flip.release_id, flip.binding), flips.c.phase == flip.phase)
    if flip.phase not in UNMOVED or not conn.execute(query).rowcount:
        raise Conflict(f"flip of {flip.binding} in {flip.release_id} is {flip.phase} or later, and cannot be yielded")
    detail = {"binding": flip.binding, "was": flip.phase.value, "to": taker}
    events.append(conn, "flip.yielded", now=now, release_id=flip.release_id, subject=flip.binding, detail=detail)


def models_claiming(conn: sa.Connection, bindings: Sequence[str]) -> frozenset[str]:
    """The models of which a release ever had a flip of one of these bindings: it may have staged them there."""
    query = sa.select(releases.c.model).join(flips, flips.c.release_id == releases.c.id).distinct()
    return frozenset(conn.scalars(query.where(flips.c.binding.in_(bindings))))


def has_moved_to(conn: sa.Connection, binding: str, function_version: str) -> bool:
    """Whether the binding ever moved to this function version, which was then probed before."""
    moved = sa.and_(flips.c.to_version == function_version, flips.c.phase.in_((FlipPhase.DONE, FlipPhase.UNDONE)))
    return (
        conn.execute(sa.select(flips.c.binding).where(flips.c.binding == binding, moved).limit(1)).first() is not None
    )


def note_staged(  # noqa: PLR0913 -- one argument a column
    conn: sa.Connection,
    flip: Flip,
    *,
    to_version: str,
    from_version: str | None,
    served: Mapping[str, str],
    serves: Mapping[str, str],
    now: datetime,
) -> Flip:
    """Record what would be served, and what was before. The phase stays; `advance` it in the same transaction.

    Raises:
        Conflict: The flip has moved since it was read.
    """
    values: dict[str, Any] = {"to_version": to_version, "from_version": from_version, "updated_at": now}
    values |= {"served": dict(served), "serves": dict(serves)}
    query = sa.update(flips).where(_key(flip.release_id, flip.binding), flips.c.phase == flip.phase)
    if not conn.execute(query.values(**values)).rowcount:
        raise Conflict(f"flip of {flip.binding} in {flip.release_id} is no longer {flip.phase}")
    return replace(flip, **values)


def _key(release_id: str, binding: str) -> sa.ColumnElement[bool]:
    return sa.and_(flips.c.release_id == release_id, flips.c.binding == binding)


def _insert(conn: sa.Connection, release_id: str, binding: str, now: datetime) -> bool:
    """Whether the partial unique index accepted it; a concurrent claim is waited for until its commit."""
    if not insert_new(conn, flips, release_id=release_id, binding=binding, updated_at=now):
        return False
    detail = {"binding": binding}
    events.append(conn, "flip.claimed", now=now, release_id=release_id, subject=binding, detail=detail)
    return True


def _restore_of(conn: sa.Connection, bindings: Sequence[str]) -> str | None:
    """A description of the resolution that holds one of these bindings."""
    query = (
        sa.select(resolutions.c.subject, resolutions.c.who).where(resolutions.c.binding.in_(tuple(bindings))).limit(1)
    )
    found = conn.execute(query).first()
    return None if found is None else f"the restore of {found.subject} by {found.who}"


def _check_not_ended(conn: sa.Connection, release: Release, bindings: Sequence[str]) -> None:
    ended = [f for f in of_release(conn, release.id) if f.binding in bindings and f.phase in FLIP_ENDS]
    if ended:
        raise Conflict(f"release {release.id} has {ended[0].phase} its flip of {ended[0].binding} already")
