"""Results of the last verification of each model: a document in `record_info`, so that others can read it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from syncd.state.db.rows import insert
from syncd.state.db.schema import record_info

_PREFIX: Final = "verification of "


@dataclass(frozen=True, slots=True)
class Verification:
    """What one run of `verify` found of a model. `is_quick`: checksums were compared, the bytes were not read."""

    model: str
    at: datetime
    is_quick: bool
    findings: Sequence[Mapping[str, Any]]


def write(
    conn: sa.Connection, model: str, findings: Sequence[Mapping[str, Any]], now: datetime, *, is_quick: bool
) -> None:
    """Replace the results of a model."""
    values = {"value": json.dumps({"is_quick": is_quick, "findings": list(findings)}), "at": now}
    row = insert(conn, record_info).values(name=f"{_PREFIX}{model}", **values)
    conn.execute(row.on_conflict_do_update(index_elements=[record_info.c.name], set_=values))


def read(conn: sa.Connection, models: Collection[str]) -> dict[str, Verification]:
    """The results by model, of those that were verified."""
    names = [f"{_PREFIX}{model}" for model in models]
    query = sa.select(record_info).where(record_info.c.name.in_(names)).order_by(record_info.c.name)
    found = [(str(row.name).removeprefix(_PREFIX), row.at, json.loads(row.value)) for row in conn.execute(query)]
    return {model: Verification(model, at, each["is_quick"], each["findings"]) for model, at, each in found}
