"""Run by Alembic, on the connection that `syncd.state.upgrade` gives it; there is no alembic.ini."""

from __future__ import annotations

from alembic import context
from syncd.state.upgrade import configure

connection = context.config.attributes["connection"]
configure(context, connection)
with context.begin_transaction():
    context.run_migrations()
