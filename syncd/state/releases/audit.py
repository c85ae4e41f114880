"""Links of events: the hash chain over the history, added after events have settled, and compared with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema import events as event_rows
from syncd.state.db.schema_trust import event_links
from syncd.state.records import Event
from syncd.state.releases import events
from syncd.trust.hash_chain import GENESIS, ChainBreak, Link, breaks, flat, linked

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """The comparison of a history with its chain. `unlinked` events came after the last link."""

    events: int
    links: int
    unlinked: int
    head: Link
    breaks: tuple[ChainBreak, ...]


def head(conn: sa.Connection) -> Link:
    """The newest link; that of the beginning if there is none."""
    query = sa.select(event_links).order_by(event_links.c.event_id.desc()).limit(1)
    return fetch_one(conn, Link, query) or Link(0, GENESIS)


def extend(conn: sa.Connection) -> Link:
    """Link every settled event that has no link. Two processes that do so at once write the same links."""
    last = head(conn)
    while found := events.after(conn, last.event_id, _BATCH):
        rows = []
        for event in found:
            last = Link(event.id, linked(last.hash, flat(event)))
            rows.append({"event_id": last.event_id, "hash": last.hash})
        conn.execute(insert(conn, event_links).on_conflict_do_nothing(), rows)
    return last


def verify(conn: sa.Connection, anchors: Mapping[int, str]) -> Audit:
    """Compare the history with its chain. `anchors` are hashes by event that were noted outside the record.

    Without an anchor, anyone who can write the record can also cut the end off, or link another history anew.
    """
    counted = {"events": 0, "links": 0, "unlinked": 0}
    last = Link(0, GENESIS)
    missing = dict(anchors)

    def seen() -> Iterator[tuple[Mapping[str, Any] | None, Link | None]]:
        nonlocal last
        for event, link in pairs(conn):
            counted["events"] += event is not None
            counted["links"] += link is not None
            counted["unlinked"] = 0 if link is not None else counted["unlinked"] + 1
            last = link or last
            if link is not None and missing.get(link.event_id) == link.hash:
                del missing[link.event_id]
            yield event, link

    found = list(breaks(seen()))
    found += [
        ChainBreak(each, "and what came before is not as a receipt says: history was cut off or written anew")
        for each in sorted(missing)
    ]
    return Audit(counted["events"], counted["links"], counted["unlinked"], last, tuple(found))


def pairs(conn: sa.Connection) -> Iterator[tuple[Mapping[str, Any] | None, Link | None]]:
    """Every event, as by `flat`, with its link, in order; a batch of them is in memory."""
    after = 0
    while True:
        some = sa.union(
            sa.select(event_rows.c.id.label("id")).where(event_rows.c.id > after),
            sa.select(event_links.c.event_id.label("id")).where(event_links.c.event_id > after),
        ).subquery()
        ids = conn.execute(sa.select(some.c.id).order_by(some.c.id).limit(_BATCH)).scalars().all()
        if not ids:
            return
        within = sa.between(event_rows.c.id, ids[0], ids[-1])
        known = {event.id: event for event in fetch_all(conn, Event, sa.select(event_rows).where(within))}
        of = sa.select(event_links).where(sa.between(event_links.c.event_id, ids[0], ids[-1]))
        links = {link.event_id: link for link in fetch_all(conn, Link, of)}
        for each in ids:
            yield (flat(known[each]) if each in known else None), links.get(each)
        after = ids[-1]
