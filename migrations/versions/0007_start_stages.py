"""Stages of a first answer: what its probe could see of the start, in milliseconds.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from syncd.state.upgrade import note_schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """A syncd of 0004 may work on it: it records first answers without stages."""
    op.add_column("load_times", sa.Column("stages", _JSON, server_default="{}", nullable=False))
    note_schema("0007", "0004")
