"""One serving process for a SQLite file; PostgreSQL needs no such thing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from syncd.errors import Conflict
from syncd.state.filelock import locked_file
from syncd.state.url import parse, sqlite_file

_HINT: Final = "stop it first; several processes need a PostgreSQL database"


@contextmanager
def hold(url: str) -> Iterator[None]:
    """Be the only process that serves this database, inside the block. On PostgreSQL it promises nothing.

    The kernel lets go after any death of the process. The file `<database>.lock` stays and means nothing by itself.

    Raises:
        Conflict: Another process has it; the message has its id.
        Invalid: The URL is wrong, or the file beside the database cannot be made.
    """
    file = sqlite_file(parse(url))
    if file is None:
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
