"""Limits of API tokens: until when, for which models, from where, how often.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from syncd.state.upgrade import note_schema

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """A syncd of 0009 works on: the hash of a token with limits is made in another way, so it refuses such a token."""
    op.add_column("tokens", sa.Column("limits", _JSON, server_default="{}", nullable=False))
    note_schema("0011", "0009")
