"""What a pass and an overview read is found by an index: unfinished releases, those that left a region behind.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from syncd.state.upgrade import note_schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UNFINISHED = "phase NOT IN ('cancelled', 'live', 'stalled', 'superseded', 'undone')"
_QUARANTINED = "quarantined <> ''"
_LEFT_BEHIND = """
    INSERT INTO left_behind (model, release_id)
    SELECT model, id FROM releases
    WHERE number IN (SELECT max(number) FROM releases GROUP BY model) AND phase = 'live'
      AND EXISTS (SELECT 1 FROM flips WHERE flips.release_id = releases.id AND flips.phase = 'abandoned')
"""


def upgrade() -> None:
    """A syncd of 0003 would end releases without noting in `left_behind` which regions they left."""
    _index("ix_releases_unfinished", "releases", "number", _UNFINISHED)
    op.create_index("ix_flips_binding", "flips", ["binding"])
    _index("ix_versions_quarantined", "versions", "model", _QUARANTINED)
    op.create_table(
        "left_behind",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_left_behind_release_id"),
        sa.PrimaryKeyConstraint("model", name="pk_left_behind"),
    )
    op.execute(_LEFT_BEHIND)
    note_schema("0004", "0004")


def _index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
