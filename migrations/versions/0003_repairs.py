"""Repairs of placements, and what the record says of the syncd that may work on it.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from syncd.state.upgrade import note_schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """A syncd of 0002 would neither resume nor show a repair that a person was promised."""
    op.create_table(
        "repairs",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("hint", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("result", _JSON, server_default="{}", nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_repairs_version_id"),
        sa.PrimaryKeyConstraint("version_id", "target", name="pk_repairs"),
    )
    note_schema("0003", "0003")
