"""Refused callers of the API, in one row of `record_info`: their number, and those that were refused most often.

The process that serves the API replaces it as a whole, so it needs no rows of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from syncd.state.db.rows import insert
from syncd.state.db.schema import record_info

TOP_MAX: Final = 5
KEPT: Final = timedelta(hours=1)  # after the last refusal
_NAME: Final = "refused_callers"


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """Refusals under one name from one address. `reason` is that of the newest; `name` is empty if it is unknown."""

    name: str
    address: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class RefusalSummary:
    """Refusals of the last hour: how many, and the callers with most of them."""

    total: int = 0
    top: tuple[RefusalCount, ...] = ()

    @classmethod
    def of(cls, counts: list[RefusalCount]) -> RefusalSummary:
        """The summary of all counts."""
        top = sorted(counts, key=lambda each: (-each.count, -each.last_at.timestamp(), each.address))[:TOP_MAX]
        return cls(sum(each.count for each in counts), tuple(top))


def write(conn: sa.Connection, found: RefusalSummary, now: datetime) -> None:
    """Replace the summary."""
    values = {"value": json.dumps(asdict(found), default=datetime.isoformat), "at": now}
    row = insert(conn, record_info).values(name=_NAME, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[record_info.c.name], set_=values))


def read(conn: sa.Connection, now: datetime) -> RefusalSummary:
    """The newest summary; none where the last refusal of it is more than an hour ago."""
    text = conn.execute(sa.select(record_info.c.value).where(record_info.c.name == _NAME)).scalar_one_or_none()
    if text is None:
        return RefusalSummary()
    found = json.loads(text)
    top = tuple(_parsed(each) for each in found["top"])
    is_recent = any(now - each.last_at < KEPT for each in top)
    return RefusalSummary(found["total"], top) if is_recent else RefusalSummary()


def _parsed(row: dict[str, Any]) -> RefusalCount:
    times = {key: datetime.fromisoformat(row[key]) for key in ("first_at", "last_at")}
    return RefusalCount(**{**row, **times})
