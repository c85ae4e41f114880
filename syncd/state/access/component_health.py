"""Health of what a daemon works with, as its checks last found it: one document in `record_info`.

It is replaced as a whole by the one process that controls the record, so it needs no rows of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from syncd.state.db.rows import insert
from syncd.state.db.schema import record_info
from syncd.values.health import HealthState

_NAME: Final = "component_health"


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """A component by its section and name in the configuration. Times are those of the daemon's clock."""

    section: str
    name: str
    state: HealthState
    since: datetime
    reason: str = ""
    hint: str = ""
    seen_at: datetime | None = None  # of the last check that ended


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All components, and the time when the daemon wrote them."""

    components: tuple[ComponentHealth, ...]
    written_at: datetime


def write(conn: sa.Connection, components: Sequence[ComponentHealth], now: datetime) -> None:
    """Replace the report."""
    values = {"value": json.dumps([asdict(each) for each in components], default=datetime.isoformat), "at": now}
    row = insert(conn, record_info).values(name=_NAME, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[record_info.c.name], set_=values))


def read(conn: sa.Connection) -> HealthReport | None:
    """The newest report; None where no daemon has written one."""
    query = sa.select(record_info.c.value, record_info.c.at).where(record_info.c.name == _NAME)
    found = conn.execute(query).one_or_none()
    if found is None:
        return None
    return HealthReport(tuple(_parsed(each) for each in json.loads(found.value)), found.at)


def _parsed(row: dict[str, Any]) -> ComponentHealth:
    seen_at = row["seen_at"]
    times = {
        "since": datetime.fromisoformat(row["since"]),
        "seen_at": datetime.fromisoformat(seen_at) if seen_at else None,
    }
    return ComponentHealth(**{**row, **times})
