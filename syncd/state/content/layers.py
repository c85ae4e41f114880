"""Image layers: their known digests, and where unfinished uploads of them resume."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.state.db.rows import insert
from syncd.state.db.schema import layer_uploads, layers
from syncd.state.state import State

KEPT: Final = timedelta(days=8)  # registries delete idle uploads after a week, or sooner


def forget(conn: sa.Connection, unchanged_since: datetime) -> int:
    """Delete the uploads without progress since then, in every repository, and return how many."""
    return conn.execute(sa.delete(layer_uploads).where(layer_uploads.c.told_at < unchanged_since)).rowcount


def moved(state: State, was: str, now: str) -> bool:
    """Replace the address where an upload resumes. False if the record has another address by now."""
    with state.write() as conn:
        values = {"location": now, "told_at": state.now(conn)}
        return conn.execute(sa.update(layer_uploads).where(layer_uploads.c.location == was).values(values)).rowcount > 0


class SqlUploadJournal:
    """`oci.push.UploadJournal` of one repository. Each call is a short transaction. Safe from several threads.

    Every method raises what `State.read` and `State.write` raise.
    """

    def __init__(self, state: State, repository: str) -> None:
        self._state = state
        self._repository = repository

    def find(self, recipe: Digest) -> str | None:
        """Where the unfinished upload of this layer resumes, if any."""
        with self._state.read() as conn:
            return conn.execute(sa.select(layer_uploads.c.location).where(self._upload(recipe))).scalar_one_or_none()

    def opened(self, recipe: Digest, location: str) -> None:
        """Record where the upload resumes; replaces the previous address."""
        key = {"repository": self._repository, "recipe": recipe}
        with self._state.write() as conn:
            values = {"location": location, "told_at": self._state.now(conn)}
            row = insert(conn, layer_uploads).values(**key, **values)
            conn.execute(row.on_conflict_do_update(index_elements=list(key), set_=values))

    def closed(self, recipe: Digest) -> None:
        """Delete the upload. Repeating it is success."""
        with self._state.write() as conn:
            conn.execute(sa.delete(layer_uploads).where(self._upload(recipe)))

    def known(self, recipe: Digest) -> Digest | None:
        """The digest of the layer, from any repository."""
        with self._state.read() as conn:
            return conn.execute(sa.select(layers.c.digest).where(layers.c.recipe == recipe)).scalar_one_or_none()

    def proven(self, recipe: Digest, digest: Digest) -> None:
        """Record the digest. Replaces another one, which a changed tar would give."""
        with self._state.write() as conn:
            row = insert(conn, layers).values(recipe=recipe, digest=digest)
            conn.execute(row.on_conflict_do_update(index_elements=["recipe"], set_={"digest": digest}))

    def _upload(self, recipe: Digest) -> sa.ColumnElement[bool]:
        return sa.and_(layer_uploads.c.repository == self._repository, layer_uploads.c.recipe == recipe)
