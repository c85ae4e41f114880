"""Leaf digests of large contents, for functions that read stripes of a file at once.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from syncd.state.upgrade import note_schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """SHA-256 of each piece of a content, one after another; see `syncd.serving.leaves`. None where it was not read."""
    op.add_column("contents", sa.Column("leaves", sa.LargeBinary(), nullable=True))
    note_schema("0005", "0004")
