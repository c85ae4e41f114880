"""Tables about images: bases as they were resolved, the bases of releases, and the images that were built."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state.db import columns
from syncd.state.db.rows import Sha256

# The base of a version, unless its release has another: the digest of the base's tag when it was resolved,
# committed before anything is pushed, so that a crash changes nothing. A release with another base changes it
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

# A pushed and verified image per version and base. `served_from` is the repository's name for functions.
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

# The base that a release builds a version on. `was` is set only where the release was created for a new base.
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

# The digest of a base's tag as last checked, and since when; why it cannot be read, and since when.
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
