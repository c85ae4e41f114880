"""A lock that belongs to a session is refused behind a pooler that shares sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from syncd.cli.exit_codes import code_of
from syncd.engine.lock import Claimant, announce, hold
from syncd.errors import Invalid

from tests.unit.engine.pooler import pooler


def test_a_pooler_in_transaction_mode_is_refused_by_name(postgresql_database: str) -> None:
    url = sa.make_url(postgresql_database)
    server = Path(str(url.query["host"])) / f".s.PGSQL.{url.query.get('port', url.port or 5432)}"
    with pooler(str(server), url.username or "postgres", url.database or "") as port:
        behind = url.set(host="127.0.0.1", port=port, query={"sslmode": "disable"}).render_as_string(
            hide_password=False
        )
        with pytest.raises(Invalid, match="pooler in transaction mode, such as PgBouncer") as caught, hold(behind):
            pass
        assert int(code_of(caught.value)) == 2
        assert "pool_mode = session" in caught.value.hint
        with pytest.raises(Invalid), announce(behind, Claimant.DAEMON):
            pass
    with hold(postgresql_database):
        pass
