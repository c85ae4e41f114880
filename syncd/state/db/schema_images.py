"""The tables about images: bases as they were found, what is laid over them, and the images that came of it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state.db import columns
from syncd.state.db.types import Sha256

# What a version is laid over, unless its release says otherwise: what the base's tag meant when it was looked up,
# committed before anything is pushed, so that a crash changes nothing. A release that brings another base changes it
# when it is live.
image_bases: Final = sa.Table(
    "image_bases",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.text("base"),
    sa.Column("digest", Sha256, nullable=False),
    columns.timestamp("found_at"),
    sa.PrimaryKeyConstraint("version_id", "target"),
)

# An image that was pushed and proven, of each version and base one. `served_from` is how functions name its repository.
images: Final = sa.Table(
    "images",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.text("repository"),
    columns.text("served_from"),
    columns.text("tag"),
    sa.Column("digest", Sha256, nullable=False),
    columns.text("base"),
    sa.Column("base_digest", Sha256, nullable=False),
    columns.text("directory"),
    columns.timestamp("baked_at"),
    sa.PrimaryKeyConstraint("version_id", "target", "base_digest"),
)

# What a release lays a version over, or has found it laid over. `was` is only there where it was begun for a new base.
release_bases: Final = sa.Table(
    "release_bases",
    columns.metadata,
    columns.text("release_id", sa.ForeignKey("releases.id")),
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.text("base"),
    sa.Column("digest", Sha256, nullable=False),
    sa.Column("was", Sha256, nullable=True),
    sa.PrimaryKeyConstraint("release_id", "version_id", "target"),
    sa.Index(None, "version_id", "target"),
)

# What a base's tag was seen to mean by those who watch it, and since when; why it cannot be seen, and since when.
bases_seen: Final = sa.Table(
    "bases_seen",
    columns.metadata,
    columns.text("target"),
    columns.text("base"),
    sa.Column("digest", Sha256, nullable=True),
    columns.timestamp("since", nullable=True),
    columns.timestamp("looked_at", nullable=True),
    columns.text("reason", default=""),
    columns.timestamp("failing_since", nullable=True),
    sa.PrimaryKeyConstraint("target"),
)
