"""Rollouts: the progress of a staged release, its pauses, and the answers of its canaries.

Every change has an event. Times are of the database's clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from syncd.plan.strategy import OnRegionUnavailable, Pause, Requirement, Share, Strategy
from syncd.state.db.rows import among, fetch_all, insert, insert_new
from syncd.state.db.schema_serving import canaries, rollouts
from syncd.state.releases import events


@dataclass(frozen=True, slots=True)
class Rollout:
    """The progress of a staged release."""

    release_id: str
    strategy: Strategy
    regions: Mapping[str, str]  # of its bindings
    stage: int = 0
    pause: Pause | None = None
    out_since: datetime | None = None  # since when a required region is unavailable
    hurried: bool = False


@dataclass(frozen=True, slots=True)
class Canary:
    """One binding of a rollout: its last share, and the answers counted at `stage`."""

    release_id: str
    binding: str
    percent: int
    stage: int
    good: int
    bad: int


def find(conn: sa.Connection, release_id: str) -> Rollout | None:
    """The rollout of a release; None while it follows no strategy with several stages."""
    row = conn.execute(sa.select(rollouts).where(rollouts.c.release_id == release_id)).mappings().first()
    return None if row is None else _of_row(row)


def of(conn: sa.Connection, release_ids: Collection[str]) -> dict[str, Rollout]:
    """The rollouts of these releases, by release, in one statement."""
    query = sa.select(rollouts).where(among(conn, rollouts.c.release_id, release_ids))
    return {row["release_id"]: _of_row(row) for row in conn.execute(query).mappings()}


def begin(conn: sa.Connection, release_id: str, strategy: Strategy, regions: Mapping[str, str]) -> Rollout:
    """Start a rollout with a strategy. A release keeps its first strategy."""
    values = {"strategy": dataclasses.asdict(strategy), "regions": dict(regions)}
    insert_new(conn, rollouts, release_id=release_id, **values)
    return find(conn, release_id) or Rollout(release_id, strategy, regions)


def enter(conn: sa.Connection, rollout: Rollout, stage: int, now: datetime) -> Rollout:
    """Move on to a stage, whose pause has not begun."""
    _change(conn, rollout, stage=stage, pause_since=None, pause_until=None, out_since=None)
    events.append(conn, "rollout.stage", now=now, release_id=rollout.release_id, detail={"stage": stage + 1})
    return replace(rollout, stage=stage, pause=None, out_since=None)


def start_pause(conn: sa.Connection, rollout: Rollout, pause: Pause) -> Rollout:
    """Record the pause of the stage and its end."""
    _change(conn, rollout, pause_since=pause.since, pause_until=pause.until, out_since=None)
    said: dict[str, object] = {"stage": rollout.stage + 1, "until": pause.until.isoformat()}
    events.append(conn, "rollout.paused", now=pause.since, release_id=rollout.release_id, detail=said)
    return replace(rollout, pause=pause, out_since=None)


def tolerate_region(conn: sa.Connection, rollout: Rollout, now: datetime) -> Rollout:
    """Record since when a region is unavailable. Repeating it keeps the first time, unless the clock is before it."""
    if rollout.out_since is not None and rollout.out_since <= now:
        return rollout
    _change(conn, rollout, out_since=now)
    return replace(rollout, out_since=now)


def expedite(conn: sa.Connection, release_id: str) -> None:
    """Have everything move back at once. A release without a rollout does so anyway."""
    conn.execute(sa.update(rollouts).where(rollouts.c.release_id == release_id).values(hurried=True))


def canaries_of(conn: sa.Connection, release_id: str) -> dict[str, Canary]:
    """The canaries of a rollout, by binding."""
    query = sa.select(canaries).where(canaries.c.release_id == release_id).order_by(canaries.c.binding)
    return {canary.binding: canary for canary in fetch_all(conn, Canary, query)}


def canaries_among(conn: sa.Connection, release_ids: Collection[str]) -> dict[str, dict[str, Canary]]:
    """The canaries of these rollouts, by release and binding, in one statement."""
    query = sa.select(canaries).where(among(conn, canaries.c.release_id, release_ids)).order_by(canaries.c.binding)
    found: dict[str, dict[str, Canary]] = {}
    for canary in fetch_all(conn, Canary, query):
        found.setdefault(canary.release_id, {})[canary.binding] = canary
    return found


def record_share(conn: sa.Connection, release_id: str, binding: str, percent: int) -> None:
    """Record the share that an alias is about to get."""
    _put(conn, release_id, binding, percent=percent)


def record_analysis(conn: sa.Connection, rollout: Rollout, binding: str, *, good: bool) -> Canary:
    """Count one answer at the rollout's stage; those of an earlier stage are discarded."""
    known = canaries_of(conn, rollout.release_id).get(binding)
    here = known if known and known.stage == rollout.stage else None
    counts = {"good": (here.good if here else 0) + good, "bad": (here.bad if here else 0) + (not good)}
    _put(conn, rollout.release_id, binding, stage=rollout.stage, **counts)
    return canaries_of(conn, rollout.release_id)[binding]


def _of_row(row: sa.RowMapping) -> Rollout:
    since, until = row["pause_since"], row["pause_until"]
    pause = Pause(since, until) if since and until else None
    kept = {key: row[key] for key in ("release_id", "regions", "stage", "out_since", "hurried")}
    return Rollout(strategy=_strategy(row["strategy"]), pause=pause, **kept)


def _put(conn: sa.Connection, release_id: str, binding: str, **values: int) -> None:
    row = insert(conn, canaries).values(release_id=release_id, binding=binding, **values)
    key = [canaries.c.release_id, canaries.c.binding]
    conn.execute(row.on_conflict_do_update(index_elements=key, set_=values))


def _change(conn: sa.Connection, rollout: Rollout, **values: Any) -> None:
    conn.execute(sa.update(rollouts).where(rollouts.c.release_id == rollout.release_id).values(**values))


def _strategy(document: Mapping[str, Any]) -> Strategy:
    """A recorded strategy; a field that a later syncd added has its default."""
    given = dict(document)
    given["waves"] = tuple(tuple(regions) for regions in given["waves"])
    given["steps"] = tuple(Share(**share) for share in given["steps"])
    given["signals"] = tuple(given.get("signals", ()))
    given["requirement"] = Requirement(given["requirement"])
    given["region_out"] = OnRegionUnavailable(given["region_out"])
    return Strategy(**given)
