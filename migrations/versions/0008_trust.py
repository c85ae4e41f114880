"""Verdicts on versions, waivers, and links of events.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from syncd.state.upgrade import note_schema

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """A syncd of 0006 evaluates nothing: it would release what the policy refuses."""
    op.create_table(
        "verdicts",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("tools", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("findings", _JSON, server_default="{}", nullable=False),
        sa.Column("evidence", _JSON, server_default="{}", nullable=False),
        sa.Column("release_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("outcome IN ('passed', 'warned', 'waived', 'refused')", name=op.f("ck_verdicts_outcome")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_verdicts_version_id")),
        sa.PrimaryKeyConstraint("digest", "policy", "tools", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_version_id_at"), "verdicts", ["version_id", "at"])
    op.create_table(
        "waivers",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("used_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_waivers")),
    )
    op.create_table(
        "event_links",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event_links")),
    )
    note_schema("0008", "0008")
