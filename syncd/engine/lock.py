"""One controlling process for a record: a file lock beside SQLite, an advisory lock in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from syncd.errors import Conflict
from syncd.state.db.errors import translate_errors
from syncd.state.db.filelock import locked_file
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import make_engine

_HINT: Final = "it does the work; stop it first if this process should"
_ADVISORY_KEY: Final = 0x73796E6364  # "syncd"


@contextmanager
def hold(url: str) -> Iterator[None]:
    """Be the only process that controls this record, inside the block.

    The lock ends with the process, whatever its death. On SQLite the file `<database>.lock` stays and means nothing
    by itself. On PostgreSQL the lock is the session's: should its connection break, another process may take over
    while this one still runs, and the fence on every step keeps the two apart.

    Raises:
        Conflict: Another process has it; where it can be known the message has its id.
        Invalid: The URL is wrong, or the file beside the database cannot be made.
        Unavailable: PostgreSQL cannot be reached.
    """
    file = sqlite_file(parse(url))
    if file is None:
        with _advisory(parse(url)):
            yield
        return
    lock = locked_file(file.with_name(f"{file.name}.lock"), wait=False)
    try:
        lock.__enter__()
    except Conflict as error:
        raise Conflict(f"{file} is served by another process: {error.message}", hint=_HINT) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _advisory(url: sa.URL) -> Iterator[None]:
    engine = make_engine(url)
    try:
        with translate_errors(url):
            conn = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            taken = conn.execute(sa.select(sa.func.pg_try_advisory_lock(_ADVISORY_KEY))).scalar_one()
        with conn:
            if not taken:
                shown = url.render_as_string(hide_password=True)
                raise Conflict(f"{shown} is served by another process", hint=_HINT)
            yield
    finally:
        engine.dispose()
