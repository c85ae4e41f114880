"""Versions marked for removal, leases of readers, proofs of copies.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from syncd.state.upgrade import note_schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A syncd of 0008 does not know leases: it would retire what a reader uses."""
    op.create_table(
        "removals",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("marked_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("spared_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_removals_version_id")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_removals")),
    )
    op.create_index(op.f("ix_removals_run"), "removals", ["run"])
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_leases_version_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_version_id"), "leases", ["version_id"])
    op.create_table(
        "proofs",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.Column("how", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_proofs_version_id")),
        sa.PrimaryKeyConstraint("version_id", "target", name=op.f("pk_proofs")),
    )
    note_schema("0009", "0009")
