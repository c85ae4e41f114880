"""The tables about images: what base a version was laid over at a target, and the image that came of it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.state import columns
from syncd.state.types import Sha256

# What the base's tag meant when it was looked up: committed before anything is pushed, so that a crash changes nothing.
image_bases: Final = sa.Table(
    "image_bases",
    columns.metadata,
    columns.text("version_id", sa.ForeignKey("versions.id")),
    columns.text("target"),
    columns.text("base"),
    sa.Column("digest", Sha256, nullable=False),
    columns.moment("found_at"),
    sa.PrimaryKeyConstraint("version_id", "target"),
)

# An image that was pushed and proven. `served_from` is its repository as functions name it.
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
    columns.moment("baked_at"),
    sa.PrimaryKeyConstraint("version_id", "target"),
)
