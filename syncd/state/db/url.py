"""The database URL, as written in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from syncd.errors import Invalid

_EXAMPLES: Final = "sqlite:////var/lib/syncd/state.db or postgresql://syncd@db.internal/syncd"


def parse(url: str) -> sa.URL:
    """Read the URL of a SQLite file or a PostgreSQL database; `postgresql://` means the psycopg driver.

    Raises:
        Invalid: It is not a URL, of another database, or of a SQLite database in memory, which no second
            connection could see. Passwords are not in the message.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise Invalid("the database URL cannot be read", hint=f"for example {_EXAMPLES}") from error
    shown = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise Invalid(f"{shown}: syncd keeps its record in SQLite or PostgreSQL", hint=f"for example {_EXAMPLES}")
    if parsed.database in {None, "", ":memory:"}:
        raise Invalid(f"{shown}: a SQLite database in memory is lost with its connection", hint=f"write {_EXAMPLES}")
    return parsed.set(drivername="sqlite")


def sqlite_file(url: sa.URL) -> Path | None:
    """The absolute path of the SQLite file, None for PostgreSQL."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database).absolute()
