"""Table about the processes of a fleet: controllers and the workers of regions. See `schema`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state.db import columns

# A process by its name. `cordoned` and `draining` are what a person asked of that name, and outlive the process.
workers: Final = sa.Table(
    "workers",
    columns.metadata,
    columns.text("name"),
    columns.text("owner"),
    columns.text("role"),
    columns.text("region", default=""),
    columns.json("capabilities"),
    columns.text("version"),
    columns.count("protocol", None),
    columns.timestamp("since"),
    columns.timestamp("seen_at"),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("cordoned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.PrimaryKeyConstraint("name"),
)
