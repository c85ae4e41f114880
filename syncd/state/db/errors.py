"""Mapping from errors of SQLAlchemy and its drivers to syncd's errors: one table, read in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from syncd.errors import Conflict, Invalid, OutcomeUnknown, Refused, SyncdError, Unavailable
from syncd.state.db.url import sqlite_file

UPGRADE_HINT: Final = "run: syncd db upgrade"
CREATE_HINT: Final = "is the disk mounted? first install: `syncd db create`"

_SQLITE_SCHEMA: Final = ("no such table", "no such column", "has no column named")
_SQLITE_DISK: Final = ("disk is full", "disk I/O error")
_POSTGRES_SCHEMA: Final = frozenset({"42P01", "42703", "3F000"})  # undefined table, column, schema
_NOT_A_DATABASE: Final = ("file is not a database", 'FATAL:  database "')
_DAMAGED: Final = ("database disk image is malformed", "malformed database schema", "database corruption")
_POSTGRES_DAMAGED: Final = frozenset({"XX001", "XX002"})  # data and index corrupted
_DAMAGED_HINT: Final = (
    "the record is damaged: stop the daemon, move the database aside, then restore a copy, or: syncd db create; "
    "syncd db adopt-world (docs/how-to/recover.md)"
)
_NOT_LET_IN: Final = (
    "authentication failed",
    "no pg_hba.conf entry",
    'FATAL:  role "',
)  # psycopg has no code for these
_POSTGRES_READ_ONLY: Final = "25006"


def no_record(url: sa.URL) -> Invalid:
    """The error for a missing record: an unmounted disk and a first install are indistinguishable."""
    file = sqlite_file(url)
    if file is not None:
        return Invalid(f"no record at {file}", hint=CREATE_HINT)
    shown = url.render_as_string(hide_password=True)
    return Invalid(
        f"no record in {shown}", hint="is this the right database and schema? first install: `syncd db create`"
    )


@contextmanager
def translate_errors(url: sa.URL) -> Iterator[None]:
    """Turn the database's errors inside the block into syncd's; other errors pass.

    Raises:
        Unavailable: It is locked, unreachable, or ended our transaction: nothing was changed.
        Invalid: The tables are missing or older than this syncd, the database is damaged, or the URL has none.
        Refused: It refuses access, or writing.
        Conflict: A row that must be unique exists already, or a required row does not exist.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise error_of(error, url) from error


@contextmanager
def translate_commit_errors(url: sa.URL) -> Iterator[None]:
    """The same around a commit, where a lost connection leaves the outcome unknown.

    Raises:
        OutcomeUnknown: The connection broke during the commit: read before writing again.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        found = error_of(error, url)
        if isinstance(found, Unavailable) and url.get_backend_name() != "sqlite":
            raise OutcomeUnknown(found.message, hint=found.hint) from error
        raise found from error


def error_of(error: exc.SQLAlchemyError, url: sa.URL) -> SyncdError:
    """The syncd error for a SQLAlchemy error. A statement that SQLAlchemy itself refuses is a bug, raised as is."""
    shown = url.render_as_string(hide_password=True)
    cause = getattr(error, "orig", None) or error
    said = f"{shown}: {str(cause).strip().splitlines()[0]}"
    file = sqlite_file(url)
    if "unable to open database file" in said and file is not None and not file.exists():
        return no_record(url)
    code = getattr(cause, "sqlstate", None)
    broken = _unusable(said, code, file is not None)
    if broken is not None:
        return broken
    if any(words in said for words in _NOT_LET_IN):
        return Refused(said, hint="check the user and password of the database URL")
    if code == _POSTGRES_READ_ONLY or "readonly database" in said:
        return Refused(
            said, hint="syncd must be able to write there: check the file's owner, or that it is the primary"
        )
    if isinstance(error, exc.IntegrityError):
        return Conflict(said)
    if any(words in said for words in _SQLITE_DISK):
        return Unavailable(said, hint="check the disk of the database; nothing was written")
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
        return Unavailable(said)
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return Unavailable(said)
    raise error


def _unusable(said: str, code: str | None, is_file: bool) -> Invalid | None:  # noqa: FBT001 -- a kind of database
    """The error for a database that a person has to replace or upgrade."""
    if code in _POSTGRES_SCHEMA or any(words in said for words in _SQLITE_SCHEMA):
        return Invalid(said, hint=UPGRADE_HINT)
    if code in _POSTGRES_DAMAGED or any(words in said for words in _DAMAGED):
        return Invalid(said, hint=_DAMAGED_HINT)
    if is_file and "file is not a database" in said:
        return Invalid(said, hint=f"{_DAMAGED_HINT}; or the database URL of the configuration is that of another file")
    if any(words in said for words in _NOT_A_DATABASE):
        return Invalid(said, hint="check the database URL of the configuration")
    return None
