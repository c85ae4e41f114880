"""Tables about what is kept: versions marked for removal, leases of readers, proofs of copies. See `schema`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state.db import columns

# Versions that the retention rules remove, until they are retired; and those whose removal a person has undone.
removals: Final = sa.Table(
    "removals",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("run"),
    columns.text("who"),
    columns.text("why"),
    columns.timestamp("marked_at"),
    columns.timestamp("due_at"),
    columns.text("spared_by", default=""),
    sa.PrimaryKeyConstraint("version_id"),
    sa.Index(None, "run"),
)

# Versions that readers outside syncd use, by the name that a reader chose.
leases: Final = sa.Table(
    "leases",
    columns.metadata,
    columns.text("name"),
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("who"),
    columns.timestamp("since"),
    columns.timestamp("until"),
    sa.PrimaryKeyConstraint("name"),
    sa.Index(None, "version_id"),
)

# The newest proof of each copy, and how its newest check ended.
proofs: Final = sa.Table(
    "proofs",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.timestamp("proven_at", nullable=True),
    columns.text("how", default=""),
    columns.timestamp("checked_at"),
    columns.text("fault", default=""),
    sa.PrimaryKeyConstraint("version_id", "target"),
)
